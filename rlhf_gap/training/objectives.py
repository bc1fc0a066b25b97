"""Training objectives and the metrics that they report.

An objective maps (params, batch, dropout key) to the weighted sum of the rows'
losses and to sums of metrics, which `batch_metrics.means` divides. It does not
depend on where the rows came from.
"""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rlhf_gap import checks, losses
from rlhf_gap.batches import PreferenceBatch, ResponseBatch
from rlhf_gap.inference import judge, score
from rlhf_gap.models import t5
from rlhf_gap.ops import logprobs
from rlhf_gap.training.batch_metrics import (
  PairedResponses,
  Sums,
  above_zero,
  weighted_sums,
)

# (params, batch, dropout key or None) -> (sum of losses, sums)
Objective = Callable[..., tuple[Float[Array, ""], Sums]]
# (params, prompt, responses, dropout key or None) -> token log-probabilities
Score = Callable[..., Float[Array, "batch responses target"]]
# (params, judge inputs, dropout key or None) -> log-odds of the answer A
LogOdds = Callable[..., Float[Array, "batch"]]


_REDUCTIONS = {"sum": logprobs.sequence_sum, "mean": logprobs.sequence_mean}


@runtime_checkable  # for checks of types while testing
class ObjectiveSpec(Hashable, Protocol):
  """An objective's settings, not yet bound to a model."""

  def bind(self, config: t5.T5Config, words: judge.Words | None) -> Objective:
    """Returns the objective for a model; `words` for preference models."""

  def describe(self) -> str:
    """Returns a one-line description for the run's output."""

  @property
  def needs_reference(self) -> bool:
    """Whether batches need log-probabilities under the reference."""

  @property
  def initial_value(self) -> float | None:
    """The loss if policy equals reference; None if it depends on the data."""


@dataclasses.dataclass(frozen=True)
class Contrastive:
  """A loss of rho on pairs: IPO, DPO, SLiC, GPO.

  Attributes:
    loss: maps rho to one value per pair.
    reduction: reduction of token log-probabilities, "sum" or "mean", for policy
      and reference.
    labels: "hard" takes the winner as certain; "soft" uses the judge's debiased
      probability.
  """

  loss: losses.PairLoss = losses.Ipo()
  reduction: str = "mean"
  labels: str = "hard"

  def __post_init__(self) -> None:
    checks.one_of(_REDUCTIONS, reduction=self.reduction)
    checks.one_of(("hard", "soft"), labels=self.labels)

  def bind(self, config: t5.T5Config, words: judge.Words | None) -> Objective:
    """Returns the objective for a T5."""
    del words
    return contrastive(_t5_score(config), self)

  def describe(self) -> str:
    """Returns formula, beta and target margin."""
    described = self.loss.describe(self.reduction)
    return f"{described}; {self.labels} labels"

  @property
  def needs_reference(self) -> bool:
    """True, because the metrics need it even if the loss does not."""
    return True

  @property
  def initial_value(self) -> float | None:
    """The loss at rho = 0, the same for hard and soft labels."""
    return self.loss.initial_value if self.loss.uses_reference else None


@dataclasses.dataclass(frozen=True)
class BestOfTwo:
  """Imitates the winner of each pair: -log pi(y_w|x).

  Attributes:
    reduction: "sum" or "mean" over the winner's tokens.
  """

  reduction: str = "mean"

  def __post_init__(self) -> None:
    checks.one_of(_REDUCTIONS, reduction=self.reduction)

  def bind(self, config: t5.T5Config, words: judge.Words | None) -> Objective:
    """Returns the objective for a T5."""
    del words
    return best_of_two(_t5_score(config), self)

  def describe(self) -> str:
    """Returns the formula."""
    return f"Best-of-2: -log pi(chosen), {self.reduction} over tokens"

  @property
  def needs_reference(self) -> bool:
    """True, because the metrics need it; the loss does not."""
    return True

  @property
  def initial_value(self) -> float | None:
    """None, because it depends on the winners."""
    return None


