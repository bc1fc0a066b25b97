"""Labels a store of pairs with a preference model, into a new store."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from rlhf_gap import errors, progress, stores
from rlhf_gap.inference import judge
from rlhf_gap.models import t5

Values = Mapping[str, np.ndarray]

# Columns that belong to one side of a pair and change places with it.
_SIDES = ("tokens", "seed", "reference_log_prob")


@dataclasses.dataclass(frozen=True)
class Report:
  """Counts of a labelled store.

  Attributes:
    rows: rows labelled.
    kept_order: fraction of rows whose chosen response is unchanged.
    ties: rows of two equal responses, or exact ties; their weight is 0.
    mean_position_bias: the judge's mean preference for the first position.
  """

  rows: int
  kept_order: float
  ties: int
  mean_position_bias: float


def label_store(
  config: t5.T5Config,
  params: t5.Params,
  by: stores.CheckpointIdentity,
  source: stores.Store,
  output: str,
  *,
  input_length: int,
  keep: str,
) -> Report:
  """Writes the pairs of `source` with the judge's winner as chosen.

  An interrupted call resumes after the last committed chunk.

  Args:
    config: the preference model's architecture.
    params: its parameters.
    by: names the preference model in the new store's manifest.
    source: a store of pairs.
    output: the new store's directory.
    input_length: the preference model's window in tokens.
    keep: which end of a prompt to keep if it is truncated, "end" or "start".

  Returns:
    Counts over the whole new store.

  Raises:
    UserError: the source holds no pairs, its vocabulary has no A and B, the
      window cannot hold its responses, or `output` holds another store.
  """
  check_pairs(source)
  manifest = source.manifest
  words = judge.words_of(manifest.vocabulary)
  _check_window(words, manifest.feature_lengths, input_length)
  settings: dict[str, str | int]
  settings = {"judge_input_length": input_length, "keep": keep}
  compare = _comparing(config, params, words, input_length, keep)

  def verdict_of(values: Values) -> judge.Comparison:
    return compare(*map(jnp.asarray, _filled(values, manifest.chunk_rows)))

  return write(source, output, _labelled(manifest, by, settings), verdict_of)


def check_pairs(source: stores.Store) -> None:
  """Raises `UserError` unless a store holds pairs."""
  if source.manifest.schema != "pairs":
    raise errors.UserError(
      f"{source.path} holds {source.manifest.schema}; expected pairs to label"
    )


def write(
  source: stores.Store,
  output: str,
  described: stores.Manifest,
  verdict_of: Callable[[Values], judge.Comparison],
) -> Report:
  """Writes a store's pairs with the winner as chosen, chunk by chunk.

  An interrupted call resumes after the last committed chunk.

  Args:
    source: a store of pairs.
    output: the new store's directory.
    described: the new store, with no rows yet.
    verdict_of: judges chosen against rejected, for at least a chunk's rows.

  Returns:
    Counts over the whole new store.

  Raises:
    UserError: `output` holds another store.
  """
  writer = stores.create(output, described)
  size = described.chunk_rows
  with progress.bar("labelling", source.num_rows, "pairs") as bar:
    bar.update(writer.num_rows)
    for chunk in range(writer.num_chunks, -(-source.num_rows // size)):
      rows = range(chunk * size, min((chunk + 1) * size, source.num_rows))
      values = source.read(rows)
      writer.append(chunk, relabel(values, verdict_of(values)))
      writer.commit()
      bar.update(len(rows))
  writer.finish(dropped=dict(source.manifest.dropped))
  return _count(source, stores.open(output))


def _labelled(
  manifest: stores.Manifest,
  by: stores.CheckpointIdentity,
  settings: Mapping[str, str | int],
) -> stores.Manifest:
  """Describes the new store, with no rows yet."""
  return dataclasses.replace(
    manifest,
    label=stores.Label("judge", by),
    source={**manifest.source, **settings},
    rows=0,
    complete=False,
    dropped={},
  )


def _comparing(
  config: t5.T5Config,
  params: t5.Params,
  words: judge.Words,
  input_length: int,
  keep: str,
) -> Callable[[jax.Array, jax.Array, jax.Array], judge.Comparison]:
  """Returns the compiled judge: (prompt, first, second) -> verdict."""

  @jax.jit
  def compare(
    prompt: jax.Array, first: jax.Array, second: jax.Array
  ) -> judge.Comparison:
    return judge.compare(
      config,
      params,
      words,
      prompt,
      first,
      second,
      length=input_length,
      keep=keep,
    )

  return compare


def _check_window(
  words: judge.Words, lengths: Mapping[str, int], input_length: int
) -> None:
  markers = judge.marker_tokens(words)
  needed = 2 * lengths["response"] + markers
  if input_length < needed:
    raise errors.UserError(
      f"--input_length={input_length} cannot hold two responses of"
      f" {lengths['response']} tokens and {markers} of markers; expected at"
      f" least {needed}"
    )


def _filled(values: Values, size: int) -> list[np.ndarray]:
  """Prompts, chosen and rejected, the last chunk filled up to one shape."""
  names = ("prompt_tokens", "chosen_tokens", "rejected_tokens")
  return [
    np.pad(values[n], ((0, size - len(values[n])), (0, 0)), mode="edge")
    for n in names
  ]


def relabel(values: Values, verdict: judge.Comparison) -> dict[str, np.ndarray]:
  """Makes the judge's winner the chosen response; adds its probabilities.

  Args:
    values: rows of a pair store.
    verdict: of chosen against rejected, for at least these rows.

  Returns:
    The rows, some with sides exchanged. A tie keeps its order and has
    weight 0, so that no loss learns from it.
  """
  rows = len(values["prompt_tokens"])
  label, r12, r21 = (
    np.asarray(part)[:rows]
    for part in (verdict.label, verdict.first_order, verdict.second_order)
  )
  swapped = label < 0.5
  new = dict(values)
  for side in _SIDES:
    chosen, rejected = values[f"chosen_{side}"], values[f"rejected_{side}"]
    where = swapped.reshape(-1, *[1] * (chosen.ndim - 1))
    new[f"chosen_{side}"] = np.where(where, rejected, chosen)
    new[f"rejected_{side}"] = np.where(where, chosen, rejected)
  new["judge_r12"] = np.where(swapped, r21, r12)
  new["judge_r21"] = np.where(swapped, r12, r21)
  new["truncated"] = np.where(
    swapped, _exchanged(values["truncated"]), values["truncated"]
  )
  tie = label == 0.5
  new["weight"] = np.where(tie, 0, values["weight"]).astype(np.float32)
  return new


def _exchanged(flags: np.ndarray) -> np.ndarray:
  chosen, rejected = stores.Truncated.CHOSEN, stores.Truncated.REJECTED
  others = flags & ~(chosen | rejected)
  was_chosen = np.where(flags & chosen, rejected, 0)
  was_rejected = np.where(flags & rejected, chosen, 0)
  return (others | was_chosen | was_rejected).astype(flags.dtype)


def _count(source: stores.Store, labelled: stores.Store) -> Report:
  rows = range(labelled.num_rows)
  columns = ["chosen_tokens", "judge_r12", "judge_r21"]
  values = labelled.read(rows, columns)
  before = source.read(rows, ["chosen_tokens"])["chosen_tokens"]
  same = (values["chosen_tokens"] == before).all(axis=1)
  r12, r21 = values["judge_r12"], values["judge_r21"]
  weight = labelled.read(rows, ["weight"])["weight"]
  ties = int(((weight == 0) & same).sum())
  return Report(
    rows=labelled.num_rows,
    kept_order=float(same.mean()),
    ties=ties,
    mean_position_bias=float((r12 + r21 - 1).mean() / 2),
  )
