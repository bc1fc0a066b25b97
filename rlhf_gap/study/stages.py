"""Stages of a study: commands, their dependencies and a ledger of them."""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from rlhf_gap import errors, files

Schema = TypeVar("Schema")

_INCLUDE = re.compile(r"""^\s*include\s+['"](.+?)['"]""", re.MULTILINE)
_ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Stage:
  """One command of a study.

  Attributes:
    name: unique within the study; the stage writes to WORKDIR/name.
    command: the arguments of `rlhf-gap`. `{workdir}` stands for the study's
      folder, so that a study can be moved.
    needs: names of the stages whose output the command reads.
  """

  name: str
  command: tuple[str, ...]
  needs: tuple[str, ...] = ()

  def argv(self, workdir: str) -> list[str]:
    """Returns the arguments with the folder filled in."""
    return [word.replace("{workdir}", workdir) for word in self.command]


def check(stages: Sequence[Stage]) -> None:
  """Checks that stages have unique names and depend only on earlier ones.

  Args:
    stages: a study's stages, in an order in which they could run one by one.

  Raises:
    UserError: two stages share a name, or one needs a stage that does not come
      before it.
  """
  made: set[str] = set()
  for stage in stages:
    if stage.name in made:
      raise errors.UserError(f"two stages are called {stage.name}")
    missing = [name for name in stage.needs if name not in made]
    if missing:
      raise errors.UserError(
        f"the stage {stage.name} needs {missing[0]}, which no stage before it"
        " makes"
      )
    made.add(stage.name)


def recipes(stages: Iterable[Stage]) -> dict[str, dict[str, str]]:
  """Returns the inputs that determine each stage's output.

  Args:
    stages: a study's stages, in order.

  Returns:
    By stage, its inputs by name: its arguments, hashes of its gin files, and
    the fingerprints of the stages that it needs.
  """
  made: dict[str, dict[str, str]] = {}
  for stage in stages:
    recipe = {f"word {i}": word for i, word in enumerate(stage.command)}
    for word in stage.command:
      if word.startswith("--gin_file="):
        file = word.partition("=")[2]
        recipe[f"file {file}"] = _hash_gin(file)
    for name in stage.needs:
      recipe[f"stage {name}"] = fingerprint(made[name])
    made[stage.name] = recipe
  return made


def fingerprint(recipe: Mapping[str, str]) -> str:
  """Returns a hash of a stage's inputs."""
  text = json.dumps(dict(recipe), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def _hash_gin(file: str) -> str:
  """Hashes a gin file and the files that it includes."""
  digest = hashlib.sha256()
  waiting, seen = [file], set()
  while waiting:
    name = waiting.pop()
    if name in seen:
      continue
    seen.add(name)
    path = next(
      (p for p in (pathlib.Path(name), _ROOT / name) if p.is_file()), None
    )
    if path is None:
      raise errors.UserError(f"{name}: no such gin file")
    text = path.read_text(encoding="utf-8")
    digest.update(text.encode())
    waiting.extend(sorted(_INCLUDE.findall(text)))
  return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Done:
  """The ledger's entry of a finished stage.

  Attributes:
    recipe: the inputs that it depended on; see `recipes`.
    seconds: wall time of the run that finished it.
  """

  recipe: Mapping[str, str]
  seconds: float


class Ledger:
  """Records which stages of a folder have finished: one small file each."""

  def __init__(self, workdir: str):
    """Opens the ledger of a study's folder."""
    self._folder = os.path.join(workdir, "stages")

  def read(self, name: str) -> Done | None:
    """Returns the entry of a finished stage; None if it has not finished."""
    return _read(self._path(name), Done)

  def write(self, name: str, done: Done) -> None:
    """Records that a stage has finished."""
    self._write(self._path(name), done)

  def finished(self) -> set[str]:
    """Returns the names of all finished stages, of whatever study."""
    if not os.path.isdir(self._folder):
      return set()
    return {
      entry.removesuffix(".json").replace("--", "/")
      for entry in os.listdir(self._folder)
      if entry.endswith(".json") and not entry.endswith(".begun.json")
    }

  def begun(self, name: str) -> Mapping[str, str] | None:
    """Returns the recipe of a started stage; None if it has not started."""
    return _read(self._begun_path(name), dict)

  def begin(self, name: str, recipe: Mapping[str, str]) -> None:
    """Records that a stage starts with this recipe."""
    self._write(self._begun_path(name), dict(recipe))

  def forget(self, name: str) -> None:
    """Removes the entries of a stage."""
    for path in (self._path(name), self._begun_path(name)):
      if os.path.exists(path):
        os.remove(path)

  def _write(self, path: str, value: Done | dict[str, str]) -> None:
    os.makedirs(self._folder, exist_ok=True)
    files.write_json(path, value)

  def log_path(self, name: str) -> str:
    """Returns the path of a stage's log."""
    return os.path.join(self._folder, f"{_flat(name)}.log")

  def lock_path(self, name: str) -> str:
    """Returns the file that a process locks to run this stage alone."""
    return os.path.join(self._folder, f"{_flat(name)}.lock")

  def _path(self, name: str) -> str:
    return os.path.join(self._folder, f"{_flat(name)}.json")

  def _begun_path(self, name: str) -> str:
    return os.path.join(self._folder, f"{_flat(name)}.begun.json")


def _read(path: str, schema: type[Schema]) -> Schema | None:
  """Reads an entry; a missing or damaged one makes its stage run again."""
  if not os.path.exists(path):
    return None
  content = files.read_bytes(path)
  try:
    return files.decode_json(content, schema, path)
  except errors.UserError:
    return None


def _flat(name: str) -> str:
  return name.replace("/", "--")


def what_changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
  """Describes how two recipes of a stage differ.

  Args:
    before: the recipe with which the stage ran.
    now: its current recipe.

  Returns:
    The first three differences; "" if there are none.
  """
  words = [
    {v for k, v in recipe.items() if k.startswith("word ")}
    for recipe in (before, now)
  ]
  changes = [f"{w} is new" for w in sorted(words[1] - words[0])]
  changes += [f"{w} is gone" for w in sorted(words[0] - words[1])]
  for name in sorted(set(before) | set(now)):
    if not name.startswith("word ") and before.get(name) != now.get(name):
      changes.append(f"{name} changed")
  if not changes and dict(before) != dict(now):
    changes = ["the order of its words"]
  return "; ".join(changes[:3])
