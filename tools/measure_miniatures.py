"""Measures the miniatures: sizes, lengths, quality, label noise and speed.

Usage: python tools/measure_miniatures.py [--rows=21000] [--json]
"""

import argparse
import json
import statistics
import time

from rlhf_gap.data import mini


def _agreement(rows: list[mini.PairRow]) -> float:
  """Returns how often an untied label names the response of higher utility."""
  return statistics.fmean(
    (row["utility_a"] > row["utility_b"]) == (row["label"] == 0)
    for row in rows
    if row["label"] != mini.TIE and row["utility_a"] != row["utility_b"]
  )


def _utilities_per_second(name: str, rows: list[mini.PairRow]) -> float:
  start = time.perf_counter()
  mini.utilities(
    name,
    [row["prompt"] for row in rows],
    [row["response_a"] for row in rows],
  )
  return len(rows) / (time.perf_counter() - start)


def measure(name: str, count: int) -> dict[str, float]:
  """Returns statistics of the first `count` training rows of seed 0."""
  start = time.perf_counter()
  rows = list(mini.pairs(name, 0, 0, count))
  seconds = time.perf_counter() - start
  values = [row[side] for row in rows for side in ("utility_a", "utility_b")]
  texts = [(r["prompt"], r["response_a"], r["response_b"]) for r in rows]
  lengths = sorted(len(r.split()) for _, *both in texts for r in both)
  return {
    "rows": count,
    "distinct_pairs": len(set(texts)),
    "distinct_prompts": len({row["prompt"] for row in rows}),
    "words": len({w for text in texts for t in text for w in t.split()}),
    "prompt_words_max": max(len(row["prompt"].split()) for row in rows),
    "response_words_p50": lengths[len(lengths) // 2],
    "response_words_max": lengths[-1],
    "one_word_share": statistics.fmean(
      min(len(a.split()), len(b.split())) == 1 for _, a, b in texts
    ),
    "identical_share": statistics.fmean(a == b for _, a, b in texts),
    "tie_share": statistics.fmean(row["label"] == mini.TIE for row in rows),
    "utility_mean": statistics.fmean(values),
    "utility_std": statistics.pstdev(values),
    "utility_max": max(values),
    "label_agreement": _agreement(rows),
    "pairs_per_second": count / seconds,
    "utilities_per_second": _utilities_per_second(name, rows),
  }


def main() -> None:
  """Prints statistics of every miniature, as a table or as JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rows", type=int, default=21_000)
  parser.add_argument("--json", action="store_true")
  arguments = parser.parse_args()
  facts = {name: measure(name, arguments.rows) for name in mini.CORPORA}
  if arguments.json:
    print(json.dumps(facts))
    return
  print(f"{'':22}" + "".join(f"{name:>20}" for name in facts))
  for fact in next(iter(facts.values())):
    values = (facts[name][fact] for name in facts)
    cells = (f"{v:20,.0f}" if abs(v) >= 100 else f"{v:20.3g}" for v in values)
    print(f"{fact:22}" + "".join(cells))


if __name__ == "__main__":
  main()
