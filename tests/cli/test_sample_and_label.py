"""`rlhf-gap sample` and `rlhf-gap label` on miniatures, and their mistakes."""

import io
import json
import os
import pathlib
import re
import sys
import types

import jax
import numpy as np
import pytest
from sentencepiece import sentencepiece_model_pb2

from rlhf_gap import checkpoints, stores
from rlhf_gap.cli import main
from rlhf_gap.data import mini
from rlhf_gap.inference import judge, label, prompt_sources
from rlhf_gap.models import t5
from tests import oracles

pytestmark = pytest.mark.slow

CONFIG = t5.T5Config(
  vocab_size=256,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=16,
  num_encoder_layers=1,
  num_decoder_layers=1,
)
VOCABULARY = f"--vocabulary={mini.VOCABULARY_PATH}"
LENGTHS = {"prompt": 48, "response": 16}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  path = str(tmp_path_factory.mktemp("model") / "checkpoint_30")
  params = t5.init(CONFIG, jax.random.key(0))
  checkpoints.save(path, checkpoints.Checkpoint(CONFIG, params, 30))
  return path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
  """A store of 40 pairs in chunks of 16; pair 3 is of two equal responses."""
  path = str(tmp_path_factory.mktemp("pairs") / "store")
  vocabulary = stores.sentencepiece(mini.VOCABULARY_PATH)
  encode = stores.encoder(vocabulary)
  manifest = stores.Manifest(
    task="made_up",
    schema="pairs",
    columns=stores.PAIRS,
    feature_lengths=LENGTHS,
    vocabulary=vocabulary,
    chunk_rows=16,
    label=stores.Label("rater"),
  )
  writer = stores.create(path, manifest)
  rows = list(mini.pairs("mini_helpfulness", 0, 0, 40))
  for chunk in range(3):
    values = _columns(rows[chunk * 16 : (chunk + 1) * 16], encode)
    if chunk == 0:
      values["rejected_tokens"][3] = values["chosen_tokens"][3]
    writer.append(chunk, values)
  writer.finish()
  return path


def _columns(rows, encode):
  def tokens(texts, length):
    ids = [[*encode(text), 1] for text in texts]
    return np.array([r + [0] * (length - len(r)) for r in ids], np.int32)

  count = len(rows)
  values = {
    "prompt_tokens": tokens([r["prompt"] for r in rows], 48),
    "chosen_tokens": tokens([r["response_a"] for r in rows], 16),
    "rejected_tokens": tokens([r["response_b"] for r in rows], 16),
    "prompt_id": np.arange(count, dtype=np.int64),
    "policy_step": np.full(count, -1, np.int32),
    "chosen_seed": np.arange(count, dtype=np.int64),
    "rejected_seed": 100 + np.arange(count, dtype=np.int64),
    "truncated": np.full(count, stores.Truncated.CHOSEN, np.int32),
    "weight": np.ones(count, np.float32),
  }
  for name in ("judge_r12", "judge_r21"):
    values[name] = np.full(count, np.nan, np.float32)
  for side in ("chosen", "rejected"):
    values[f"{side}_reference_log_prob"] = np.full(count, np.nan, np.float32)
  return values


def _run(*argv):
  return main.main([str(word) for word in argv])


def _records(path):
  with open(path, encoding="utf-8") as file:
    return [json.loads(line) for line in file]


def test_a_store_is_sampled_whatever_the_batch_size(
  tmp_path, checkpoint, pairs
):
  flags = [f"--prompts={pairs}", "--num_prompts=5", "--max_length=6"]
  for size in (2, 5):
    output = tmp_path / str(size)
    flag = f"--batch_size={size}"
    assert _run("sample", checkpoint, *flags, flag, f"--output={output}") == 0
  twos, fives = _records(tmp_path / "2"), _records(tmp_path / "5")
  assert [r["row"] for r in twos] == [0, 1, 2, 3, 4]
  expected = [r["prompt"] for r in mini.pairs("mini_helpfulness", 0, 0, 5)]
  assert [r["prompt"] for r in twos] == expected
  for two, five in zip(twos, fives, strict=True):
    assert [s["tokens"] for s in two["samples"]] == [
      s["tokens"] for s in five["samples"]
    ]
    for drawn in two["samples"]:
      assert 0 < len(drawn["tokens"]) == len(drawn["log_probs"]) <= 6
      assert drawn["log_prob_sum"] == pytest.approx(
        sum(drawn["log_probs"]), abs=1e-4
      )
  assert not os.path.exists(tmp_path / "2.partial")


