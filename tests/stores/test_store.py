"""Stores written, read back, gone on with and read by several hosts."""

import pathlib
import uuid

import numpy as np
import pytest

from rlhf_gap import stores
from rlhf_gap.stores import locations
from rlhf_gap.stores import manifest as manifests
from tests.stores import made_up


@pytest.fixture(params=["disk", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
  """A place for a store, on a disk and behind a URL."""
  if request.param == "disk":
    return str(tmp_path / "store")
  return f"memory://{uuid.uuid4()}/store"


def test_holds_what_was_written(path: str):
  store = made_up.write(path, rows=21)
  assert (store.num_rows, store.manifest.num_chunks) == (21, 3)
  assert store.manifest.complete
  assert store.manifest.dropped == {"tie": 4}
  made_up.check_equal(store.read(range(21)), made_up.values(0, 21))


def test_reads_any_rows_in_any_order(path: str):
  store = made_up.write(path, rows=21)
  everything = made_up.values(0, 21)
  rows = [20, 3, 3, 0, 16]
  expected = {name: value[rows] for name, value in everything.items()}
  made_up.check_equal(store.read(rows), expected)
  made_up.check_equal(store.read(np.array(rows)), expected)
  some = store.read([7], columns=["weight", "chosen_tokens"])
  assert list(some) == ["weight", "chosen_tokens"]


def test_manifest_survives_the_disk(path: str):
  judge = stores.CheckpointIdentity("gs://bucket/golden", "ab12", 4_000)
  about = {
    "label": stores.Label("judge", judge),
    "reference": stores.CheckpointIdentity("gs://bucket/sft", "cd34", 800),
    "source": {"split": "train", "temperature": 0.7, "seed": 3},
  }
  store = made_up.write(path, **about)
  written = made_up.manifest(
    **about, rows=21, complete=True, dropped={"tie": 4}
  )
  assert store.manifest == written


@pytest.mark.parametrize("schema", sorted(stores.SCHEMAS))
def test_every_schema_can_be_written(path: str, schema: str):
  columns = stores.SCHEMAS[schema]
  store = made_up.write(path, schema=schema, columns=columns)
  made_up.check_equal(store.read(range(21)), made_up.values(0, 21, columns))


def test_a_manifest_is_the_same_bytes_in_whatever_order_it_was_built():
  one = made_up.manifest(source={"split": "train", "seed": 3})
  other = made_up.manifest(
    source={"seed": 3, "split": "train"},
    feature_lengths=dict(reversed(made_up.LENGTHS.items())),
  )
  assert manifests.dumps(one) == manifests.dumps(other)


def test_object_storage_is_addressed_by_its_own_driver():
  assert locations.spec("gs://bucket/runs/store") == {
    "driver": "gcs",
    "bucket": "bucket",
    "path": "runs/store/",
  }
  assert locations.spec("gs://bucket/")["bucket"] == "bucket"


def test_a_reader_sees_committed_rows_alone(path: str):
  writer = stores.create(path, made_up.manifest())
  with pytest.raises(stores.NothingCommittedError, match="no committed rows"):
    stores.open(path)
  writer.append(0, made_up.values(0, 8))
  writer.commit()
  store = stores.open(path)
  writer.append(1, made_up.values(8, 8))
  assert store.refresh().num_rows == 8
  writer.commit()
  later = store.refresh()
  assert (store.num_rows, later.num_rows) == (8, 16)
  assert not later.manifest.complete
  made_up.check_equal(later.read(range(16)), made_up.values(0, 16))


def test_resumes_where_it_stopped(tmp_path: pathlib.Path):
  made_up.write(tmp_path / "undisturbed", rows=37)
  path = tmp_path / "stopped"
  made_up.append(
    stores.create(str(path), made_up.manifest()), range(3), rows=37
  )
  # Written but not committed: the next chunk, damaged, and one further on.
  for chunk in (3, 9):
    (path / "prompt_tokens" / f"c.{chunk}.0").write_bytes(b"half a chunk")
  made_up.write(path, rows=37)
  assert made_up.tree(path) == made_up.tree(tmp_path / "undisturbed")


def test_writing_a_finished_store_again_changes_nothing(tmp_path: pathlib.Path):
  made_up.write(tmp_path)
  before = made_up.tree(tmp_path)
  writer = stores.create(str(tmp_path), made_up.manifest())
  made_up.append(writer, range(3), rows=21)
  writer.finish({"tie": 4})
  assert made_up.tree(tmp_path) == before


def test_appending_a_chunk_twice_is_appending_it_once(path: str):
  writer = stores.create(path, made_up.manifest())
  values = made_up.values(0, 8)
  values["judge_r12"][:] = np.nan  # "not judged" equals itself
  for _ in range(2):
    writer.append(0, values)
  writer.commit()
  writer.append(0, values)
  writer.commit()
  assert writer.num_rows == 8


def test_a_longer_run_extends_a_finished_store(tmp_path: pathlib.Path):
  made_up.write(tmp_path / "longer", rows=24)
  path = tmp_path / "extended"
  made_up.write(path, rows=16)
  made_up.write(path, rows=24)
  assert made_up.tree(path) == made_up.tree(tmp_path / "longer")


def test_truncating_takes_chunks_back(tmp_path: pathlib.Path):
  made_up.write(tmp_path / "short", rows=16)
  path = tmp_path / "long"
  made_up.write(path, rows=37)
  writer = stores.create(str(path), made_up.manifest())
  writer.truncate(2)
  assert stores.open(str(path)).num_rows == 16
  writer.finish({"tie": 4})
  assert made_up.tree(path) == made_up.tree(tmp_path / "short")


def test_truncated_chunks_can_be_written_anew(path: str):
  made_up.write(path, rows=24)
  writer = stores.create(path, made_up.manifest())
  writer.truncate(1)
  writer.append(1, made_up.values(100, 8))
  writer.finish()
  found = stores.open(path).read(range(8, 16))
  made_up.check_equal(found, made_up.values(100, 8))


def test_the_caller_may_reuse_its_arrays(path: str):
  writer = stores.create(path, made_up.manifest())
  values = made_up.values(0, 8)
  writer.append(0, values)
  for value in values.values():
    value[:] = 0
  writer.finish()
  made_up.check_equal(stores.open(path).read(range(8)), made_up.values(0, 8))


@pytest.mark.parametrize(
  "places", [([0, 1, 2, 3], [4, 5, 6, 7]), ([1, 6], [0])]
)
@pytest.mark.parametrize(
  "order", [stores.Epochs(), stores.Exact(), stores.Blocks(2)]
)
def test_processes_read_their_rows_of_the_batch_of_one(
  tmp_path: pathlib.Path, order: stores.Order, places: tuple[list[int], ...]
):
  made_up.write(tmp_path, rows=37)
  settings = {"seed": 9, "batch_size": 8, "columns": ["prompt_id"]}
  # Opened apart, as hosts do.
  whole = stores.open(str(tmp_path)).batches(order, **settings)
  parts = [
    stores.open(str(tmp_path)).batches(order, places=np.array(held), **settings)
    for held in places
  ]
  for _ in range(4):
    expected = next(whole)["prompt_id"]
    for held, part in zip(places, parts, strict=True):
      np.testing.assert_array_equal(next(part)["prompt_id"], expected[held])


@pytest.mark.parametrize("prefetch", [0, 1, 5])
def test_a_restarted_reader_gives_the_same_batches(
  tmp_path: pathlib.Path, prefetch: int
):
  store = made_up.write(tmp_path, rows=37)
  order = stores.Epochs()
  first = store.batches(order, seed=2, batch_size=8)
  expected = [next(first) for _ in range(12)]
  again = store.batches(
    order, seed=2, batch_size=8, start_step=7, prefetch=prefetch
  )
  for batch in expected[7:]:
    made_up.check_equal(next(again), batch)


def test_batches_are_the_rows_of_the_order(tmp_path: pathlib.Path):
  store = made_up.write(tmp_path, rows=37)
  batches = store.batches(stores.Epochs(), seed=2, batch_size=8, start_step=4)
  rows = stores.rows(stores.Epochs(), 2, 4, num_rows=37, batch_size=8)
  made_up.check_equal(next(batches), store.read(rows))


def test_batches_end_with_their_order(tmp_path: pathlib.Path):
  store = made_up.write(tmp_path, rows=37)
  batches = list(store.batches(stores.Exact(), seed=0, batch_size=8))
  assert len(batches) == 4
  ids = np.concatenate([batch["prompt_id"] for batch in batches])
  np.testing.assert_array_equal(ids, made_up.values(0, 32)["prompt_id"])


def test_prompt_ids_are_the_same_everywhere():
  # The first 16 hexadecimal digits of sha256("t3_abc"), halved.
  assert stores.prompt_id("t3_abc") == int("96f27d7ae439ea9e", 16) // 2
