"""`rlhf-gap bench`: figures of a miniature, and mistakes in one line."""

import importlib.util
import json

import pytest

from rlhf_gap.benchmarks import machine
from rlhf_gap.cli import main

pytestmark = pytest.mark.slow

MODEL = (
  "--gin_file=gin_configs/models/mini_policy.gin",
  "--gin.t5.T5Config.emb_dim=8",
  "--gin.t5.T5Config.num_encoder_layers=1",
  "--gin.t5.T5Config.num_decoder_layers=1",
)
SIZES = ("--batch_size=2", "--input_length=24", "--output_length=6")


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch):
  """The machine's rates on arrays that take no time."""
  monkeypatch.setattr(machine, "_CPU_MATRIX", 64)
  monkeypatch.setattr(machine, "_ELEMENTS", 2**10)


@pytest.mark.usefixtures("small_machine")
@pytest.mark.parametrize(
  ("what", "words", "per_second"),
  [
    ("sample", ("--early_end",), {"steps": 6, "tokens": 24}),
    ("score", (), {"tokens": 24}),
    ("judge", (), {"pairs": 2, "tokens": 96}),
    ("train", (), {"steps": 1, "tokens": 12}),
  ],
)
def test_figures_agree_with_each_other(capsys, what, words, per_second):
  argv = ["bench", what, *MODEL, *SIZES, *words, "--repeats=2", "--json"]
  assert main.main(argv) == 0
  figures = json.loads(capsys.readouterr().out)
  assert (figures["compilations"], figures["recompilations"]) == (1, 0)
  assert (figures["batch"], figures["source"], figures["emb_dim"]) == (2, 24, 8)
  seconds = figures["median_seconds"]
  for name, count in per_second.items():
    assert figures[f"{name}_per_second"] == pytest.approx(count / seconds)
  flops = figures["model_flops"] / seconds
  assert figures["model_flops_per_second"] == pytest.approx(flops)
  limit = figures["machine_matrix_flops_per_second"]
  assert figures["fraction_of_matrix_rate"] == pytest.approx(flops / limit)
  assert figures["fraction_of_limit"] == max(
    figures["fraction_of_matrix_rate"], figures["fraction_of_memory_rate"]
  )
  if what == "judge":
    assert figures["passes_of_flops"] == 1
  if what == "sample":
    ratio = seconds / figures["early_end_median_seconds"]
    assert figures["early_end_speedup"] == pytest.approx(ratio)
    assert figures["early_end_steps"] <= 6


@pytest.mark.parametrize(
  ("words", "message"),
  [
    ((), "one of --checkpoint=DIR and --gin_file=FILE"),
    ((*MODEL, "--checkpoint=x"), "one of --checkpoint=DIR and --gin_file"),
    (
      (*MODEL, "--batch_size=0"),
      "--batch_size=0; expected a whole number, 1 or more",
    ),
    (
      (*MODEL, "--repeats=0"),
      "--repeats=0; expected a whole number, 1 or more",
    ),
    ((*MODEL, "--gin.t5.T5Config.vocab_size=10"), "more than 16"),
    (("--gin_file=no.gin",), "no such gin file"),
  ],
)
def test_mistakes_are_a_line(capsys, words, message):
  assert main.main(["bench", "sample", *words]) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count("\n") == 1


@pytest.mark.skipif(
  importlib.util.find_spec("torch") is not None, reason="torch is installed"
)
def test_a_missing_peer_names_the_extra(capsys):
  argv = ["bench", "train", *MODEL, *SIZES, "--peer=hf"]
  assert main.main(argv) == 2
  assert "pip install -e '.[hf]'" in capsys.readouterr().err


@pytest.mark.usefixtures("small_machine")
@pytest.mark.parametrize("what", ["sample", "train"])
def test_transformers_is_timed_in_the_same_run(capsys, what):
  pytest.importorskip("transformers")
  pytest.importorskip("torch")
  argv = ["bench", what, *MODEL, *SIZES, "--peer=hf", "--repeats=1", "--json"]
  assert main.main(argv) == 0
  figures = json.loads(capsys.readouterr().out)
  ratio = figures["peer_median_seconds"] / figures["median_seconds"]
  assert figures["speedup_over_peer"] == pytest.approx(ratio)
