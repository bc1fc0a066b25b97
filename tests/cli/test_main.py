"""The program itself: help, mistakes, exit codes."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from rlhf_gap import errors
from rlhf_gap.cli import main
from tests import reference

_LISTING = """
import json, sys
{statement}
heavy = ("jax", "flax", "tensorflow", "seqio", "torch", "gin", "numpy")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def _imports(statement):
  """Returns which heavy packages a statement imports in a fresh process."""
  program = _LISTING.format(statement=statement)
  run = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  return json.loads(run.stdout.splitlines()[-1])


def test_help_imports_nothing_heavy():
  statement = """
from rlhf_gap import errors
from rlhf_gap.cli import main
try:
  main.main(["--help"])
except SystemExit as end:
  assert end.code == 0
"""
  assert _imports(statement) == []


def test_checkpoints_import_no_tensorflow():
  imported = _imports("import rlhf_gap.checkpoints")
  assert "jax" in imported
  assert not {"tensorflow", "seqio", "torch"} & set(imported)


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_explains_itself(capsys, command):
  with pytest.raises(SystemExit) as end:
    main.main([command, "--help"])
  assert end.value.code == 0
  out = capsys.readouterr().out
  assert f"rlhf-gap {command}" in out
  assert len(out.splitlines()) > 5


@pytest.mark.parametrize(
  ("argv", "expected"),
  [
    (["inspct"], "did you mean inspect?"),
    (["inspect", "x", "--jsn"], "unknown flag --jsn; did you mean --json?"),
    (["inspect"], "PATH"),
    (["convert", "a", "b"], "are required: --format"),
    (
      ["convert", "a", "b", "--formt=hf"],
      "unknown flag --formt; did you mean --format?",
    ),
    (
      ["data", "export", "a", "--fromat=jsonl"],
      "unknown flag --fromat; did you mean --format?",
    ),
  ],
)
def test_a_mistyped_call_is_one_line_and_exit_code_2(capsys, argv, expected):
  with pytest.raises(SystemExit) as end:
    main.main(argv)
  assert end.value.code == 2
  lines = capsys.readouterr().err.strip().splitlines()
  assert len(lines) == 1
  assert expected in lines[0]


def test_a_device_without_memory_is_one_line_and_exit_code_2(
  capsys, monkeypatch
):
  """JAX's own error, for an array too large for any machine."""

  def run(arguments):
    jnp.zeros(2**46).block_until_ready()

  monkeypatch.setattr("rlhf_gap.cli.command_inspect.run", run)
  assert main.main(["inspect", "x"]) == 2
  error = capsys.readouterr().err
  assert error.count("\n") == 1
  assert "a device's memory is full (RESOURCE_EXHAUSTED" in error
  assert "`rlhf-gap plan` predicts" in error
  assert errors.out_of_memory(RuntimeError("INTERNAL: x")) is None


# As XLA words them: at dispatch on a CPU, at compile time on a TPU, on a GPU.
@pytest.mark.parametrize(
  ("message", "size"),
  [
    (
      "INTERNAL: Error dispatching computation: Error dispatching computation:"
      " Out of memory allocating 4398046511104 bytes.",
      "4398046511104 bytes",
    ),
    (
      "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory"
      " in memory space hbm. Used 21.50G of 15.75G hbm. Exceeded hbm capacity"
      " by 5.75G.",
      "21.50G of 15.75G",
    ),
    (
      "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 3.20GiB.",
      "3.20GiB",
    ),
  ],
)
def test_every_wording_of_xla_names_what_was_asked_for(message, size):
  line = errors.out_of_memory(jax.errors.JaxRuntimeError(message))
  assert f"; {size} were asked for; use a smaller BATCH_SIZE" in line
  assert "\n" not in line


def test_an_error_while_closing_does_not_hide_a_full_memory(
  capsys, monkeypatch
):
  def run(arguments):
    try:
      jnp.zeros(2**46).block_until_ready()
    finally:
      raise KeyError("closing")

  monkeypatch.setattr("rlhf_gap.cli.command_inspect.run", run)
  assert main.main(["inspect", "x"]) == 2
  assert "a device's memory is full" in capsys.readouterr().err


def test_inspect_describes_what_t5x_wrote(capsys):
  path = reference.checkpoint("t5x_1_1")
  assert main.main(["inspect", path, "--json"]) == 0
  facts = json.loads(capsys.readouterr().out)
  config = reference.table("t5x_1_1", "config")
  shared = set(facts) & set(config)
  assert len(shared) >= 9
  assert {k: facts[k] for k in shared - {"dtype"}} == {
    k: config[k] for k in shared - {"dtype"}
  }
  assert facts["format"] == "t5x"
  assert facts["architecture"] == "t5_1_1"
  assert facts["parameters"] == 74_368  # the sum of state_shapes.json's targets
  assert facts["optimizer_state"] == "adafactor"
  assert main.main(["inspect", path]) == 0
  assert "74,368" in capsys.readouterr().out


def test_convert_says_what_it_wrote(capsys, tmp_path):
  source, out = reference.checkpoint("hf_1_0"), str(tmp_path / "checkpoint_0")
  assert main.main(["convert", source, out, "--format=t5x"]) == 0
  line = capsys.readouterr().out.strip()
  assert "t5_1_0" in line
  assert "read back and equal" in line
