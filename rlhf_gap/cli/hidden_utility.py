"""The hidden utility of a miniature, for the commands that may know it."""

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from rlhf_gap.evaluation import utility


def by_name(name: str | None, task: str) -> "utility.Function | None":
  """Returns a hidden utility; None if there is none.

  Args:
    name: a miniature, "none", or None for that of the task.
    task: the task of a store, such as "mini_helpfulness_pairs".

  Raises:
    UserError: there is no such miniature.
  """
  from rlhf_gap.data import mini

  if name is None:
    fitting = [c for c in mini.CORPORA if task.startswith(f"{c}_")]
    name = fitting[0] if fitting else "none"
  if name == "none":
    return None
  mini.corpora.named(name)
  return functools.partial(mini.utilities, name)