@dataclasses.dataclass(frozen=True)
class Sft:
  """Supervised fine-tuning: the mean of -log pi(token) over all tokens."""

  def bind(self, config: t5.T5Config, words: judge.Words | None) -> Objective:
    """Returns the objective for a T5."""
    del words
    return sft(_t5_score(config))

  def describe(self) -> str:
    """Returns the formula."""
    return "SFT: -log pi(response), mean over the batch's tokens"

  @property
  def needs_reference(self) -> bool:
    """False."""
    return False

  @property
  def initial_value(self) -> float | None:
    """None, because it depends on the data."""
    return None


@dataclasses.dataclass(frozen=True)
class PreferenceModel:
  """The order-randomised log-loss of a pairwise preference model.

  Attributes:
    input_length: length of the assembled input in tokens; by default it fits
      the longest prompt, two responses and the markers.
    keep: which end of a prompt to keep if it is truncated, "end" or "start".
    labels: "hard" or "soft", see `Contrastive`.
  """

  input_length: int | None = None
  keep: str = "end"
  labels: str = "hard"

  def __post_init__(self) -> None:
    checks.lengths(input_length=self.input_length)
    checks.one_of(("end", "start"), keep=self.keep)
    checks.one_of(("hard", "soft"), labels=self.labels)

  def bind(self, config: t5.T5Config, words: judge.Words | None) -> Objective:
    """Returns the objective for a T5."""
    if words is None:
      raise ValueError("a preference model needs the vocabulary's words")

    def log_odds(params: t5.Params, inputs: Array, key: Array | None) -> Array:
      return judge.first_is_better_logit(
        config, params, words, inputs, dropout_key=key
      )

    return preference_model(log_odds, words, self)

  def describe(self) -> str:
    """Returns the formula."""
    return (
      "preference model: -1/2 log r(chosen, rejected)"
      f" - 1/2 log(1 - r(rejected, chosen)); {self.labels} labels"
    )

  @property
  def needs_reference(self) -> bool:
    """False."""
    return False

  @property
  def initial_value(self) -> float | None:
    """None, because it depends on the initial parameters."""
    return None


def contrastive(score_tokens: Score, spec: Contrastive) -> Objective:
  """Returns the objective for a loss of rho and any policy.

  Args:
    score_tokens: the policy's token log-probabilities.
    spec: loss, reduction and labels.

  Returns:
    The objective. Its sums are the loss; rho and |rho| (nats, or nats per
    token); accuracy (the sign of the margin of log pi/pi_ref summed over
    tokens, Appendix E; ties count half); log pi/pi_ref of both responses (nats,
    summed over tokens); and, without weights, lengths and the rate of EOS.
  """
  reduce = _REDUCTIONS[spec.reduction]

  def objective(
    params: t5.Params, batch: PreferenceBatch, dropout_key: Array | None
  ) -> tuple[Array, Sums]:
    pair = PairedResponses.from_batch(batch)
    scores = score_tokens(params, batch.prompt, pair.tokens, dropout_key)
    policy = reduce(scores, pair.mask)
    reference = pair.reference
    if spec.reduction == "mean":
      reference = reference / jnp.maximum(pair.mask.sum(-1), 1)
    log_ratio = policy - reference
    rho = log_ratio[:, 0] - log_ratio[:, 1]
    margin = rho if spec.loss.uses_reference else policy[:, 0] - policy[:, 1]
    probability = batch.probability if spec.labels == "soft" else 1.0
    values = losses.with_label(spec.loss, margin, probability)
    return weighted_sums(
      values,
      batch.weight,
      {"rho_nats": rho, "rho_size_nats": jnp.abs(rho), **pair.metrics(scores)},
    )

  return objective