def test_text_from_standard_input(capsys, monkeypatch, checkpoint):
  prompt = next(iter(mini.pairs("mini_arena", 0, 0, 1)))["prompt"]
  stream = types.SimpleNamespace(buffer=io.BytesIO(f"{prompt}\n".encode()))
  monkeypatch.setattr(sys, "stdin", stream)
  flags = ["--prompts=-", VOCABULARY, "--max_length=3", "--input_length=16"]
  assert _run("sample", checkpoint, *flags, "--num_samples=3") == 0
  record = json.loads(capsys.readouterr().out)
  assert record["prompt"] == prompt
  assert len(record["samples"]) == 3


@pytest.mark.parametrize(
  ("content", "flags", "expected"),
  [
    (b"one two\n\n", [], ":2: an empty prompt"),
    (b"fine\n\xff\xfe\n", [], ":2: not UTF-8 (byte 1"),
    (b"one two three four five\n", ["--input_length=5"], "window has 5"),
    (b"", [], "holds no prompts"),
    (b"\xef\xbb\xbffine\nfine\n\n", [], ":3: an empty prompt"),
    ("fine\n".encode("utf-16"), [], "looks like UTF-16"),
    (b"fine\nnul\0\n", [], ":2: holds a NUL"),
    (b"old\rmac\rlines\r", [], ":1: holds a carriage return"),
    (
      b"x\n",
      ["--temperature=-1"],
      "--temperature=-1; expected a finite",
    ),
    (
      b"x\n",
      ["--top_p=0"],
      "--top_p=0; expected a finite number above 0",
    ),
    (
      b"x\n",
      ["--max_length=0"],
      "max_length=0; expected a whole number, 1 or more",
    ),
  ],
)
def test_mistakes_of_sampling(
  capsys, tmp_path, checkpoint, content, flags, expected
):
  (tmp_path / "prompts").write_bytes(content)
  argv = [f"--prompts={tmp_path / 'prompts'}", VOCABULARY, *flags]
  output = tmp_path / "out"
  assert _run("sample", checkpoint, *argv, f"--output={output}") == 2
  error = capsys.readouterr().err
  assert expected in error
  assert len(error.strip().splitlines()) == 1
  assert sorted(os.listdir(tmp_path)) == ["prompts"]


def test_what_is_no_file_is_not_waited_for(capsys, tmp_path, checkpoint):
  os.mkfifo(tmp_path / "fifo")
  (tmp_path / "folder").mkdir()
  for path in (tmp_path / "fifo", tmp_path / "folder", "/dev/zero"):
    assert _run("sample", checkpoint, f"--prompts={path}", VOCABULARY) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("name", [mini.VOCABULARY_PATH, "bytes"])
def test_line_ends_and_marks_change_no_prompt(name):
  vocabulary = stores.named(name)
  files = (
    "one two\nthree\u2028four\n",
    "\ufeffone two\r\nthree\u2028four",
  )
  unix, windows = (
    prompt_sources.from_lines(
      io.BytesIO(text.encode()), "name", vocabulary, 48
    ).tokens
    for text in files
  )
  np.testing.assert_array_equal(unix, windows)
  encode = stores.encoder(vocabulary)
  for row, text in zip(unix, ("one two", "three\u2028four"), strict=True):
    assert row[: np.count_nonzero(row)].tolist() == [*encode(text), 1]


def test_a_vocabulary_is_measured_against_the_embedding(
  capsys, tmp_path, checkpoint
):
  """The model has 256 rows: the miniatures' ids fit, ByT5's 384 do not."""
  (tmp_path / "prompts").write_text("a b\n")
  flag = "--vocabulary=bytes"
  for argv in (
    ("sample", checkpoint, f"--prompts={tmp_path / 'prompts'}", flag),
    ("inspect", checkpoint, flag),
    ("convert", checkpoint, tmp_path / "out", "--format=hf", flag),
  ):
    assert _run(*argv) == 2
    assert "vocabulary has 384 ids" in capsys.readouterr().err
  assert _run("inspect", checkpoint, VOCABULARY) == 0
  assert os.listdir(tmp_path) == ["prompts"]


