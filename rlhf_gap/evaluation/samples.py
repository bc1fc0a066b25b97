"""One sample per prompt, sampled once and kept in a store.

All metrics read the store, so a metric added later needs no sampling. Sample n
of a prompt is a function of the parameters, the prompt, the seed and the
prompt's row in its store.
"""

import dataclasses
import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np

from rlhf_gap import errors, stores
from rlhf_gap.evaluation import batches, models
from rlhf_gap.inference import diagnose, sample, score

COLUMNS = (
  stores.ColumnSpec(
    "prompt_tokens", "int32", "prompt", "token ids, padded with 0"
  ),
  stores.ColumnSpec(
    "response_tokens",
    "int32",
    "response",
    "token ids, EOS (1) unless it was cut, then padding (0)",
  ),
  stores.ColumnSpec(
    "token_log_probs",
    "float32",
    "response",
    "nats, of each token under the policy itself; 0 at pads",
  ),
  stores.ColumnSpec(
    "prompt_id", "int64", None, "names the prompt in its source"
  ),
  stores.ColumnSpec(
    "prompt_row", "int64", None, "its row in the prompts' store"
  ),
  stores.ColumnSpec("draw", "int32", None, "0: first sample of it, 1: second"),
  stores.ColumnSpec("seed", "int64", None, "the evaluation's seed"),
)

# Each role has its own random numbers. With common ones, a policy would tie
# with itself on every prompt.
_STREAMS = ("policy", "golden_policy", "reference")
# Offset of the row id that determines the random bits of second samples.
_SECOND = 2**30


@dataclasses.dataclass(frozen=True)
class Prompts:
  """The prompts of an evaluation, in order.

  Attributes:
    rows: their rows in the store, int64 [prompts].
    tokens: their ids, int32 [prompts, length].
    ids: their ids in their source, int64 [prompts].
    manifest: the store's manifest.
    path: the store's path.
  """

  rows: np.ndarray
  tokens: np.ndarray
  ids: np.ndarray
  manifest: stores.Manifest
  path: str

  @property
  def fingerprint(self) -> str:
    """SHA-256 of vocabulary, rows and token ids."""
    digest = hashlib.sha256(self.manifest.vocabulary.fingerprint.encode())
    for array in (self.rows, self.ids, self.tokens):
      digest.update(repr(array.shape).encode())
      digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def choose_prompts(path: str, num_prompts: int, seed: int) -> Prompts:
  """Chooses the first prompts of a store in a seeded order.

  A smaller number gives a prefix of a larger one.

  Args:
    path: a store with prompts: of prompts alone, or of pairs.
    num_prompts: how many.
    seed: chooses the order.

  Returns:
    The prompts.

  Raises:
    UserError: there is no store, or it holds fewer prompts.
  """
  store = stores.open(path)
  if not 2 <= num_prompts <= store.num_rows:
    raise errors.UserError(
      f"{path} holds {store.num_rows:,} prompts, but"
      f" --num_prompts={num_prompts}; expected 2 to {store.num_rows:,}: lower"
      " it, or build a larger store"
    )
  rows = stores.rows(
    stores.Epochs(), seed, 0, num_rows=store.num_rows, batch_size=num_prompts
  )
  values = store.read(rows, ["prompt_tokens", "prompt_id"])
  return Prompts(
    rows, values["prompt_tokens"], values["prompt_id"], store.manifest, path
  )


@dataclasses.dataclass(frozen=True)
class Plan:
  """Settings that, with a checkpoint, determine a store of samples.

  Attributes:
    prompts: the prompts.
    num_seconds: number of first prompts with a second sample.
    max_length: maximum response length in tokens, EOS included.
    batch_size: prompts per batch.
    seed: seed of all samples.
    role: "policy", "golden_policy" or "reference"; the samples of different
      roles are independent.
  """

  prompts: Prompts
  num_seconds: int
  max_length: int
  batch_size: int
  seed: int
  role: str = "policy"

  @property
  def num_rows(self) -> int:
    """Total number of samples."""
    return len(self.prompts.rows) + self.num_seconds

  def manifest(self, checkpoint: stores.CheckpointIdentity) -> stores.Manifest:
    """Returns the manifest of the store of a checkpoint's samples."""
    source = self.prompts.manifest
    return stores.Manifest(
      task=source.task,
      schema="samples",
      columns=COLUMNS,
      feature_lengths={
        "prompt": source.feature_lengths["prompt"],
        "response": self.max_length,
      },
      vocabulary=source.vocabulary,
      chunk_rows=self.batch_size,
      source={
        "role": self.role,
        "checkpoint": checkpoint.sha256,
        "step": checkpoint.step,
        "prompts": self.prompts.fingerprint,
        "num_prompts": len(self.prompts.rows),
        "num_seconds": self.num_seconds,
        "seed": self.seed,
      },
    )

  def folder(self, checkpoint: stores.CheckpointIdentity) -> str:
    """Returns a name unique to this plan and checkpoint."""
    manifest = self.manifest(checkpoint)
    what = [*sorted(manifest.source.items()), manifest.chunk_rows]
    what += sorted(manifest.feature_lengths.items())
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()
    return f"{self.role}_{checkpoint.step}_{digest[:16]}"


def is_complete(path: str) -> bool:
  """Whether a store holds all of its samples."""
  try:
    return stores.open(path).manifest.complete
  except errors.UserError:
    return False


