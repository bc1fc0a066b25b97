"""Tries every kind of wrong value on every setting and every flag.

The settings are those of gin's classes and the flags those of argparse. An
accepted value must have the setting's annotated type, checked by beartype. The
message about a refused value must name the setting. Nothing is compiled or
written.
"""

import argparse
import dataclasses
import math
import os
import pathlib
import typing

import gin
import pytest
from beartype.door import is_bearable

from rlhf_gap import errors
from rlhf_gap.cli import (
  data_build,
  data_export,
  data_show,
  flag_types,
  gin_files,
  main,
)
from rlhf_gap.models import t5
from rlhf_gap.study import experiment
from rlhf_gap.training import description

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
VALUES = (
  "nan",
  "inf",
  "-1",
  "0",
  "9" * 30,
  "1e400",
  "1.5",
  "some text",
  "2024-05-01",
  "[1, 2]",
  "(-1, 'a')",
  "{'inputs': None}",
  "None",
  "true",
  "~nobody/x",
  "@nothing()",
  "'",
  "",
)
RUNS = sorted((ROOT / "gin_configs" / "runs").glob("*.gin"))
PARTS = ("mesh", "large_pod")


def _run_files(run, part):
  files = [f"gin_configs/runs/{run.name}"]
  if run.stem == "pretrain":
    files.append("gin_configs/models/mini_policy.gin")
  return [*files, f"gin_configs/runs/parts/{part}.gin"]


def _required():
  """Returns valid bindings of a file's required macros."""
  return [
    f"{name} = {3 if name.endswith('_STEPS') else f'/nowhere/{name}'}"
    for name in gin_files.required_macros()
  ]


def _names(described, files, given):
  """Returns the names of all macros and parameters that the files use."""
  gin_files.parse(files, given)
  gin_files.construct(described, files, given)
  config, used = gin.config._CONFIG, gin.config._OPERATIVE_CONFIG
  names = []
  for (scope, selector), values in used.items():
    if selector == "gin.macro":
      names.append(scope)
      continue
    for parameter in values:
      bound = config.get((scope, selector), {}).get(parameter)
      # A macro is tried under its own name.
      if not str(bound).startswith("%"):
        short = ".".join([*selector.split(".")[-2:], parameter])
        names.append(f"{scope}/{short}" if scope else short)
  return sorted(set(names))


def _check_made(value, annotation=typing.Any):
  """Checks that a value and its parts are of their types, and finite."""
  assert is_bearable(value, annotation), (value, annotation)
  if isinstance(value, float):
    assert math.isfinite(value)
  if isinstance(value, tuple):
    for element in value:
      _check_made(element)
  if dataclasses.is_dataclass(value):
    hints = typing.get_type_hints(type(value))
    for field in dataclasses.fields(value):
      _check_made(getattr(value, field.name), hints[field.name])


def _try(described, files, given, name, text):
  """Returns the message; None if the value is accepted."""
  bindings = [b for b in given if not b.startswith(f"{name} = ")]
  bindings.append(f"{name} = {text}")
  try:
    gin_files.parse(files, bindings)
    made = gin_files.construct(described, files, bindings)
  except errors.UserError as error:
    message = str(error)
    assert "\n" not in message
    setting = name.split("/")[-1].split(".")[-1]
    assert setting.lower() in message.lower(), (name, text, message)
    assert "object at 0x" not in message
    return message
  _check_made(made)
  return None


def _check_all(
  described, files, tmp_path, monkeypatch, needed=(), values=VALUES
):
  monkeypatch.setenv("HOME", str(tmp_path))
  gin_files.parse(files, needed)
  given = [*needed, *_required()]
  names = _names(described, files, given)
  # An empty folder, to notice files that would be written.
  monkeypatch.chdir(tmp_path)
  faults, refused = [], 0
  for name in names:
    for text in values:
      try:
        refused += _try(described, files, given, name, text) is not None
      except Exception as error:
        faults.append(f"{name}={text}: {type(error).__name__} {error}"[:300])
  assert faults == []
  assert os.listdir(tmp_path) == []
  assert len(names) > 10
  # On average a setting refuses more than half of the values.
  assert refused > len(names) * len(values) / 2


