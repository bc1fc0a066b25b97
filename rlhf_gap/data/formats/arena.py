"""Chatbot Arena and MT-bench battles: two models, one user, one vote.

Zheng et al. (2023), arXiv 2306.05685; Chiang et al. (2024), arXiv 2403.04132.
Four releases are read and are distinguished by their columns:

  arena_33k    lmsys/chatbot_arena_conversations: lists of {content, role}
  mt_bench     lmsys/mt_bench_human_judgments: the same; `turn` was judged
  arena_55k    lmsys-arena-human-preference-55k: CSV of JSON lists of strings,
               three winner columns (or the same turns as conversations)
  arena_140k   arena-human-preference-140k: content in typed blocks, `both_bad`
"""

import json
from collections.abc import Mapping, Sequence

from rlhf_gap.data.formats import rows

SPLITS = ("train", "validation")
_VALIDATION_TENTHS = 1
_LABELS = {"model_a": 0, "model_b": 1}
_TIES = {"tie", "tie (bothbad)", "tie (inconsistent)", "both_bad"}
_ROLES = ("user", "assistant")

Conversation = Sequence[str]  # user, assistant, user, assistant, ...


def is_battle(fields: Mapping[str, object]) -> bool:
  """Whether the columns are those of a release that this module reads."""
  return "model_a" in fields and (
    "conversation_a" in fields or "winner_model_a" in fields
  )


def release(fields: Mapping[str, object]) -> str:
  """Names the release a row comes from, by the columns it has."""
  if "evaluation_session_id" in fields:
    return "arena_140k"
  if "tstamp" in fields:
    return "arena_33k"
  return "mt_bench" if "turn" in fields else "arena_55k"


def split(fields: Mapping[str, object]) -> str:
  """Puts a row in train or validation by its first user message.

  The releases have one split. All rows of a question (MT-bench has up to
  dozens) are in the same split, whatever their models and raters.

  Raises:
    MalformedError: there is no first user message.
    DroppedError: it is not text.
  """
  side, _ = _conversations(fields)
  if not side:
    raise rows.MalformedError("bad_roles", "no messages")
  return _split_of(side[0])


def comparison(
  fields: Mapping[str, object], *, cut_to_shared_prefix: bool = False
) -> rows.Comparison:
  """Reads one battle.

  The vote is about the last answers; those of `mt_bench`, about turn `turn`.
  In later turns the two models usually have different histories, so there is no
  common prompt to which both last answers reply.

  Args:
    fields: one row.
    cut_to_shared_prefix: keep such arena rows, with the first answers that
      differ. The vote was about the whole conversation, so the label is
      noisier. Rows of `mt_bench` are never cut: their vote names a turn.

  Raises:
    MalformedError: the keys or types are wrong, `unknown_winner`, `bad_roles`.
    DroppedError: `tie`, `not_human` (a model was the judge),
      `different_prompts`, `different_contexts`, `empty_prompt`, `not_text`
      (an image), `identical_responses`, `empty_response`.
  """
  first, second = _conversations(fields)
  label = _label(fields)
  judge = rows.optional_text(fields, "judge")
  if judge.startswith(("gpt-4", "gpt4")):
    raise rows.DroppedError("not_human", judge)
  name = release(fields)
  if name == "mt_bench":
    turn = rows.integer(fields, "turn")
    if not 1 <= turn <= min(len(first), len(second)) // 2:
      raise rows.MalformedError("bad_turn", f"{turn}")
    first, second = first[: 2 * turn], second[: 2 * turn]
  if first[::2] != second[::2]:
    raise rows.DroppedError("different_prompts")
  if not all(message.strip() for message in first[::2]):
    raise rows.DroppedError("empty_prompt")
  notes: tuple[str, ...] = ()
  if first[:-1] != second[:-1]:
    if name == "mt_bench" or not cut_to_shared_prefix:
      raise rows.DroppedError("different_contexts")
    first, second = _cut(first, second)
    notes = ("cut_to_shared_prefix",)
  return _assemble(fields, first, second, label, notes)


