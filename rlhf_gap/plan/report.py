"""Formats plans as text and JSON."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rlhf_gap.plan.summary import Plan

_GIB = 2**30


def figures(plan: Plan, num_runs: int = 1) -> dict[str, Any]:
  """Returns a plan's figures as JSON-compatible values.

  Args:
    plan: the plan.
    num_runs: number of such runs in the study.
  """
  hours = plan.chip_hours
  return {
    **dataclasses.asdict(plan),
    "needed_bytes": plan.needed_bytes,
    "fits": plan.fits,
    "step_seconds": plan.step_seconds,
    "utilisation_at_bound": plan.utilisation_at_bound,
    "chip_hours": hours,
    "num_runs": num_runs,
    "study_chip_hours": None if hours is None else hours * num_runs,
  }


def lines(plan: Plan, num_runs: int = 1) -> list[str]:
  """Returns a plan as lines of text.

  Args:
    plan: the plan.
    num_runs: number of such runs in the study.
  """
  mesh = ", ".join(f"{name} {size}" for name, size in plan.mesh.items())
  head = f"{plan.topology}: {plan.num_chips} chips, mesh {mesh}"
  return [
    head,
    *(
      f"  judge: every chip of the model axis computes all {layers}"
      for layers in plan.undivided
    ),
    *_memory(plan),
    *_parts(plan),
    *_per_token(plan),
    *_time(plan, num_runs),
    *_compiler(plan),
  ]


def table(plans: Sequence[Plan]) -> list[str]:
  """Returns a header and one line per slice.

  Args:
    plans: plans of one run on several slices.
  """
  head = (
    f"{'slice':<12}{'chips':>6}{'GiB a chip':>12}{'of':>7}  {'fits':<5}"
    f"{'steps/s':>9}{'MFU':>6}{'chip-hours':>12}"
  )
  return [head, *map(_row, plans)]


def _row(plan: Plan) -> str:
  available, seconds = plan.available_bytes, plan.step_seconds
  cells = [
    f"{plan.topology:<12}{plan.num_chips:>6}",
    f"{'-' if plan.too_large else gib(plan.needed_bytes):>12}",
    f"{'-' if available is None else gib(available):>7}",
    f"  {'yes' if plan.fits else 'NO':<5}",
  ]
  if seconds is None:
    return "".join([*cells, f"{'-':>9}{'-':>6}{'-':>12}"])
  cells += [
    f"{1 / seconds:>9.3g}",
    f"{plan.utilisation_at_bound:>6.0%}",
    f"{plan.chip_hours:>12,.4g}",
  ]
  return "".join(cells)


def verdict(plan: Plan) -> str:
  """Returns whether a plan fits, and with how much memory to spare or missing.

  Args:
    plan: the plan.
  """
  if plan.too_large:
    return f"DOES NOT FIT: {plan.too_large}"
  needed, available = plan.needed_bytes, plan.available_bytes
  if available is None:
    return f"{gib(needed)} GiB"
  of = f"{gib(needed)} of {gib(available)} GiB"
  if plan.fits:
    return f"{of}: fits, {gib(available - needed)} to spare"
  return f"{of}: DOES NOT FIT, {gib(needed - available)} too much"


def gib(size: int) -> str:
  """Formats bytes as GiB with two decimals."""
  return f"{size / _GIB:.2f}"


def _memory(plan: Plan) -> list[str]:
  parts = plan.resident_bytes.items()
  resident = ", ".join(f"{name} {gib(size)}" for name, size in parts)
  rows = [
    f"  HBM per chip   {verdict(plan)}",
    f"    resident, GiB: {resident}",
  ]
  if plan.program_memory:
    rows.append(
      f"    {'program, GiB':<15}{'arguments':>11}{'temporaries':>13}"
      f"{'output':>9}"
    )
  for name, memory in plan.program_memory.items():
    rows.append(
      f"    {name:<15}{gib(memory.argument_bytes):>11}"
      f"{gib(memory.temporary_bytes):>13}{gib(memory.output_bytes):>9}"
    )
  return rows


def _parts(plan: Plan) -> list[str]:
  rows = [f"  {'a step':<19}{'TFLOP':>9}{'HBM GB':>9}{'sent GB':>9}   bound"]
  for bound in plan.bounds:
    limit = bound.limit
    if bound.seconds is not None:
      limit = f"{bound.seconds * 1e3:.3g} ms, {bound.limit}"
    rows.append(
      f"  {bound.term:<19}{bound.flops / 1e12:>9.3g}"
      f"{bound.hbm_bytes / 1e9:>9.3g}{bound.sent_bytes / 1e9:>9.3g}   {limit}"
    )
  kinds = plan.collective_bytes.items()
  if kinds:
    sent = ", ".join(f"{kind} {size / 1e9:.3g}" for kind, size in kinds)
    rows.append(f"  sent by kind, GB per chip and step: {sent}")
  return rows


def _per_token(plan: Plan) -> list[str]:
  per_token = plan.per_token
  if per_token is None:
    return []
  row = (
    f"  per sampled token: {per_token.exchanges} collectives of at most"
    f" {per_token.largest_bytes:,} bytes"
  )
  moved = per_token.parameters
  if not moved:
    return [f"{row}, none of which moves parameters"]
  return [f"{row}; MOVES PARAMETERS {len(moved)} times: {moved[0]}"]


def _time(plan: Plan, num_runs: int) -> list[str]:
  seconds, hours = plan.step_seconds, plan.chip_hours
  if seconds is None or hours is None:
    return []
  row = (
    f"  at the bound: {1 / seconds:.3g} steps/s, {3600 / seconds:,.0f}"
    f" steps/h, MFU {plan.utilisation_at_bound:.0%};"
    f" {plan.train_steps:,} steps: {hours:,.3g} chip-hours"
  )
  if num_runs > 1:
    row += f"; {num_runs} such runs: {hours * num_runs:,.4g}"
  return [row]


def _compiler(plan: Plan) -> list[str]:
  estimates = [
    f"{name} {seconds * 1e3:.3g} ms{' (negative: unusable)' * (seconds < 0)}"
    for name, seconds in plan.compiler_seconds.items()
  ]
  rows = []
  if estimates:
    rows.append(
      "  the compiler's own estimate, counting loops once: "
      + ", ".join(estimates)
    )
  rows.append(
    f"  compiled in {plan.compile_seconds / 60:.1f} min of CPU time, using up"
    f" to {plan.peak_host_bytes / _GIB:.1f} GiB of host memory"
  )
  return rows
