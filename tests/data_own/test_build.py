"""Stores of one's own files: equal to the built-in ones, and resumable."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rlhf_gap import errors, stores
from rlhf_gap.cli import main
from rlhf_gap.data import catalog, mini
from tests.data import made_up as published
from tests.data_own import made_up
from tests.stores.made_up import tree

pytestmark = pytest.mark.slow

MINI = f"--vocabulary={mini.VOCABULARY_PATH}"
LENGTHS = ["--inputs_length=48", "--targets_length=16"]
MINIATURES = sorted(
  {e.dataset for e in catalog.TASKS if e.dataset in mini.CORPORA}
)


def data(*words: str) -> None:
  assert main.main(["data", *map(str, words)]) == 0


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  store = stores.open(str(path))
  return dict(store.read(range(store.num_rows)))


@pytest.mark.parametrize("kind", catalog.KINDS)
@pytest.mark.parametrize("miniature", MINIATURES)
def test_an_exported_miniature_comes_back(
  tmp_path: pathlib.Path,
  capsys: pytest.CaptureFixture,
  miniature: str,
  kind: str,
):
  """Token ids are equal, bit for bit, and so are all other columns."""
  built, back = tmp_path / "built", tmp_path / "back"
  data(f"{miniature}_{kind}", "--rows=300", f"--output={built}", *LENGTHS)
  data("export", built, "--format=jsonl")
  exported = tmp_path / "built.jsonl"
  kinds = [] if kind in ("sft", "prompts", "pairs") else [f"--kind={kind}"]
  words = [f"--source={exported}", f"--output={back}", MINI, *kinds, *LENGTHS]
  data("own", *words)
  expected, found = read(built), read(back)
  assert len(found["prompt_tokens"]) > 100
  assert found.keys() == expected.keys()
  lines = {"source_line"}
  for name in found.keys() - lines:
    assert found[name].tobytes() == expected[name].tobytes(), name


def test_an_exported_miniature_comes_back_from_parquet(tmp_path: pathlib.Path):
  built, back = tmp_path / "built", tmp_path / "back"
  data("mini_arena_pairs", "--rows=900", f"--output={built}")
  data("export", built, "--format=parquet")
  source = f"--source={tmp_path}/built.parquet"
  data("own", source, f"--output={back}", MINI, *LENGTHS)
  expected, found = read(built), read(back)
  for name in ("prompt_tokens", "chosen_tokens", "rejected_tokens"):
    assert found[name].tobytes() == expected[name].tobytes()


def test_hh_rlhf_has_the_tokens_of_the_built_in_task(tmp_path: pathlib.Path):
  published.write_all(tmp_path / "source")
  built, own = tmp_path / "built", tmp_path / "own"
  data(
    "anthropic_harmlessness_pairs",
    f"--source={tmp_path}/source",
    "--vocabulary=bytes",
    f"--output={built}",
    f"--tfds_data_dir={tmp_path}/tfds",
    "--allow_malformed",
  )
  files = sorted((tmp_path / "source").rglob("harmless-base/train.jsonl*"))
  data(
    "own",
    f"--source={files[0]}",
    "--vocabulary=bytes",
    f"--output={own}",
    "--allow_malformed",
  )
  expected, found = read(built), read(own)
  by_line = dict(
    zip(found["source_line"].tolist(), found["chosen_tokens"], strict=True)
  )
  prompts = dict(
    zip(found["source_line"].tolist(), found["prompt_tokens"], strict=True)
  )
  assert len(expected["source_line"]) > 0
  for i, line in enumerate(expected["source_line"].tolist()):
    np.testing.assert_array_equal(by_line[line], expected["chosen_tokens"][i])
    np.testing.assert_array_equal(prompts[line], expected["prompt_tokens"][i])


def test_prompt_ids_and_weights_are_read(tmp_path: pathlib.Path):
  source = made_up.write(
    tmp_path / "rows.jsonl",
    made_up.pair(1, prompt_id="question 17", weight=0.5),
    made_up.pair(2, prompt_id=17, weight=None),
    made_up.pair(3),
  )
  made_up.import_rows(source, tmp_path / "store")
  assert made_up.column(tmp_path / "store", "prompt_id").tolist() == [
    stores.prompt_id("question 17"),
    17,
    stores.prompt_id("Name animal 3"),
  ]
  weights = made_up.column(tmp_path / "store", "weight")
  np.testing.assert_array_equal(weights, np.float32([0.5, 1, 1]))


@pytest.mark.parametrize(("keep", "end"), [("end", "z"), ("start", "a")])
def test_long_prompts_keep_an_end(tmp_path: pathlib.Path, keep: str, end: str):
  from rlhf_gap.data.own import build
  from rlhf_gap.data.own import request as requests

  row = made_up.pair(prompt="a" * 300 + "z" * 300)
  source = made_up.write(tmp_path / "rows.jsonl", row)
  report = build.build(
    requests.Request(str(source)),
    requests.Store(
      str(tmp_path / "store"), stores.named("bytes"), made_up.WINDOWS, keep
    ),
  )
  assert report.truncated == {"prompt": 1}
  assert made_up.texts(tmp_path / "store")[0][0] == end * 199


def test_a_preference_models_text_must_fit(tmp_path: pathlib.Path):
  source = made_up.write(tmp_path / "rows.jsonl", made_up.pair())
  made_up.import_rows(source, tmp_path / "store", kind="preference")
  prompt = made_up.column(tmp_path / "store", "prompt_tokens")
  assert np.count_nonzero(prompt) == len("Name animal 0") + 1
  words = ["--vocabulary=bytes", "--kind=preference", "--inputs_length=64"]
  output = f"--output={tmp_path}/other"
  assert main.main(["data", "own", f"--source={source}", output, *words]) == 2


def test_the_same_command_leaves_a_finished_store_as_it_is(
  tmp_path: pathlib.Path,
):
  source = made_up.write(
    tmp_path / "rows.jsonl", *map(made_up.pair, range(700)), b"{"
  )
  made_up.import_rows(source, tmp_path / "store")
  before = tree(tmp_path / "store")
  report = made_up.import_rows(source, tmp_path / "store")
  assert report.rows_written == 700
  assert tree(tmp_path / "store") == before
  made_up.write(source, *map(made_up.pair, range(701)))
  with pytest.raises(errors.UserError, match="holds another store"):
    made_up.import_rows(source, tmp_path / "store")
  assert tree(tmp_path / "store") == before


def test_other_settings_are_another_store(tmp_path: pathlib.Path):
  row = {"chosen": "a: b c", "rejected": "a: b d"}
  source = made_up.write(tmp_path / "rows.jsonl", row)
  made_up.import_rows(source, tmp_path / "store")
  with pytest.raises(errors.UserError, match="it differs in source"):
    made_up.import_rows(source, tmp_path / "store", prompt_ends_with="a")


def committed_rows(store: pathlib.Path) -> int:
  try:
    return json.loads((store / "manifest.json").read_text())["rows"]
  except (FileNotFoundError, json.JSONDecodeError):
    return 0


def test_a_killed_command_resumes_exactly(tmp_path: pathlib.Path):
  rows = [made_up.pair(n) for n in range(8_000)]
  source = made_up.write(tmp_path / "rows.jsonl", *rows, b"{")
  killed, whole = tmp_path / "killed", tmp_path / "whole"
  words = [f"--source={source}", "--vocabulary=bytes", "--inputs_length=64"]
  command = [sys.executable, "-m", "rlhf_gap.cli.main", "data", "own", *words]
  process = subprocess.Popen(
    [*command, f"--output={killed}"],
    env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    stdout=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 120
  while not committed_rows(killed):
    assert process.poll() is None, "it ended before it could be killed"
    assert time.monotonic() < deadline
    time.sleep(0.002)
  process.send_signal(signal.SIGKILL)
  process.wait()
  left = committed_rows(killed)
  data("own", *words, f"--output={killed}")
  data("own", *words, f"--output={whole}")
  assert 0 < left < committed_rows(killed) == 8_000
  assert tree(killed) == tree(whole)
  assert made_up.skipped(killed) == [(8_001, "malformed_json")]
