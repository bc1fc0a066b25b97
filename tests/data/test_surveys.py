"""Surveys: every row is kept or listed, and too many bad ones are refused."""

import etils.epath
import pytest

from rlhf_gap import errors
from rlhf_gap.data import datasets, surveys
from tests.data import made_up


@pytest.fixture
def folder(tmp_path) -> etils.epath.Path:
  return etils.epath.Path(tmp_path)


def survey(
  dataset: datasets.Dataset, folder: etils.epath.Path
) -> surveys.Survey:
  return surveys.Survey(dataset.find(folder), dataset.how)


def check_sums(found: surveys.Survey) -> None:
  for counts in found.counts.values():
    lost = sum(counts.dropped.values()) + sum(counts.malformed.values())
    assert counts.read == counts.kept + lost
  lost = sum(c.read - c.kept for c in found.counts.values())
  assert len(found.skipped) == lost


def test_hh(folder):
  made_up.write_hh(folder, "helpful-base")
  found = survey(datasets.HELPFULNESS, folder)
  check_sums(found)
  assert found.splits() == ["test", "train"]
  assert found.counts["train"] == surveys.SplitCounts(
    read=8,
    kept=4,
    prompts=2,
    dropped={
      "identical_responses": 1,
      "empty_response": 1,
      "response_has_human_turn": 1,
      "no_shared_prompt": 1,
    },
    notes={"turn_count_mismatch": 1},
  )
  assert found.skipped[0] == surveys.SkippedRow(
    file="helpful-base/train.jsonl.gz",
    line=5,
    split="train",
    outcome="dropped",
    reason="identical_responses",
    detail="",
  )
  kept = list(found.kept("train"))
  assert [row.line for row in kept] == [1, 2, 3, 4]
  assert [row.prompt_repeats for row in kept] == [False, False, True, True]


def test_tldr_is_split_by_post(folder):
  made_up.write_tldr(folder)
  found = survey(datasets.SUMMARIZATION, folder)
  check_sums(found)
  assert {name: c.kept for name, c in found.counts.items()} == {
    "train": 2,
    "valid1": 2,
    "valid2": 1,
  }
  assert found.counts["valid2"].dropped == {
    "prompt_in_another_split": 1,
    "not_tldr": 1,
  }
  assert found.counts["train"].notes == {
    "repeated_pair": 1,
    "disagreeing_label": 1,
  }
  assert [r.prompt_repeats for r in found.kept("valid1")] == [False, True]


def test_hh_keeps_and_notes_a_prompt_of_both_splits(folder):
  row = made_up.HH_ROWS[0]
  for split in ("train", "test"):
    path = folder / "helpful-base" / f"{split}.jsonl"
    made_up.write_json_lines(path, [row])
  found = survey(datasets.HELPFULNESS, folder)
  assert found.counts["test"].kept == found.counts["train"].kept == 1
  assert found.counts["train"].notes["prompt_in_another_split"] == 1
  # In its own split the prompt is new all the same.
  assert not next(found.kept("train")).prompt_repeats


@pytest.mark.parametrize(("cut", "kept"), [(False, 3), (True, 4)])
def test_arena(folder, cut, kept):
  made_up.write_arena(folder)
  found = survey(datasets.chat_arena(cut_to_shared_prefix=cut), folder)
  check_sums(found)
  dropped: dict[str, int] = {}
  for counts in found.counts.values():
    for reason, count in counts.dropped.items():
      dropped[reason] = dropped.get(reason, 0) + count
  expected = {
    "tie": 2,
    "empty_response": 1,
    "identical_responses": 1,
    "empty_prompt": 1,
    "different_prompts": 1,
  }
  assert dropped == expected | ({} if cut else {"different_contexts": 1})
  assert sum(c.kept for c in found.counts.values()) == kept


