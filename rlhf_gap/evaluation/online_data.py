"""Classification accuracy on an online run's own pairs, over time.

Tang et al. (2024), Fig. 6: at evenly spaced steps of an online run, the golden
preference model labels some of the latest sampled pairs. The proxy, which
labelled them in the run, and trained policies are compared with these labels.
"""

import dataclasses
import os
import time
from collections.abc import Iterator, Sequence

import numpy as np

from rlhf_gap import errors, progress, records, stores
from rlhf_gap.evaluation import (
  batches,
  classification,
  intervals,
  models,
  provenance,
  runs,
  win_rate,
)

METRIC = "accuracy"
"""Its values at step 40 of the run are called "accuracy/40"."""
_COLUMNS = ("prompt_tokens", "chosen_tokens", "rejected_tokens", "weight")


@dataclasses.dataclass(frozen=True)
class Window:
  """Golden-labelled pairs that an online run sampled just before a step.

  Attributes:
    step: of the run.
    prompt: token ids, int32 [pairs, source].
    responses: the proxy's winner and the other, int32 [pairs, 2, target].
    label: 1 if the golden model prefers the proxy's winner, else 0.
    proxy_tie: whether the pair was a tie for the proxy.
  """

  step: int
  prompt: np.ndarray
  responses: np.ndarray
  label: np.ndarray
  proxy_tie: np.ndarray


def windows(
  store: stores.Store,
  golden: win_rate.Judge,
  *,
  count: int,
  num_pairs: int,
  batch_size: int,
) -> list[Window]:
  """Reads windows of pairs from an online run's store and judges them.

  Args:
    store: what the run recorded, a chunk a step.
    golden: the golden preference model.
    count: number of windows, evenly spaced; the last is at the end of the run.
    num_pairs: pairs in each window, the last ones sampled before its step.
    batch_size: rows per batch.

  Returns:
    The windows in order; the golden model's ties are left out, and a window
    with fewer than two remaining pairs.

  Raises:
    UserError: the store is not a recorded run, or the windows would overlap.
  """
  manifest = store.manifest
  if manifest.schema != "pairs" or manifest.label.judge is None:
    raise errors.UserError(
      f"{store.path} holds {manifest.schema} labelled by {manifest.label.by};"
      " expected the pairs that an online run recorded (MODEL_DIR/pairs)"
    )
  found = []
  using = batches.Batches(batch_size, lambda rows: None)
  for step in _moments(store, count, num_pairs):
    end = step * manifest.chunk_rows
    values = store.read(range(end - num_pairs, end), _COLUMNS)
    prompt, chosen, rejected, weight = (values[name] for name in _COLUMNS)
    verdict = win_rate.compare(golden, prompt, chosen, rejected, using)
    label = np.asarray(verdict.label)
    decided = label != 0.5
    if decided.sum() > 1:
      responses = np.stack([chosen, rejected], axis=1)
      of_decided = (prompt, responses, label, weight == 0)
      found.append(Window(step, *(part[decided] for part in of_decided)))
  if not found:
    raise errors.UserError(
      f"{store.path}: in every window the golden model rates the two responses"
      " equally; try a larger --num_pairs, or check whether the policy has"
      " collapsed"
    )
  return found


def _moments(store: stores.Store, count: int, num_pairs: int) -> list[int]:
  """Returns the steps up to which the windows reach."""
  rows = store.manifest.chunk_rows
  steps = store.num_rows // rows
  moments = [round(n * steps / count) for n in range(1, count + 1)]
  apart = np.diff([0, *moments]) * rows
  if num_pairs < 2 or count < 1 or apart.min() < num_pairs:
    raise errors.UserError(
      f"--windows={count} of --num_pairs={num_pairs} do not fit into"
      f" {store.path}, which holds {store.num_rows:,} pairs of {steps:,} steps:"
      " expected windows that do not overlap, of at least 2 pairs"
    )
  return moments


def of_proxy(found: Sequence[Window]) -> dict[str, np.ndarray]:
  """Returns whether the proxy's label is the golden one, 1/2 for its ties."""
  return {
    f"{METRIC}/{one.step}": np.where(one.proxy_tie, 0.5, one.label)
    for one in found
  }


