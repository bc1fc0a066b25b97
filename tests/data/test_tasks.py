"""Names, registrations and gin files of the tasks agree."""

import pathlib
import subprocess
import sys

import pytest
import seqio

from rlhf_gap import errors
from rlhf_gap.cli import gin_files
from rlhf_gap.data import catalog, procedural, tasks, vocabularies
from tests import reference

ROOT = pathlib.Path(__file__).parents[2]
NAMES = [*(entry.name for entry in catalog.TASKS), *catalog.MIXTURES]


def test_every_preference_set_has_every_kind():
  compared = [e for e in catalog.TASKS if e.kind in catalog.KINDS]
  (text,) = set(catalog.TASKS) - set(compared)
  assert (text.name, text.kind) == ("mini_pretrain", "text")
  datasets = {entry.dataset for entry in compared}
  assert len(datasets) == 9
  for dataset in datasets:
    names = [entry.name for entry in compared if entry.dataset == dataset]
    assert names == [f"{dataset}_{kind}" for kind in catalog.KINDS]


def test_every_name_is_written_out_in_the_catalog():
  text = (ROOT / "rlhf_gap" / "data" / "catalog.py").read_text()
  assert [name for name in NAMES if f'"{name}"' not in text] == []


@pytest.mark.parametrize("entry", catalog.TASKS, ids=lambda e: e.name)
def test_every_task_is_registered_with_the_features_of_its_kind(entry):
  task = seqio.TaskRegistry.get(entry.name)
  assert set(task.output_features) == set(tasks.FEATURES[entry.kind])
  names = {type(task.source).__name__}
  procedural = catalog.is_procedural(entry)
  assert names == {"FunctionDataSource" if procedural else "TfdsDataSource"}


def test_every_mixture_is_registered_with_its_parts():
  for name, parts in catalog.MIXTURES.items():
    mixture = seqio.MixtureRegistry.get(name)
    assert {task.name for task in mixture.tasks} == set(parts)


def test_a_registered_miniature_runs_with_its_own_vocabulary():
  task = seqio.TaskRegistry.get("mini_arena_preference").replace(
    source=procedural.source("mini_arena", num_rows=20)
  )
  dataset = task.get_dataset(
    catalog.MINI_WINDOWS, split="validation", shuffle=False
  )
  example = next(dataset.as_numpy_iterator())
  vocabulary = task.output_features["inputs"].vocabulary
  text = vocabulary.decode(example["inputs"].tolist())
  assert " [RESPONSE A] " in text
  assert " [RESPONSE B] " in text
  label = vocabulary.decode(example["targets"].tolist())
  assert label == "AB"[int(example["label"])]


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_a_gin_file(name):
  file = f"gin_configs/tasks/{name}.gin"
  gin_files.parse([file])
  assert gin_files.macro("MIXTURE_OR_TASK_NAME") == name
  assert gin_files.macro("TASK_FEATURE_LENGTHS") == catalog.windows(name)
  vocabulary = "mini" if name.startswith("mini") else "t5"
  assert f"tasks/{vocabulary}_vocabulary.gin" in (ROOT / file).read_text()


def test_vocabularies_of_gin_files():
  gin_files.parse(["gin_configs/tasks/mini_arena_pairs.gin"])
  assert gin_files.macro("VOCABULARY") == vocabularies.miniature()
  arena = "gin_configs/tasks/chat_arena_pairs.gin"
  gin_files.parse([arena, "gin_configs/tasks/byt5_vocabulary.gin"])
  assert gin_files.macro("VOCABULARY") == vocabularies.named("bytes")
  model = reference.path("t5_vocabulary/sentencepiece.model")
  gin_files.parse([arena], [f"vocabularies.named.name = '{model}'"])
  vocabulary = gin_files.macro("VOCABULARY")
  assert vocabulary.fingerprint == (
    "sentencepiece:"
    "d60acb128cf7b7f2536e8f38a5b18a05535c9e14c7a355904270e15b0945ea86+100"
  )
  found = vocabularies.seqio_vocabulary(vocabulary)
  assert found.vocab_size == 32_100
  assert vocabularies.embedding_rows(found) == 32_128


def test_embedding_rows_of_bytes_and_miniatures():
  for vocabulary, rows in (
    (vocabularies.named("bytes"), 384),
    (vocabularies.miniature(), 256),
  ):
    found = vocabularies.seqio_vocabulary(vocabulary)
    assert vocabularies.embedding_rows(found) == rows


def test_t5s_own_vocabulary_is_named_without_being_read():
  vocabulary = vocabularies.t5_vocabulary()
  assert vocabulary.sentencepiece_model_file == vocabularies.T5_MODEL
  assert vocabulary.extra_ids == 100


def test_typos_suggest_the_near_name():
  with pytest.raises(errors.UserError, match="mean mini_arena_pairs?"):
    catalog.entries("mini_arena_pair")
  with pytest.raises(errors.UserError, match="--list names all"):
    catalog.entries("xyz")


def test_the_listing_names_every_task_once():
  first_words = [line.split()[0] for line in catalog.listing().splitlines()]
  assert first_words == NAMES


def test_gin_files_and_catalog_need_no_tensorflow():
  code = (
    "import sys; from rlhf_gap.cli import gin_files, command_data, data_build;"
    "from rlhf_gap.data import catalog, datasets, surveys, vocabularies, mini;"
    "gin_files.parse(['gin_configs/tasks/mini_arena_sft.gin']);"
    "gin_files.macro('VOCABULARY'); catalog.listing();"
    "print([m for m in ('tensorflow', 'seqio', 'jax') if m in sys.modules])"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout == "[]\n"
