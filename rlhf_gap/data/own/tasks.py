"""A user's own files as seqio tasks, for T5X and for mixtures.

  tasks.register_tasks("helpdesk", "pairs.jsonl")
  seqio.MixtureRegistry.add(
      "helpdesk_and_helpfulness_sft",
      ["helpdesk_sft", "anthropic_helpfulness_sft"],
      default_rate=seqio.mixing_rate_num_examples)

The rows, their text, their splits and their order are those of `rlhf-gap data
own` with the same arguments. What a label of "A" or "B" cannot say is left
out: ties, and rows of weight 0. A probability becomes the more probable label.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import seqio
import tensorflow as tf

from rlhf_gap import errors
from rlhf_gap.data import preprocessors, surveys, tasks, vocabularies
from rlhf_gap.data.formats import rows
from rlhf_gap.data.own import examples, outcomes, seen, survey
from rlhf_gap.data.own import request as requests

_TEXT = tf.TensorSpec([], tf.string)
_COMMON = {
  "prompt_head": _TEXT,
  "prompt_body": _TEXT,
  "prompt_tail": _TEXT,
  "prompt_id": _TEXT,
  "prompt_repeats": tf.TensorSpec([], tf.bool),
  "file": _TEXT,
  "line": tf.TensorSpec([], tf.int64),
}
_SIGNATURES = {
  "pairs": _COMMON
  | {
    "response_a": _TEXT,
    "response_b": _TEXT,
    "label": tf.TensorSpec([], tf.int64),
  },
  "sft": _COMMON | {"response": _TEXT},
  "prompts": _COMMON,
}
# What each kind of task reads: pairs, single responses or prompts.
_READS = {
  "pairs": "pairs",
  "preference": "pairs",
  "sft": "sft",
  "prompts": "prompts",
}
_CONVERTERS: Mapping[str, Callable[..., tf.data.Dataset]] = {
  "pairs": preprocessors.to_pairs,
  "preference": preprocessors.to_preference,
  "sft": preprocessors.to_text,
  "prompts": preprocessors.to_prompts,
}


@dataclasses.dataclass(frozen=True)
class Registered:
  """What `register_tasks` did.

  Attributes:
    names: the tasks, by kind.
    counts: what became of the rows of each split, by kind.
    num_examples: examples of each split, by kind; mixing rates use them.
  """

  names: Mapping[str, str]
  counts: Mapping[str, Mapping[str, surveys.SplitCounts]]
  num_examples: Mapping[str, Mapping[str, int]]


def register_tasks(
  name: str,
  source: str,
  *,
  vocabulary: seqio.Vocabulary | None = None,
  keep: preprocessors.Keep = "end",
  **settings: Any,
) -> Registered:
  """Registers one's own files as `NAME_{sft,pairs,preference,prompts}`.

  Only the kinds that the rows' form allows are registered. The files are read
  once for each kind now, and again whenever a task is used.

  Args:
    name: what the tasks' names begin with.
    source: see `sources.find`.
    vocabulary: to tokenize with; None uses T5's.
    keep: which end of a long prompt stays.
    **settings: fields of `requests.Request`, such as `split_by="hash:0.1"`.

  Raises:
    UserError: see `requests.plan` and `survey.survey`; or a task of such a name
      is registered already.
  """
  vocabulary = vocabulary or vocabularies.t5_vocabulary()
  request = requests.Request(source, **settings)
  kinds = requests.kinds(request)
  names = {kind: f"{name}_{kind}" for kind in kinds}
  taken = [n for n in names.values() if n in seqio.TaskRegistry.names()]
  if taken:
    raise errors.UserError(f"there is a task {taken[0]} already")
  reads = {kind: _Rows(request, kind) for kind in kinds}
  for kind in kinds:
    features = tasks.FEATURES[kind]
    seqio.TaskRegistry.add(
      names[kind],
      source=reads[kind].source(),
      preprocessors=[
        preprocessors.tokenize,
        functools.partial(_CONVERTERS[kind], keep=keep),
      ],
      output_features={f: seqio.Feature(vocabulary) for f in features},
    )
  return Registered(
    names,
    {kind: reads[kind].counts for kind in kinds},
    {kind: reads[kind].num_examples for kind in kinds},
  )


class _Rows:
  """The rows of one kind, as seqio reads them."""

  def __init__(self, request: requests.Request, kind: str):
    self._walk = requests.plan(dataclasses.replace(request, kind=kind)).walk
    self._kind = kind
    self._surveyed = survey.survey(
      self._walk, allow_malformed=request.allow_malformed
    )
    self.counts = self._surveyed.counts
    self.num_examples = {
      split: sum(1 for _ in self._examples(split))
      for split in self._surveyed.splits
    }

  def source(self) -> seqio.DataSource:
    """Returns a source that reads the files whenever it is used."""

    def dataset(
      split: str, shuffle_files: bool, seed: int | None = None
    ) -> tf.data.Dataset:
      del shuffle_files, seed
      return tf.data.Dataset.from_generator(
        functools.partial(self._examples, split),
        output_signature=_SIGNATURES[_READS[self._kind]],
      )

    return seqio.FunctionDataSource(
      dataset,
      tuple(self.num_examples),
      num_input_examples=dict(self.num_examples),
    )

  def _examples(self, split: str) -> Iterator[dict[str, Any]]:
    prompts = seen.SeenKeys()
    for outcome in self._walk.outcomes(lambda count: None):
      read = outcome.reading
      if read is None or outcome.split != split:
        continue
      if self._surveyed.stays_elsewhere(split, read.prompt_key):
        continue
      is_new = prompts.add(read.prompt_key)
      if is_new or self._kind != "prompts":
        yield from self._of(outcome)

  def _of(self, outcome: outcomes.Outcome) -> Iterator[dict[str, Any]]:
    read = outcome.reading
    assert read is not None
    kind, responses = self._walk.kind, self._walk.responses
    for made in examples.of(read, kind, responses):
      if made.weight == 0:
        continue
      if made.weight != 1:
        raise errors.UserError(
          f"{outcome.file}:{outcome.line} has weight {made.weight:g}; a seqio"
          " task has no weights: build a store, or leave the column out"
        )
      yield {
        "prompt_head": "",
        "prompt_body": made.prompt,
        "prompt_tail": "",
        "prompt_id": f"{made.prompt_id:016x}",
        "prompt_repeats": False,
        "file": outcome.file,
        "line": outcome.line,
        **_responses(made),
      }


def _responses(made: examples.Example) -> dict[str, Any]:
  """Returns an example's responses; a pair's in an order its text decides."""
  if len(made.responses) < 2:
    return dict(zip(("response",), made.responses, strict=False))
  first, second = sorted(made.responses)
  if int(rows.digest(made.prompt, first, second), 16) % 2:
    first, second = second, first
  return {
    "response_a": first,
    "response_b": second,
    "label": int(first != made.responses[0]),
  }
