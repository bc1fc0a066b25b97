"""How the gap between online and offline depends on what it is computed from.

Usage: python tools/gap_sensitivity.py WORKDIR

Recomputes the gap of a study's folder by the golden model and by the hidden
utility: without each step of the online runs, with their steps up to each one,
and without each configuration of the offline sweep. A gap that a choice of
checkpoints decides shows here.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator

from rlhf_gap import errors
from rlhf_gap.analysis import arms, judges, statistics, summary
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.wording import signed
from rlhf_gap.report import loading


def variants(evidence: Evidence) -> Iterator[tuple[str, Evidence]]:
  """Yields the evidence as it is, and each reduced form with its name."""
  yield "as it is", evidence
  online, offline = evidence.arm("online"), evidence.arm("offline")
  steps = sorted({int(s) for run in online.runs for s in run.steps})
  for left_out in steps:
    kept = [s for s in steps if s != left_out]
    yield f"without online step {left_out}", _with_online_steps(evidence, kept)
  for last in steps[1:-1]:
    kept = [s for s in steps if s <= last]
    yield f"online to step {last}", _with_online_steps(evidence, kept)
  for left_out_configuration in offline.configurations:
    rest = tuple(
      c for c in offline.configurations if c is not left_out_configuration
    )
    reduced = dataclasses.replace(offline, configurations=rest)
    name = f"without offline {left_out_configuration.label}"
    yield name, _with_arm(evidence, reduced)


def _with_online_steps(evidence: Evidence, steps: list[int]) -> Evidence:
  records = [
    record
    for record in evidence.records
    if record.run.arm == "online" and record.checkpoint.step in steps
  ]
  return _with_arm(evidence, arms.group(records)["online"])


def _with_arm(evidence: Evidence, arm: arms.Arm) -> Evidence:
  return dataclasses.replace(evidence, arms={**evidence.arms, arm.name: arm})


def line(evidence: Evidence, judge: str) -> str:
  """Returns the gap by one judge as text, or why there is none."""
  try:
    judged = judges.judged_by(evidence, judge)
    gap = statistics.matched_gap(
      judged.arm("online"), judged.arm("offline"), judged.settings
    )
  except UndefinedError as error:
    return f"undefined: {error}"
  return (
    f"{signed(gap.mean)} over KL {gap.low_kl_nats:.2g} to"
    f" {gap.high_kl_nats:.2g} nats, {signed(gap.at_peak)} at the peak"
  )


def main() -> int:
  """Parses the flags; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("workdir")
  workdir = parser.parse_args().workdir
  try:
    study = summary.read(workdir)
    tasks = list(loading.load(workdir, study, statistics.BootstrapSettings()))
    for task in tasks:
      for name, evidence in variants(task.evidence):
        for judge in ("golden", "utility"):
          where = f"{task.described.name} {name}, {judge}"
          print(f"{where}: {line(evidence, judge)}", flush=True)
  except (errors.UserError, UndefinedError) as error:
    print(f"gap_sensitivity: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
