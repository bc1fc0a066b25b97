"""A damaged store or a mistaken call is reported in one clear line."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from rlhf_gap import errors, stores
from tests.stores import made_up


def _edit_manifest(path: pathlib.Path, **changes: object) -> None:
  file = path / "manifest.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _check_message(raised: pytest.ExceptionInfo[errors.UserError]) -> None:
  assert "\n" not in str(raised.value)


def test_no_store(tmp_path: pathlib.Path):
  with pytest.raises(errors.UserError, match=r"no manifest\.json") as raised:
    stores.open(str(tmp_path / "nothing"))
  _check_message(raised)


def test_a_file_in_place_of_a_store(tmp_path: pathlib.Path):
  (tmp_path / "file").write_text("")
  with pytest.raises(errors.UserError, match="non-directory"):
    stores.create(str(tmp_path / "file"), made_up.manifest())


def test_unknown_url():
  with pytest.raises(errors.UserError, match="expected a local path or gs://"):
    stores.open("ftp2://host/store")


def test_newer_format(tmp_path: pathlib.Path):
  made_up.write(tmp_path)
  _edit_manifest(tmp_path, format_version=2, something_new=True)
  with pytest.raises(errors.UserError, match="store format 2; .* format 1"):
    stores.open(str(tmp_path))
  with pytest.raises(errors.UserError, match="store format 2"):
    stores.create(str(tmp_path), made_up.manifest())


@pytest.mark.parametrize("kept", [0, 1, 100, -2])
def test_manifest_cut_short(tmp_path: pathlib.Path, kept: int):
  made_up.write(tmp_path)
  file = tmp_path / "manifest.json"
  file.write_bytes(file.read_bytes()[:kept])
  with pytest.raises(errors.UserError, match="cut short or damaged") as raised:
    stores.open(str(tmp_path))
  _check_message(raised)


@pytest.mark.parametrize(
  "changes",
  [
    {"columns": []},
    {"columns": [{"name": "x"}]},
    {"label": {"by": "a friend", "judge": None}},
    {"chunk_rows": 0},
    {"feature_lengths": {"prompt": 12}},
    {"colour": "blue"},
  ],
)
def test_manifest_that_describes_no_store(
  tmp_path: pathlib.Path, changes: dict[str, object]
):
  made_up.write(tmp_path)
  _edit_manifest(tmp_path, **changes)
  with pytest.raises(errors.UserError, match="does not describe a store"):
    stores.open(str(tmp_path))


def test_missing_array(tmp_path: pathlib.Path):
  made_up.write(tmp_path)
  shutil.rmtree(tmp_path / "judge_r12")
  with pytest.raises(errors.UserError, match="array of its column judge_r12"):
    stores.open(str(tmp_path))


def test_array_of_another_shape(tmp_path: pathlib.Path):
  made_up.write(tmp_path)
  shutil.rmtree(tmp_path / "chosen_tokens")
  shutil.copytree(tmp_path / "prompt_tokens", tmp_path / "chosen_tokens")
  with pytest.raises(errors.UserError, match=r"\[21, 12\]; .* \[21, 6\]"):
    stores.open(str(tmp_path))


@pytest.mark.parametrize(
  ("column", "file"), [("chosen_tokens", "c.1.0"), ("weight", "c.1")]
)
def test_missing_chunk_is_not_read_as_zeros(
  tmp_path: pathlib.Path, column: str, file: str
):
  made_up.write(tmp_path)
  (tmp_path / column / file).unlink()
  store = stores.open(str(tmp_path))
  assert store.read([0])[column].any()
  with pytest.raises(errors.UserError, match=f"column {column} .* is damaged"):
    store.read([8])


@pytest.mark.parametrize(
  ("column", "file"), [("chosen_tokens", "c.1.0"), ("prompt_id", "c.1")]
)
def test_one_flipped_bit_is_noticed(
  tmp_path: pathlib.Path, column: str, file: str
):
  made_up.write(tmp_path)
  content = bytearray((tmp_path / column / file).read_bytes())
  content[len(content) // 4] ^= 1
  (tmp_path / column / file).write_bytes(content)
  with pytest.raises(errors.UserError, match="is damaged") as raised:
    stores.open(str(tmp_path)).read(range(8, 16))
  _check_message(raised)


def test_a_folder_of_other_files(tmp_path: pathlib.Path):
  (tmp_path / "thesis.tex").write_text("")
  with pytest.raises(errors.UserError, match=r"1 files and no manifest\.json"):
    stores.create(str(tmp_path), made_up.manifest())
  assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_store_in_its_place(tmp_path: pathlib.Path):
  made_up.write(tmp_path)
  before = made_up.tree(tmp_path)
  other = made_up.manifest(task="other_pairs", source={"seed": 2})
  with pytest.raises(errors.UserError, match="differs in task, source"):
    stores.create(str(tmp_path), other)
  assert made_up.tree(tmp_path) == before


def test_a_vocabulary_that_moved_is_the_same(tmp_path: pathlib.Path):
  here = stores.Vocabulary("sentencepiece", "/here", "ab", 100)
  there = stores.Vocabulary("sentencepiece", "gs://there", "ab", 100)
  made_up.write(tmp_path, vocabulary=here)
  made_up.write(tmp_path, vocabulary=there)
  assert stores.open(str(tmp_path)).manifest.vocabulary == here


def test_another_vocabulary():
  stored = stores.Vocabulary("sentencepiece", "a.model", "ab" * 32, 100)
  moved = stores.Vocabulary("sentencepiece", "gs://a.model", "ab" * 32, 100)
  stores.check_vocabulary(stored, moved, "DIR")
  for used in [
    stores.byte(),
    stores.Vocabulary("sentencepiece", "b.model", "cd" * 32, 100),
    stores.Vocabulary("sentencepiece", "a.model", "ab" * 32, 0),
  ]:
    with pytest.raises(
      errors.UserError, match="DIR holds token ids of a.model"
    ):
      stores.check_vocabulary(stored, used, "DIR")


@pytest.mark.parametrize("row", [-1, 21, 10**12])
def test_row_out_of_range(tmp_path: pathlib.Path, row: int):
  store = made_up.write(tmp_path, rows=21)
  with pytest.raises(errors.UserError, match=f"row {row} .* rows 0 to 20"):
    store.read([0, row])
  with pytest.raises(errors.UserError, match="rows 0 to 20"):
    store.read(range(row, row + 1))


def test_unknown_column(tmp_path: pathlib.Path):
  store = made_up.write(tmp_path)
  with pytest.raises(errors.UserError, match="no column reward; it has prompt"):
    store.read([0], columns=["weight", "reward"])
  with pytest.raises(errors.UserError, match="no column reward"):
    store.batches(stores.Exact(), seed=0, batch_size=8, columns=["reward"])


def test_batches_check_their_arguments_at_once(tmp_path: pathlib.Path):
  store = made_up.write(tmp_path)
  for outside in ([7, 8], [-1, 0]):
    with pytest.raises(ValueError, match="places in a batch of 8"):
      store.batches(
        stores.Exact(), seed=0, batch_size=8, places=np.array(outside)
      )
  with pytest.raises(ValueError, match="prefetch=-1"):
    store.batches(stores.Exact(), seed=0, batch_size=8, prefetch=-1)


@pytest.mark.parametrize("url", [None, "memory://two_writers/store"])
def test_two_writers(tmp_path: pathlib.Path, url: str | None):
  path = url or str(tmp_path)
  earlier = stores.create(path, made_up.manifest())
  made_up.append(earlier, range(1), rows=21)
  later = stores.create(path, made_up.manifest())
  with pytest.raises(errors.UserError, match="another process") as raised:
    earlier.append(1, made_up.values(100, 8))
  _check_message(raised)
  with pytest.raises(errors.UserError, match="another process"):
    earlier.finish()
  made_up.append(later, range(1, 3), rows=21)
  later.finish()
  found = stores.open(path).read(range(21))
  made_up.check_equal(found, made_up.values(0, 21))


def test_a_writer_that_was_taken_over_commits_nothing(tmp_path: pathlib.Path):
  earlier = stores.create(str(tmp_path), made_up.manifest())
  earlier.append(0, made_up.values(100, 8))
  later = stores.create(str(tmp_path), made_up.manifest())
  with pytest.raises(errors.UserError, match="another process"):
    earlier.commit()
  with pytest.raises(stores.NothingCommittedError):
    stores.open(str(tmp_path))
  later.append(0, made_up.values(0, 8))
  later.finish()
  found = stores.open(str(tmp_path)).read(range(8))
  made_up.check_equal(found, made_up.values(0, 8))


def test_a_restart_that_does_not_repeat_itself(tmp_path: pathlib.Path):
  made_up.write(tmp_path)
  before = made_up.tree(tmp_path)
  writer = stores.create(str(tmp_path), made_up.manifest())
  other = made_up.values(8, 8)
  other["chosen_tokens"][3, 0] += 1
  with pytest.raises(
    errors.UserError,
    match=r"does not match the rows being appended .*differs in: chosen_tokens",
  ):
    writer.append(1, other)
  with pytest.raises(errors.UserError, match="differs in: prompt_tokens"):
    writer.append(2, made_up.values(16, 4))
  assert made_up.tree(tmp_path) == before


def test_chunks_come_in_order(tmp_path: pathlib.Path):
  writer = stores.create(str(tmp_path), made_up.manifest())
  with pytest.raises(ValueError, match="chunk 1 would start at row 8"):
    writer.append(1, made_up.values(8, 8))
  with pytest.raises(ValueError, match="chunk -1"):
    writer.append(-1, made_up.values(8, 8))
  writer.append(0, made_up.values(0, 5))
  with pytest.raises(ValueError, match="only the last may hold fewer than 8"):
    writer.append(1, made_up.values(5, 8))


@pytest.mark.parametrize("rows", [0, 9])
def test_a_chunk_of_too_few_or_many_rows(tmp_path: pathlib.Path, rows: int):
  writer = stores.create(str(tmp_path), made_up.manifest())
  with pytest.raises(ValueError, match="expected 1 to 8"):
    writer.append(0, made_up.values(0, rows))


def test_columns_that_do_not_fit(tmp_path: pathlib.Path):
  writer = stores.create(str(tmp_path), made_up.manifest())
  good = made_up.values(0, 8)
  wide = np.zeros((8, 13), np.int32)
  left_padded = np.zeros((8, 12), np.int32)
  left_padded[2, -1] = 7
  for change, message in [
    ({"prompt_tokens": wide}, r"int32 \(8, 13\); expected int32 \(8, 12\)"),
    ({"weight": np.zeros(8)}, "weight is float64"),
    ({"weight": np.zeros(7, np.float32)}, r"\(7,\); expected float32 \(8,\)"),
    ({"prompt_tokens": left_padded}, "a token after padding"),
    ({"reward": np.zeros(8)}, r"\['reward'\] are unknown"),
  ]:
    with pytest.raises(ValueError, match=message):
      writer.append(0, good | change)
  del good["weight"]
  with pytest.raises(ValueError, match=r"\['weight'\] are missing"):
    writer.append(0, good)


def test_a_store_of_no_rows(tmp_path: pathlib.Path):
  writer = stores.create(str(tmp_path), made_up.manifest())
  with pytest.raises(errors.UserError, match="would hold no rows"):
    writer.finish({"tie": 21})


def test_a_manifest_is_begun_empty(tmp_path: pathlib.Path):
  with pytest.raises(ValueError, match="are set by the writer"):
    stores.create(str(tmp_path), made_up.manifest(rows=3))


def test_labels_name_their_judge():
  with pytest.raises(ValueError, match="labels by 'judge'"):
    stores.Label("judge")


@pytest.mark.parametrize(("name", "dtype"), [("a/b", "int32"), ("a", "int8")])
def test_columns_that_no_store_can_hold(name: str, dtype: str):
  with pytest.raises(ValueError, match="cannot name|expected one of"):
    stores.ColumnSpec(name, dtype, None, "")


_FILL = """
import resource, sys
from rlhf_gap import errors, stores
from tests.stores import made_up
if sys.argv[2] != "unlimited":
  resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
  writer = stores.create(sys.argv[1], made_up.manifest(chunk_rows=2048))
  for chunk in range(100):
    writer.append(chunk, made_up.values(chunk * 2048, 2048))
    writer.commit()
