"""Stores of generated pairs: whose responses, resumed, and mistakes."""

import jax
import numpy as np
import pytest

from rlhf_gap import checkpoints, errors, pairs, stores
from rlhf_gap.cli import main
from tests.evaluation import tiny
from tests.training import ingredients

pytestmark = pytest.mark.slow

SIZE = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  base = tmp_path_factory.mktemp("generated")
  ingredients.write(base / "prompts", "prompts")
  for number, name in enumerate(("judge", "sft", "first", "second")):
    tiny.save(base / name, tiny.params(number), 10 * number)
  return base


def _flags(folder, output, *more):
  return [
    *("generate", str(folder / "first"), str(folder / "second")),
    *(f"--prompts={folder / 'prompts'}", f"--judge={folder / 'judge'}"),
    *(f"--reference={folder / 'sft'}", f"--output={output}"),
    *(f"--max_length={tiny.LENGTHS['response']}", f"--batch_size={SIZE}"),
    *("--seed=3", *more),
  ]


@pytest.fixture(scope="module")
def made(folder):
  output = folder / "made"
  assert main.main(_flags(folder, output, "--num_pairs=10")) == 0
  return stores.open(str(output))


def _source(folder):
  loaded = checkpoints.load(str(folder / "sft"))
  identity = stores.CheckpointIdentity("sft", "mine", 0)
  reference = pairs.Reference(loaded.config, loaded.params, identity)
  context = pairs.Context(loaded.config, reference, SIZE, seed=3)
  sampling = pairs.Sampling(max_length=tiny.LENGTHS["response"])
  spec = pairs.Generated(
    *(str(folder / name) for name in ("first", "second", "prompts", "judge")),
    sampling,
  )
  return spec.open(context)


def test_the_store_holds_what_the_source_draws(folder, made):
  assert made.num_rows == 12  # whole batches
  assert made.manifest.complete
  values = made.read(range(12))
  for step in (0, 1):
    batch = _source(folder).fetch(step, {}).batch
    rows = slice(step * SIZE, (step + 1) * SIZE)
    for name, drawn in (
      ("chosen_tokens", batch.chosen),
      ("rejected_tokens", batch.rejected),
      ("chosen_reference_log_prob", batch.chosen_reference),
      ("judge_r12", batch.judge_r12),
    ):
      np.testing.assert_array_equal(values[name][rows], np.asarray(drawn))


def test_the_manifest_names_judge_reference_and_both_sides(folder, made):
  manifest = made.manifest
  named = checkpoints.fingerprint
  assert manifest.label.judge.sha256 == named(str(folder / "judge"))
  assert manifest.reference.sha256 == named(str(folder / "sft"))
  for side in ("first", "second"):
    expected = named(str(folder / side))
    assert manifest.source[f"{side}.sha256"] == expected


def test_offline_training_reads_it_without_scoring_again(folder, made):
  loaded = checkpoints.load(str(folder / "sft"))
  fingerprint = checkpoints.fingerprint(str(folder / "sft"))
  identity = stores.CheckpointIdentity("sft", fingerprint, 0)
  reference = pairs.Reference(loaded.config, loaded.params, identity)
  context = pairs.Context(loaded.config, reference, SIZE, seed=0)
  batch = pairs.Offline(made.path).open(context).fetch(0, {}).batch
  scores = reference.log_probs(
    batch.prompt, jax.numpy.stack([batch.chosen, batch.rejected], axis=1)
  )
  np.testing.assert_allclose(
    np.stack([batch.chosen_reference, batch.rejected_reference], axis=1),
    scores,
    atol=1e-4,
  )


def test_an_interrupted_store_is_gone_on_with(folder, made, tmp_path):
  output = tmp_path / "again"
  assert main.main(_flags(folder, output, "--num_pairs=6")) == 0
  # A kill after the first batch leaves a store that is not complete.
  manifest = output / "manifest.json"
  text = manifest.read_text()
  assert '"complete": true' in text
  manifest.write_text(text.replace('"complete": true', '"complete": false'))
  assert main.main(_flags(folder, output, "--num_pairs=12")) == 0
  one, other = stores.open(str(output)), made
  rows = range(12)
  for name, values in one.read(rows).items():
    np.testing.assert_array_equal(values, other.read(rows)[name])


def test_mistakes(folder, made, capsys, tmp_path):
  again = _flags(folder, made.path, "--num_pairs=12")
  again[1], again[2] = again[2], again[1]
  assert main.main(again) == 2
  assert "source" in capsys.readouterr().err
  assert main.main(_flags(folder, tmp_path / "n", "--num_pairs=0")) == 2
  assert "num_pairs=0" in capsys.readouterr().err
  assert not (tmp_path / "n").exists()


def test_a_policy_that_has_diverged_is_named(folder, tmp_path):
  broken = jax.tree.map(lambda x: x * np.nan, tiny.params(2))
  tiny.save(tmp_path / "broken", broken)
  flags = _flags(folder, tmp_path / "out", "--num_pairs=6")
  flags[1] = str(tmp_path / "broken")
  assert main.main(flags) == 2


def test_the_count_is_checked_before_anything_is_written(folder, tmp_path):
  spec = pairs.Generated("a", "b", "c", "d")
  context = pairs.Context(tiny.CONFIG, None, SIZE, seed=0)
  with pytest.raises(errors.UserError, match="num_pairs=-1"):
    pairs.generate(spec, context, str(tmp_path / "x"), -1)
