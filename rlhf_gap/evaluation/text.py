"""Length, EOS rate and diversity of responses, from their token ids."""

import collections
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from rlhf_gap import records
from rlhf_gap.evaluation import intervals
from rlhf_gap.token_ids import EOS_ID, PAD_ID


def measure(
  responses: Int[np.ndarray, "rows target"],
) -> dict[str, records.Measurement]:
  """Computes the metrics of responses.

  Args:
    responses: token ids, padded with 0; EOS (1) ends untruncated responses.

  Returns:
    "response_length_tokens", EOS included; "eos_rate", the fraction that is not
    truncated; "distinct_1" and "distinct_2" (see `distinct`), each missing if
    there is no such n-gram.
  """
  length = (responses > PAD_ID).sum(axis=1)
  ended = (responses == EOS_ID).any(axis=1)
  measured = {
    "response_length_tokens": intervals.mean(
      length.astype(np.float64), low=0.0, high=float(responses.shape[1])
    ),
    "eos_rate": intervals.win_rate(ended.astype(np.float64)),
  }
  texts = [row[row > EOS_ID].tolist() for row in responses]
  for n in (1, 2):
    if any(len(text) >= n for text in texts):
      measured[f"distinct_{n}"] = distinct(texts, n)
  return measured


def distinct(texts: Sequence[Sequence[int]], n: int) -> records.Measurement:
  """Returns distinct-n: different n-grams over all n-grams (Li et al. 2016).

  It falls as the number of texts grows, so compare only equal numbers.

  Args:
    texts: token ids without EOS and pads; at least one has n of them.
    n: the length of an n-gram.

  Returns:
    The ratio over all texts together, with a jackknife over texts.
  """
  grams = [_grams(text, n) for text in texts]
  counts = collections.Counter(itertools.chain.from_iterable(grams))
  total = sum(counts.values())
  left_out = [_without(own, counts, total) for own in grams]
  return intervals.jackknife(
    len(counts) / total, np.array(left_out), low=0.0, high=1.0
  )


def _without(
  own: Sequence[tuple[int, ...]], counts: collections.Counter, total: int
) -> float:
  """Returns the ratio of all texts but the one that holds `own`."""
  lost = sum(counts[gram] == k for gram, k in collections.Counter(own).items())
  # Avoids 0 / 0 if this text has all n-grams.
  return (len(counts) - lost) / max(total - len(own), 1)


def _grams(text: Sequence[int], n: int) -> list[tuple[int, ...]]:
  return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]
