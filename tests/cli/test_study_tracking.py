"""`rlhf-gap study --track`: the stages that train get trackers, no other."""

import re

import pytest

from rlhf_gap.cli import command_study, main


@pytest.fixture
def executed(monkeypatch):
  argvs = []
  monkeypatch.setattr(main, "main", lambda argv: argvs.append(argv) or 0)
  return argvs


def test_training_stages_get_the_trackers(executed):
  command_study._execute("wandb,mlflow", ["train", "--gin_file=a.gin"])
  command_study._execute("wandb,mlflow", ["evaluate", "--json"])
  command_study._execute(None, ["train", "--gin_file=a.gin"])
  tracking = "--gin_file=gin_configs/runs/parts/tracking.gin"
  assert executed == [
    ["train", "--gin_file=a.gin", tracking, "--gin.TRACKING=wandb,mlflow"],
    ["evaluate", "--json"],
    ["train", "--gin_file=a.gin"],
  ]


@pytest.mark.parametrize(
  ("names", "expected"),
  [
    ("tensorboard", "--track=tensorboard: .*expected one or several of wandb"),
    ("trackio", r"--track=trackio: .*pip install -e '\.\[trackio\]'"),
  ],
)
def test_mistakes_are_found_before_any_stage_runs(
  capsys, tmp_path, monkeypatch, names, expected
):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  workdir = tmp_path / "study"
  words = ["--gin_file=gin_configs/studies/laptop.gin", f"--track={names}"]
  assert main.main(["study", *words, f"--workdir={workdir}"]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert re.search(expected, line)
  assert not workdir.exists()
