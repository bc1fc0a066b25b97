"""seqio registrations: every name of `catalog`, with T5's vocabulary.

T5X needs only `MIXTURE_OR_TASK_MODULE = "rlhf_gap.data.tasks"`. The datasets
are prepared like any TFDS dataset, with `builders.ChatArena().
download_and_prepare(...)` and a manual folder. `rlhf-gap data` reads the same
tasks with its own vocabulary and source (`with_vocabulary`).
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

# Importing `builders` registers the TFDS names used below.
from rlhf_gap.data import (
  builders,
  catalog,
  mini,
  preprocessors,
  procedural,
  vocabularies,
)

FEATURES = {
  "sft": ("inputs", "targets"),
  "pairs": ("inputs", "chosen", "rejected"),
  "preference": ("inputs", "targets"),
  "prompts": ("inputs",),
  "text": ("inputs", "targets"),
}

_TFDS_NAMES = {
  "openai_summarization": builders.OpenaiSummarization.name,
  "anthropic_helpfulness": builders.AnthropicHelpfulness.name,
  "anthropic_harmlessness": builders.AnthropicHarmlessness.name,
  "chat_arena": f"{builders.ChatArena.name}/shared_context",
  "chat_arena_shared_prefix": f"{builders.ChatArena.name}/shared_prefix",
}
# Truncation keeps the start of a post and the end of a dialogue.
_KEEPS: dict[str, preprocessors.Keep] = {"openai_summarization": "start"}

_CONVERTERS: dict[str, Callable[..., tf.data.Dataset]] = {
  "sft": preprocessors.to_sft,
  "pairs": preprocessors.to_pairs,
  "preference": preprocessors.to_preference,
  "prompts": preprocessors.to_prompts,
  "text": preprocessors.to_text,
}


def tfds_builder(
  entry: catalog.TaskEntry, data_dir: str
) -> builders.ComparisonBuilder:
  """Returns the builder of a task's comparisons.

  Args:
    entry: a task on published files.
    data_dir: where the builder prepares its dataset.
  """
  builder = tfds.builder(_TFDS_NAMES[entry.dataset], data_dir=data_dir)
  if not isinstance(builder, builders.ComparisonBuilder):
    raise TypeError(f"{entry.dataset} is read by {type(builder)}")
  return builder


def published_source(
  entry: catalog.TaskEntry, data_dir: str | None = None
) -> seqio.DataSource:
  """Returns the prepared comparisons that a task reads.

  Args:
    entry: a task on published files.
    data_dir: where they have been prepared; None uses TFDS's default.
  """
  return seqio.TfdsDataSource(
    f"{_TFDS_NAMES[entry.dataset]}:{builders.ComparisonBuilder.VERSION}",
    tfds_data_dir=data_dir,
  )


def with_vocabulary(
  entry: catalog.TaskEntry,
  vocabulary: seqio.Vocabulary,
  source: seqio.DataSource,
) -> seqio.Task:
  """Returns a registered task with its vocabulary and source replaced.

  Args:
    entry: the task.
    vocabulary: the vocabulary to tokenize with.
    source: the source to read.
  """
  return seqio.TaskRegistry.get(entry.name).replace(
    source=source,
    output_features=_features(FEATURES[entry.kind], vocabulary),
  )


def mixture(
  name: str, parts: Sequence[seqio.Task], split: str
) -> seqio.Mixture:
  """Returns a mixture that samples every row of a split equally often."""
  rate = functools.partial(seqio.mixing_rate_num_examples, split=split)
  # By default seqio stops when the first task runs out of rows.
  to_the_end = functools.partial(
    tf.data.Dataset.sample_from_datasets, stop_on_empty_dataset=False
  )
  return seqio.Mixture(
    name, list(parts), default_rate=rate, sample_fn=to_the_end
  )


def _features(
  names: tuple[str, ...], vocabulary: seqio.Vocabulary
) -> Mapping[str, seqio.Feature]:
  return {name: seqio.Feature(vocabulary) for name in names}


def _register(entry: catalog.TaskEntry) -> None:
  convert = functools.partial(
    _CONVERTERS[entry.kind], keep=_KEEPS.get(entry.dataset, "end")
  )
  if catalog.is_procedural(entry):
    source = procedural.source(entry.dataset)
    vocabulary = vocabularies.seqio_vocabulary(
      vocabularies.named(mini.VOCABULARY_PATH)
    )
  else:
    source = published_source(entry)
    vocabulary = vocabularies.t5_vocabulary()
  seqio.TaskRegistry.add(
    entry.name,
    source=source,
    preprocessors=[preprocessors.tokenize, convert],
    output_features=_features(FEATURES[entry.kind], vocabulary),
  )


for _entry in catalog.TASKS:
  _register(_entry)
for _name, _parts in catalog.MIXTURES.items():
  seqio.MixtureRegistry.add(
    _name, list(_parts), default_rate=seqio.mixing_rate_num_examples
  )
