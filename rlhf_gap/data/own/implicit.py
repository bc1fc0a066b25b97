"""Where the prompt ends in two texts that share their beginning.

The longest common prefix alone would swallow what two answers begin with
("It is ..."), or cut a word in two ("bl|ue", "bl|ack"). So the cut goes back to
a boundary inside the common prefix, the first kind of these that it has:

  given     behind the last occurrence of `--prompt_ends_with`, if given
  turn      behind the last marker of an assistant's turn ("Assistant:", ...)
  line      behind the last line break
  sentence  behind the last ".", "?", "!" or ":" and white space
  word      behind the last white space
"""

import re
from collections.abc import Iterator

from rlhf_gap.data.formats import rows

_TURN = re.compile(
  r"(?:^|(?<=\n))[ \t]*(?:Assistant|AI|Bot)[ \t]*:"
  r"|\[ASSISTANT\]|<\|assistant\|>|<\|im_start\|>assistant\n|\[/INST\]"
  r"|###[ \t]*(?:Assistant|Response)[ \t]*:",
)
_BOUNDARIES = {
  "line": re.compile(r"\n\s*"),
  "sentence": re.compile(r"(?<=[.?!:])\s+"),
  "word": re.compile(r"\s+"),
}


def cut(
  first: str, second: str, ends_with: str | None = None
) -> tuple[int, str]:
  """Returns where the prompt of two texts ends, and at which boundary.

  Args:
    first: one text, prompt and response.
    second: the other.
    ends_with: the text with which every prompt ends, if the user knows.

  Returns:
    The prompt's length in characters, and the kind of boundary.

  Raises:
    DroppedError: `no_shared_prompt`: no boundary is inside the common prefix.
  """
  length = common_length(first, second)
  prefix = first[:length]
  if ends_with is not None:
    start = prefix.rfind(ends_with)
    if start < 0:
      raise rows.DroppedError("no_shared_prompt", f"no {ends_with!r}")
    return start + len(ends_with), "given"
  for kind, end in _candidates(prefix):
    if prefix[:end].strip():
      return end, kind
  raise rows.DroppedError("no_shared_prompt")


def _candidates(prefix: str) -> Iterator[tuple[str, int]]:
  patterns = {"turn": _TURN, **_BOUNDARIES}
  for kind, pattern in patterns.items():
    ends = [match.end() for match in pattern.finditer(prefix)]
    if ends:
      yield kind, ends[-1]


def common_length(first: str, second: str) -> int:
  """Returns the length of the longest common prefix, by bisection.

  Args:
    first: a text.
    second: the other.
  """
  shared, limit = 0, min(len(first), len(second))
  while shared < limit:
    middle = (shared + limit + 1) // 2
    if first.startswith(second[shared:middle], shared):
      shared = middle
    else:
      limit = middle - 1
  return shared
