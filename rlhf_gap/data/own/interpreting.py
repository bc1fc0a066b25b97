"""One row to a prompt, its responses and what is known of their order."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from rlhf_gap import stores
from rlhf_gap.data.formats import rows
from rlhf_gap.data.own import (
  columns,
  comparing,
  delimited,
  dialogues,
  forms,
  implicit,
  rendering,
  templates,
)

Fields = Mapping[str, object]
_MAX_PROMPT_ID = 2**63 - 1
_MAX_KNOWN = 1000


@dataclasses.dataclass(frozen=True)
class Reading:
  """One row, interpreted.

  Attributes:
    prompt: the prompt, rendered.
    responses: the responses, in the row's order.
    comparisons: between responses, by index; empty if there are none.
    prompt_id: the prompt's id.
    weight: the row's weight in a loss.
    notes: warnings about a row that is kept anyway; they are counted.
    is_good: the label of an unpaired completion.
  """

  prompt: str
  responses: tuple[str, ...]
  comparisons: tuple[comparing.Comparison, ...] = ()
  prompt_id: int = 0
  weight: float = 1.0
  notes: tuple[str, ...] = ()
  is_good: bool | None = None

  @property
  def prompt_key(self) -> int:
    """63 bits of the SHA-256 of the prompt's text; splits depend on it."""
    return stores.prompt_id(self.prompt)

  def preferred(self) -> tuple[str, ...]:
    """Returns the responses that are better than another and worse than none.

    All of them, where nothing is compared.
    """
    decided = [c for c in self.comparisons if not c.is_tie]
    worse = {c.worse for c in decided}
    better = {c.better for c in decided} - worse
    if not self.comparisons:
      better = set(range(len(self.responses)))
    return tuple(self.responses[i] for i in sorted(better))


@dataclasses.dataclass(frozen=True)
class Interpreter:
  """Reads rows of one form.

  Attributes:
    form: the form.
    names: what the columns are for.
    template: how conversations become text.
    prompt_ends_with: the text with which implicit prompts end, if known.
    pairing: one of `comparing.PAIRINGS`.
  """

  form: forms.Form
  names: columns.Columns = columns.Columns()
  template: templates.Template = dataclasses.field(
    default_factory=templates.Template
  )
  prompt_ends_with: str | None = None
  pairing: str = "all"
  # Rows have few sets of columns; what each means is worked out once.
  _known: dict[tuple[str, ...], list[tuple[str, str]]] = dataclasses.field(
    default_factory=dict, init=False, repr=False, compare=False
  )

  def read(self, fields: Fields, *, cells: bool = False) -> Reading:
    """Returns what a row says.

    Args:
      fields: the row's columns.
      cells: whether every value is the text of a CSV cell.

    Raises:
      MalformedError: the row has not the form's columns and types.
      DroppedError: the row is sound and of no use.
    """
    used = self._used(fields, cells)
    reading = _READERS[self.form.name](self, used)
    if not reading.prompt.strip():
      raise rows.DroppedError("empty_prompt")
    weight = used.get("weight")
    value = 1.0 if weight is None else comparing.number(weight, "weight")
    if value < 0:
      raise rows.MalformedError("negative_weight", f"{value:g}")
    # Several times as fast as dataclasses.replace, and run for every row.
    return Reading(
      reading.prompt,
      reading.responses,
      reading.comparisons,
      _prompt_id(used, reading),
      value,
      reading.notes,
      reading.is_good,
    )

  def _used(self, fields: Fields, cells: bool) -> dict[str, object]:
    used: dict[str, object] = {}
    for role, name in self._named(tuple(fields)):
      value = fields[name]
      if cells and role in columns.NOT_TEXT:
        value = delimited.value(rows.unicode_text(value, name))
      if value is None and role in self.form.required:
        raise rows.MalformedError("null_field", name)
      used[role] = value
    return used

  def _named(self, present: tuple[str, ...]) -> list[tuple[str, str]]:
    """Returns each use that the form reads, with its column.

    Raises:
      MalformedError: `missing_key`.
    """
    if present in self._known:
      return self._known[present]
    named = []
    for role in (*self.form.required, *self.form.optional):
      name = self.names.of(role, present)
      if name is not None:
        named.append((role, name))
      elif role in self.form.required:
        raise rows.MalformedError("missing_key", role)
    if len(self._known) < _MAX_KNOWN:
      self._known[present] = named
    return named