def test_byt5_takes_bytes_everywhere(capsys, tmp_path):
  config = t5.T5Config(**{**CONFIG.__dict__, "vocab_size": 384})
  params = t5.init(config, jax.random.key(0))
  path, out = tmp_path / "byt5", tmp_path / "out"
  checkpoints.save(path, checkpoints.Checkpoint(config, params))
  (tmp_path / "prompts").write_text("n\u00e9\n", encoding="utf-8")
  flag = "--vocabulary=bytes"
  assert _run("inspect", path, flag) == 0
  assert _run("convert", path, out, "--format=hf", flag) == 0
  assert "spiece.model" not in os.listdir(out)
  capsys.readouterr()
  lengths = ("--input_length=8", "--max_length=2")
  prompts = f"--prompts={tmp_path / 'prompts'}"
  assert _run("sample", out, prompts, flag, *lengths) == 0
  assert json.loads(capsys.readouterr().out)["prompt"] == "n\u00e9"


def test_a_vocabulary_beside_a_store_must_be_the_stores(
  capsys, tmp_path, checkpoint, pairs
):
  content = pathlib.Path(mini.VOCABULARY_PATH).read_bytes()
  (tmp_path / "moved").write_bytes(content)
  other = sentencepiece_model_pb2.ModelProto.FromString(content)
  other.pieces[-1].score -= 1
  (tmp_path / "other").write_bytes(other.SerializeToString())
  flags = [f"--prompts={pairs}", "--num_prompts=1", "--max_length=2"]
  for name, expected in (("moved", 0), ("other", 2), ("missing", 2)):
    vocabulary = f"--vocabulary={tmp_path / name}"
    assert _run("sample", checkpoint, *flags, vocabulary) == expected
  error = capsys.readouterr().err
  assert "holds token ids of" in error
  assert "missing" in error


def test_a_token_outside_the_embedding(capsys, tmp_path, pairs):
  config = t5.T5Config(**{**CONFIG.__dict__, "vocab_size": 32})
  params = t5.init(config, jax.random.key(0))
  path = str(tmp_path / "small")
  checkpoints.save(path, checkpoints.Checkpoint(config, params))
  assert _run("sample", path, f"--prompts={pairs}") == 2
  assert "32 rows" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("factor", "expected"),
  [
    (np.nan, r"step 0\b.*parameter decoder/layers_0/mlp/wo/kernel"),
    # Squares that overflow: every parameter is finite, the layer is not.
    (3e38, r"step \d+\b.*layer decoder/layers_0"),
  ],
)
def test_logits_that_are_not_finite_name_step_and_layer(
  capsys, tmp_path, pairs, factor, expected
):
  params = jax.tree.map(lambda x: x, t5.init(CONFIG, jax.random.key(0)))
  mlp = params["decoder"]["layers_0"]["mlp"]["wo"]
  mlp["kernel"] = mlp["kernel"] * np.float32(factor)
  path = str(tmp_path / "broken")
  checkpoints.save(path, checkpoints.Checkpoint(CONFIG, params))
  flags = [f"--prompts={pairs}", "--num_prompts=2", "--max_length=4"]
  assert _run("sample", path, *flags) == 2
  assert re.search(expected, capsys.readouterr().err)


