"""How conversations become text."""

import dataclasses
from collections.abc import Sequence

from rlhf_gap import errors, files
from rlhf_gap.data.formats import rows

CONTENT = "{content}"


@dataclasses.dataclass(frozen=True)
class Template:
  r"""The text of each turn.

  With the default, a conversation reads

    [SYSTEM] Be brief.
    [HUMAN] 2+2?
    [ASSISTANT] 4.
    [HUMAN] And 3+3?
    [ASSISTANT]

  Markers are words because T5's vocabulary turns newlines into spaces.

  Attributes:
    system: of a system turn; "{content}" stands for what was said, without
      surrounding white space.
    user: of a user's turn.
    assistant: of an assistant's turn.
    answer: what asks for the response; "" for nothing.
    separator: what stands between turns.
  """

  system: str = f"[SYSTEM] {CONTENT}"
  user: str = f"{rows.HUMAN} {CONTENT}"
  assistant: str = f"{rows.ASSISTANT} {CONTENT}"
  answer: str = rows.ASSISTANT
  separator: str = "\n"

  def render(self, turns: Sequence[tuple[str, str]]) -> str:
    """Returns the prompt of a conversation.

    Args:
      turns: role ("system", "user" or "assistant") and content of each turn.
    """
    texts = [
      getattr(self, role).replace(CONTENT, content.strip()).rstrip()
      for role, content in turns
    ]
    return self.separator.join([*texts, self.answer] if self.answer else texts)


PLAIN = Template(system=CONTENT, user=CONTENT, assistant=CONTENT, answer="")
"""The contents alone: for conversations of one turn."""

NAMED = {"markers": Template(), "plain": PLAIN}


def find(name: str) -> Template:
  """Returns the template that `--template` names.

  Args:
    name: a key of `NAMED`, or a JSON file with any of `Template`'s attributes.

  Raises:
    UserError: there is no such template, or the file is wrong.
  """
  if name in NAMED:
    return NAMED[name]
  if not name.endswith(".json"):
    raise errors.UserError(
      f"--template={name}; expected {', '.join(NAMED)} or a file FILE.json"
    )
  template = files.decode_dataclass(
    files.read_bytes(name), Template, name, beside=()
  )
  for role in ("system", "user", "assistant"):
    if CONTENT not in getattr(template, role):
      raise errors.UserError(
        f"{name}: {role} has no {CONTENT}; what was said would be lost"
      )
  return template
