r"""Says what a run needs of a pod slice, before a chip is paid for.

  rlhf-gap plan --gin_file=gin_configs/runs/online.gin \
    --gin_file=gin_configs/models/t5_1_1_large.gin --topology=v5e:4x4

Every program of a step is compiled for the slice; no TPU is needed, but the
extra [tpu]. Nothing runs and no weights are read: what the run file marks as
required, such as MODEL_DIR, may be left out. Times are bounds from the chips'
published peaks: no program is faster, and a good one is not much slower. HBM is
what always lies there and what the largest program needs besides.
"""

import argparse
import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

from rlhf_gap import errors
from rlhf_gap.cli import gin_flags

if TYPE_CHECKING:
  from rlhf_gap import plan
  from rlhf_gap.models import t5
  from rlhf_gap.training import description

TAKES_GIN = True

# The paper's windows, where TASK_FEATURE_LENGTHS says nothing.
_LENGTHS = {"inputs": 1024, "targets": 128}
_GIB = 2**30


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap plan`."""
  gin_flags.add_arguments(parser)
  parser.add_argument(
    "--topology",
    action="append",
    required=True,
    metavar="KIND:SIZE",
    help="a slice, such as v5e:4x4 or v5p:4x4x4, or cpu:8; may be repeated,"
    " smallest first: the first that fits is named",
  )
  parser.add_argument(
    "--judge_model",
    metavar="FILE",
    help="the judge's size, such as gin_configs/models/t5_1_1_xxl.gin; by"
    " default the policy's",
  )
  parser.add_argument("--json", action="store_true", help="print JSON lines")


def run(arguments: argparse.Namespace) -> int:
  """Compiles for each slice and prints what was found."""
  from rlhf_gap import plan

  topologies = [plan.Topology.parse(name) for name in arguments.topology]
  _make_virtual_devices(topologies)
  subject = _subject(arguments)
  plans = []
  for topology in topologies:
    plans.append(plan.of(subject, topology))
    if arguments.json:
      print(json.dumps(figures(plans[-1])), flush=True)
    else:
      print("\n".join(lines(plans[-1])), flush=True)
  if len(plans) > 1 and not arguments.json:
    fitting = [found.topology for found in plans if found.fits]
    print(f"smallest that fits: {fitting[0] if fitting else 'none of these'}")
  return 0


def _make_virtual_devices(topologies: "list[plan.Topology]") -> None:
  # Before JAX looks for devices: it compiles, and needs no accelerator.
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  sizes = [t.num_chips for t in topologies if t.kind == "cpu"]
  flag = "--xla_force_host_platform_device_count"
  given = os.environ.get("XLA_FLAGS", "")
  if sizes and flag not in given:
    os.environ["XLA_FLAGS"] = f"{given} {flag}={max(sizes)}".strip()


def _subject(arguments: argparse.Namespace) -> "plan.Subject":
  from rlhf_gap import plan

  judge = _size_in(arguments.judge_model) if arguments.judge_model else None
  described, model = _described(arguments)
  policy = dataclasses.replace(
    model,
    dropout_rate=described.dropout_rate,
    dtype=described.dtype,
    remat_policy=described.remat_policy,
  )
  lengths = {**_LENGTHS, **(described.feature_lengths or {})}
  response = lengths["targets"]
  sampling = getattr(described.source, "sampling", None)
  if sampling is not None:
    response = sampling.max_length
  return plan.Subject(
    described, policy, judge or model, lengths["inputs"], response
  )


def _size_in(file: str) -> "t5.T5Config":
  from rlhf_gap.cli import gin_files

  gin_files.parse([file])
  return gin_files.macro("MODEL")


def _described(
  arguments: argparse.Namespace,
) -> "tuple[description.Run, t5.T5Config]":
  from rlhf_gap import checkpoints
  from rlhf_gap.cli import gin_files
  from rlhf_gap.training import description

  paths = gin_flags.search_paths(arguments)
  bindings = list(arguments.gin_bindings)
  gin_files.parse(arguments.gin_file, bindings, paths)
  # Paths that a plan does not open.
  left_out = gin_files.required_macros()
  bindings += [f"{name} = 'not-needed-for-a-plan'" for name in left_out]
  gin_files.parse(arguments.gin_file, bindings, paths)
  try:
    model = gin_files.macro("MODEL")
  except errors.UserError:
    model = None
  described = gin_files.construct(
    description.Run, arguments.gin_file, arguments.gin_bindings, paths
  )
  if model is None and described.initial:
    if "INITIAL_CHECKPOINT_PATH" in left_out:
      raise errors.UserError(
        "the model's size is not known: add --gin_file=gin_configs/models/..."
        " or --gin.INITIAL_CHECKPOINT_PATH=..."
      )
    model = checkpoints.open(described.initial).config
  return described, model


def figures(found: "plan.Plan") -> dict[str, Any]:
  """Returns a plan as JSON takes it.

  Args:
    found: the plan.
  """
  return {
    **dataclasses.asdict(found),
    "needed_bytes": found.needed_bytes,
    "fits": found.fits,
    "step_seconds": found.step_seconds,
    "utilisation_at_bound": found.utilisation_at_bound,
    "chip_hours": found.chip_hours,
  }


def lines(found: "plan.Plan") -> list[str]:
  """Returns a plan as people read it.

  Args:
    found: the plan.
  """
  mesh = ", ".join(f"{name} {size}" for name, size in found.mesh.items())
  head = f"{found.topology}: {found.num_chips} chips, mesh {mesh}"
  return [head, *_memory(found), *_parts(found), *_time(found)]


def _memory(found: "plan.Plan") -> list[str]:
  parts = {**found.resident_bytes}
  for name, size in found.program_bytes.items():
    parts[f"{name} besides"] = size
  shown = ", ".join(f"{name} {_gib(size)}" for name, size in parts.items())
  needed, available = found.needed_bytes, found.available_bytes
  if found.too_large:
    verdict = f"DOES NOT FIT: {found.too_large}"
  elif available is None:
    verdict = f"{_gib(needed)} GiB"
  elif found.fits:
    spare = _gib(available - needed)
    verdict = f"{_gib(needed)} of {_gib(available)} GiB: fits, {spare} to spare"
  else:
    over = _gib(needed - available)
    verdict = (
      f"{_gib(needed)} of {_gib(available)} GiB: DOES NOT FIT, {over} too much"
    )
  return [f"  HBM a chip   {verdict}", f"    GiB: {shown}"]


def _parts(found: "plan.Plan") -> list[str]:
  rows = [f"  {'a step':<19}{'TFLOP':>9}{'HBM GB':>9}{'sent GB':>9}   bound"]
  for bound in found.bounds:
    limit = bound.limit
    if bound.seconds is not None:
      limit = f"{bound.seconds * 1e3:.3g} ms, {bound.limit}"
    rows.append(
      f"  {bound.term:<19}{bound.flops / 1e12:>9.3g}"
      f"{bound.hbm_bytes / 1e9:>9.3g}{bound.sent_bytes / 1e9:>9.3g}   {limit}"
    )
  kinds = found.collective_bytes.items()
  if kinds:
    sent = ", ".join(f"{kind} {size / 1e9:.3g}" for kind, size in kinds)
    rows.append(f"  sent by kind, GB a chip and step: {sent}")
  if found.largest_per_token_bytes:
    size = found.largest_per_token_bytes
    rows.append(f"  largest exchange for a sampled token: {size:,} bytes")
  return rows


def _time(found: "plan.Plan") -> list[str]:
  rows = []
  compiler = [
    f"{name} {seconds * 1e3:.3g} ms"
    for name, seconds in found.compiler_seconds.items()
    if seconds > 0
  ]
  if compiler:
    said = ", ".join(compiler)
    rows.append(f"  the compiler's own estimate, loops once: {said}")
  seconds = found.step_seconds
  if seconds is not None:
    rows.append(
      f"  at the bound: {1 / seconds:.3g} steps/s, {3600 / seconds:,.0f}"
      f" steps/h, MFU {found.utilisation_at_bound:.0%};"
      f" {found.train_steps:,} steps: {found.chip_hours:,.3g} chip-hours"
    )
  rows.append(f"  compiled in {found.compile_seconds:.0f} s")
  return rows


def _gib(size: int) -> str:
  return f"{size / _GIB:.2f}"