def test_labelling_puts_the_judges_winner_first(tmp_path, checkpoint, pairs):
  output = str(tmp_path / "labelled")
  flags = [f"--pairs={pairs}", f"--output={output}"]
  assert _run("label", checkpoint, *flags) == 0
  before, after = stores.open(pairs), stores.open(output)
  old, new = before.read(range(40)), after.read(range(40))
  model = checkpoints.load(checkpoint)
  words = judge.words_of(before.manifest.vocabulary)
  verdict = jax.jit(
    judge.compare, static_argnums=(0, 2), static_argnames="length"
  )(
    model.config,
    model.params,
    words,
    *(
      jax.numpy.asarray(old[name])
      for name in ("prompt_tokens", "chosen_tokens", "rejected_tokens")
    ),
    length=48,
  )
  swapped = np.asarray(verdict.label) < 0.5
  assert 0 < swapped.sum() < 40
  for side, other in (("chosen", "rejected"), ("rejected", "chosen")):
    for name in ("tokens", "seed"):
      expected = oracles.choose(
        swapped, old[f"{other}_{name}"], old[f"{side}_{name}"]
      )
      np.testing.assert_array_equal(new[f"{side}_{name}"], expected)
  assert (new["judge_r12"] >= new["judge_r21"] - 1e-6).all()
  cut = np.where(
    swapped, int(stores.Truncated.REJECTED), int(stores.Truncated.CHOSEN)
  )
  np.testing.assert_array_equal(new["truncated"], cut)
  assert new["weight"][3] == 0  # the tie
  assert (np.delete(new["weight"], 3) == 1).all()
  assert after.manifest.label.by == "judge"
  assert after.manifest.label.judge == stores.CheckpointIdentity(
    checkpoint, checkpoints.fingerprint(checkpoint), 30
  )


def test_only_a_miniature_s_utility_is_known(capsys, tmp_path, pairs):
  output = tmp_path / "labelled"
  assert _run("label", "utility", f"--pairs={pairs}", f"--output={output}") == 2
  error = capsys.readouterr().err
  assert "the hidden utility of made_up is unknown" in error
  assert error.count("\n") == 1
  assert not output.exists()


def test_labelling_resumes_where_it_stopped(
  tmp_path, checkpoint, pairs, monkeypatch
):
  whole, broken = str(tmp_path / "whole"), str(tmp_path / "broken")
  flags = [f"--pairs={pairs}"]
  assert _run("label", checkpoint, *flags, f"--output={whole}") == 0
  relabel, seen = label.relabel, []

  def interrupted(values, verdict):
    seen.append(len(values["weight"]))
    if len(seen) == 2:
      raise KeyboardInterrupt
    return relabel(values, verdict)

  monkeypatch.setattr(label, "relabel", interrupted)
  argv = ["label", checkpoint, *flags, f"--output={broken}"]
  assert _run(*argv) == 130
  assert stores.open(broken).num_rows == 16
  assert _run(*argv) == 0
  assert seen == [16, 16, 16, 8]
  expected, resumed = stores.open(whole), stores.open(broken)
  assert resumed.manifest == expected.manifest
  for name, value in expected.read(range(40)).items():
    np.testing.assert_array_equal(resumed.read(range(40))[name], value)


def test_a_window_that_would_cut_responses(capsys, tmp_path, checkpoint, pairs):
  flags = [f"--pairs={pairs}", f"--output={tmp_path / 'out'}"]
  assert _run("label", checkpoint, *flags, "--input_length=30") == 2
  assert "expected at least 35" in capsys.readouterr().err
  assert os.listdir(tmp_path) == []


def test_a_fingerprint_is_that_of_the_parameters(tmp_path, checkpoint):
  checkpoints.convert(checkpoint, tmp_path / "hf", format="hf")
  same = checkpoints.fingerprint(tmp_path / "hf")
  assert same == checkpoints.fingerprint(checkpoint)
  other = t5.init(CONFIG, jax.random.key(1))
  checkpoints.save(tmp_path / "other", checkpoints.Checkpoint(CONFIG, other))
  assert checkpoints.fingerprint(tmp_path / "other") != same


def test_a_judge_that_ties_every_pair_is_a_mistake(
  tmp_path, checkpoint, pairs, capsys
):
  """The store is whole and says so: nothing in it can be learned from."""
  model = checkpoints.load(checkpoint)
  flat = jax.tree.map(jax.numpy.zeros_like, model.params)
  judge_of_nothing = str(tmp_path / "checkpoint_0")
  checkpoints.save(
    judge_of_nothing, checkpoints.Checkpoint(model.config, flat, 0)
  )
  flags = [f"--pairs={pairs}", f"--output={tmp_path / 'labelled'}"]
  for _ in range(2):  # nor does a second call pass
    assert _run("label", judge_of_nothing, *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"all 40 pairs of {pairs} are ties (weight 0)" in line
  labelled = stores.open(str(tmp_path / "labelled"))
  assert not labelled.read(range(40), ["weight"])["weight"].any()
