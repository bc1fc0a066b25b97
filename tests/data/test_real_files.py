"""Real published files: exact counts of what is read, kept, dropped and cut.

The files are not part of the project; the tests skip where they are absent.
The published oddities were counted by hand as well: 7 empty final responses, 4
identical pairs and 2 responses that end in a Human turn in the two helpful
files, 4 empty ones in the harmless file, 40 repeated pairs with 26
disagreements among the summaries of batch13.
"""

import pathlib

import pytest

from rlhf_gap import errors, stores
from rlhf_gap.data import catalog, pipeline, reports, vocabularies
from tests import reference

pytestmark = pytest.mark.slow

HH = "data/hh_rlhf"
TLDR = "data/summarize_from_feedback"
MT_BENCH = "data/mt_bench_human_judgments/human.subset"
ARENA_55K = "data/chatbot_arena/arena_human_preference_55k.subset.jsonl.gz"

HELPFUL = {
  "empty_response": 7,
  "identical_responses": 4,
  "response_has_human_turn": 2,
}
MT_BENCH_DROPPED = {
  "different_contexts": 586,
  "tie": 391,
  "empty_response": 4,
  "identical_responses": 1,
}


@pytest.fixture(scope="module")
def tfds_data_dir(tmp_path_factory) -> str:
  return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture
def build(tfds_data_dir, tmp_path):
  def run(task: str, source: str, split: str) -> reports.Report:
    path = pathlib.Path(reference.path(source))
    if path.is_file():  # Some files share a folder with copies of themselves.
      folder = tmp_path / "source"
      folder.mkdir(exist_ok=True)
      (folder / path.name).symlink_to(path)
      path = folder
    model = reference.path("t5_vocabulary/sentencepiece.model")
    report = pipeline.build(
      pipeline.Request(
        task=task,
        vocabulary=vocabularies.named(model),
        output=str(tmp_path / f"store_{split}"),
        split=split,
        windows=catalog.WINDOWS,
        folder=str(path),
        tfds_data_dir=tfds_data_dir,
      )
    )
    print(reports.table(report))
    assert stores.open(report.output).num_rows == report.rows_written
    return report

  return run


@pytest.mark.parametrize(
  ("task", "source", "split", "read", "dropped", "written", "truncated"),
  [
    (
      "anthropic_helpfulness_pairs",
      HH,
      "test",
      3491,
      HELPFUL,
      3478,
      {"prompt": 36, "chosen": 787, "rejected": 753},
    ),
    (
      "anthropic_helpfulness_preference",
      HH,
      "test",
      3491,
      HELPFUL,
      3478,
      {"prompt": 69, "chosen": 787, "rejected": 753},
    ),
    (
      "anthropic_harmlessness_pairs",
      HH,
      "test",
      2312,
      {"empty_response": 4},
      2308,
      {"chosen": 98, "rejected": 156},
    ),
    (
      "anthropic_harmlessness_sft",
      HH,
      "test",
      2312,
      {"empty_response": 4},
      4616,
      {"response": 254},
    ),
    ("openai_summarization_pairs", TLDR, "valid1", 266, {}, 266, {}),
    (
      "openai_summarization_prompts",
      TLDR,
      "valid2",
      1273,
      {"not_tldr": 437},
      692,
      {},
    ),
    (
      "chat_arena_pairs",
      f"{MT_BENCH}.parquet",
      "train",
      1559,
      MT_BENCH_DROPPED,
      577,
      {"chosen": 385, "rejected": 286},
    ),
    (
      "chat_arena_pairs",
      f"{MT_BENCH}.jsonl.gz",
      "train",
      1559,
      MT_BENCH_DROPPED,
      577,
      {"chosen": 385, "rejected": 286},
    ),
    (
      "chat_arena_shared_prefix_pairs",
      ARENA_55K,
      "train",
      165,
      {"tie": 79},
      86,
      {"chosen": 45, "rejected": 41},
    ),
  ],
)
def test_counts(build, task, source, split, read, dropped, written, truncated):
  report = build(task, source, split)
  assert report.rows_read == read
  assert report.dropped == dropped
  assert report.rows_written == written
  assert report.truncated == truncated


def test_lengths_and_unknown_pieces_of_helpful_dialogues(build):
  report = build("anthropic_helpfulness_pairs", f"{HH}/helpful-base", "test")
  assert (report.rows_read, report.rows_written) == (2354, 2348)
  assert report.notes["turn_count_mismatch"] == 9
  assert report.lengths_tokens["prompt"] == {
    "p50": 110,
    "p95": 401,
    "p99": 603,
    "max": 1055,
  }
  # T5 has no piece for { } < ~ and the like.
  assert 0.0003 < report.unknown_token_rate < 0.0005


def test_repeated_and_disagreeing_labels_of_summaries(build):
  notes = [
    build("openai_summarization_pairs", TLDR, split).notes
    for split in ("valid1", "valid2")
  ]
  assert sum(n["disagreeing_label"] for n in notes) == 26
  assert sum(n["repeated_pair"] for n in notes) == 192


def test_battles_with_two_histories_alone_give_no_comparison(build):
  message = "'different_contexts': 86.*shared_prefix"
  with pytest.raises(errors.UserError, match=message):
    build("chat_arena_pairs", ARENA_55K, "train")
