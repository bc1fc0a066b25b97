"""The forms that preference data have, told apart by their columns."""

import collections
import dataclasses
from collections.abc import Iterable

from rlhf_gap import errors
from rlhf_gap.data.own import columns


@dataclasses.dataclass(frozen=True)
class Form:
  """One way to write preference data.

  Attributes:
    name: what `--form` calls it.
    title: what `--look` calls it.
    required: uses that every row has.
    optional: uses that are read where they are.
    kinds: what it can become, the default first; see `catalog.KINDS`.
  """

  name: str
  title: str
  required: tuple[str, ...]
  optional: tuple[str, ...]
  kinds: tuple[str, ...]


_COMPARED = ("pairs", "sft", "preference", "prompts")
_PAIR_EXTRAS = ("probability", "judge_r12", "judge_r21", "weight", "prompt_id")

# Earlier forms win: one with more of its own columns comes first.
FORMS = (
  Form(
    "pairs",
    "prompt, chosen and rejected",
    ("prompt", "chosen", "rejected"),
    _PAIR_EXTRAS,
    _COMPARED,
  ),
  Form(
    "soft",
    "two responses and the probability that the first is better",
    ("prompt", "response_a", "response_b", "probability"),
    ("weight", "prompt_id"),
    _COMPARED,
  ),
  Form(
    "sides",
    "two responses and which is better",
    ("prompt", "response_a", "response_b", "preference"),
    ("weight", "prompt_id"),
    _COMPARED,
  ),
  Form(
    "scored",
    "several responses with scores",
    ("prompt", "responses", "scores"),
    ("weight", "prompt_id"),
    _COMPARED,
  ),
  Form(
    "ranked",
    "several responses with ranks",
    ("prompt", "responses", "ranks"),
    ("weight", "prompt_id"),
    _COMPARED,
  ),
  Form(
    "unpaired",
    "a completion and whether it is good",
    ("prompt", "completion", "label"),
    ("weight", "prompt_id"),
    ("sft", "pairs", "preference", "prompts"),
  ),
  Form(
    "completion",
    "prompt and completion",
    ("prompt", "completion"),
    ("weight", "prompt_id"),
    ("sft", "prompts"),
  ),
  Form(
    "implicit",
    "chosen and rejected that share their beginning, the prompt",
    ("chosen", "rejected"),
    _PAIR_EXTRAS,
    _COMPARED,
  ),
  Form(
    "conversation",
    "a conversation that ends with the response",
    ("messages",),
    ("weight", "prompt_id"),
    ("sft", "prompts"),
  ),
  Form("prompts", "prompts alone", ("prompt",), ("prompt_id",), ("prompts",)),
)
"""All forms, in the order in which they are tried."""

NAMES = tuple(form.name for form in FORMS)


def named(name: str) -> Form:
  """Returns the form called `name`, one of `NAMES`."""
  return next(form for form in FORMS if form.name == name)


def recognize(
  present: Iterable[frozenset[str]], names: columns.Columns
) -> Form:
  """Returns the form that most rows have.

  Args:
    present: the columns of each row of a sample.
    names: what the columns are for.

  Raises:
    UserError: no row has the columns of a form.
  """
  counts: collections.Counter[frozenset[str]] = collections.Counter(present)
  votes: collections.Counter[str] = collections.Counter()
  for row, count in counts.items():
    form = _form_of(row, names)
    if form is not None:
      votes[form.name] += count
  if votes:
    return named(votes.most_common(1)[0][0])
  usual = sorted(counts.most_common(1)[0][0]) if counts else []
  raise errors.UserError(
    f"the columns {', '.join(usual) or '(none)'} make no known form; say what"
    " they are for with --columns, such as"
    " --columns=prompt=question,chosen=good,rejected=bad"
  )


def _form_of(present: frozenset[str], names: columns.Columns) -> Form | None:
  roles = names.roles(present)
  fitting = (form for form in FORMS if set(form.required) <= set(roles))
  return next(fitting, None)
