"""A row to the examples of a kind of store: pairs, responses or prompts."""

import dataclasses
import math
from collections.abc import Iterator

from rlhf_gap.data.formats import rows
from rlhf_gap.data.own import interpreting

RESPONSES = ("all", "chosen")
"""Which responses an SFT store takes, for `--responses`."""


@dataclasses.dataclass(frozen=True)
class Example:
  """One row of a store, in text.

  Attributes:
    prompt: the prompt.
    responses: chosen and rejected, one response, or none.
    prompt_id: names the prompt.
    weight: in a loss; 0 for a tie.
    r12: a judge's P(chosen better), chosen first; NaN for a plain label.
    r21: a judge's P(rejected better), rejected first; NaN for a plain label.
  """

  prompt: str
  responses: tuple[str, ...]
  prompt_id: int
  weight: float = 1.0
  r12: float = math.nan
  r21: float = math.nan


def of(
  reading: interpreting.Reading, kind: str, responses: str
) -> Iterator[Example]:
  """Yields the examples that a row gives.

  Args:
    reading: the row.
    kind: one of `catalog.KINDS`.
    responses: one of `RESPONSES`. Bad completions are left out in either case.
  """
  if kind == "prompts":
    yield Example(reading.prompt, (), reading.prompt_id)
  elif kind == "sft":
    texts = reading.responses if responses == "all" else reading.preferred()
    for text in texts:
      yield Example(reading.prompt, (text,), reading.prompt_id, reading.weight)
  else:
    for comparison in reading.comparisons:
      yield Example(
        reading.prompt,
        (
          reading.responses[comparison.better],
          reading.responses[comparison.worse],
        ),
        reading.prompt_id,
        0.0 if comparison.is_tie else reading.weight,
        comparison.r12,
        comparison.r21,
      )


def check_of_use(
  reading: interpreting.Reading, kind: str, responses: str
) -> None:
  """Raises if a row gives no example of a kind.

  Args:
    reading: the row.
    kind: one of `catalog.KINDS`.
    responses: one of `RESPONSES`.

  Raises:
    DroppedError: `bad_completion`, or `no_preferred_response` (ties alone).
  """
  if kind != "sft":
    return
  if reading.is_good is False:
    raise rows.DroppedError("bad_completion")
  if responses == "chosen" and not reading.preferred():
    raise rows.DroppedError("no_preferred_response")
