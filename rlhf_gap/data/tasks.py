"""seqio registrations: every name of `catalog`, with T5's vocabulary.

Another vocabulary takes the place of T5's with `with_vocabulary`; seqio and
T5X users who want T5's need only import this module.
"""

import functools
from collections.abc import Callable, Mapping

import seqio
import tensorflow as tf

# Importing it registers the builders that the sources below name.
from rlhf_gap.data import builders, catalog, preprocessors, vocabularies

LENGTHS = {"inputs": 1024, "targets": 128}
"""The windows of every task, in tokens, EOS included."""

FEATURES = {
  "sft": ("inputs", "targets"),
  "pairs": ("inputs", "chosen", "rejected"),
  "preference": ("inputs", "targets"),
  "prompts": ("inputs",),
}

_TFDS_NAMES = {
  "openai_summarization": builders.OpenaiSummarization.name,
  "anthropic_helpfulness": builders.AnthropicHelpfulness.name,
  "anthropic_harmlessness": builders.AnthropicHarmlessness.name,
  "chat_arena": f"{builders.ChatArena.name}/shared_context",
  "chat_arena_shared_prefix": f"{builders.ChatArena.name}/shared_prefix",
}
# A summary is of the post's beginning; a dialogue is about its end.
_KEEPS: dict[str, preprocessors.Keep] = {"openai_summarization": "start"}

_CONVERTERS: dict[str, Callable[..., tf.data.Dataset]] = {
  "sft": preprocessors.to_sft,
  "pairs": preprocessors.to_pairs,
  "preference": preprocessors.to_preference,
  "prompts": preprocessors.to_prompts,
}


def source(
  entry: catalog.TaskEntry, tfds_data_dir: str | None = None
) -> seqio.DataSource:
  """Returns where a task's comparisons come from.

  Args:
    entry: the task.
    tfds_data_dir: where its TFDS data set has been prepared; None: TFDS's own
      default. Procedural tasks have no such place.
  """
  return seqio.TfdsDataSource(
    f"{_TFDS_NAMES[entry.dataset]}:1.0.0", tfds_data_dir=tfds_data_dir
  )


def with_vocabulary(
  task: seqio.Task,
  vocabulary: seqio.Vocabulary,
  data_source: seqio.DataSource | None = None,
) -> seqio.Task:
  """Returns a task like `task` that tokenizes with another vocabulary.

  Args:
    task: a registered task.
    vocabulary: what to tokenize with.
    data_source: what to read; None: what `task` reads.
  """
  return task.replace(
    source=data_source or task.source,
    output_features=_features(tuple(task.output_features), vocabulary),
  )


def _features(
  names: tuple[str, ...], vocabulary: seqio.Vocabulary
) -> Mapping[str, seqio.Feature]:
  return {name: seqio.Feature(vocabulary) for name in names}


def _register(entry: catalog.TaskEntry) -> None:
  convert = functools.partial(
    _CONVERTERS[entry.kind], keep=_KEEPS.get(entry.dataset, "end")
  )
  seqio.TaskRegistry.add(
    entry.name,
    source=source(entry),
    preprocessors=[preprocessors.tokenize, convert],
    output_features=_features(
      FEATURES[entry.kind], vocabularies.t5_vocabulary()
    ),
  )


for _entry in catalog.TASKS:
  if not catalog.is_procedural(_entry):
    _register(_entry)
seqio.MixtureRegistry.add(
  "pooled_sft",
  catalog.MIXTURES["pooled_sft"],
  default_rate=seqio.mixing_rate_num_examples,
)
