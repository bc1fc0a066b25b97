"""Mutations of a small folder of files, each a JSON list that can be repeated.

A mutation is [what, file, ...]: `cut` and `flip` damage bytes, `set`, `drop`,
`rename` and `nest` change one node of a structured file, `special` puts
something else in a file's place. Numbers that choose a byte or a node are taken
modulo how many there are, so every mutation applies to every file.
"""

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import msgpack
from hypothesis import strategies

_JSON_NAMES = (".json", ".zarray", "_METADATA", "_sharding")
SPECIAL = ("fifo", "folder", "missing", "empty", "zero", "dangling", "loop")
_TEXTS = (
  "",
  "..",
  "../../etc/passwd",
  "/etc/passwd",
  "a\x1b[31m\nb",
  "http://127.0.0.1:9/x",
  "gs://nowhere/x",
  "\0",
  "\ud800",
  "object",
  "int4",
  "<i8",
  "|O",
  "é" * 3,
)
_NUMBERS = (0, 1, -1, 2, 7, 255, 2**31, 2**53, 2**63, 2**64, 10**30)
_FLOATS = (0.5, -0.0, 1e308, float("inf"), float("nan"))

scalars = strategies.one_of(
  strategies.none(),
  strategies.booleans(),
  strategies.sampled_from(_NUMBERS),
  strategies.integers(-10, 300),
  strategies.sampled_from(_FLOATS),
  strategies.sampled_from(_TEXTS),
)
values = strategies.recursive(
  scalars,
  lambda inner: strategies.one_of(
    strategies.lists(inner, max_size=3),
    strategies.dictionaries(
      strategies.sampled_from(("driver", "kvstore", "path", "shape", "a/b")),
      inner,
      max_size=3,
    ),
  ),
  max_leaves=4,
)


def of_files(names: list[str]) -> strategies.SearchStrategy[list[list[Any]]]:
  """Returns what chooses one to three mutations of files so named."""
  file = strategies.sampled_from(names)
  place = strategies.integers(0, 1 << 20)
  join = strategies.tuples
  one = strategies.one_of(
    join(strategies.just("set"), file, place, values),
    join(strategies.just("set"), file, place, values),
    join(strategies.just("drop"), file, place),
    join(
      strategies.just("rename"), file, place, strategies.sampled_from(_TEXTS)
    ),
    join(
      strategies.just("nest"), file, place, strategies.sampled_from([20, 3000])
    ),
    join(strategies.just("cut"), file, place),
    join(strategies.just("flip"), file, place, strategies.integers(1, 255)),
    join(strategies.just("special"), file, strategies.sampled_from(SPECIAL)),
  )
  return strategies.lists(one.map(list), min_size=1, max_size=3)


def apply(folder: pathlib.Path, mutation: list[Any]) -> None:
  """Applies one mutation below `folder`, whose files may be hard links."""
  what, name, *arguments = mutation
  path = folder / name
  if what == "special":
    _replace(path, arguments[0])
    return
  if not path.is_file() or path.is_symlink():
    return  # an earlier mutation has replaced it
  content = path.read_bytes()
  if not content:
    return
  if what == "cut":
    changed = content[: arguments[0] % len(content)]
  elif what == "flip":
    damaged = bytearray(content)
    damaged[arguments[0] % len(content)] ^= arguments[1]
    changed = bytes(damaged)
  else:
    changed = _edited(name, content, what, arguments)
  path.unlink()  # not written in place: it may be a link to the original
  path.write_bytes(changed)


def _replace(path: pathlib.Path, kind: str) -> None:
  if path.is_dir() and not path.is_symlink():
    return
  path.unlink(missing_ok=True)
  if kind == "fifo":
    os.mkfifo(path)
  elif kind == "folder":
    path.mkdir()
  elif kind == "empty":
    path.write_bytes(b"")
  elif kind == "zero":
    path.symlink_to("/dev/zero")
  elif kind == "dangling":
    path.symlink_to("nowhere")
  elif kind == "loop":
    path.symlink_to("..")


def _edited(
  name: str, content: bytes, what: str, arguments: list[Any]
) -> bytes:
  """Returns a file with one node changed; as it was if it has no nodes."""
  try:
    tree, encode = _decoded(name, content)
  except (ValueError, KeyError, msgpack.UnpackException, RecursionError):
    return content
  nodes = list(_nodes(tree))
  if not nodes:
    return content
  holder, key = nodes[arguments[0] % len(nodes)]
  if what == "set":
    holder[key] = arguments[1]
  elif what == "drop":
    del holder[key]
  elif what == "rename" and isinstance(holder, dict):
    holder[arguments[1]] = holder.pop(key)
  elif what == "nest":
    text = json.dumps("@nest@").encode()
    holder[key] = "@nest@"
    deep = b"[" * arguments[1] + b"]" * arguments[1]
    return encode(tree).replace(text, deep)
  try:
    return encode(tree)
  except (ValueError, OverflowError):
    return content  # msgpack has no such number


def _decoded(name: str, content: bytes) -> tuple[Any, Callable[[Any], bytes]]:
  if name.endswith(".safetensors"):
    end = 8 + int.from_bytes(content[:8], "little")
    tree = json.loads(content[8:end])

    def encode(tree: Any) -> bytes:
      header = json.dumps(tree).encode()
      return len(header).to_bytes(8, "little") + header + content[end:]

    return tree, encode
  if name.endswith(".jsonl"):
    lines = [json.loads(line) for line in content.splitlines()]
    return lines, lambda tree: b"\n".join(
      json.dumps(line).encode() for line in tree
    )
  if name.endswith(_JSON_NAMES):
    return json.loads(content), lambda tree: json.dumps(tree).encode()
  if name == "checkpoint":
    tree = msgpack.unpackb(content, strict_map_key=False)
    return tree, lambda tree: msgpack.packb(
      tree, unicode_errors="surrogatepass"
    )
  raise ValueError(f"{name} is not structured")


def _nodes(tree: Any) -> Any:
  """Yields (holder, key) of every node below the root."""
  pending = [tree]
  while pending:
    holder = pending.pop()
    if isinstance(holder, dict | list):
      keys = holder if isinstance(holder, dict) else range(len(holder))
      for key in keys:
        yield holder, key
        pending.append(holder[key])
