"""Labels a store of pairs by a known utility, into a new store."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from rlhf_gap import stores
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
  label.check_pairs(source)
  described = dataclasses.replace(
    source.manifest,
    label=stores.Label("utility"),
    rows=0,
    complete=False,
    dropped={},
  )
  decode = stores.decoder(source.manifest.vocabulary)

  def verdict_of(values: label.Values) -> judge.Comparison:
    prompts, chosen, rejected = (
      [decode(row.tolist()) for row in values[f"{name}_tokens"]]
      for name in ("prompt", "chosen", "rejected")
    )
    return compare(utilities(prompts, chosen), utilities(prompts, rejected))

  return label.write(source, output, described, verdict_of)


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
