"""Writes the page docs/plans.md from the rows of plans.json."""

from collections.abc import Iterable
from typing import Any

from rlhf_gap.plan.report import gib

_GIB = 2**30
_HEAD = """\
# What the paper's experiments need of a pod slice

Written by `tools/make_plans.py` from `gin_configs/runs/plans.json`. Do not edit
this page by hand.

The TPU's own compiler compiled every program of a step for the slice; nothing
has run on a TPU. Each time is a lower bound, computed from the chip's published
peaks and from the arithmetic, memory traffic and link traffic of the compiled
program. No program is faster than its bound. Small exchanges between chips
(counted below) take longer than their bytes suggest, because of latency.
Responses are assumed to have the maximum length. Memory is what stays resident
on a chip plus what the largest program needs.

*Of the study* counts every run of the paper that uses this program, where a
sweep varies one setting at a time (`tools/plan_experiments.py` counts them).
Startup, evaluation and checkpoints are not included.
"""


def text(rows: Iterable[dict[str, Any]]) -> str:
  """Returns the page.

  Args:
    rows: rows of the JSON file.
  """
  rows = list(rows)
  parts = [
    _HEAD,
    "## Memory, speed and cost\n",
    *_table(
      "experiment | slice | mesh (data x fsdp x model) | GiB a chip | of |"
      " steps/s | MFU | chip-hours a run | of the study",
      map(_costs, rows),
    ),
    "## Where a step's time goes\n\nMilliseconds at the bound, and the"
    " resource that limits it.\n",
    *_table(
      "experiment | slice | sampling: prompts | sampling: tokens | judging |"
      " reference | step",
      map(_times, rows),
    ),
    "## What sampling a token exchanges\n",
    *_table(
      "experiment | slice | exchanges | largest, bytes | parameters moved",
      (_exchanges(row) for row in rows if row["plan"]["per_token"]),
    ),
    "## What lies in memory\n\nGiB a chip. A program's memory is arguments +"
    " temporaries + output.\n",
    *_table(
      "experiment | slice | parameters | optimizer | reference | judge | step |"
      " draw or score",
      map(_memory, rows),
    ),
    "## How it was compiled\n\nThe compiler's own estimate counts each loop"
    " once. A negative estimate is meaningless.\n",
    *_table(
      "experiment | slice | processor minutes | GiB of host memory |"
      " compiler's own, ms",
      map(_compiling, rows),
    ),
    "## Commands\n",
    *(f"- {row['title']}: `{' '.join(row['command'])}`" for row in rows),
    "",
  ]
  return "\n".join(parts)


def _table(head: str, lines: Iterable[list[str]]) -> list[str]:
  names = head.split(" | ")
  rows = [names, ["---"] * len(names), *lines]
  return [*(f"| {' | '.join(row)} |" for row in rows), ""]


def _begin(row: dict[str, Any]) -> list[str]:
  size = row["name"].split("_")[0]
  size = size.upper() if size.startswith("x") else size.capitalize()
  return [f"{size}: {row['title']}", row["plan"]["topology"]]


def _costs(row: dict[str, Any]) -> list[str]:
  plan = row["plan"]
  mesh = " x ".join(str(size) for size in plan["mesh"].values())
  fits = gib(plan["needed_bytes"]) if plan["fits"] else "DOES NOT FIT"
  seconds, steps = plan["step_seconds"], plan["train_steps"]
  cells = [*_begin(row), mesh, fits, gib(plan["available_bytes"])]
  if seconds is None:
    return [*cells, "-", "-", "-", "-"]
  hours = plan["chip_hours"]
  study = hours * row["study_steps"] / steps
  return [
    *cells,
    f"{1 / seconds:.2f}",
    f"{plan['utilisation_at_bound']:.0%}",
    f"{hours:,.1f}",
    f"{study:,.0f}" if study else "-",
  ]


def _times(row: dict[str, Any]) -> list[str]:
  bounds = {bound["term"]: bound for bound in row["plan"]["bounds"]}
  terms = ("sampling: prompts", "sampling: tokens", "judging", "reference")
  cells = []
  for term in (*terms, "step"):
    bound = bounds.get(term)
    cells.append(
      f"{bound['seconds'] * 1e3:.3g} {bound['limit']}" if bound else "-"
    )
  return [*_begin(row), *cells]


def _exchanges(row: dict[str, Any]) -> list[str]:
  found = row["plan"]["per_token"]
  return [
    *_begin(row),
    str(found["exchanges"]),
    f"{found['largest_bytes']:,}",
    str(len(found["parameters"]) or "none"),
  ]


def _memory(row: dict[str, Any]) -> list[str]:
  plan = row["plan"]
  resident = plan["resident_bytes"]
  names = ("parameters", "optimizer", "reference", "judge")
  cells = [gib(resident[n]) if n in resident else "-" for n in names]
  programs = plan["program_memory"]
  kinds = ("argument_bytes", "temporary_bytes", "output_bytes")
  for memory in (
    programs.get("step"),
    programs.get("draw") or programs.get("score"),
  ):
    cells.append(
      " + ".join(gib(memory[kind]) for kind in kinds) if memory else "-"
    )
  return [*_begin(row), *cells]


def _compiling(row: dict[str, Any]) -> list[str]:
  plan = row["plan"]
  own = plan["compiler_seconds"].items()
  return [
    *_begin(row),
    f"{plan['compile_seconds'] / 60:.1f}",
    f"{plan['peak_host_bytes'] / _GIB:.1f}",
    ", ".join(f"{name} {seconds * 1e3:.3g}" for name, seconds in own),
  ]
