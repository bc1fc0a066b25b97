r"""Says what a run needs of a pod slice, before a chip is paid for.

  rlhf-gap plan --gin_file=gin_configs/runs/online.gin \
    --gin_file=gin_configs/runs/parts/large_pod.gin \
    --gin_file=gin_configs/models/t5_1_1_large.gin --topology=v5e:4x4

Every program of a step is compiled for the slice; no TPU is needed, but the
extra [tpu]. Nothing runs and no weights are read: folders, stores and
checkpoints that the run file marks as required, such as MODEL_DIR, may be left
out. Times are bounds from the chips' published peaks: no program is faster, and
a good one is not much slower. HBM is what always lies there and what the
largest program needs besides.
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

# The paper's windows, where TASK_FEATURE_LENGTHS says nothing.
_LENGTHS = {"inputs": 1024, "targets": 128}
# Macros that name what a plan does not open.
_PLACE = re.compile(r"\w+_(?:DIR|PATH)|PAIRS|PROMPTS|RESPONSES")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the flags of `rlhf-gap plan`."""
  gin_flags.add_arguments(parser)
  parser.add_argument(
    "--topology",
    action="append",
    required=True,
    metavar="KIND:SIZE",
    help="a slice, such as v5e:4x4, v5p:4x4x4 or cpu:8, or gpu:8 where GPUs"
    " are; may be repeated: then the slices are compared, and the smallest that"
    " fits is named",
  )
  parser.add_argument(
    "--judge_model",
    type=flag_types.path,
    metavar="FILE",
    help="the judge's size, such as gin_configs/models/t5_1_1_xxl.gin; by"
    " default the policy's",
  )
  parser.add_argument(
    "--runs",
    type=flag_types.count,
    default=1,
    metavar="N",
    help="how many such runs the study has, for its chip-hours",
  )
  parser.add_argument("--json", action="store_true", help="print JSON lines")


def run(arguments: argparse.Namespace) -> int:
  """Compiles for each slice and prints what was found."""
  from rlhf_gap import plan
  from rlhf_gap.plan import report

  topologies = [plan.Topology.parse(name) for name in arguments.topology]
  _make_virtual_devices(topologies)
  subject = subject_of(arguments)
  for topology in topologies:
    plan.mesh_of(subject, topology)  # before minutes go by
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
  # Before JAX looks for devices: it compiles, and needs no accelerator; one
  # that is here may be another program's. JAX has read the variable already.
  if all(t.kind != "gpu" for t in topologies):
    import jax

    jax.config.update("jax_platforms", "cpu")
  sizes = [t.num_chips for t in topologies if t.kind == "cpu"]
  flag = "--xla_force_host_platform_device_count"
  given = os.environ.get("XLA_FLAGS", "")
  if sizes and flag not in given:
    os.environ["XLA_FLAGS"] = f"{given} {flag}={max(sizes)}".strip()


def subject_of(arguments: argparse.Namespace) -> "plan.Subject":
  """Returns what the gin files describe, to be planned.

  Args:
    arguments: of `add_arguments`, and `gin_bindings`.

  Raises:
    UserError: a file or a binding is wrong, or the model's size is not known.
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
  where = "for a run whose source asks a judge, such as online.gin"
  applying.only_if(has_judge, arguments, where, "judge_model")
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
  allowed = arguments.allow_module
  gin_files.parse(arguments.gin_file, bindings, paths, allowed)
  left_out = list(filter(_PLACE.fullmatch, gin_files.required_macros()))
  bindings += [f"{name} = 'not-needed-for-a-plan'" for name in left_out]
  gin_files.parse(arguments.gin_file, bindings, paths, allowed)
  model = gin_files.macro("MODEL") if gin_files.is_set("MODEL") else None
  described = gin_files.construct(
    description.Run, arguments.gin_file, arguments.gin_bindings, paths
  )
  if model is None:
    model = described.model
  if model is None:
    assert described.initial is not None  # a run begins with one or the other
    if "INITIAL_CHECKPOINT_PATH" in left_out:
      raise errors.UserError(
        "the model's size is not known: add --gin_file=gin_configs/models/..."
        " or --gin.INITIAL_CHECKPOINT_PATH=..."
      )
    model = checkpoints.open(described.initial).config
  return described, model
