"""Small files of one's own, and stores built from them."""

import json
import pathlib
from typing import Any

import numpy as np

from rlhf_gap import stores
from rlhf_gap.data import reports
from rlhf_gap.data.own import build
from rlhf_gap.data.own import request as requests

WINDOWS = {"inputs": 200, "targets": 60}
SYSTEM = {"role": "system", "content": "Answer in one word."}
ASKED = {"role": "user", "content": "Which colour has a ripe lemon?"}
GOOD = {"role": "assistant", "content": "Yellow."}
BAD = {"role": "assistant", "content": "Yes, it has."}


def write(path: pathlib.Path, *rows: Any) -> pathlib.Path:
  """Writes JSON lines; bytes as they are."""
  lines = [
    row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows
  ]
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(b"".join(line + b"\n" for line in lines))
  return path


def pair(number: int = 0, **changes: Any) -> dict[str, Any]:
  """Returns a sound row."""
  return {
    "prompt": f"Name animal {number}",
    "chosen": f"A cat of {number}",
    "rejected": f"A stone of {number}",
  } | changes


def import_rows(
  source: pathlib.Path | str, output: pathlib.Path, **settings: Any
) -> reports.Report:
  """Builds a byte store of `source`; malformed rows are allowed."""
  request = {"allow_malformed": True, **settings}
  return build.build(
    requests.Request(str(source), **request),
    requests.Store(str(output), stores.named("bytes"), WINDOWS),
  )


def texts(output: pathlib.Path) -> list[tuple[str, ...]]:
  """Returns the texts of a store's rows: prompt, then responses."""
  store = stores.open(str(output))
  decode = stores.decoder(store.manifest.vocabulary)
  values = store.read(range(store.num_rows))
  names = [name for name in values if name.endswith("_tokens")]
  return [
    tuple(decode(values[name][row].tolist()) for name in names)
    for row in range(store.num_rows)
  ]


def column(output: pathlib.Path, name: str) -> np.ndarray:
  """Returns a column of a store."""
  store = stores.open(str(output))
  return store.read(range(store.num_rows), [name])[name]


def skipped(output: pathlib.Path) -> list[tuple[int, str]]:
  """Returns line and reason of every row of the side file."""
  path = pathlib.Path(f"{output}.skipped_rows.jsonl")
  rows = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
  return [(row["line"], row["reason"]) for row in rows]
