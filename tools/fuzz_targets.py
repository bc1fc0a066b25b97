"""What `tools/fuzz.py` feeds with damaged files: a reader and a sound example.

Each target makes a small folder that its reader accepts, and reads all of it.
"""

import argparse
import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import shutil
from collections.abc import Callable

_ROOT = pathlib.Path(__file__).parent.parent
_GOLDEN = _ROOT / "tests" / "golden"


@dataclasses.dataclass(frozen=True)
class Target:
  """A reader under test.

  Attributes:
    make: fills an empty folder with a sound example.
    read: reads it; may raise `UserError` and nothing else.
    often: endings of the names of files that are damaged more often.
  """

  make: Callable[[pathlib.Path], None]
  read: Callable[[pathlib.Path], object]
  often: tuple[str, ...] = ()


def _read_checkpoint(folder: pathlib.Path) -> None:
  from rlhf_gap import checkpoints
  from rlhf_gap.cli import command_inspect

  with contextlib.redirect_stdout(io.StringIO()):
    command_inspect.run(
      argparse.Namespace(
        path=str(folder),
        json=False,
        vocabulary=None,
        mlp_activations=None,
        max_distance=None,
      )
    )
  stored = checkpoints.open(str(folder))
  for array in stored.all_arrays().values():
    array.read_all()


def _make_hf(folder: pathlib.Path) -> None:
  source = _GOLDEN / "hf_reference" / "t5_v1_1_tiny"
  for name in ("config.json", "model.safetensors"):
    shutil.copyfile(source / name, folder / name)


def _make_hf_sharded(folder: pathlib.Path) -> None:
  import safetensors.numpy

  _make_hf(folder)
  (folder / "model.safetensors").unlink()
  tensors = safetensors.numpy.load_file(
    _GOLDEN / "hf_reference" / "t5_v1_1_tiny" / "model.safetensors"
  )
  shards = (
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
  )
  placed = {name: shards[i % 2] for i, name in enumerate(sorted(tensors))}
  for shard in shards:
    held = {n: t for n, t in tensors.items() if placed[n] == shard}
    safetensors.numpy.save_file(held, folder / shard)
  index = {"metadata": {"total_size": 1}, "weight_map": placed}
  (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _make_t5x(folder: pathlib.Path) -> None:
  from tests.checkpoints import tiny

  folder.rmdir()
  tiny.save(folder, "t5x")


def _make_orbax(folder: pathlib.Path) -> None:
  from tests.checkpoints import tiny

  folder.rmdir()
  tiny.save(folder, "t5x_orbax")


def _make_store(folder: pathlib.Path) -> None:
  from tests.stores import made_up

  made_up.write(folder)


def _read_store(folder: pathlib.Path) -> None:
  from rlhf_gap import errors, stores
  from rlhf_gap.cli import data_export, data_show
  from tests.stores import made_up

  for read in (
    lambda: data_show.show(str(folder), "0:2"),
    lambda: data_export.export(str(folder), "jsonl", str(folder / "out")),
    lambda: next(
      stores.open(str(folder)).batches(stores.Epochs(), seed=0, batch_size=4)
    ),
    lambda: stores.create(str(folder), made_up.manifest()),
  ):
    with (
      contextlib.redirect_stdout(io.StringIO()),
      contextlib.suppress(errors.UserError),
    ):
      read()


def _make_records(folder: pathlib.Path) -> None:
  from rlhf_gap import records
  from tests import test_records

  records.write(folder / "records.jsonl", [test_records.RECORD] * 2)


def _read_records(folder: pathlib.Path) -> None:
  from rlhf_gap import records

  records.read(folder / "records.jsonl")


def _make_run(folder: pathlib.Path) -> None:
  (folder / "run.json").write_text(
    json.dumps({"seed": "3", "source": "Online", "objective.loss": "Ipo"})
  )
  lines = [{"step": step, "train/loss": 0.5} for step in (1, 2)]
  (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))


