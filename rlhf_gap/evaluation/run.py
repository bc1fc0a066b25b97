"""Evaluates a checkpoint and returns its record.

measured = yardstick.load(sources, settings, "out/samples")
trained_by = records.TrainingRun("run")
record = run.evaluate(measured, "run/checkpoint_400", trained_by)
"""

import os
import time

import numpy as np

from rlhf_gap import progress, records, stores
from rlhf_gap.evaluation import (
  batches,
  classification,
  kl,
  models,
  provenance,
  samples,
  text,
  utility,
  win_rate,
  yardstick,
)
from rlhf_gap.inference import judge

_NUM_EXAMPLES = 8
Metrics = dict[str, records.Measurement]
Values = dict[str, np.ndarray]


def evaluate(
  by: yardstick.Yardstick, path: str, run: records.TrainingRun
) -> records.RunRecord:
  """Evaluates one checkpoint; existing samples are reused.

  Args:
    by: judges, opponents and data.
    path: the checkpoint's folder.
    run: the training run it belongs to.

  Returns:
    Its record: see the modules of this package for what each metric is.

  Raises:
    UserError: there is no checkpoint, its architecture is not the reference's,
      its logits are not finite, or samples cannot be written.
  """
  start = time.monotonic()
  policy = models.load(path, by.sources.dtype)
  models.check_same_architecture(policy, by.reference)
  checkpoint = policy.checkpoint
  by.sample_opponents()  # first, because it has its own progress bars
  name = os.path.basename(os.path.abspath(path))
  with progress.bar(f"evaluating {name}", _num_rows(by), "rows") as bar:
    using = batches.Batches(by.settings.batch_size, bar.update)
    place = by.samples_path(checkpoint, by.plan)
    store = samples.sample_missing(place, policy, by.plan, using)
    metrics, values = measure(by, policy, store, using)
  return records.RunRecord(
    run=run,
    checkpoint=records.EvaluatedCheckpoint(checkpoint.sha256, checkpoint.step),
    evaluation=by.evaluation,
    code=provenance.code(),
    metrics=metrics,
    by_prompt={name: _rounded(v) for name, v in sorted(values.items())},
    examples=_examples(by, store),
    environment=records.Environment(
      provenance.device(),
      round(time.monotonic() - start, 3),
      {**by.sources.paths(), "checkpoint": path, "samples": store.path},
    ),
  )


def find(
  by: yardstick.Yardstick,
  path: str,
  run: records.TrainingRun,
  among: list[records.RunRecord],
) -> records.RunRecord | None:
  """Returns a checkpoint's existing record, if it is still valid.

  Args:
    by: judges, opponents and data.
    path: the checkpoint's folder.
    run: the training run it belongs to.
    among: the existing records.

  Returns:
    The record of these parameters, this run and this evaluation, if its samples
    still exist; None otherwise.

  Raises:
    UserError: there is no checkpoint.
  """
  checkpoint = models.named(path)
  wanted = records.EvaluatedCheckpoint(checkpoint.sha256, checkpoint.step)
  if not samples.is_complete(by.samples_path(checkpoint, by.plan)):
    return None
  for record in among:
    found = record.run, record.checkpoint, record.evaluation
    if found == (run, wanted, by.evaluation):
      return record
  return None


def measure(
  by: yardstick.Yardstick,
  policy: models.Model,
  store: stores.Store,
  using: batches.Batches,
) -> tuple[Metrics, Values]:
  """Computes the metrics of a policy from its samples.

  Args:
    by: judges, opponents and data.
    policy: the policy.
    store: its samples.
    using: batching.

  Returns:
    Every metric, and the values by prompt behind some of them.
  """
  settings = by.settings
  own = samples.responses(store, settings.num_prompts)
  metrics, values = _judged(by, own, using)
  near = settings.kl_prompts
  values["kl_nats"] = kl.along(
    policy, by.reference, by.prompts.tokens[:near], own[:near], using
  )
  metrics |= kl.measure(values["kl_nats"])
  if by.pairs is not None and by.reference_scores is not None:
    scores = classification.score(
      policy, by.pairs.prompt, by.pairs.responses, using
    )
    metrics |= classification.measure(scores, by.reference_scores)
  if settings.own_pairs:
    metrics |= _own_pairs(by, policy, store, using)
  metrics |= text.measure(own)
  worth, golden_worth = by.utilities(own), by.golden_utility
  if worth is not None and golden_worth is not None:
    values["utility"] = worth
    values["utility_win_rate"] = utility.outcomes(worth, golden_worth)
    metrics |= utility.measure(worth, golden_worth)
  return metrics, values


def _judged(
  by: yardstick.Yardstick, own: np.ndarray, using: batches.Batches
) -> tuple[Metrics, Values]:
  """Returns win rates by both judges against both opponents."""
  metrics, values = Metrics(), Values()
  for prefix, judged_by in (("", by.golden), ("proxy_", by.proxy)):
    if judged_by is None:
      continue
    for suffix, opponent in (
      ("", by.golden_samples),
      ("_vs_reference", by.reference_samples),
    ):
      verdict = win_rate.compare(
        judged_by, by.prompts.tokens, own, opponent, using
      )
      for name, measured in win_rate.measure(verdict).items():
        metrics[f"{prefix}{name}{suffix}"] = measured
      values[f"{prefix}win_rate{suffix}"] = win_rate.by_prompt(verdict)
  return metrics, values


def _own_pairs(
  by: yardstick.Yardstick,
  policy: models.Model,
  store: stores.Store,
  using: batches.Batches,
) -> Metrics:
  """Returns how well the policy classifies its own samples."""
  count = by.settings.own_pairs
  prompt = by.prompts.tokens[:count]
  first, second = (samples.responses(store, count, n) for n in (0, 1))
  verdict: judge.Comparison = win_rate.compare(
    by.golden, prompt, first, second, using
  )
  both = np.stack([first, second], axis=1)
  one, other = (
    classification.score(model, prompt, both, using)
    for model in (policy, by.reference)
  )
  return classification.measure_own(one, other, np.asarray(verdict.label))


def _num_rows(by: yardstick.Yardstick) -> int:
  """Returns the number of rows `evaluate` processes, for the progress bar."""
  settings = by.settings
  judged = 2 * settings.num_prompts * (1 if by.proxy is None else 2)
  pairs = 0 if by.pairs is None else settings.num_pairs
  # Own pairs: the second sample, the judge, policy and reference.
  own = 4 * settings.own_pairs
  return settings.num_prompts + judged + settings.kl_prompts + pairs + own


def _rounded(values: np.ndarray) -> tuple[float, ...]:
  return tuple(float(f"{value:.6g}") for value in values.tolist())


def _examples(
  by: yardstick.Yardstick, store: stores.Store
) -> tuple[records.Example, ...]:
  count = min(_NUM_EXAMPLES, by.settings.num_prompts)
  both = by.prompts.tokens[:count], samples.responses(store, count)
  return tuple(
    records.Example(*(by.decode(tokens.tolist()) for tokens in row))
    for row in zip(*both, strict=True)
  )
