"""Prompts and responses as text, whether they are text or messages."""

from collections.abc import Sequence

from rlhf_gap.data.formats import rows
from rlhf_gap.data.own import dialogues, templates


def texts(
  template: templates.Template,
  prompt: object,
  responses: Sequence[object],
  names: Sequence[str],
) -> tuple[str, tuple[str, ...]]:
  """Returns a prompt and its responses as text.

  Text stays as it is. Messages are rendered by the template; beside them, a
  prompt in text is a user's turn.

  Args:
    template: how messages become text.
    prompt: text, or messages.
    responses: text, or messages; all of one kind.
    names: of the responses' columns, for messages.

  Raises:
    RowError: see `dialogues.turns` and `dialogues.response`.
  """
  spoken = [isinstance(value, list) for value in responses]
  if any(spoken) and not all(spoken):
    raise rows.MalformedError("mixed_types", "text beside messages")
  if not any(spoken):
    texts = tuple(
      rows.unicode_text(value, name)
      for value, name in zip(responses, names, strict=True)
    )
    return prompt_text(template, prompt), texts
  answers = [
    dialogues.turns(value, name)
    for value, name in zip(responses, names, strict=True)
  ]
  if isinstance(prompt, str):
    said = rows.unicode_text(prompt, "prompt")
    turns: tuple[dialogues.Turn, ...] = (("user", said),)
  else:
    turns = dialogues.turns(prompt, "prompt")
  whole = [answer for answer in answers if answer[0][0] != "assistant"]
  if whole:
    return _whole_dialogues(template, turns, answers)
  dialogues.check_prompt(turns)
  return template.render(turns), tuple(map(dialogues.response, answers))


def _whole_dialogues(
  template: templates.Template,
  prompt: Sequence[dialogues.Turn],
  answers: Sequence[Sequence[dialogues.Turn]],
) -> tuple[str, tuple[str, ...]]:
  """Reads responses that repeat the prompt, as UltraFeedback's pairs do."""
  length = min(dialogues.shared(answers[0], answer) for answer in answers)
  context = answers[0][:length]
  spoken = [content.strip() for _, content in context]
  if not all(content.strip() in spoken for _, content in prompt):
    raise rows.MalformedError("prompt_not_in_dialogue")
  dialogues.check_prompt(context)
  texts = tuple(dialogues.response(answer[length:]) for answer in answers)
  return template.render(context), texts


def prompt_text(template: templates.Template, prompt: object) -> str:
  """Returns a prompt as text.

  Args:
    template: how messages become text.
    prompt: text, or messages.

  Raises:
    RowError: see `dialogues.turns` and `dialogues.check_prompt`.
  """
  if isinstance(prompt, str):
    return rows.unicode_text(prompt, "prompt")
  turns = dialogues.turns(prompt, "prompt")
  dialogues.check_prompt(turns)
  return template.render(turns)


def notes(prompt: str, responses: Sequence[str]) -> tuple[str, ...]:
  """Returns what is odd about a row that is kept, in words to count.

  Args:
    prompt: its prompt.
    responses: its responses.
  """
  odd = []
  if any(response.startswith(prompt) for response in responses):
    odd.append("response_repeats_prompt")
  if any(response != response.strip() for response in responses):
    odd.append("surrounding_white_space")
  return tuple(odd)