def test_a_release_given_twice_is_read_once(folder):
  rows = made_up.ARENA_ROWS[:2]
  # The second file holds the same rows with their keys in another order.
  turned = [dict(reversed(row.items())) for row in rows]
  made_up.write_json_lines(folder / "a.jsonl", rows)
  made_up.write_json_lines(folder / "b.jsonl", [*turned, made_up.ARENA_ROWS[2]])
  found = survey(datasets.chat_arena(cut_to_shared_prefix=False), folder)
  assert sum(c.kept for c in found.counts.values()) == 3
  assert [row.file for row in found.skipped] == [f"{folder.name}/b.jsonl"] * 2
  assert {row.reason for row in found.skipped} == {"copy_in_another_file"}


def test_an_equal_row_in_the_same_file_is_kept(folder):
  made_up.write_json_lines(folder / "a.jsonl", [made_up.ARENA_ROWS[0]] * 2)
  found = survey(datasets.chat_arena(cut_to_shared_prefix=False), folder)
  counts = next(iter(found.counts.values()))
  assert counts.kept == 2
  assert counts.notes == {"repeated_pair": 1}


BAD_LINES = [b"{", b'{"chosen": "\xff"}', b'{"chosen": 1, "rejected": 2}']


def hh_file(folder: etils.epath.Path, good: int, bad: list[bytes]) -> None:
  rows = [
    made_up.dialogues("\n\nHuman: Q\n\nAssistant:", f" a{n}", f" b{n}")
    for n in range(good)
  ]
  path = folder / "harmless-base" / "test.jsonl.gz"
  made_up.write_json_lines(path, [*rows, *bad])


def test_malformed_rows_are_listed_with_their_lines(folder):
  hh_file(folder, 5, BAD_LINES)
  found = survey(datasets.HARMLESSNESS, folder)
  check_sums(found)
  assert [(r.line, r.reason, r.split) for r in found.skipped] == [
    (6, "malformed_json", "unknown"),
    (7, "invalid_utf8", "unknown"),
    (8, "wrong_type", "test"),
  ]
  assert found.skipped[2].detail == "chosen is int"


def test_one_percent_of_malformed_rows_is_accepted_and_more_is_not(folder):
  hh_file(folder, 297, BAD_LINES)
  accepted = survey(datasets.HARMLESSNESS, folder)
  surveys.check_malformed(accepted.counts, allowed=False, example="")
  hh_file(folder, 296, BAD_LINES)
  refused = survey(datasets.HARMLESSNESS, folder)
  with pytest.raises(errors.UserError, match="3 of 299 rows are malformed"):
    surveys.check_malformed(refused.counts, allowed=False, example="")
  surveys.check_malformed(refused.counts, allowed=True, example="")


def test_find_takes_each_data_set_its_own_files(folder):
  made_up.write_all(folder)
  (folder / "README.md").write_text("words")
  found = {
    dataset.name: sorted(dataset.find(folder))
    for dataset in (
      datasets.HELPFULNESS,
      datasets.HARMLESSNESS,
      datasets.SUMMARIZATION,
      datasets.chat_arena(cut_to_shared_prefix=False),
    )
  }
  assert found == {
    "anthropic_helpfulness": [
      "hh_rlhf/helpful-base/test.jsonl.gz",
      "hh_rlhf/helpful-base/train.jsonl.gz",
    ],
    "anthropic_harmlessness": [
      "hh_rlhf/harmless-base/test.jsonl.gz",
      "hh_rlhf/harmless-base/train.jsonl.gz",
    ],
    "openai_summarization": ["summarize_from_feedback/comparisons/batch3.json"],
    "chat_arena": ["arena/arena_33k.jsonl.gz"],
  }


def test_a_folder_without_the_files_is_a_user_error(folder):
  made_up.write_tldr(folder)
  with pytest.raises(errors.UserError, match="holds none of the files of ant"):
    datasets.HELPFULNESS.find(folder)
  with pytest.raises(errors.UserError, match="is not a folder"):
    datasets.HELPFULNESS.find(folder / "nowhere")


def test_a_file_of_bad_lines_alone_counts_as_arena(folder):
  (folder / "broken.jsonl").write_bytes(b"{\n" * 3)
  dataset = datasets.chat_arena(cut_to_shared_prefix=False)
  found = survey(dataset, folder)
  assert found.counts["unknown"].malformed == {"malformed_json": 3}
