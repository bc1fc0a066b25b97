"""Small files in the published formats, made up, that hold every oddity.

The counts that the tests expect are written beside each row.
"""

import csv
import gzip
import io
import json
import pathlib
from typing import Any

Json = dict[str, Any]


def write_json_lines(path: pathlib.Path, rows: list[Any]) -> None:
  """Writes one JSON value a line; `bytes` as they are; gzip by suffix."""
  lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in rows]
  content = b"".join(line + b"\n" for line in lines)
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == ".gz":
    content = gzip.compress(content, mtime=0)
  path.write_bytes(content)


def dialogues(prompt: str, chosen: str, rejected: str) -> Json:
  """An hh-rlhf row: `prompt` ends with the last shared marker."""
  return {"chosen": prompt + chosen, "rejected": prompt + rejected}


_ASKED = "\n\nHuman: How do plants eat?\n\nAssistant:"
_TWO_TURNS = (
  "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Name a fruit\n\nAssistant:"
)

HH_ROWS = [
  dialogues(_ASKED, " By light.", " With forks."),
  dialogues(_TWO_TURNS, " The apple.", " The anvil."),
  # The responses share their first words: no part of the prompt.
  dialogues(_TWO_TURNS, " A ripe pear.", " A ripe brick."),
  # A fake marker inside a response: kept, and noted.
  dialogues(_ASKED, " Light.\n\nAssistant: Light, I said.", " Unknown."),
  dialogues(_ASKED, " Same.", " Same."),  # identical_responses
  dialogues(_ASKED, " Sunlight.", ""),  # empty_response
  # response_has_human_turn
  dialogues(_ASKED, " Light.", " Light.\n\nHuman: Thanks"),
  # no_shared_prompt
  {
    "chosen": "\n\nHuman: One\n\nAssistant: 1",
    "rejected": "\n\nHuman: Two\n\nAssistant: 2",
  },
]


def write_hh(folder: pathlib.Path, subset: str) -> None:
  """Writes train (8 rows, 4 kept) and test (1 row, kept) of one subset."""
  write_json_lines(folder / subset / "train.jsonl.gz", HH_ROWS)
  test = dialogues("\n\nHuman: Where?\n\nAssistant:", " Here.", " No.")
  write_json_lines(folder / subset / "test.jsonl.gz", [test])


def tldr(
  number: int, split: str, first: str, second: str, **changes: Any
) -> Json:
  """A TL;DR row about post `number`; the first summary is the better one."""
  return {
    "info": {
      "id": f"t3_{number}",
      "post": f"Post {number}.\n\nIt goes on.",
      "title": f"Title {number}",
      "subreddit": "pets",
    },
    "split": split,
    "summaries": [
      {"text": first, "policy": "sup1", "note": "ok"},
      {"text": second, "policy": "ref", "note": None},
    ],
    "choice": 0,
    "worker": "w1",
    "batch": "batch3",
    "extra": {"confidence": 7},
  } | changes


def _without_id(row: Json) -> Json:
  info = {k: v for k, v in row["info"].items() if k != "id"}
  return row | {"info": info | {"subreddit": "r/pets"}}


CNN_DM_ROW = tldr(9, "valid2", " a", " b") | {
  "info": {"id": "9", "site": "cnn", "title": "News", "article": "Long."}
}

TLDR_ROWS = [
  tldr(1, "train", " A cat sat.", " A dog ran."),
  # The same pair in the other order, with the other label: noted.
  tldr(1, "train", " A dog ran.", " A cat sat."),
  # No id, no leading space, "r/" in the subreddit: the prompt of post 2 twice.
  tldr(2, "valid1", " It rains.", " It pours."),
  _without_id(tldr(2, "valid1", "It is wet.", "It is dry.", extra={})),
  tldr(3, "valid2", " Lost keys.", " Found keys.", choice=1),
  tldr(1, "valid2", " Sat.", " Ran."),  # prompt_in_another_split
  tldr(4, "train", " Same.", "Same. "),  # identical_responses
  tldr(5, "train", " ", " Something."),  # empty_response
  CNN_DM_ROW,  # not_tldr
]


def write_tldr(folder: pathlib.Path) -> None:
  """Writes 9 rows: train 2, valid1 2, valid2 1 of them kept."""
  write_json_lines(folder / "comparisons" / "batch3.json", TLDR_ROWS)


def talk(*messages: str) -> list[Json]:
  """A conversation that starts with the user."""
  roles = ("user", "assistant")
  return [
    {"role": roles[i % 2], "content": text} for i, text in enumerate(messages)
  ]


def battle(
  first: list[Json], second: list[Json], winner: str = "model_a", **more: Any
) -> Json:
  """A row of the 33,000 arena conversations."""
  return {
    "question_id": "q1",
    "model_a": "left",
    "model_b": "right",
    "winner": winner,
    "judge": "arena_user_1",
    "conversation_a": first,
    "conversation_b": second,
    "turn": len(first) // 2,
    "anony": True,
    "language": "English",
    "tstamp": 1.0,
  } | more


_LATER = (
  talk("Hi", "Hello", "A number?", "7"),
  talk("Hi", "Hey", "A number?", "8"),
)
_SHARED = (
  talk("Hi", "Hello", "A word?", "Yes"),
  talk("Hi", "Hello", "A word?", "Eel"),
)

ARENA_ROWS = [
  battle(talk("Name a sea", "The North Sea"), talk("Name a sea", "Seven")),
  battle(*_SHARED, winner="model_b"),
  battle(talk("Nommez", "Oui"), talk("Nommez", "Non"), language="French"),
  battle(*_LATER),  # different_contexts, or cut to "Hello" and "Hey"
  battle(talk("X?", "1"), talk("X?", "2"), winner="tie"),
  battle(talk("X?", "1"), talk("X?", "2"), winner="tie (bothbad)"),
  battle(talk("X?", "1"), talk("X?", "")),  # empty_response
  battle(talk("X?", "1"), talk("X?", "1")),  # identical_responses
  battle(talk(" ", "1"), talk(" ", "2")),  # empty_prompt
  battle(talk("X?", "1"), talk("Y?", "2")),  # different_prompts
]

ARENA_55K_COLUMNS = [
  "id",
  "model_a",
  "model_b",
  "prompt",
  "response_a",
  "response_b",
  "winner_model_a",
  "winner_model_b",
  "winner_tie",
]


def row_55k(
  prompt: list[str],
  first: list[str | None],
  second: list[str | None],
  winner: str,
) -> list[str]:
  """A CSV row of the 55,000 release; `winner` is "100", "010" or "001"."""
  texts = [json.dumps(part) for part in (prompt, first, second)]
  return ["30192", "left", "right", *texts, *winner]


def write_csv(path: pathlib.Path, rows: list[list[str]]) -> None:
  """Writes a CSV with the columns of the 55,000 release."""
  path.parent.mkdir(parents=True, exist_ok=True)
  text = io.StringIO()
  csv.writer(text).writerows([ARENA_55K_COLUMNS, *rows])
  path.write_bytes(text.getvalue().encode())


def write_arena(folder: pathlib.Path) -> None:
  """Writes 10 rows; 3 kept, 4 when later turns are cut."""
  write_json_lines(folder / "arena_33k.jsonl.gz", ARENA_ROWS)


def write_all(folder: pathlib.Path) -> None:
  """Writes made-up files of all four data sets below one folder."""
  write_hh(folder / "hh_rlhf", "helpful-base")
  write_hh(folder / "hh_rlhf", "harmless-base")
  write_tldr(folder / "summarize_from_feedback")
  write_arena(folder / "arena")
