"""Anthropic's hh-rlhf: two whole dialogues, `chosen` and `rejected`.

Bai et al. (2022), arXiv 2204.05862. There is no prompt column and no id.
"""

import re
from collections.abc import Mapping

from rlhf_gap.data.formats import rows

HELPFUL_SUBSETS = (
  "helpful-base",
  "helpful-online",
  "helpful-rejection-sampled",
)
HARMLESS_SUBSETS = ("harmless-base",)
SPLITS = ("train", "test")

_HUMAN = "\n\nHuman:"
_ASSISTANT = "\n\nAssistant:"
_MARKER = re.compile(r"\n\n(Human|Assistant):")
_WORDS = {"Human": rows.HUMAN, "Assistant": rows.ASSISTANT}


def comparison(fields: Mapping[str, object], subset: str) -> rows.Comparison:
  r"""Reads one row.

  The prompt ends at the last "\n\nAssistant:" inside the longest common prefix
  of the two dialogues. The last marker of each dialogue would give two prompts
  if a response contains a marker, and the common prefix alone would include the
  first words that two answers share.

  The published order reveals the label. The two sides are therefore ordered by
  their text alone, so that a model that reads (a, b) cannot learn the order.

  Args:
    fields: one JSON object.
    subset: the publisher's folder, such as "helpful-base".

  Raises:
    MalformedError: the keys or types are wrong, or a side is no dialogue.
    DroppedError: `no_shared_prompt`, `identical_responses`, `empty_response`,
      or `response_has_human_turn`: one side continues, so its last answer
      replies to a turn that the other side lacks.
  """
  chosen, rejected = (
    rows.text(fields, "chosen"),
    rows.text(fields, "rejected"),
  )
  for side in (chosen, rejected):
    if not side.startswith(_HUMAN):
      raise rows.MalformedError("not_a_dialogue", repr(side[:40]))
  cut = chosen.rfind(_ASSISTANT, 0, _shared_length(chosen, rejected))
  if cut < 0:
    raise rows.DroppedError("no_shared_prompt")
  better = chosen[cut + len(_ASSISTANT) :].strip()
  worse = rejected[cut + len(_ASSISTANT) :].strip()
  rows.check_responses(better, worse)
  if any(_HUMAN in side[cut:] for side in (chosen, rejected)):
    raise rows.DroppedError("response_has_human_turn")
  body = rows.dialogue(_turns(chosen[:cut]))
  first, second = _shuffled(body, better, worse)
  mismatched = chosen.count(_ASSISTANT) != rejected.count(_ASSISTANT)
  return rows.Comparison(
    prompt_head="",
    prompt_body=body,
    prompt_tail="",
    response_a=first,
    response_b=second,
    label=int(first == worse),
    prompt_id=rows.digest(body),
    published={"subset": subset},
    notes=("turn_count_mismatch",) if mismatched else (),
  )


def _shared_length(first: str, second: str) -> int:
  """Returns the length of the longest common prefix, by bisection."""
  shared, limit = 0, min(len(first), len(second))
  while shared < limit:
    middle = (shared + limit + 1) // 2
    if first.startswith(second[shared:middle], shared):
      shared = middle
    else:
      limit = middle - 1
  return shared


def _shuffled(prompt: str, *responses: str) -> tuple[str, str]:
  """Orders two responses by a coin that their texts and the prompt's toss."""
  first, second = sorted(responses)
  heads = int(rows.digest(prompt, first, second), 16) % 2
  return (first, second) if heads else (second, first)


def _turns(text: str) -> list[tuple[str, str]]:
  r"""Splits "\n\nHuman: a\n\nAssistant: b" into marked turns."""
  pieces = _MARKER.split(text)[1:]
  return [
    (_WORDS[marker], turn)
    for marker, turn in zip(pieces[::2], pieces[1::2], strict=True)
  ]