def best_of_two(score_tokens: Score, spec: BestOfTwo) -> Objective:
  """Returns the objective that maximizes the winner's likelihood.

  Args:
    score_tokens: the policy's token log-probabilities.
    spec: the reduction.

  Returns:
    The objective, with the sums of `contrastive`; only they need the loser.
  """
  reduce = _REDUCTIONS[spec.reduction]

  def objective(
    params: t5.Params, batch: PreferenceBatch, dropout_key: Array | None
  ) -> tuple[Array, Sums]:
    pair = PairedResponses.from_batch(batch)
    scores = score_tokens(params, batch.prompt, pair.tokens, dropout_key)
    chosen = reduce(scores[:, 0], pair.mask[:, 0])
    ratio = logprobs.sequence_sum(scores, pair.mask) - pair.reference
    rho = ratio[:, 0] - ratio[:, 1]
    metrics = {
      "rho_nats": rho,
      "rho_size_nats": jnp.abs(rho),
      **pair.metrics(scores),
    }
    return weighted_sums(losses.best_of_two(chosen), batch.weight, metrics)

  return objective


def sft(score_tokens: Score) -> Objective:
  """Returns the objective of supervised fine-tuning.

  Args:
    score_tokens: the policy's token log-probabilities.

  Returns:
    The objective. Its sums are over tokens, weighted by their rows' weights, so
    the loss is the mean over the batch's tokens, as in T5X.
  """

  def objective(
    params: t5.Params, batch: ResponseBatch, dropout_key: Array | None
  ) -> tuple[Array, Sums]:
    tokens = batch.response[:, None]
    mask = logprobs.response_mask(tokens)
    scores = score_tokens(params, batch.prompt, tokens, dropout_key)
    values = losses.sft(logprobs.sequence_sum(scores, mask)[:, 0])
    lengths = mask.sum((1, 2)).astype(jnp.float32)
    loss = (batch.weight * values).sum()
    return loss, {
      "loss": loss,
      "weight": (batch.weight * lengths).sum(),
    }

  return objective


def preference_model(
  log_odds: LogOdds, words: judge.Words, spec: PreferenceModel
) -> Objective:
  """Returns the objective of a pairwise preference model.

  Args:
    log_odds: maps assembled inputs to the log-odds of the answer A.
    words: token ids of markers and answers.
    spec: input length and labels.

  Returns:
    The objective. Its sums are the loss, accuracy (the sign of the debiased
    margin; ties count half), the margin and the position bias.
  """

  def objective(
    params: t5.Params, batch: PreferenceBatch, dropout_key: Array | None
  ) -> tuple[Array, Sums]:
    needed = batch.chosen.shape[1] + batch.rejected.shape[1]
    needed += judge.marker_tokens(words)
    length = spec.input_length or batch.prompt.shape[1] + needed
    orders = ((batch.chosen, batch.rejected), (batch.rejected, batch.chosen))
    inputs = [
      judge.assemble(words, batch.prompt, *order, length=length, keep=spec.keep)
      for order in orders
    ]
    # With both orders in one batch, the gradient has no component from position
    # alone. Otherwise small models stay at chance.
    logits = log_odds(params, jnp.concatenate(inputs), dropout_key)
    chosen_first, rejected_first = jnp.split(logits, 2)
    probability = batch.probability if spec.labels == "soft" else 1.0
    values = losses.preference_model(chosen_first, rejected_first, probability)
    r12, r21 = jax.nn.sigmoid(chosen_first), jax.nn.sigmoid(rejected_first)
    return weighted_sums(
      values,
      batch.weight,
      {
        "accuracy": above_zero(r12 - r21),
        "probability_margin": r12 - r21,
        "position_bias": 0.5 * (r12 + r21 - 1),
      },
    )

  return objective


def _t5_score(config: t5.T5Config) -> Score:
  def score_tokens(
    params: t5.Params, prompt: Array, responses: Array, key: Array | None
  ) -> Array:
    return score.response_log_probs(
      config, params, prompt, responses, dropout_key=key
    )

  return score_tokens
