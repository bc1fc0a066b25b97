"""One's own files as seqio tasks: names, rows, rates, mixtures."""

import itertools
import pathlib

import numpy as np
import pytest
import seqio

from rlhf_gap import errors, stores
from rlhf_gap.data import mini, procedural, vocabularies
from rlhf_gap.data.own import build, tasks
from rlhf_gap.data.own import request as requests
from tests.data_own import made_up

pytestmark = pytest.mark.slow

WINDOWS = {"inputs": 48, "targets": 16}
VOCABULARY = vocabularies.named(mini.VOCABULARY_PATH)
_NUMBERS = itertools.count()


@pytest.fixture
def name() -> str:
  """A name that no other test has registered."""
  return f"own_{next(_NUMBERS)}"


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
  """Pairs of a miniature, one of them twice, and a broken row."""
  drawn = mini.pairs("mini_helpfulness", 0, 0, 60, split="train")
  rows = [
    {
      "prompt": row["prompt"],
      "chosen": row["response_a"],
      "rejected": row["response_b"],
    }
    for row in drawn
    if row["response_a"] != row["response_b"]
  ]
  return made_up.write(tmp_path / "rows.jsonl", *rows, rows[0], b"{")


def register(name: str, source: pathlib.Path, **settings) -> tasks.Registered:
  return tasks.register_tasks(
    name,
    str(source),
    vocabulary=vocabularies.seqio_vocabulary(VOCABULARY),
    **{"allow_malformed": True, **settings},
  )


def examples(name: str, split: str) -> list[dict[str, np.ndarray]]:
  task = seqio.get_mixture_or_task(name)
  dataset = task.get_dataset(WINDOWS, split=split, shuffle=False)
  return list(dataset.as_numpy_iterator())


@pytest.mark.parametrize("kind", ["sft", "pairs", "preference", "prompts"])
def test_tasks_have_the_tokens_of_the_store(tmp_path, source, name, kind):
  registered = register(name, source)
  assert registered.names[kind] == f"{name}_{kind}"
  built = build.build(
    requests.Request(str(source), kind=kind, allow_malformed=True),
    requests.Store(str(tmp_path / "store"), VOCABULARY, WINDOWS),
  )
  found = examples(f"{name}_{kind}", "all")
  assert len(found) == built.rows_written > 10
  store = stores.open(str(tmp_path / "store"))
  values = store.read(range(store.num_rows))
  features = {
    "sft": {"inputs": "prompt", "targets": "response"},
    "prompts": {"inputs": "prompt"},
    "pairs": {"inputs": "prompt", "chosen": "chosen", "rejected": "rejected"},
    "preference": {
      "prompt": "prompt",
      "chosen": "chosen",
      "rejected": "rejected",
    },
  }[kind]
  for row, example in enumerate(found):
    for feature, part in features.items():
      stored = values[f"{part}_tokens"][row]
      ids = stored[: np.count_nonzero(stored)]
      np.testing.assert_array_equal(example[feature], ids)


def test_a_preference_label_is_not_told_by_the_order(source, name):
  register(name, source)
  found = examples(f"{name}_preference", "all")
  labels = {int(example["label"]) for example in found}
  assert labels == {0, 1}


def test_rates_and_mixtures_with_a_built_in_task(source, name):
  registered = register(name, source, split_by="hash:0.3")
  sizes = registered.num_examples["sft"]
  assert set(sizes) == {"train", "test"}
  for split, size in sizes.items():
    assert len(examples(f"{name}_sft", split)) == size
  task = seqio.TaskRegistry.get(f"{name}_sft")
  assert seqio.mixing_rate_num_examples(task) == sizes["train"]
  built_in = seqio.TaskRegistry.get("mini_arena_sft").replace(
    source=procedural.source("mini_arena", num_rows=100)
  )
  mixture = seqio.Mixture(
    f"{name}_and_built_in",
    [task, built_in],
    default_rate=seqio.mixing_rate_num_examples,
  )
  dataset = mixture.get_dataset(
    WINDOWS, split="train", shuffle=False, num_epochs=1
  )
  first = list(dataset.take(50).as_numpy_iterator())
  assert len(first) == 50
  assert {"inputs", "targets"} <= set(first[0])


def test_ties_are_left_out_and_weights_refused(tmp_path, name):
  row = {"prompt": "p", "responses": ["a", "b", "c"], "scores": [1, 1, 0]}
  source = made_up.write(tmp_path / "rows.jsonl", row)
  registered = register(name, source)
  assert registered.num_examples["pairs"] == {"all": 2}
  source = made_up.write(tmp_path / "w.jsonl", made_up.pair(weight=0.5))
  with pytest.raises(errors.UserError, match="a seqio task has no weights"):
    register(f"{name}_weighted", source)


def test_only_the_kinds_of_the_form(tmp_path, name):
  row = {"prompt": "p", "completion": "c"}
  source = made_up.write(tmp_path / "rows.jsonl", row)
  registered = register(name, source)
  assert registered.names == {
    "sft": f"{name}_sft",
    "prompts": f"{name}_prompts",
  }
  with pytest.raises(errors.UserError, match=f"a task {name}_sft already"):
    register(name, source)
