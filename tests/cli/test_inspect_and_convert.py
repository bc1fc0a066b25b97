"""`rlhf-gap inspect` and `convert`: what they print, and their exit codes."""

import dataclasses
import json
import os
import pathlib
import shutil

import jax
import pytest

from rlhf_gap import checkpoints
from rlhf_gap.checkpoints import architecture_file
from rlhf_gap.cli import command_inspect, main
from rlhf_gap.data import mini
from rlhf_gap.models import t5
from tests.checkpoints import tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  path = tmp_path_factory.mktemp("model") / "checkpoint_1000"
  tiny.save(path, "t5x")
  return path


def _facts(capsys, path, *flags):
  assert main.main(["inspect", str(path), "--json", *flags]) == 0
  return json.loads(capsys.readouterr().out)


def test_facts_are_those_of_the_model(capsys, checkpoint):
  facts = _facts(capsys, checkpoint)
  for name in architecture_file.COMPUTED:
    value = getattr(tiny.CONFIG, name)
    assert facts[name] == (list(value) if isinstance(value, tuple) else value)
  assert (facts["format"], facts["step"]) == ("t5x", 1000)
  # Embedding and head of 16 x 4, two position tables of 2 x 32, three blocks
  # of attention of 4 x 4 x 4, two of 3 x 4 x 4, and seven norms of 4.
  parameters = 2 * 64 + 2 * 64 + 3 * 64 + 2 * 48 + 7 * 4
  assert facts["parameters"] == parameters
  assert facts["parameter_bytes"] == 4 * parameters
  files = [p for p in checkpoint.rglob("*") if p.is_file()]
  assert facts["size_bytes"] == sum(p.stat().st_size for p in files)
  assert facts["notes"] == []


def test_the_table_holds_the_same_facts(capsys, checkpoint):
  facts = _facts(capsys, checkpoint)
  assert main.main(["inspect", str(checkpoint)]) == 0
  table = dict(
    line.split(None, 1) for line in capsys.readouterr().out.splitlines()
  )
  assert set(table) == set(facts) - {"notes"}
  assert table["mlp_activations"] == "gelu, linear"
  assert table["step"] == "1,000"
  assert table["logits_via_embedding"] == "False"


@pytest.mark.parametrize(
  ("moments", "kind"),
  [
    ((), "none"),
    (("v", "v_row", "v_col", "m"), "adafactor"),
    (("nu", "mu"), "unknown (mu, nu)"),
  ],
)
def test_the_optimizer_is_named(checkpoint, moments, kind):
  opened = checkpoints.open(checkpoint)
  array = next(iter(opened.arrays.values()))
  states = {f"encoder/encoder_norm/scale/{name}": array for name in moments}
  changed = dataclasses.replace(opened, optimizer_arrays=states)
  assert command_inspect.optimizer_kind(changed) == kind


def test_assumptions_are_printed_with_the_flags_that_replace_them(
  capsys, tmp_path
):
  tiny.save(tmp_path / "bare", "t5x")
  (tmp_path / "bare" / architecture_file.FILE).unlink()
  (note,) = _facts(capsys, tmp_path / "bare")["notes"]
  assert "--mlp_activations or --max_distance" in note
  given = _facts(
    capsys,
    tmp_path / "bare",
    "--mlp_activations=silu,linear",
    "--max_distance=40",
  )
  assert given["notes"] == []
  assert given["mlp_activations"] == ["silu", "linear"]
  assert given["max_distance"] == 40


@pytest.mark.parametrize(
  ("flag", "expected"),
  [
    ("--mlp_activations=tanh", "one or more of relu, gelu, silu, linear"),
    ("--mlp_activations=relu", "says mlp_activations=gelu,linear, not relu"),
    ("--max_distance=0", "--max_distance=0; expected a whole number"),
    ("--max_distance=40", "says max_distance=128, not 40"),
  ],
)
def test_settings_that_contradict_the_checkpoint(
  capsys, checkpoint, tmp_path, flag, expected
):
  convert = ["convert", str(checkpoint), str(tmp_path / "out"), "--format=hf"]
  for argv in (["inspect", str(checkpoint)], convert):
    assert main.main([*argv, flag]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("format", checkpoints.FORMATS)
def test_convert_casts_and_says_what_it_wrote(
  capsys, checkpoint, tmp_path, format
):
  out = tmp_path / "out"
  argv = ["convert", str(checkpoint), str(out), f"--format={format}"]
  assert main.main([*argv, "--dtype=bfloat16"]) == 0
  line = capsys.readouterr().out.strip().splitlines()[-1]
  number = len(checkpoints.open(checkpoint).arrays)
  assert line.startswith(f"{out}: ")
  assert f"{number} parameters as {format}" in line
  assert "every array and the logits of a small batch read back" in line
  facts = _facts(capsys, out)
  assert facts["dtype"] == "bfloat16"
  has_state = format != "hf"
  assert facts["step"] == (1000 if has_state else 0)
  assert facts["optimizer_state"] == ("adafactor" if has_state else "none")


def test_a_vocabulary_is_copied_beside_a_hugging_face_model(tmp_path):
  config = dataclasses.replace(tiny.CONFIG, vocab_size=256)
  params = t5.init(config, jax.random.key(0))
  checkpoint = checkpoints.Checkpoint(config, params)
  checkpoints.save(tmp_path / "source", checkpoint)
  argv = ["convert", str(tmp_path / "source"), str(tmp_path / "hf")]
  flags = ["--format=hf", f"--vocabulary={mini.VOCABULARY_PATH}"]
  assert main.main([*argv, *flags]) == 0
  with open(mini.VOCABULARY_PATH, "rb") as file:
    expected = file.read()
  assert (tmp_path / "hf" / "spiece.model").read_bytes() == expected


def test_a_hugging_face_folder_keeps_its_tokenizer_and_gets_a_card(tmp_path):
  config = dataclasses.replace(tiny.CONFIG, vocab_size=256)
  params = t5.init(config, jax.random.key(0))
  checkpoint = checkpoints.Checkpoint(config, params)
  checkpoints.save(tmp_path / "source", checkpoint, format="hf")
  golden = pathlib.Path(__file__).parents[1] / "golden/hf_tokenizers/rules"
  names = ("tokenizer.json", "tokenizer_config.json")
  for name in names:
    shutil.copy(golden / name, tmp_path / "source")
  argv = ["convert", str(tmp_path / "source"), str(tmp_path / "hf")]
  assert main.main([*argv, "--format=hf"]) == 0
  for name in names:
    content = (tmp_path / "hf" / name).read_bytes()
    assert content == (golden / name).read_bytes()
  card = (tmp_path / "hf" / "README.md").read_text()
  assert "Converted by rlhf_gap from `source`" in card
  assert "AutoTokenizer.from_pretrained" in card


def test_records_of_another_checkpoint_are_refused(capsys, tmp_path):
  config = dataclasses.replace(tiny.CONFIG, vocab_size=256)
  params = t5.init(config, jax.random.key(0))
  checkpoints.save(tmp_path / "source", checkpoints.Checkpoint(config, params))
  argv = ["convert", str(tmp_path / "source"), str(tmp_path / "hf")]
  flag = f"--records={tmp_path / 'none.jsonl'}"
  assert main.main([*argv, "--format=hf", flag]) == 2
  assert "no such file" in capsys.readouterr().err
  assert main.main([*argv, "--format=t5x", flag]) == 2
  assert not (tmp_path / "hf").exists()
