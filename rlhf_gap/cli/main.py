"""`rlhf-gap COMMAND ...`: finds the command, runs it and reports mistakes.

The module `rlhf_gap.cli.command_<name>` implements a command by
`add_arguments(parser)` and `run(arguments)`. It is imported only when the
command is called, so that `rlhf-gap --help` imports neither JAX nor TensorFlow.
"""

import argparse
import errno
import importlib
import os
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

import rlhf_gap
from rlhf_gap import errors
from rlhf_gap.cli import gin_flags

COMMANDS = {
  "inspect": "describe a checkpoint",
  "convert": "convert a checkpoint to another format",
  "sample": "sample responses of a checkpoint to prompts",
  "label": "label pairs with a preference model",
  "generate": "sample pairs, one response from each of two checkpoints",
  "evaluate": "measure checkpoints: win rate, KL, classification",
  "classify": "classify an online run's own pairs with policies",
  "train": "train a policy or a preference model",
  "study": "run a whole study, stage by stage",
  "report": "write a study's report from its records",
  "plan": "predict the memory and speed of a run on a pod slice",
  "data": "build, show and export preference data",
  "bench": "measure the speed of a part on this machine",
  "didactic": "run a small problem that shows what a method does",
}

_EPILOG = """commands:
{commands}

`rlhf-gap COMMAND --help` explains one command."""

# Errors of the system or of permissions that get a line instead of a traceback.
_PLAIN_OS_ERRORS = {
  errno.EACCES: "no permission",
  errno.EPERM: "no permission",
  errno.EROFS: "the file system is read-only",
  errno.ENOSPC: "no space is left on the device",
  errno.EDQUOT: "the disk quota is used up",
}


# argparse's message about a flag's value.
_FLAG_VALUE = re.compile(r"argument ([^:]+): (.*)", re.DOTALL)


class _Parser(argparse.ArgumentParser):
  """Reports a mistaken flag in one line, with the most similar flag."""

  _argv: tuple[str, ...] = ()

  def parse_known_args(
    self, args: Iterable[str] | None = None, namespace: Any = None
  ) -> Any:
    """Parses as argparse does, and keeps the arguments for the message."""
    self._argv = tuple(args or ())
    return super().parse_known_args(self._argv, namespace)

  def error(self, message: str) -> NoReturn:
    value = _FLAG_VALUE.fullmatch(message)
    if value is not None:
      flag = value[1].split("/")[-1]
      # Our own types say "=VALUE; expected ...", argparse writes a sentence.
      between = "" if value[2].startswith("=") else ": "
      raise errors.UserError(f"{flag}{between}{value[2]}")
    # argparse reports a missing flag before a mistyped one.
    if message.startswith(("unrecognized", "the following arguments")):
      flags = [w.split("=")[0] for w in self._argv if w.startswith("--")]
      known = [o for action in self._actions for o in action.option_strings]
      unknown = [flag for flag in flags if flag not in known]
      if unknown:
        hint = errors.did_you_mean(unknown[0], known)
        message = f"unknown flag {unknown[0]}{hint}"
    end = " See" if message.endswith("?") else "; see"
    self.exit(2, f"{self.prog}: {message}{end} {self.prog} --help\n")


def _top_parser() -> argparse.ArgumentParser:
  width = max(map(len, COMMANDS))
  rows = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
  parser = _Parser(
    prog="rlhf-gap",
    usage="rlhf-gap COMMAND [flags]",
    description="Measures the gap between online and offline alignment.",
    epilog=_EPILOG.format(commands="\n".join(rows)),
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument(
    "--version", action="version", version=rlhf_gap.__version__
  )
  parser.add_argument("command", help=argparse.SUPPRESS)
  return parser


def parser_of(command: str) -> argparse.ArgumentParser:
  """Returns a command's parser.

  Args:
    command: one of `COMMANDS`.
  """
  module = importlib.import_module(f"rlhf_gap.cli.command_{command}")
  parser = _Parser(
    prog=f"rlhf-gap {command}",
    description=module.__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  module.add_arguments(parser)
  return parser


def _run(command: str, argv: list[str]) -> int:
  module = importlib.import_module(f"rlhf_gap.cli.command_{command}")
  parser = parser_of(command)
  bindings: list[str] = []
  if getattr(module, "TAKES_GIN", False):
    bindings, argv = gin_flags.split(argv)
  arguments = parser.parse_args(argv)
  arguments.gin_bindings = bindings
  status = module.run(arguments)
  return int(status or 0)


def _describe(error: OSError) -> str | None:
  reason = _PLAIN_OS_ERRORS.get(error.errno or 0)
  if reason is None:
    return None
  place = f"{error.filename}: " if error.filename else ""
  return f"{place}{reason}"


def main(argv: list[str] | None = None) -> int:
  """Runs one command and returns the process's exit code.

  Args:
    argv: the arguments after `rlhf-gap`; None for those of this process.

  Returns:
    0 on success, 2 for a user's mistake, 130 after Ctrl-C.
  """
  argv = sys.argv[1:] if argv is None else argv
  parser = _top_parser()
  if not argv:
    parser.print_help()
    return 2
  if argv[0].startswith("-"):
    parser.parse_args(argv)
  command = argv[0]
  if command not in COMMANDS:
    hint = errors.did_you_mean(command, COMMANDS)
    parser.error(f"unknown command {command}{hint}")
  try:
    return _run(command, argv[1:])
  except errors.UserError as error:
    message = str(error)
  except KeyboardInterrupt:
    print(f"rlhf-gap {command}: interrupted", file=sys.stderr)
    return 130
  except BrokenPipeError:
    # The reader of our output is gone (`| head`): nobody would see a message.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except OSError as error:
    described = _describe(error)
    if described is None:
      raise
    message = described
  except Exception as error:
    # Any type: what is closed after a failed computation may raise its own.
    described = errors.out_of_memory(error)
    if described is None:
      raise
    message = described
  print(f"rlhf-gap {command}: {message}", file=sys.stderr)
  return 2


if __name__ == "__main__":
  sys.exit(main())
