"""Types, errors and field readers shared by all formats."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

# Turn markers are words: the T5 vocabulary turns newlines into spaces, so the
# published "\n\nHuman:" would be indistinguishable from "Human:" in the text.
HUMAN = "[HUMAN]"
ASSISTANT = "[ASSISTANT]"


class RowError(Exception):
  """A row that yields no comparison.

  Attributes:
    reason: a short name, the same for all rows of this kind.
    detail: the offending content of this row.
  """

  def __init__(self, reason: str, detail: str = ""):
    super().__init__(f"{reason}: {detail}" if detail else reason)
    self.reason = reason
    self.detail = detail


class MalformedError(RowError):
  """The row does not match its publisher's schema."""


class DroppedError(RowError):
  """A well-formed row without a usable preference."""


@dataclasses.dataclass(frozen=True)
class Comparison:
  """One prompt, two responses, and which of them a rater preferred.

  Attributes:
    prompt_head: what truncation keeps at the start of the prompt.
    prompt_body: the part of the prompt that truncation shortens.
    prompt_tail: what truncation keeps at the end of the prompt.
    response_a: one response, without surrounding whitespace, never empty.
    response_b: the other.
    label: 0 if `response_a` is the better one, 1 if `response_b` is.
    prompt_id: 16 hex digits; rows of one prompt share it and one split.
    published: the publisher's columns to keep.
    notes: oddities of a row that is kept nevertheless; they are counted.
  """

  prompt_head: str
  prompt_body: str
  prompt_tail: str
  response_a: str
  response_b: str
  label: int
  prompt_id: str
  published: Mapping[str, str | int]
  notes: tuple[str, ...] = ()

  @property
  def prompt(self) -> str:
    """The whole prompt, untruncated."""
    return self.prompt_head + self.prompt_body + self.prompt_tail

  @property
  def chosen(self) -> str:
    """The preferred response."""
    return (self.response_a, self.response_b)[self.label]

  @property
  def pair_id(self) -> str:
    """Names the prompt and the two responses, in whichever order."""
    return digest(self.prompt_id, *sorted((self.response_a, self.response_b)))


def digest(*texts: str) -> str:
  """Returns 16 hex digits that depend on the texts and their boundaries."""
  hashed = hashlib.sha256()
  for text in texts:
    encoded = text.encode()
    hashed.update(len(encoded).to_bytes(8, "little") + encoded)
  return hashed.hexdigest()[:16]


def field(fields: Mapping[str, object], key: str) -> object:
  """Returns a required field.

  Raises:
    MalformedError: `missing_key`.
  """
  if key not in fields:
    raise MalformedError("missing_key", key)
  return fields[key]


def unicode_text(value: object, key: str) -> str:
  """Returns `value` if it is text that UTF-8 can hold.

  Raises:
    MalformedError: `wrong_type`.
    DroppedError: `unpaired_surrogate`, half of a UTF-16 character, which JSON
      can escape and no encoding can write; `nul_character`, which vocabularies
      write as unknown or leave out.
  """
  if not isinstance(value, str):
    raise MalformedError("wrong_type", f"{key} is {type(value).__name__}")
  try:
    value.encode()
  except UnicodeEncodeError as error:
    raise DroppedError(
      "unpaired_surrogate", f"{key}, at {error.start}"
    ) from None
  if "\0" in value:
    raise DroppedError("nul_character", f"{key}, at {value.index(chr(0))}")
  return value


def text(fields: Mapping[str, object], key: str) -> str:
  """Returns a text field; raises as `field` and `unicode_text` do."""
  return unicode_text(field(fields, key), key)


def optional_text(fields: Mapping[str, object], key: str) -> str:
  """Returns a text field, or "" if it is absent or null."""
  value = fields.get(key)
  return "" if value is None else unicode_text(value, key)


def integer(fields: Mapping[str, object], key: str) -> int:
  """Returns an integer field.

  Raises:
    MalformedError: `missing_key`, or `wrong_type` (a bool is not an integer).
  """
  value = field(fields, key)
  if isinstance(value, bool) or not isinstance(value, int):
    raise MalformedError("wrong_type", f"{key} is {type(value).__name__}")
  return value


def mapping(value: object, key: str) -> Mapping[str, object]:
  """Returns `value` if it is an object.

  Raises:
    MalformedError: `wrong_type`.
  """
  if not isinstance(value, Mapping):
    raise MalformedError("wrong_type", f"{key} is {type(value).__name__}")
  return value


def sequence(value: object, key: str) -> Sequence[object]:
  """Returns `value` if it is a list.

  Raises:
    MalformedError: `wrong_type`.
  """
  if isinstance(value, str) or not isinstance(value, Sequence):
    raise MalformedError("wrong_type", f"{key} is {type(value).__name__}")
  return value


def check_responses(response_a: str, response_b: str) -> None:
  """Refuses identical or empty responses.

  Raises:
    DroppedError: `identical_responses` or `empty_response`.
  """
  if response_a == response_b:
    raise DroppedError("identical_responses")
  if not response_a or not response_b:
    raise DroppedError("empty_response")


def dialogue(turns: Sequence[tuple[str, str]]) -> str:
  r"""Writes turns as words, up to the marker of the answer that is asked for.

  Input:  [("[HUMAN]", "Hi"), ("[ASSISTANT]", "Hello."), ("[HUMAN]", "2+2?")]
  Output: "[HUMAN] Hi\n[ASSISTANT] Hello.\n[HUMAN] 2+2?\n[ASSISTANT]"
  """
  lines = [f"{marker} {text.strip()}".rstrip() for marker, text in turns]
  return "\n".join([*lines, ASSISTANT])
