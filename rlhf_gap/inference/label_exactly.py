"""Labels a store of pairs by a known utility, into a new store."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from rlhf_gap import errors, progress, stores
from rlhf_gap.inference import judge, label

Utilities = Callable[[Sequence[str], Sequence[str]], np.ndarray]
"""Maps prompts and responses, as text, to each response's utility."""


def label_store(
  utilities: Utilities, source: stores.Store, output: str
) -> label.Report:
  """Writes the pairs of `source` with the better response as chosen.

  A judge without error: no noise, no position bias, and a tie only where both
  utilities are equal. An interrupted call resumes after the last committed
  chunk.

  Args:
    utilities: the hidden utility of a miniature.
    source: a store of pairs.
    output: the new store's directory.

  Returns:
    Counts over the whole new store.

  Raises:
    UserError: the source holds no pairs, or `output` holds another store.
  """
  manifest = source.manifest
  if manifest.schema != "pairs":
    raise errors.UserError(
      f"{source.path} holds {manifest.schema}; expected pairs to label"
    )
  described = dataclasses.replace(
    manifest,
    label=stores.Label("utility"),
    rows=0,
    complete=False,
    dropped={},
  )
  writer = stores.create(output, described)
  decode = stores.decoder(manifest.vocabulary)

  def text(tokens: np.ndarray) -> list[str]:
    return [decode(row.tolist()) for row in tokens]

  size = manifest.chunk_rows
  with progress.bar("labelling", source.num_rows, "pairs") as bar:
    bar.update(writer.num_rows)
    for chunk in range(writer.num_chunks, -(-source.num_rows // size)):
      rows = range(chunk * size, min((chunk + 1) * size, source.num_rows))
      values = source.read(rows)
      prompts = text(values["prompt_tokens"])
      chosen, rejected = (
        np.asarray(utilities(prompts, text(values[f"{side}_tokens"])))
        for side in ("chosen", "rejected")
      )
      writer.append(chunk, label.relabel(values, compare(chosen, rejected)))
      writer.commit()
      bar.update(len(rows))
  writer.finish(dropped=dict(manifest.dropped))
  return label.count(source, stores.open(output))


def compare(
  first: Float[np.ndarray, "rows"], second: Float[np.ndarray, "rows"]
) -> judge.Comparison:
  """Returns the verdicts of a judge that knows the utility.

  Args:
    first: utility of each first response.
    second: utility of each second response.

  Returns:
    Verdicts without position bias: probability 1, 0, or 1/2 for a tie.
  """
  better = 0.5 * (1 + np.sign(first - second)).astype(np.float32)
  return judge.Comparison(
    probability=better,
    label=better,
    margin=2 * better - 1,
    position_bias=np.zeros_like(better),
    first_order=better,
    second_order=1 - better,
  )