@pytest.mark.parametrize("file", RUNS, ids=lambda p: p.stem)
def test_every_setting_of_a_run(file, tmp_path, monkeypatch):
  part = PARTS[RUNS.index(file) % 2]
  files = _run_files(file, part)
  _check_all(description.Run, files, tmp_path, monkeypatch)


def test_every_setting_of_the_other_optimizer(tmp_path, monkeypatch):
  files = ["gin_configs/runs/offline.gin"]
  adamw = ["OPTIMIZER = @configured.AdamW()"]
  _check_all(description.Run, files, tmp_path, monkeypatch, adamw)


def test_every_setting_of_tracking(tmp_path, monkeypatch):
  files = ["offline.gin", "parts/tracking.gin"]
  files = [f"gin_configs/runs/{file}" for file in files]
  trackers = ["TRACKING = wandb,mlflow"]
  _check_all(description.Run, files, tmp_path, monkeypatch, trackers)


def test_every_setting_of_a_model(tmp_path, monkeypatch):
  files = ["gin_configs/models/mini_policy.gin"]
  _check_all(t5.T5Config, files, tmp_path, monkeypatch)


# The whole paper in miniature has 142 settings, most of them laptop's: a third
# of the values keeps the test short.
@pytest.mark.parametrize(
  ("name", "values"), [("laptop", VALUES), ("paper_mini", VALUES[::3])]
)
def test_every_setting_of_a_study(name, values, tmp_path, monkeypatch):
  files = [f"gin_configs/studies/{name}.gin"]
  _check_all(experiment.Study, files, tmp_path, monkeypatch, values=values)


def _parsers():
  """Yields every command's parser, and those of its subcommands."""
  for command in main.COMMANDS:
    parser = main.parser_of(command)
    groups = [
      action.choices
      for action in parser._actions
      if isinstance(action, argparse._SubParsersAction)
    ]
    for name, nested in [p for group in groups for p in group.items()]:
      yield f"{command} {name}", nested
    if not groups and command != "data":
      yield command, parser
  for module in (data_build, data_show, data_export):
    parser = main.parser_of("data").__class__(allow_abbrev=False)
    module.add_arguments(parser)
    yield module.__name__, parser


FLAGS = [
  pytest.param(parser, action, id=f"{name} {action.dest}")
  for name, parser in _parsers()
  for action in parser._actions
  if action.nargs != 0
]


@pytest.mark.parametrize(("parser", "action"), FLAGS)
def test_every_flag_of_a_command(parser, action, tmp_path, monkeypatch, capsys):
  """Numbers are never negative or infinite, and strings never empty."""
  monkeypatch.chdir(tmp_path)
  name = (action.option_strings or [action.metavar or action.dest])[0]
  for text in VALUES:
    try:
      value = parser._get_value(action, text)
      parser._check_value(action, value)
    except argparse.ArgumentError as raised:
      with pytest.raises(errors.UserError) as caught:
        parser.error(str(raised))
      message = str(caught.value)
      assert name in message
      assert "\n" not in message
      continue
    if action.choices is None:
      _check_flag(action, text, value)
  assert os.listdir(tmp_path) == []
  assert capsys.readouterr().err == ""


def _check_flag(action, text, value):
  assert isinstance(value, (int, float, str))
  if action.type is flag_types.name:
    assert value == text != ""
  elif isinstance(value, str):
    # These check their values themselves, or may be empty.
    free = {"gin_search_paths", "topology", "coordinator", "rows", "utility"}
    free |= {"format", "allow_module"}
    assert action.type is not None or action.dest in free
    assert value or action.dest in free
    assert action.type is None or "~" not in value or "/" not in text
  else:
    assert value >= 0
    assert math.isfinite(value)
    assert isinstance(value, float) or value < 2**32
