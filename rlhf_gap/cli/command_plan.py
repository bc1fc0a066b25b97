r"""Predicts the memory and speed of a run on a pod slice.

  rlhf-gap plan --gin_file=gin_configs/runs/online.gin \
    --gin_file=gin_configs/runs/parts/large_pod.gin \
    --gin_file=gin_configs/models/t5_1_1_large.gin --topology=v5e:4x4

Every program of a step is compiled ahead of time for the slice. This needs the
extra [tpu] but no TPU. Nothing is executed and no weights are read, so required
folders, stores and checkpoints, such as MODEL_DIR, may be omitted. Times are
lower bounds from the chips' published peaks; a good program comes close. HBM is
the sum of what is resident and what the largest program needs in addition.
"""

import argparse
import dataclasses
import json
import os
import re
from typing import TYPE_CHECKING

from rlhf_gap import errors
from rlhf_gap.cli import applying, flag_types, gin_flags

if TYPE_CHECKING:
  from rlhf_gap import plan
  from rlhf_gap.models import t5
  from rlhf_gap.training import description

TAKES_GIN = True

# The paper's windows, for lengths that TASK_FEATURE_LENGTHS does not set.
_LENGTHS = {"inputs": 1024, "targets": 128}
# Macros whose files a plan does not open.
_PLACE = re.compile(r"\w+_(?:DIR|PATH)|PAIRS|PROMPTS|RESPONSES")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap plan`."""
  gin_flags.add_arguments(parser)
  parser.add_argument(
    "--topology",
    action="append",
    required=True,
    metavar="KIND:SIZE",
    help="a slice, such as v5e:4x4, v5p:4x4x4, cpu:8, or gpu:8 on a machine"
    " with GPUs; repeat it to compare slices and find the smallest that fits",
  )
  parser.add_argument(
    "--judge_model",
    type=flag_types.path,
    metavar="FILE",
    help="the judge's architecture, such as gin_configs/models/t5_1_1_xxl.gin"
    " (default: the policy's)",
  )
  parser.add_argument(
    "--runs",
    type=flag_types.count,
    default=1,
    metavar="N",
    help="number of such runs in the study, for its chip-hours (default: 1)",
  )
  parser.add_argument("--json", action="store_true", help="print JSON lines")


def run(arguments: argparse.Namespace) -> int:
  """Compiles for each slice and prints the predictions."""
  from rlhf_gap import plan
  from rlhf_gap.plan import report

  topologies = [plan.Topology.parse(name) for name in arguments.topology]
  _make_virtual_devices(topologies)
  subject = subject_of(arguments)
  for topology in topologies:
    plan.mesh_of(subject, topology)  # fails before compiling for minutes
  plans = []
  for topology in topologies:
    plans.append(plan.make(subject, topology))
    if arguments.json:
      print(json.dumps(report.figures(plans[-1], arguments.runs)), flush=True)
    else:
      print("\n".join(report.lines(plans[-1], arguments.runs)), flush=True)
  if len(plans) > 1:
    _compare(plans, arguments.json)
  return 0


def _compare(plans: "list[plan.Plan]", as_json: bool) -> None:
  from rlhf_gap import plan
  from rlhf_gap.plan import report

  smallest = plan.smallest_that_fits(plans)
  name = None if smallest is None else smallest.topology
  if as_json:
    print(json.dumps({"smallest_that_fits": name}))
    return
  print("\n".join(report.table(plans)))
  print(f"smallest that fits: {name or 'none of these'}")


def _make_virtual_devices(topologies: "list[plan.Topology]") -> None:
  # Before JAX initializes its devices. Compiling needs no accelerator, and one
  # on this machine may be in use. JAX has already read JAX_PLATFORMS.
  if all(t.kind != "gpu" for t in topologies):
    import jax

    jax.config.update("jax_platforms", "cpu")
  sizes = [t.num_chips for t in topologies if t.kind == "cpu"]
  flag = "--xla_force_host_platform_device_count"
  given = os.environ.get("XLA_FLAGS", "")
  if sizes and flag not in given:
    os.environ["XLA_FLAGS"] = f"{given} {flag}={max(sizes)}".strip()


def subject_of(arguments: argparse.Namespace) -> "plan.Subject":
  """Returns the run that the gin files describe, as the subject of a plan.

  Args:
    arguments: the flags of `add_arguments`, and `gin_bindings`.

  Raises:
    UserError: a file or a binding is wrong, or the architecture is unknown.
  """
  from rlhf_gap import plan

  judge = _size_in(arguments.judge_model) if arguments.judge_model else None
  described, model = _described(arguments)
  policy = dataclasses.replace(
    model,
    dropout_rate=described.dropout_rate,
    dtype=described.dtype,
    remat_policy=described.remat_policy,
  )
  has_judge = hasattr(described.source, "judge")
  when = "for a run with a judge, such as online.gin"
  applying.only_if(has_judge, arguments, when, "judge_model")
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

  gin_flags.parse(arguments)
  omitted = list(filter(_PLACE.fullmatch, gin_files.required_macros()))
  placeholders = [f"{name} = 'not-needed-for-a-plan'" for name in omitted]
  gin_flags.parse(arguments, placeholders)
  model = gin_files.macro("MODEL") if gin_files.is_set("MODEL") else None
  described = gin_flags.construct(description.Run, arguments)
  if model is None:
    model = described.model
  if model is None:
    assert described.initial is not None  # a run begins with one or the other
    if "INITIAL_CHECKPOINT_PATH" in omitted:
      raise errors.UserError(
        "the architecture is unknown; add --gin_file=gin_configs/models/..."
        " or --gin.INITIAL_CHECKPOINT_PATH=..."
      )
    model = checkpoints.open(described.initial).config
  return described, model