except errors.UserError as error:
  print(error)
"""


def _fill(path: pathlib.Path, limit: str) -> str:
  """Writes until the disk is full; returns the message."""
  root = pathlib.Path(__file__).parent.parent.parent
  done = subprocess.run(
    [sys.executable, "-c", _FILL, str(path), limit],
    capture_output=True,
    text=True,
    cwd=root,
    check=True,
  )
  return done.stdout


def test_file_size_limit(tmp_path: pathlib.Path):
  # Enough for the manifest (3 kB), not for a chunk of ids (96 kB, packed).
  message = _fill(tmp_path / "store", "8000")
  assert "a file would exceed the file size limit" in message
  assert "0 rows are safe" in message
  assert message.count("\n") == 1


def test_full_disk(tmp_path: pathlib.Path):
  mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
  if subprocess.run(mount, capture_output=True).returncode:
    pytest.skip("only root may mount a small disk")
  try:
    message = _fill(tmp_path / "store", "unlimited")
    safe = re.search(r"\((\d+) rows are safe; rerun to resume", message)
    assert "no space is left on the device" in message
    assert message.count("\n") == 1
    assert safe
    rows = int(safe[1])
    store = stores.open(str(tmp_path / "store"))
    assert store.num_rows == rows > 0
    made_up.check_equal(store.read(range(rows)), made_up.values(0, rows))
  finally:
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_stores_are_read_without_tensorflow_and_jax(tmp_path: pathlib.Path):
  made_up.write(tmp_path)
  script = """
    import sys
    class Refuse:
      def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "jax", "seqio"):
          raise ImportError(name)
    sys.meta_path.insert(0, Refuse())
    from rlhf_gap import stores
    store = stores.open(sys.argv[1])
    batch = next(store.batches(stores.Epochs(), seed=0, batch_size=4))
    assert batch["chosen_tokens"].shape == (4, 6)
    print(sorted({name.partition(".")[0] for name in sys.modules}))
  """
  done = subprocess.run(
    [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
    capture_output=True,
    text=True,
    check=True,
  )
  imported = [
    name
    for name in ("tensorflow", "jax", "flax", "seqio", "absl", "sentencepiece")
    if f"'{name}'" in done.stdout
  ]
  assert imported == []
