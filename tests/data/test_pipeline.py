"""Whole pipelines: made-up published files and miniatures into stores."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from rlhf_gap import errors, stores
from rlhf_gap.data import mini, pipeline, reports, vocabularies
from tests import reference
from tests.data import made_up

pytestmark = pytest.mark.slow

WINDOWS = {"inputs": 96, "targets": 24}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("published")
  made_up.write_all(folder)
  return folder


@pytest.fixture(scope="module")
def tfds_data_dir(tmp_path_factory) -> pathlib.Path:
  return tmp_path_factory.mktemp("tfds")


@pytest.fixture
def request_of(published, tfds_data_dir, tmp_path):
  def make(task: str, **changes) -> pipeline.Request:
    return pipeline.Request(
      **{
        "task": task,
        "vocabulary": vocabularies.named("bytes"),
        "output": str(tmp_path / task),
        "split": "train",
        "windows": WINDOWS,
        "folder": str(published),
        "tfds_data_dir": str(tfds_data_dir),
      }
      | changes
    )

  return make


def texts(store: stores.Store, column: str) -> list[str]:
  decode = stores.decoder(store.manifest.vocabulary)
  values = store.read(range(store.num_rows))[column]
  return [decode(row.tolist()) for row in values]


def contents(folder: str) -> dict[str, bytes]:
  root = pathlib.Path(folder)
  return {
    str(path.relative_to(root)): path.read_bytes()
    for path in root.rglob("*")
    if path.is_file()
  }


def test_pairs(request_of):
  request = request_of("anthropic_harmlessness_pairs")
  report = pipeline.build(request)
  assert (report.rows_read, report.rows_kept, report.rows_written) == (8, 4, 4)
  assert report.dropped == {
    "identical_responses": 1,
    "empty_response": 1,
    "response_has_human_turn": 1,
    "no_shared_prompt": 1,
  }
  assert report.notes == {"turn_count_mismatch": 1}
  store = stores.open(request.output)
  assert store.manifest.complete
  assert store.manifest.dropped == report.dropped
  assert store.manifest.label == stores.Label("human")
  assert store.manifest.source["split"] == "train"
  assert sorted(texts(store, "chosen_tokens")) == [
    "A ripe pear.",
    "By light.",
    "Light.\n\nAssistant: Light",  # cut to 24 bytes
    "The apple.",
  ]
  assert report.truncated == {"chosen": 1}
  rows = store.read(range(4))
  assert sorted(rows["source_line"].tolist()) == [1, 2, 3, 4]
  files = store.manifest.source["files"].split("\n")
  assert files[rows["source_file"][0]] == "hh_rlhf/harmless-base/train.jsonl.gz"
  assert np.isnan(rows["judge_r12"]).all()
  assert (rows["policy_step"] == stores.NO_POLICY).all()
  assert len(set(rows["prompt_id"].tolist())) == 2


def test_line_and_text_belong_together(request_of):
  store_of = request_of("anthropic_harmlessness_pairs")
  pipeline.build(store_of)
  store = stores.open(store_of.output)
  lines = store.read(range(4))["source_line"].tolist()
  for line, chosen in zip(lines, texts(store, "chosen_tokens"), strict=True):
    published = made_up.HH_ROWS[line - 1]["chosen"]
    assert chosen in published


def test_skipped_rows_are_listed_beside_the_store(request_of):
  request = request_of("anthropic_harmlessness_pairs")
  pipeline.build(request)
  side_file = pathlib.Path(f"{request.output}.skipped_rows.jsonl")
  listed = [json.loads(line) for line in side_file.read_text().splitlines()]
  assert [(r["line"], r["reason"]) for r in listed] == [
    (5, "identical_responses"),
    (6, "empty_response"),
    (7, "response_has_human_turn"),
    (8, "no_shared_prompt"),
  ]


@pytest.mark.parametrize(
  ("task", "schema", "rows"),
  [
    ("openai_summarization_sft", "sft", 4),
    ("openai_summarization_prompts", "prompts", 1),
    ("chat_arena_preference", "pairs", 2),
    ("chat_arena_shared_prefix_pairs", "pairs", 3),
  ],
)
def test_every_kind(request_of, task, schema, rows):
  request = request_of(task)
  report = pipeline.build(request)
  store = stores.open(request.output)
  assert report.rows_written == store.num_rows == rows
  assert store.manifest.schema == schema
  assert "empty_after_tokenizing" not in report.dropped


def test_summaries_keep_the_head_and_the_tail_of_their_prompt(request_of):
  windows = {"inputs": 64, "targets": 24}
  request = request_of("openai_summarization_prompts", windows=windows)
  report = pipeline.build(request)
  (prompt,) = texts(stores.open(request.output), "prompt_tokens")
  head = "SUBREDDIT: r/pets\n\nTITLE: Title 1\n\nPOST: "
  assert prompt == f"{head}Post 1.\n\nIt go\n\nTL;DR:"
  assert report.truncated == {"prompt": 1}


def test_the_pooled_mixture_holds_every_row_of_its_parts(request_of):
  request = request_of("pooled_sft")
  report = pipeline.build(request)
  assert report.rows_written == 2 * (2 + 4 + 4 + 2)
  assert len(report.files) == 6
  assert report.other_files == []
  assert list(report.datasets) == [
    "openai_summarization",
    "anthropic_helpfulness",
    "anthropic_harmlessness",
    "chat_arena",
  ]
  rows = stores.open(request.output).read(range(report.rows_written))
  places = zip(rows["source_file"], rows["source_line"], strict=True)
  assert sorted(np.unique([f for f, _ in places], return_counts=True)[1]) == [
    4,
    4,
    8,
    8,
  ]


def test_a_second_run_leaves_the_store_as_it_is(request_of):
  request = request_of("anthropic_harmlessness_pairs")
  first = pipeline.build(request)
  before = contents(request.output)
  second = pipeline.build(request)
  assert contents(request.output) == before
  timed = {"seconds": 0.0, "rows_per_second": 0.0}
  assert dataclasses.replace(first, **timed) == dataclasses.replace(
    second, **timed
  )


def test_another_task_into_the_same_directory_is_a_user_error(request_of):
  request = request_of("anthropic_harmlessness_pairs")
  pipeline.build(request)
  other = request_of("openai_summarization_pairs", output=request.output)
  with pytest.raises(errors.UserError, match="holds another store"):
    pipeline.build(other)


def test_changed_files_are_not_answered_with_what_they_held(
  request_of, tmp_path
):
  made_up.write_hh(tmp_path / "source", "harmless-base")
  folder = str(tmp_path / "source")
  request = request_of("anthropic_harmlessness_pairs", folder=folder)
  pipeline.build(request)
  path = tmp_path / "source" / "harmless-base" / "train.jsonl.gz"
  made_up.write_json_lines(path, made_up.HH_ROWS[:2])
  with pytest.raises(errors.UserError, match="differs in source"):
    pipeline.build(request)
  fresh = dataclasses.replace(request, output=str(tmp_path / "fresh"))
  assert pipeline.build(fresh).rows_read == 2


def test_malformed_rows_stop_a_build_before_it_writes(request_of, tmp_path):
  path = tmp_path / "source" / "harmless-base" / "train.jsonl.gz"
  made_up.write_json_lines(path, [*made_up.HH_ROWS, b"{"])
  request = request_of(
    "anthropic_harmlessness_pairs", folder=str(tmp_path / "source")
  )
  with pytest.raises(errors.UserError, match=r"train.jsonl.gz:9 \(malformed"):
    pipeline.build(request)
  assert not pathlib.Path(request.output).exists()
  allowed = dataclasses.replace(request, allow_malformed=True)
  report = pipeline.build(allowed)
  assert report.dropped["malformed_json"] == 1
  assert report.datasets["anthropic_harmlessness"]["unknown"]["read"] == 1
  # Now that it is prepared, the check still holds for who does not allow it.
  with pytest.raises(errors.UserError, match="1 of 9 rows are malformed"):
    pipeline.build(dataclasses.replace(request, output=str(tmp_path / "o")))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"split": "valid"}, "has no split valid here, only test, train"),
    ({"num_rows": 5}, "--rows and --seed apply to miniatures only"),
    ({"folder": "/nowhere"}, "is not a folder"),
  ],
)
def test_mistakes(request_of, changes, message):
  with pytest.raises(errors.UserError, match=message):
    pipeline.build(request_of("anthropic_harmlessness_sft", **changes))


@pytest.fixture
def mini_request(request_of):
  def make(task: str, **changes) -> pipeline.Request:
    return request_of(
      task,
      **{
        "vocabulary": vocabularies.named(mini.VOCABULARY_PATH),
        "windows": {"inputs": 48, "targets": 16},
        "folder": None,
        "num_rows": 700,
      }
      | changes,
    )

  return make


def test_a_miniature(mini_request):
  request = mini_request("mini_arena_pairs")
  report = pipeline.build(request)
  assert report.rows_read == 700
  assert report.rows_read == report.rows_kept + sum(report.dropped.values())
  assert set(report.dropped) == {"tie", "identical_responses"}
  assert report.unknown_token_rate == 0
  store = stores.open(request.output)
  assert store.manifest.label == stores.Label("rater")
  rows = store.read(range(report.rows_written))
  drawn = list(mini.pairs("mini_arena", 0, 0, 700))
  for line, prompt, chosen in zip(
    rows["source_line"],
    texts(store, "prompt_tokens"),
    texts(store, "chosen_tokens"),
    strict=True,
  ):
    row = drawn[line]
    assert prompt == row["prompt"]
    assert chosen == (row["response_a"], row["response_b"])[row["label"]]


def test_a_store_killed_half_way_ends_like_one_that_was_not(mini_request):
  whole = mini_request("mini_helpfulness_pairs")
  pipeline.build(whole)
  killed = dataclasses.replace(whole, output=f"{whole.output}_killed")
  pipeline.build(killed)
  manifest = stores.open(killed.output).manifest
  unfinished = dataclasses.replace(manifest, rows=0, complete=False, dropped={})
  # What a kill after the first commit leaves.
  stores.create(killed.output, unfinished).truncate(1)
  assert contents(killed.output) != contents(whole.output)
  pipeline.build(killed)
  assert contents(killed.output) == contents(whole.output)


def test_what_miniatures_are_pretrained_on(mini_request):
  request = mini_request("mini_pretrain", num_rows=300, split="validation")
  report = pipeline.build(request)
  assert (report.rows_written, report.dropped) == (300, {})
  assert report.unknown_token_rate == 0
  store = stores.open(request.output)
  assert (store.manifest.schema, store.manifest.label.by) == ("sft", "none")
  drawn = list(mini.texts(0, 0, 300, split="validation"))
  assert texts(store, "prompt_tokens") == [row["inputs"] for row in drawn]
  assert texts(store, "response_tokens") == [row["targets"] for row in drawn]


def test_the_seed_draws_other_comparisons(mini_request, tmp_path):
  one = mini_request("mini_helpfulness_prompts")
  other = dataclasses.replace(one, seed=1, output=str(tmp_path / "other"))
  found = []
  for request in (one, other):
    report = pipeline.build(request)
    prompts = texts(stores.open(request.output), "prompt_tokens")
    assert len(set(prompts)) == len(prompts) == report.rows_written
    found.append(prompts)
  assert found[0] != found[1]


def test_a_response_that_the_vocabulary_drops_is_counted(request_of, tmp_path):
  vocabulary = vocabularies.named(
    reference.path("t5_vocabulary/sentencepiece.model")
  )
  row = made_up.dialogues("\n\nHuman: Q\n\nAssistant:", " \u200b", " Words.")
  path = tmp_path / "source" / "harmless-base" / "train.jsonl"
  made_up.write_json_lines(path, [row, made_up.HH_ROWS[0]])
  for kind, lost in (("pairs", 1), ("sft", 2), ("prompts", 1)):
    report = pipeline.build(
      request_of(
        f"anthropic_harmlessness_{kind}",
        vocabulary=vocabulary,
        folder=str(tmp_path / "source"),
      )
    )
    assert report.dropped == {"empty_after_tokenizing": lost}
    assert report.rows_written == lost


def test_miniatures_read_no_files(mini_request):
  with pytest.raises(errors.UserError, match="remove --source"):
    pipeline.build(mini_request("mini_arena_sft", folder="somewhere"))
  with pytest.raises(errors.UserError, match="has no split valid1"):
    pipeline.build(mini_request("mini_arena_sft", split="valid1"))


def test_the_table_adds_up(request_of):
  report = pipeline.build(request_of("anthropic_harmlessness_sft"))
  lines = reports.table(report).splitlines()
  counted = {
    name.strip(): int(number)
    for name, _, number in (line.rpartition(" ") for line in lines[2:13])
  }
  assert counted == {
    "files read": 2,
    "ignored, not part of this task": 4,
    "rows read": 8,
    "dropped, identical_responses": 1,
    "dropped, empty_response": 1,
    "dropped, response_has_human_turn": 1,
    "dropped, no_shared_prompt": 1,
    "rows kept": 4,
    "of them, turn_count_mismatch": 1,
    "rows written": 8,
    "response cut": 1,
  }
  assert report.lengths_tokens["response"]["max"] == len(
    "Light.\n\nAssistant: Light, I said."
  )