def _read_run(folder: pathlib.Path) -> None:
  from rlhf_gap.evaluation import runs
  from rlhf_gap.training import metric_log, model_dir

  runs.describe(str(folder))
  model_dir.identity_of(str(folder))
  model_dir.completed_step(str(folder))
  metric_log.read(str(folder))
  metric_log.MetricLog(str(folder), 1, tensorboard=False).close()


def _make_gin(folder: pathlib.Path) -> None:
  source = _ROOT / "gin_configs/runs/online.gin"
  shutil.copyfile(source, folder / "run.gin")


def _read_gin(folder: pathlib.Path) -> None:
  from rlhf_gap.cli import gin_files
  from rlhf_gap.training import description

  files = [str(folder / "run.gin")]
  names = ("INITIAL_CHECKPOINT_PATH", "JUDGE_CHECKPOINT_PATH", "PROMPTS")
  bindings = [f"{name} = '/nowhere'" for name in (*names, "MODEL_DIR")]
  gin_files.parse(files, bindings)
  gin_files.construct(description.Run, files, bindings)


def _make_prompts(folder: pathlib.Path) -> None:
  (folder / "prompts.txt").write_text("Why?\nOù ça ?\n", encoding="utf-8")


def _read_prompts(folder: pathlib.Path) -> None:
  from rlhf_gap.cli import command_sample

  command_sample._prompts(
    argparse.Namespace(
      checkpoint=str(folder),  # a model without a tokenizer of its own
      prompts=str(folder / "prompts.txt"),
      vocabulary=str(_ROOT / "rlhf_gap/data/mini/mini.model"),
      num_prompts=None,
      input_length=64,
    )
  )


_ROWS = [{"prompt": f"Why {i}?", "chosen": "a", "label": i} for i in range(3)]


def _make_rows(folder: pathlib.Path) -> None:
  import pyarrow
  from pyarrow import parquet

  text = "\n".join(map(json.dumps, _ROWS)).encode()
  (folder / "rows.jsonl").write_bytes(text)
  (folder / "rows.jsonl.gz").write_bytes(gzip.compress(text))
  (folder / "rows.csv").write_text('prompt,chosen\n"Why, ""you""?",a\nb,c\n')
  parquet.write_table(pyarrow.Table.from_pylist(_ROWS), folder / "rows.parquet")


def _read_rows(folder: pathlib.Path) -> None:
  import etils.epath

  from rlhf_gap import errors
  from rlhf_gap.data import published

  for name in ("rows.jsonl", "rows.jsonl.gz", "rows.csv", "rows.parquet"):
    with contextlib.suppress(errors.UserError):
      list(published.rows(name, etils.epath.Path(folder / name)))


def _make_vocabulary(folder: pathlib.Path) -> None:
  source = _ROOT / "rlhf_gap/data/mini/mini.model"
  shutil.copyfile(source, folder / "mini.model")


def _read_vocabulary(folder: pathlib.Path) -> None:
  from rlhf_gap import stores

  path = folder / "mini.model"
  vocabulary = stores.sentencepiece(str(path))
  content = path.read_bytes()
  assert vocabulary.sha256 == hashlib.sha256(content).hexdigest()
  decode = stores.decoder(vocabulary)
  decode([5, 6, 7, 1])
  stores.encoder(vocabulary)("Why not?")


_INDICES = ("checkpoint", ".zarray", "_METADATA", "manifest.ocdbt")
TARGETS = {
  "hf": Target(_make_hf, _read_checkpoint, ("config.json",)),
  "hf_sharded": Target(_make_hf_sharded, _read_checkpoint, (".json",)),
  "t5x": Target(_make_t5x, _read_checkpoint, _INDICES),
  "t5x_orbax": Target(_make_orbax, _read_checkpoint, _INDICES),
  "store": Target(_make_store, _read_store, ("manifest.json", "zarr.json")),
  "records": Target(_make_records, _read_records),
  "run": Target(_make_run, _read_run),
  "gin": Target(_make_gin, _read_gin),
  "prompts": Target(_make_prompts, _read_prompts),
  "rows": Target(_make_rows, _read_rows),
  "vocabulary": Target(_make_vocabulary, _read_vocabulary),
}
