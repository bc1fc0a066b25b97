"""What a column is for, and `--columns`, which names it."""

import dataclasses
import difflib
from collections.abc import Collection, Mapping

from rlhf_gap import errors

ROLES = {
  "prompt": "text, or a list of messages",
  "chosen": "the better response",
  "rejected": "the worse response",
  "completion": "the response to a prompt",
  "label": "whether a completion is good: true or false",
  "messages": "a conversation whose last turn is the response",
  "response_a": "one response",
  "response_b": "the other response",
  "preference": "which is better: a, b or tie",
  "responses": "a list of responses",
  "scores": "a number for each response; higher is better",
  "ranks": "a number for each response; lower is better",
  "probability": "P(chosen better), or P(response_a better)",
  "judge_r12": "a judge's P(chosen better), chosen shown first",
  "judge_r21": "a judge's P(rejected better), rejected shown first",
  "weight": "the row's weight in a loss",
  "prompt_id": "names the prompt, where its text does not",
}
"""Every use that a column can have. A column of that name has that use."""

DEFAULTS = {"completion": ("completion", "response")}
"""Uses whose column may have one of several names."""

NOT_TEXT = frozenset(
  (
    *("label", "messages", "responses", "scores", "ranks", "probability"),
    *("judge_r12", "judge_r21", "weight"),
  )
)
"""Uses whose values are numbers or lists; in CSV they are written as JSON."""


@dataclasses.dataclass(frozen=True)
class Columns:
  """Use to column name.

  Attributes:
    given: as `--columns` says; all other uses have columns of their own name.
  """

  given: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def of(self, role: str, present: Collection[str]) -> str | None:
    """Returns the column with a use, or None if it is absent.

    Args:
      role: a key of `ROLES`.
      present: the columns of a row or a file.
    """
    if role in self.given:
      name = self.given[role]
      return name if name in present else None
    taken = self.given.values()
    names = DEFAULTS.get(role, (role,))
    free = [name for name in names if name in present and name not in taken]
    return free[0] if free else None

  def roles(self, present: Collection[str]) -> dict[str, str]:
    """Returns each use that has a column, with the column.

    Args:
      present: the columns of a row or a file.
    """
    named = {role: self.of(role, present) for role in ROLES}
    return {role: name for role, name in named.items() if name is not None}


def parse(text: str) -> Columns:
  """Returns the columns that `--columns=prompt=question,chosen=good` names.

  Args:
    text: pairs USE=COLUMN, joined by commas.

  Raises:
    UserError: a use is unknown, or a use or a column is named twice.
  """
  given: dict[str, str] = {}
  for part in text.split(","):
    role, equals, name = part.strip().partition("=")
    if not equals or not name:
      raise errors.UserError(
        f"--columns={text}: {part!r} is not USE=COLUMN; expected something"
        " like prompt=question,chosen=good"
      )
    if role not in ROLES:
      near = difflib.get_close_matches(role, ROLES, n=1)
      hint = f"did you mean {near[0]}?" if near else f"one of {_listed(ROLES)}"
      raise errors.UserError(f"--columns: no use is called {role!r}; {hint}")
    if role in given or name in given.values():
      raise errors.UserError(
        f"--columns={text}: names {role}={name} a second time"
      )
    given[role] = name
  return Columns(given)


def _listed(names: Collection[str]) -> str:
  return ", ".join(names)
