"""Lists of messages: roles, contents, and where the prompt ends."""

import re
from collections.abc import Sequence

from rlhf_gap.data.formats import rows

Turn = tuple[str, str]
"""Role ("system", "user" or "assistant") and content."""

_ROLES = {
  "system": "system",
  "developer": "system",
  "user": "user",
  "human": "user",
  "assistant": "assistant",
  "gpt": "assistant",
}
_HH_HUMAN = "\n\nHuman:"
_HH_ASSISTANT = "\n\nAssistant:"
_HH_MARKER = re.compile(r"\n\n(Human|Assistant):")
_HH_ROLES = {"Human": "user", "Assistant": "assistant"}


def turns(value: object, key: str) -> tuple[Turn, ...]:
  """Returns the turns of a list of messages.

  A message has `role` and `content`, or ShareGPT's `from` and `value`. Content
  is text, or a list of text blocks, which are joined.

  Args:
    value: the list.
    key: its column, for messages.

  Raises:
    MalformedError: it is no list of messages, or a role is unknown.
    DroppedError: a content is no text, or none that can be written.
  """
  messages = rows.sequence(value, key)
  if not messages:
    raise rows.MalformedError("empty_conversation", key)
  return tuple(
    _turn(message, f"{key}[{i}]") for i, message in enumerate(messages)
  )


def _turn(message: object, key: str) -> Turn:
  fields = rows.mapping(message, key)
  names = ("from", "value") if "from" in fields else ("role", "content")
  role = rows.text(fields, names[0])
  if role not in _ROLES:
    raise rows.MalformedError("unknown_role", repr(role[:40]))
  content = rows.field(fields, names[1])
  if content is None:
    raise rows.MalformedError("null_field", f"{key}.{names[1]}")
  if not isinstance(content, str):
    content = _joined(rows.sequence(content, f"{key}.{names[1]}"), key)
  return _ROLES[role], rows.unicode_text(content, f"{key}.{names[1]}")


def _joined(blocks: Sequence[object], key: str) -> str:
  texts = []
  for block in blocks:
    fields = rows.mapping(block, key)
    if fields.get("type", "text") != "text":
      raise rows.DroppedError("content_is_not_text", str(fields.get("type")))
    texts.append(rows.text(fields, "text"))
  return "\n".join(texts)


def is_hh(text: str) -> bool:
  r"""Whether a text is a dialogue as Anthropic publishes them.

  >>> is_hh("\n\nHuman: Hi\n\nAssistant: Hello.")
  True

  Args:
    text: prompt and response.
  """
  return text.startswith(_HH_HUMAN)


def hh_sides(
  first: str, second: str, shared_length: int
) -> tuple[tuple[Turn, ...], tuple[str, str]]:
  """Returns the prompt's turns and the responses of two such dialogues.

  The prompt ends at the last assistant's marker inside their common prefix, as
  in the built-in tasks: a marker inside a response does not move it.

  Args:
    first: one dialogue.
    second: the other.
    shared_length: characters of their common prefix.

  Raises:
    DroppedError: no marker is shared, or a dialogue goes on behind its answer.
  """
  cut = first.rfind(_HH_ASSISTANT, 0, shared_length)
  if cut < 0:
    raise rows.DroppedError("no_shared_prompt")
  if any(_HH_HUMAN in side[cut:] for side in (first, second)):
    raise rows.DroppedError("response_has_user_turn")
  pieces = _HH_MARKER.split(first[:cut])[1:]
  prompt = tuple(
    (_HH_ROLES[marker], content.strip())
    for marker, content in zip(pieces[::2], pieces[1::2], strict=True)
  )
  start = cut + len(_HH_ASSISTANT)
  return prompt, (first[start:].strip(), second[start:].strip())


def check_prompt(prompt: Sequence[Turn]) -> None:
  """Checks that a prompt asks for a response.

  Args:
    prompt: its turns.

  Raises:
    DroppedError: there is none, or its last turn is the assistant's.
  """
  if not prompt:
    raise rows.DroppedError("empty_prompt")
  if prompt[-1][0] == "assistant":
    raise rows.DroppedError("prompt_ends_with_assistant")


def response(answer: Sequence[Turn]) -> str:
  """Returns the text of a response that is one assistant turn.

  Args:
    answer: the turns behind the prompt.

  Raises:
    DroppedError: there is another turn, to which the response is no answer.
  """
  if not answer:
    raise rows.DroppedError("empty_response")
  if answer[0][0] != "assistant":
    raise rows.DroppedError("no_shared_prompt", f"a {answer[0][0]} turn")
  if len(answer) > 1:
    raise rows.DroppedError(f"response_has_{answer[1][0]}_turn")
  return answer[0][1]


def shared(first: Sequence[Turn], second: Sequence[Turn]) -> int:
  """Returns how many turns the prompt of two conversations has.

  Whole turns are compared, up to the last one that both share and that is not
  the assistant's: answers that begin alike are not cut.

  Args:
    first: a conversation.
    second: the other.
  """
  same = 0
  for one, other in zip(first, second, strict=False):
    if one != other:
      break
    same += 1
  while same and first[same - 1][0] == "assistant":
    same -= 1
  return same
