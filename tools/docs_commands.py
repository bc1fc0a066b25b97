"""Commands in Markdown: found in fenced blocks, parsed, or really run."""

import argparse
import importlib
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

from rlhf_gap import errors
from rlhf_gap.cli import command_plan, gin_files, gin_flags, main
from rlhf_gap.data import catalog
from rlhf_gap.study import experiment
from rlhf_gap.training import description

ROOT = pathlib.Path(__file__).parents[1]
# Put before a block that check_docs.py runs.
RUN_MARK = "<!-- run -->"
_FENCE = re.compile(
  rf"(?P<run>{RUN_MARK}\n)?^```bash\n(?P<text>.*?)^```$",
  re.MULTILINE | re.DOTALL,
)
_LOOP = re.compile(
  r"^for (?P<name>\w+) in (?P<values>[^;\n]+); do\n(?P<body>.*?)^done$",
  re.MULTILINE | re.DOTALL,
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_SECONDS = re.compile(r"\d+(?:\.\d+)? s\b")
# Commands of others, whose flags are not ours to know.
_OTHERS = {"gcloud", "pip", "sbatch", "source"}
_GIN_READERS = {"train": description.Run, "study": experiment.Study}


class FlagError(ValueError):
  """A command line that its parser refuses."""


class Block(NamedTuple):
  """A fenced block of commands.

  Attributes:
    text: its lines.
    is_run: whether it is marked to be run.
  """

  text: str
  is_run: bool

  def commands(self) -> Iterator[list[str]]:
    """Yields its command lines, split into words, loops unrolled."""
    text = _LOOP.sub(_unrolled, self.text).replace("\\\n", " ")
    variables: dict[str, str] = {}
    for line in text.splitlines():
      words = shlex.split(_substituted(line, variables), comments=True)
      while words and _ASSIGNMENT.match(words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
      if words:
        yield words

  def expected_lines(self) -> list[str]:
    """Returns its comment lines, which say what running it prints."""
    lines = self.text.splitlines()
    return [line[2:] for line in lines if line.startswith("# ")]


def blocks(text: str) -> list[Block]:
  """Returns the fenced blocks of commands of a page."""
  return [
    Block(match["text"], match["run"] is not None)
    for match in _FENCE.finditer(text)
  ]


def _unrolled(loop: re.Match[str]) -> str:
  return "".join(
    _substituted(loop["body"], {loop["name"]: value})
    for value in loop["values"].split()
  )


def _substituted(text: str, variables: dict[str, str]) -> str:
  for name, value in variables.items():
    text = re.sub(rf"\$\{{?{name}\b\}}?", value, text)
  return text


class _Parser(argparse.ArgumentParser):
  def error(self, message: str) -> NoReturn:
    raise FlagError(message)


def check(words: Sequence[str]) -> None:
  """Checks a command line without running it.

  Its flags must be known; its gin files must exist and describe something, with
  nothing that is required left out and no unknown or unused name.

  Args:
    words: of the command line.

  Raises:
    FlagError: a flag, a file or the command is unknown.
    UserError: the gin files or a name is wrong.
  """
  program, rest = words[0], list(words[1:])
  if program == "python":
    program, rest = rest[0], rest[1:]
  if program == "rlhf-gap":
    _check_command(rest)
  elif program == "sbatch":
    script = next(i for i, word in enumerate(rest) if word.startswith("tools/"))
    _check_tool(rest[script], rest[script + 1 :])
  elif program.startswith("tools/"):
    _check_tool(program, rest)
  elif program not in _OTHERS:
    raise FlagError(f"unknown command {program}")


def _check_command(words: Sequence[str]) -> None:
  command, rest = words[0], list(words[1:])
  if command not in main.COMMANDS:
    raise FlagError(f"there is no command rlhf-gap {command}")
  module = importlib.import_module(f"rlhf_gap.cli.command_{command}")
  parser = _Parser(allow_abbrev=False)
  module.add_arguments(parser)
  bindings: list[str] = []
  if getattr(module, "TAKES_GIN", False):
    bindings, rest = gin_flags.split(rest)
  arguments = parser.parse_args(rest)
  arguments.gin_bindings = bindings
  if command == "plan":
    command_plan.subject_of(arguments)
  elif command in _GIN_READERS:
    gin_files.parse(arguments.gin_file, bindings)
    gin_files.construct(_GIN_READERS[command], arguments.gin_file, bindings)
  elif getattr(arguments, "gin_file", None):
    gin_files.parse(arguments.gin_file, bindings)
    gin_files.macro("MODEL")
  if command == "data" and getattr(arguments, "task", None) not in (
    *(None, "own", "show", "export"),
  ):
    catalog.entries(arguments.task)


def _check_tool(path: str, words: Sequence[str]) -> None:
  """Checks that a tool exists and that its source names the flags."""
  file = ROOT / path
  if not file.is_file():
    raise FlagError(f"there is no {path}")
  is_script = file.suffix != ".py"
  if is_script and not os.access(file, os.X_OK):
    raise FlagError(f"{path} is not executable")
  flags = [word for word in words if word.startswith("-")]
  if any(flag.startswith("--gin_file=") for flag in flags):
    _check_command(["train", *flags])
    return
  text = file.read_text(encoding="utf-8")
  for flag in flags:
    if flag.partition("=")[0] not in text:
      raise FlagError(f"{path} has no flag {flag}")


def run(block: Block) -> None:
  """Runs a block in an empty folder that has this repository's files.

  Args:
    block: one marked to be run.

  Raises:
    FlagError: a command failed, or did not print what the block says.
  """
  with tempfile.TemporaryDirectory() as folder:
    for path in ROOT.iterdir():
      if path.name not in {"runs", "build", ".git"}:
        (pathlib.Path(folder) / path.name).symlink_to(path)
    finished = subprocess.run(
      ["bash", "-euo", "pipefail", "-c", block.text],
      cwd=folder,
      env={**os.environ, "PYTHONPATH": str(ROOT)},
      capture_output=True,
      text=True,
      check=False,
    )
  output = finished.stdout + finished.stderr
  if finished.returncode:
    raise FlagError(f"exit code {finished.returncode}: {output[-400:]}")
  printed = _SECONDS.sub("", output)
  for line in block.expected_lines():
    if _SECONDS.sub("", line) not in printed:
      raise FlagError(f"does not print: {line}")


MISTAKES = (FlagError, errors.UserError)
"""What `check` and `run` raise."""