def of_policy(
  found: Sequence[Window],
  policy: models.Model,
  reference: models.Model,
  batch_size: int,
) -> dict[str, np.ndarray]:
  """Returns whether a policy orders pairs as the golden model does.

  Args:
    found: the moments.
    policy: prefers the response of the higher log pi / pi_ref, summed.
    reference: the policy's.
    batch_size: rows per batch.

  Returns:
    For each window: 1, 0, or 1/2 if both responses score equally.
  """
  using = batches.Batches(batch_size, lambda rows: None)
  outcomes = {}
  for one in found:
    mine, other = (
      classification.score(model, one.prompt, one.responses, using).total
      for model in (policy, reference)
    )
    ratio = mine.astype(np.float64) - other
    first = 0.5 * (1 + np.sign(ratio[:, 0] - ratio[:, 1]))
    outcomes[f"{METRIC}/{one.step}"] = np.where(
      one.label == 1, first, 1 - first
    )
  return outcomes


@dataclasses.dataclass(frozen=True)
class Classifier:
  """Data and settings for comparing finished policies.

  Attributes:
    store: the pairs that the online run recorded.
    golden: the golden preference model.
    reference: the policies' reference.
    count: number of windows.
    num_pairs: pairs in each window.
    batch_size: rows per batch.
  """

  store: stores.Store
  golden: win_rate.Judge
  reference: models.Model
  count: int
  num_pairs: int
  batch_size: int

  def measure(
    self, policies: Sequence[tuple[str, str]]
  ) -> Iterator[records.RunRecord]:
    """Evaluates the proxy and finished policies as classifiers.

    Args:
      policies: (checkpoint, arm) of each.

    Yields:
      The proxy's record, then one a policy; `by_prompt` holds the outcomes.

    Raises:
      UserError: a checkpoint is missing or of another architecture.
    """
    start = time.monotonic()
    seed = int(self.store.manifest.source.get("seed") or 0)
    with progress.bar("classifying", len(policies) + 1, "models") as bar:
      found = windows(
        self.store,
        self.golden,
        count=self.count,
        num_pairs=self.num_pairs,
        batch_size=self.batch_size,
      )
      evaluation = self._evaluation(found)
      labelled_by = self.store.manifest.label.judge
      assert labelled_by is not None
      proxy = records.TrainingRun(f"proxy/seed_{seed}", "proxy", seed=seed)
      yield _record(proxy, labelled_by, evaluation, of_proxy(found), start)
      bar.update(1)
      for path, arm in policies:
        start = time.monotonic()
        policy = models.load(path)
        models.check_same_architecture(policy, self.reference)
        run = runs.run_of(path)
        run = dataclasses.replace(run, name=f"{arm}/{run.name}", arm=arm)
        outcomes = of_policy(found, policy, self.reference, self.batch_size)
        yield _record(run, policy.checkpoint, evaluation, outcomes, start)
        bar.update(1)

  def _evaluation(self, found: Sequence[Window]) -> records.Evaluation:
    labelled_by = self.store.manifest.label.judge
    pairs = classification.Pairs(
      np.concatenate([one.prompt for one in found]),
      np.concatenate([one.responses for one in found]),
    )
    return records.Evaluation(
      golden=self.golden.model.checkpoint.sha256,
      proxy=labelled_by.sha256 if labelled_by else None,
      reference=self.reference.checkpoint.sha256,
      golden_policy="",
      prompts="",
      pairs=pairs.fingerprint,
      settings={
        "windows": self.count,
        "num_pairs": self.num_pairs,
        "batch_size": self.batch_size,
      },
    )


def _record(
  run: records.TrainingRun,
  checkpoint: stores.CheckpointIdentity,
  evaluation: records.Evaluation,
  outcomes: dict[str, np.ndarray],
  start: float,
) -> records.RunRecord:
  return records.RunRecord(
    run=run,
    checkpoint=records.EvaluatedCheckpoint(checkpoint.sha256, checkpoint.step),
    evaluation=evaluation,
    code=provenance.code(),
    metrics={name: intervals.win_rate(v) for name, v in outcomes.items()},
    by_prompt={name: tuple(v.tolist()) for name, v in outcomes.items()},
    examples=(),
    environment=records.Environment(
      provenance.device(),
      round(time.monotonic() - start, 3),
      {"checkpoint": os.path.abspath(checkpoint.path)},
    ),
  )