def sample_missing(
  path: str, model: models.Model, plan: Plan, using: batches.Batches
) -> stores.Store:
  """Samples missing responses to a store, and opens it.

  Sampling is at temperature 1 without truncation; with any other distribution,
  the estimate of the KL would be biased.

  Args:
    path: the store's folder: new, incomplete or complete.
    model: the policy.
    plan: the settings.
    using: reports the number of rows done.

  Returns:
    The store: first samples of all prompts in order, then second samples.

  Raises:
    UserError: logits stopped being finite, the folder holds another store, or
      it cannot be written.
  """
  wanted = plan.manifest(model.checkpoint)
  if is_complete(path):
    # Not opened for writing, because concurrent evaluations share the samples
    # of opponents, and a store has one writer.
    store = stores.open(path)
    if not stores.differences(store.manifest, wanted):
      using.report(store.num_rows)
      return store
  writer = stores.create(path, wanted)
  size = plan.batch_size
  using.report(writer.num_rows)
  for chunk in range(writer.num_chunks, -(-plan.num_rows // size)):
    rows = range(chunk * size, min((chunk + 1) * size, plan.num_rows))
    writer.append(chunk, _sample_rows(model, plan, rows))
    writer.commit()
    using.report(len(rows))
  writer.finish()
  return stores.open(path)


def _sample_rows(
  model: models.Model, plan: Plan, rows: range
) -> dict[str, np.ndarray]:
  """Samples some rows of the store."""
  prompts = plan.prompts
  # Padded with the last row, so that one compiled program serves all batches.
  row = np.minimum(rows.start + np.arange(plan.batch_size), rows[-1])
  number, index = np.divmod(row, len(prompts.rows))
  values = {
    "prompt_tokens": prompts.tokens[index],
    "prompt_id": prompts.ids[index],
    "prompt_row": prompts.rows[index],
    "draw": number.astype(np.int32),
    "seed": np.full(len(row), plan.seed, np.int64),
  }
  tokens = jnp.asarray(batches.without_padding(prompts.tokens)[index])
  stream = jax.random.fold_in(
    jax.random.key(plan.seed), _STREAMS.index(plan.role)
  )
  sampled = sample.sample(
    model.config,
    model.params,
    tokens,
    stream,
    num_samples=1,
    max_length=plan.max_length,
    row_ids=jnp.asarray(values["prompt_row"] + number * _SECOND),
  )
  _check_finite(model, tokens, sampled)
  values["response_tokens"] = np.asarray(sampled.tokens[:, 0])
  values["token_log_probs"] = np.asarray(sampled.log_probs[:, 0])
  return {name: value[: len(rows)] for name, value in values.items()}


def _check_finite(
  model: models.Model, tokens: jax.Array, sampled: sample.Samples
) -> None:
  if (step := int(sampled.first_bad_step)) < 0:
    return
  decoder_inputs = score.shift_right(sampled.tokens[:, 0])
  where = diagnose.first_bad_layer(
    model.config, model.params, tokens, decoder_inputs
  )
  raise errors.UserError(
    f"{model.checkpoint.path}: logits are not finite at step {step} of"
    f" decoding, first in {where or 'a sampled response'}; the policy has"
    " diverged: evaluate an earlier step"
  )


def open_existing(path: str, plan: Plan) -> stores.Store:
  """Opens existing samples and checks that they match a plan.

  Args:
    path: a store of samples.
    plan: the expected settings; the store may hold additional prompts.

  Returns:
    The store.

  Raises:
    UserError: the store is incomplete, or its role, prompts or maximum length
      differ.
  """
  store = stores.open(path)
  manifest = store.manifest
  if manifest.schema != "samples" or manifest.source["role"] != plan.role:
    found = manifest.source.get("role", manifest.task)
    raise errors.UserError(
      f"{path} holds {manifest.schema} of {found}; expected samples of the"
      f" {plan.role.replace('_', ' ')}, which `rlhf-gap evaluate` samples"
    )
  stores.check_vocabulary(
    manifest.vocabulary, plan.prompts.manifest.vocabulary, path
  )
  count = len(plan.prompts.rows)
  values = store.read(
    range(min(count, store.num_rows)), ["prompt_tokens", "draw"]
  )
  same = np.array_equal(values["prompt_tokens"], plan.prompts.tokens)
  if not (same and manifest.complete and not values["draw"].any()):
    raise errors.UserError(
      f"{path} does not hold a sample of each of the {count:,} prompts of"
      f" {plan.prompts.path} under seed {plan.seed}; give the checkpoint with"
      " --golden_policy to sample them"
    )
  if manifest.feature_lengths["response"] != plan.max_length:
    raise errors.UserError(
      f"{path} holds responses of up to"
      f" {manifest.feature_lengths['response']} tokens, but"
      f" --max_length={plan.max_length}; policy and opponent must use the same"
      " length"
    )
  return store


def responses(
  store: stores.Store, count: int, sample_number: int = 0
) -> np.ndarray:
  """Returns the first or second samples of the first prompts.

  Args:
    store: a store of samples.
    count: number of prompts; for second samples at most `num_seconds`.
    sample_number: 0 for first samples, 1 for second samples.

  Returns:
    Token ids, int32 [count, length].
  """
  start = sample_number * int(store.manifest.source["num_prompts"] or 0)
  rows = range(start, start + count)
  return store.read(rows, ["response_tokens"])["response_tokens"]