def _prompt_id(used: Fields, reading: Reading) -> int:
  given = used.get("prompt_id")
  if given is None:
    return reading.prompt_key
  if isinstance(given, str):
    return stores.prompt_id(rows.unicode_text(given, "prompt_id"))
  number = rows.integer(used, "prompt_id")
  if not 0 <= number <= _MAX_PROMPT_ID:
    raise rows.MalformedError("prompt_id_out_of_range", str(number)[:40])
  return number


def _explicit(how: Interpreter, used: Fields, *names: str) -> Reading:
  """Reads a prompt and the responses in the columns `names`."""
  values = [used[name] for name in names]
  prompt, responses = rendering.texts(
    how.template, used["prompt"], values, names
  )
  return Reading(prompt, responses, notes=rendering.notes(prompt, responses))


def _check_two(responses: Sequence[str]) -> None:
  """Refuses responses that cannot be told apart, white space aside."""
  rows.check_responses(*(response.strip() for response in responses))


_FIRST_IS_BETTER = (comparing.Comparison(0, 1),)


def _judged(reading: Reading, used: Fields) -> Reading:
  """Adds the comparison of chosen and rejected."""
  _check_two(reading.responses)
  judgement = comparing.optional_judgement(used)
  if judgement is None:
    return Reading(
      reading.prompt, reading.responses, _FIRST_IS_BETTER, notes=reading.notes
    )
  comparison = comparing.of_two(*judgement)
  notes = reading.notes
  if comparison.better == 1:
    notes = (*notes, "rejected_is_more_probable")
  return dataclasses.replace(reading, comparisons=(comparison,), notes=notes)


def _pairs(how: Interpreter, used: Fields) -> Reading:
  return _judged(_explicit(how, used, "chosen", "rejected"), used)


def _soft(how: Interpreter, used: Fields) -> Reading:
  return _judged_sides(how, used, comparing.probability, "probability")


def _sides(how: Interpreter, used: Fields) -> Reading:
  return _judged_sides(how, used, comparing.by_word, "preference")


def _judged_sides(
  how: Interpreter,
  used: Fields,
  read: Callable[[object, str], comparing.Comparison | float],
  key: str,
) -> Reading:
  reading = _explicit(how, used, "response_a", "response_b")
  _check_two(reading.responses)
  value = read(used[key], key)
  if isinstance(value, float):
    value = comparing.of_two(value, 1 - value)
  return dataclasses.replace(reading, comparisons=(value,))


def _implicit(how: Interpreter, used: Fields) -> Reading:
  sides = used["chosen"], used["rejected"]
  if any(isinstance(side, str) for side in sides):
    first, second = (
      rows.unicode_text(used[key], key) for key in ("chosen", "rejected")
    )
    if first == second:
      raise rows.DroppedError("identical_responses")
    if dialogues.is_hh(first) and dialogues.is_hh(second):
      reading = _hh(how, first, second)
    else:
      reading = _cut(how, first, second)
  else:
    reading = _shared_turns(how, used)
  return _judged(reading, used)


def _shared_turns(how: Interpreter, used: Fields) -> Reading:
  chosen, rejected = (
    dialogues.turns(used[key], key) for key in ("chosen", "rejected")
  )
  if chosen == rejected:
    raise rows.DroppedError("identical_responses")
  length = dialogues.shared(chosen, rejected)
  dialogues.check_prompt(chosen[:length])
  prompt = how.template.render(chosen[:length])
  responses = tuple(
    dialogues.response(side[length:]) for side in (chosen, rejected)
  )
  return Reading(prompt, responses, notes=rendering.notes(prompt, responses))


