"""Stages of a study: commands, what they need, and whether they are done."""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from rlhf_gap import errors

_INCLUDE = re.compile(r"""^\s*include\s+['"](.+?)['"]""", re.MULTILINE)
_ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Stage:
  """One command of a study.

  Attributes:
    name: distinct within the study; the stage writes to WORKDIR/name.
    command: the words after `rlhf-gap`; `{workdir}` stands for the study's
      folder, so that a study may be moved.
    needs: names of the stages whose output the command reads.
  """

  name: str
  command: tuple[str, ...]
  needs: tuple[str, ...] = ()

  def argv(self, workdir: str) -> list[str]:
    """Returns the command's words with the folder filled in."""
    return [word.replace("{workdir}", workdir) for word in self.command]


def check(stages: Sequence[Stage]) -> None:
  """Checks that every stage can come to its turn.

  Args:
    stages: a study's, in an order in which they could run one by one.

  Raises:
    UserError: two stages share a name, or one needs what no earlier stage
      makes.
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
  """Returns what each stage's output depends on.

  Args:
    stages: a study's, in order.

  Returns:
    By stage, what it depends on by name: its words, the contents of its gin
    files, and the fingerprints of the stages it needs.
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
  """Returns a hash of what a stage depends on."""
  text = json.dumps(dict(recipe), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def _hash_gin(file: str) -> str:
  """Hashes a gin file and all that it includes."""
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
  """What is kept of a stage that has ended well.

  Attributes:
    recipe: what it depended on.
    seconds: wall time of the run that finished it.
  """

  recipe: Mapping[str, str]
  seconds: float


class Ledger:
  """Which stages of a folder are done: one small file each."""

  def __init__(self, workdir: str):
    """Takes the study's folder."""
    self._folder = os.path.join(workdir, "stages")

  def read(self, name: str) -> Done | None:
    """Returns what is kept of a stage; None if it has not ended well."""
    try:
      with open(self._path(name), encoding="utf-8") as file:
        return Done(**json.load(file))
    except (FileNotFoundError, ValueError, TypeError):
      return None

  def write(self, name: str, done: Done) -> None:
    """Notes that a stage has ended well."""
    self._put(self._path(name), dataclasses.asdict(done))

  def begun(self, name: str) -> Mapping[str, str] | None:
    """Returns what a stage depends on that has begun; None if it has not."""
    try:
      with open(self._begun_path(name), encoding="utf-8") as file:
        return dict(json.load(file))
    except (FileNotFoundError, ValueError, TypeError):
      return None

  def begin(self, name: str, recipe: Mapping[str, str]) -> None:
    """Notes that a stage begins: what it leaves is of this recipe."""
    self._put(self._begun_path(name), recipe)

  def forget(self, name: str) -> None:
    """Takes back that a stage is done or has begun."""
    for path in (self._path(name), self._begun_path(name)):
      if os.path.exists(path):
        os.remove(path)

  def _put(self, path: str, value: Mapping[str, object]) -> None:
    os.makedirs(self._folder, exist_ok=True)
    partial = f"{path}.partial"
    with open(partial, "w", encoding="utf-8") as file:
      json.dump(value, file, indent=1)
    os.replace(partial, path)

  def log_path(self, name: str) -> str:
    """Returns where a stage's output goes."""
    return os.path.join(self._folder, f"{_flat(name)}.log")

  def lock_path(self, name: str) -> str:
    """Returns the file that whoever runs a stage by itself holds."""
    return os.path.join(self._folder, f"{_flat(name)}.lock")

  def _path(self, name: str) -> str:
    return os.path.join(self._folder, f"{_flat(name)}.json")

  def _begun_path(self, name: str) -> str:
    return os.path.join(self._folder, f"{_flat(name)}.begun.json")


def _flat(name: str) -> str:
  return name.replace("/", "--")


def what_changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
  """Says in what two recipes of a stage differ.

  Args:
    before: what the stage depended on when it ran.
    now: what it depends on.

  Returns:
    The first few differences; "" for none.
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
