"""The policy as a classifier of pairs, and the likelihood of their responses.

A policy prefers the response with the higher log-probability relative to the
reference: the sign of rho = log pi(y1)/pi_ref(y1) - log pi(y2)/pi_ref(y2)
(Tang et al. 2024, Appendix E).
"""

import dataclasses
import functools
import hashlib
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from rlhf_gap import errors, records, stores
from rlhf_gap.evaluation import batches, intervals, models
from rlhf_gap.inference import score as scoring
from rlhf_gap.models import t5
from rlhf_gap.ops import logprobs

_COLUMNS = ("prompt_tokens", "chosen_tokens", "rejected_tokens")


class Scores(NamedTuple):
  """Log-probabilities of two responses per prompt, in nats.

  Attributes:
    total: summed over tokens, EOS included.
    mean: per token.
  """

  total: Float[np.ndarray, "rows 2"]
  mean: Float[np.ndarray, "rows 2"]


@functools.partial(jax.jit, static_argnums=0)
def _score(
  config: t5.T5Config,
  params: t5.Params,
  prompt: Int[Array, "batch source"],
  responses: Int[Array, "batch 2 target"],
) -> tuple[Float[Array, "batch 2"], Float[Array, "batch 2"]]:
  tokens = scoring.response_log_probs(config, params, prompt, responses)
  mask = logprobs.response_mask(responses)
  return (
    logprobs.sequence_sum(tokens, mask),
    logprobs.sequence_mean(tokens, mask),
  )


def score(
  model: models.Model,
  prompt: Int[np.ndarray, "rows source"],
  responses: Int[np.ndarray, "rows 2 target"],
  using: batches.Batches,
) -> Scores:
  """Returns log pi of two responses per prompt.

  Args:
    model: the policy pi.
    prompt: token ids, padded with 0.
    responses: both responses, padded with 0.
    using: batching.

  Returns:
    Sums and means.

  Raises:
    UserError: a log-probability is not finite.
  """

  def scored(x: Array, y: Array) -> tuple[Array, Array]:
    return _score(model.config, model.params, x, y)

  shorter = batches.without_padding(prompt)
  scores = Scores(*using.map(scored, shorter, responses))
  models.check_finite(model, "log-probabilities", *scores)
  return scores


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Labelled pairs, in order.

  Attributes:
    prompt: token ids, int32 [pairs, source].
    responses: chosen, then rejected, int32 [pairs, 2, target].
    fingerprint: SHA-256 of the ids.
  """

  prompt: np.ndarray
  responses: np.ndarray

  @property
  def fingerprint(self) -> str:
    """SHA-256 of the token ids."""
    digest = hashlib.sha256()
    for array in (self.prompt, self.responses):
      digest.update(repr(array.shape).encode())
      digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def choose_pairs(store: stores.Store, num_pairs: int, seed: int) -> Pairs:
  """Takes the first pairs of a labelled store in a seeded order.

  Args:
    store: pairs labelled by the golden preference model; ties (weight 0) are
      excluded.
    num_pairs: number of pairs.
    seed: seed of the order.

  Returns:
    The pairs.

  Raises:
    UserError: the store holds no labelled pairs, or too few.
  """
  manifest = store.manifest
  if manifest.schema != "pairs" or manifest.label.by == "none":
    raise errors.UserError(
      f"{store.path} holds {manifest.schema} labelled by {manifest.label.by};"
      " expected labelled pairs, which `rlhf-gap label` makes"
    )
  weight = store.read(range(store.num_rows), ["weight"])["weight"]
  decided = np.flatnonzero(weight > 0)
  if not 2 <= num_pairs <= len(decided):
    raise errors.UserError(
      f"{store.path} holds {len(decided):,} pairs that are not ties,"
      f" but --num_pairs={num_pairs}; expected 2 to {len(decided):,}"
    )
  order = stores.rows(
    stores.Epochs(), seed, 0, num_rows=len(decided), batch_size=num_pairs
  )
  prompt, chosen, rejected = (
    store.read(decided[order], _COLUMNS)[name] for name in _COLUMNS
  )
  return Pairs(prompt, np.stack([chosen, rejected], axis=1))


def measure(
  policy: Scores, reference: Scores
) -> dict[str, records.Measurement]:
  """Computes the metrics of labelled pairs, chosen first.

  Args:
    policy: scores under the policy.
    reference: scores under the reference, of the same pairs.

  Returns:
    "pair_accuracy_sum", "pair_accuracy_mean": fraction with rho > 0, by summed
    and by per-token log-probabilities; rho = 0 counts 1/2;
    "chosen_log_ratio_nats", "rejected_log_ratio_nats": log pi - log pi_ref,
    summed over tokens; "margin_nats": rho, their difference.
  """
  ratio = policy.total.astype(np.float64) - reference.total
  return {
    **_accuracies(policy, reference, np.ones(len(ratio))),
    "chosen_log_ratio_nats": intervals.mean(ratio[:, 0]),
    "rejected_log_ratio_nats": intervals.mean(ratio[:, 1]),
    "margin_nats": intervals.mean(ratio[:, 0] - ratio[:, 1]),
  }


def measure_own(
  policy: Scores, reference: Scores, label: Float[np.ndarray, "rows"]
) -> dict[str, records.Measurement]:
  """Compares the policy's order of its own samples with the judge's.

  Args:
    policy: the policy's scores of two samples per prompt.
    reference: the reference's scores.
    label: 1 if the judge prefers the first, 0 if the second; ties (1/2) are
      excluded.

  Returns:
    "own_pair_accuracy_sum" and "own_pair_accuracy_mean"; empty if
    every pair is a tie, for example because all samples are equal.
  """
  decided = label != 0.5
  if not decided.any():
    return {}
  first_is_better = label[decided]
  one, other = (
    Scores(*(part[decided] for part in scores))
    for scores in (policy, reference)
  )
  accuracies = _accuracies(one, other, first_is_better)
  return {f"own_{name}": value for name, value in accuracies.items()}


def _accuracies(
  policy: Scores, reference: Scores, first_is_better: np.ndarray
) -> dict[str, records.Measurement]:
  accuracies = {}
  for name, mine, other in (
    ("pair_accuracy_sum", policy.total, reference.total),
    ("pair_accuracy_mean", policy.mean, reference.mean),
  ):
    ratio = mine.astype(np.float64) - other
    says = 0.5 * (1 + np.sign(ratio[:, 0] - ratio[:, 1]))
    outcome = np.where(first_is_better == 1, says, 1 - says)
    accuracies[name] = intervals.win_rate(outcome)
  return accuracies