def _assemble(
  fields: Mapping[str, object],
  first: Conversation,
  second: Conversation,
  label: int,
  notes: tuple[str, ...],
) -> rows.Comparison:
  response_a, response_b = first[-1].strip(), second[-1].strip()
  rows.check_responses(response_a, response_b)
  markers = (rows.HUMAN, rows.ASSISTANT)
  body = rows.dialogue(
    [(markers[i % 2], text) for i, text in enumerate(first[:-1])]
  )
  language = rows.optional_text(fields, "language")
  if language not in ("", "en", "English"):
    notes = (*notes, "not_english")
  return rows.Comparison(
    prompt_head="",
    prompt_body=body,
    prompt_tail="",
    response_a=response_a,
    response_b=response_b,
    label=label,
    prompt_id=rows.digest(body),
    published={
      "release": release(fields),
      "question_id": str(fields.get("question_id", fields.get("id", ""))),
      "model_a": rows.text(fields, "model_a"),
      "model_b": rows.text(fields, "model_b"),
      "judge": rows.optional_text(fields, "judge"),
      "language": language,
      "turn": len(first) // 2,
    },
    notes=notes,
  )


def _split_of(first_message: str) -> str:
  tenth = int(rows.digest(first_message.strip()), 16) % 10
  return "validation" if tenth < _VALIDATION_TENTHS else "train"


def _cut(
  first: Conversation, second: Conversation
) -> tuple[Conversation, Conversation]:
  """Ends both conversations at the first answers that differ."""
  end = next(
    i + 1 for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b
  )
  return first[:end], second[:end]


def _label(fields: Mapping[str, object]) -> int:
  if "winner" in fields:
    winner = rows.text(fields, "winner")
  else:
    winner = _winner_of_columns(fields)
  if winner in _TIES:
    raise rows.DroppedError("tie")
  if winner not in _LABELS:
    raise rows.MalformedError("unknown_winner", repr(winner))
  return _LABELS[winner]


def _winner_of_columns(fields: Mapping[str, object]) -> str:
  """Reads winner_model_a, winner_model_b, winner_tie: 0 or 1, one of them 1."""
  columns = ("model_a", "model_b", "tie")
  flags = {c: str(rows.field(fields, f"winner_{c}")) for c in columns}
  winners = [column for column, flag in flags.items() if flag == "1"]
  if len(winners) != 1 or not set(flags.values()) <= {"0", "1"}:
    raise rows.MalformedError("unknown_winner", repr(flags))
  return winners[0]


def _conversations(
  fields: Mapping[str, object],
) -> tuple[Conversation, Conversation]:
  if "prompt" in fields:
    prompt = _strings(fields, "prompt")
    return (
      _interleave(prompt, _strings(fields, "response_a")),
      _interleave(prompt, _strings(fields, "response_b")),
    )
  return (
    _messages(fields, "conversation_a"),
    _messages(fields, "conversation_b"),
  )


def _decoded(fields: Mapping[str, object], key: str) -> Sequence[object]:
  """Returns a list, which some releases publish as JSON in a string."""
  value = rows.field(fields, key)
  if isinstance(value, str):
    try:
      value = json.loads(value)
    except json.JSONDecodeError as error:
      raise rows.MalformedError("malformed_json", f"{key}: {error}") from None
  return rows.sequence(value, key)


def _strings(fields: Mapping[str, object], key: str) -> list[str]:
  # The 55k release writes null where a model gave no answer.
  return [
    "" if item is None else rows.unicode_text(item, key)
    for item in _decoded(fields, key)
  ]


def _interleave(prompt: list[str], responses: list[str]) -> Conversation:
  if len(prompt) != len(responses):
    raise rows.MalformedError(
      "bad_roles", f"{len(prompt)} prompts, {len(responses)} responses"
    )
  pairs = zip(prompt, responses, strict=True)
  return [message for pair in pairs for message in pair]


def _messages(fields: Mapping[str, object], key: str) -> Conversation:
  messages = [rows.mapping(m, key) for m in _decoded(fields, key)]
  roles = [rows.text(message, "role") for message in messages]
  expected = [_ROLES[i % 2] for i in range(len(roles))]
  if roles != expected or len(roles) % 2:
    raise rows.MalformedError("bad_roles", f"{key}: {roles[:6]}")
  return [_content(message) for message in messages]


def _content(message: Mapping[str, object]) -> str:
  """Returns a message's text; the 140k release holds it in typed blocks."""
  content = rows.field(message, "content")
  if isinstance(content, str):
    return rows.unicode_text(content, "content")
  blocks = [
    rows.mapping(b, "content") for b in rows.sequence(content, "content")
  ]
  if any(block.get("type") != "text" for block in blocks):
    raise rows.DroppedError("not_text")
  return "\n".join(rows.text(block, "text") for block in blocks)
