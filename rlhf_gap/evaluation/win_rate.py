"""Win rates of the policy against an opponent, by a preference model."""

import dataclasses
import functools

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from rlhf_gap import errors, records, stores
from rlhf_gap.evaluation import batches, intervals, models
from rlhf_gap.inference import judge


@dataclasses.dataclass(frozen=True)
class Judge:
  """A preference model and its input settings.

  Attributes:
    model: the golden or the proxy model.
    words: ids of its markers and answers.
    length: length of its input in tokens.
    keep: which end of a prompt to keep if it is truncated, "end" or "start".
  """

  model: models.Model
  words: judge.Words
  length: int
  keep: str


def load_judge(
  model: models.Model,
  vocabulary: stores.Vocabulary,
  *,
  length: int,
  keep: str,
  max_length: int,
) -> Judge:
  """Wraps a preference model as a judge.

  Args:
    model: the preference model.
    vocabulary: the model's vocabulary.
    length: length of its input in tokens.
    keep: which end of a prompt to keep if it is truncated.
    max_length: maximum response length in tokens.

  Returns:
    The judge.

  Raises:
    UserError: the vocabulary lacks A and B, or the window cannot hold two
      responses.
  """
  words = judge.words_of(vocabulary)
  markers = judge.marker_tokens(words)
  if length < 2 * max_length + markers:
    raise errors.UserError(
      f"--judge_length={length} cannot hold two responses of {max_length}"
      f" tokens and {markers} of markers; expected at least"
      f" {2 * max_length + markers}"
    )
  return Judge(model, words, length, keep)


@functools.partial(
  jax.jit, static_argnums=(0, 2), static_argnames=("length", "keep")
)
def _compare(
  config: models.t5.T5Config,
  params: models.t5.Params,
  words: judge.Words,
  prompt: Int[Array, "batch source"],
  first: Int[Array, "batch target"],
  second: Int[Array, "batch target"],
  *,
  length: int,
  keep: str,
) -> judge.Comparison:
  return judge.compare(
    config, params, words, prompt, first, second, length=length, keep=keep
  )


def compare(
  by: Judge,
  prompt: Int[np.ndarray, "rows source"],
  first: Int[np.ndarray, "rows target"],
  second: Int[np.ndarray, "rows target"],
  using: batches.Batches,
) -> judge.Comparison:
  """Judges pairs of responses in both orders.

  Args:
    by: the preference model.
    prompt: token ids, padded with 0.
    first: responses y1, likewise.
    second: responses y2, likewise.
    using: batching.

  Returns:
    The verdicts, as NumPy arrays [rows].

  Raises:
    UserError: a verdict is not finite.
  """

  def judged(x: Array, y1: Array, y2: Array) -> judge.Comparison:
    model = by.model
    return _compare(
      model.config,
      model.params,
      by.words,
      x,
      y1,
      y2,
      length=by.length,
      keep=by.keep,
    )

  verdict = using.map(judged, prompt, first, second)
  models.check_finite(by.model, "verdicts", verdict.margin)
  return verdict


def measure(verdict: judge.Comparison) -> dict[str, records.Measurement]:
  """Computes the metrics of verdicts on the policy against an opponent.

  Args:
    verdict: one judge's verdicts, with the policy's responses first.

  Returns:
    "win_rate", with ties counted as 1/2; "tie_rate"; "probability", the mean of
    the judge's r; "position_bias", its mean preference for the first position.
  """
  label = np.asarray(verdict.label)
  return {
    "win_rate": intervals.win_rate(label),
    "tie_rate": intervals.win_rate((label == 0.5).astype(np.float32)),
    "probability": intervals.mean(
      np.asarray(verdict.probability), low=0.0, high=1.0
    ),
    "position_bias": intervals.mean(
      np.asarray(verdict.position_bias), low=-0.5, high=0.5
    ),
  }


def by_prompt(verdict: judge.Comparison) -> Float[np.ndarray, "rows"]:
  """Returns 1, 1/2 or 0 for each prompt."""
  return np.asarray(verdict.label)