def _hh(how: Interpreter, first: str, second: str) -> Reading:
  length = implicit.common_length(first, second)
  turns, responses = dialogues.hh_sides(first, second, length)
  dialogues.check_prompt(turns)
  return Reading(how.template.render(turns), responses, notes=("cut_at_turn",))


def _cut(how: Interpreter, first: str, second: str) -> Reading:
  end, kind = implicit.cut(first, second, how.prompt_ends_with)
  responses = first[end:].lstrip(), second[end:].lstrip()
  return Reading(first[:end].rstrip(), responses, notes=(f"cut_at_{kind}",))


def _scored(how: Interpreter, used: Fields) -> Reading:
  return _several(how, used, "scores", sign=1)


def _ranked(how: Interpreter, used: Fields) -> Reading:
  return _several(how, used, "ranks", sign=-1)


def _several(how: Interpreter, used: Fields, key: str, *, sign: int) -> Reading:
  values = list(rows.sequence(used["responses"], "responses"))
  numbers = list(rows.sequence(used[key], key))
  if len(values) != len(numbers):
    detail = f"{len(values)} responses, {len(numbers)} {key}"
    raise rows.MalformedError("wrong_number", detail)
  if len(values) < 2:
    raise rows.DroppedError("fewer_than_two_responses")
  if len(values) > comparing.MAX_RESPONSES:
    raise rows.DroppedError("too_many_responses", str(len(values)))
  names = [f"responses[{i}]" for i in range(len(values))]
  prompt, responses = rendering.texts(
    how.template, used["prompt"], values, names
  )
  if not all(response.strip() for response in responses):
    raise rows.DroppedError("empty_response")
  scores = [sign * comparing.number(n, key) for n in numbers]
  made = comparing.by_scores(scores, how.pairing)
  told = tuple(
    c for c in made if responses[c.better].strip() != responses[c.worse].strip()
  )
  if not told:
    raise rows.DroppedError("identical_responses")
  notes = rendering.notes(prompt, responses)
  if len(told) < len(made):
    notes = (*notes, "some_identical_responses")
  return Reading(prompt, responses, told, notes=notes)


def _completion(how: Interpreter, used: Fields) -> Reading:
  reading = _explicit(how, used, "completion")
  if not reading.responses[0].strip():
    raise rows.DroppedError("empty_response")
  return reading


def _unpaired(how: Interpreter, used: Fields) -> Reading:
  label = used["label"]
  if not isinstance(label, bool):
    number = comparing.number(label, "label")
    if number not in (0, 1):
      raise rows.MalformedError("wrong_type", f"label is {number:g}")
    label = bool(number)
  return dataclasses.replace(_completion(how, used), is_good=label)


def _conversation(how: Interpreter, used: Fields) -> Reading:
  turns = dialogues.turns(used["messages"], "messages")
  if turns[-1][0] != "assistant":
    raise rows.DroppedError("no_response", f"ends with a {turns[-1][0]} turn")
  dialogues.check_prompt(turns[:-1])
  response = turns[-1][1]
  if not response.strip():
    raise rows.DroppedError("empty_response")
  prompt = how.template.render(turns[:-1])
  return Reading(
    prompt, (response,), notes=rendering.notes(prompt, (response,))
  )


def _prompts(how: Interpreter, used: Fields) -> Reading:
  return Reading(rendering.prompt_text(how.template, used["prompt"]), ())


_READERS: Mapping[str, Callable[[Interpreter, Fields], Reading]] = {
  "pairs": _pairs,
  "soft": _soft,
  "sides": _sides,
  "scored": _scored,
  "ranked": _ranked,
  "unpaired": _unpaired,
  "completion": _completion,
  "implicit": _implicit,
  "conversation": _conversation,
  "prompts": _prompts,
}
