"""Plans every experiment of the paper: plans.json and the page docs/plans.md.

Each row is `rlhf-gap plan` of a run file, a size's pod settings and a slice.
Rows whose programs have not changed are kept. The others are compiled, which
takes minutes and gigabytes each, and written one by one.

Usage: python tools/make_plans.py [--only=large] [--all]
       python tools/make_plans.py --check=large

The first form needs the extra [tpu], but no TPU. The check needs neither and
compiles nothing. It fails if a row's programs, their work or their memory have
changed, or if the page does not match the JSON file.
"""

import argparse
import collections
import importlib.metadata
import importlib.util
import json
import pathlib
import sys
from collections.abc import Iterable
from typing import Any

import jax
import plan_experiments
import plan_page

from rlhf_gap import errors, plan
from rlhf_gap.cli import command_plan, gin_flags
from rlhf_gap.plan import programs, report

_ROOT = pathlib.Path(__file__).parents[1]
_JSON = _ROOT / "gin_configs" / "runs" / "plans.json"
_PAGE = _ROOT / "docs" / "plans.md"
# Packages that turn the same source into other programs.
_MAKERS = ("jax", "libtpu")


def subject_of(experiment: plan_experiments.Experiment) -> plan.Subject:
  """Returns what an experiment's command line describes."""
  parser = argparse.ArgumentParser()
  command_plan.add_arguments(parser)
  bindings, words = gin_flags.split(experiment.words)
  arguments = parser.parse_args(words)
  arguments.gin_bindings = bindings
  return command_plan.subject_of(arguments)


def made_of(experiment: plan_experiments.Experiment) -> dict[str, Any]:
  """Returns the inputs that determine a row, without compiling."""
  topology = plan.Topology.parse(experiment.topology)
  return programs.made_of(subject_of(experiment), topology.num_chips)


def described(experiment: plan_experiments.Experiment) -> dict[str, Any]:
  """Returns a row's description of its experiment, without the plan."""
  rows = subject_of(experiment).run.batch_size
  return {**experiment.described(), "batch_size": rows}


def differences(row: dict[str, Any], made: dict[str, Any]) -> list[str]:
  """Returns the parts of a row that are out of date.

  Args:
    row: a row of the JSON file.
    made: the current result of `made_of`.

  Returns:
    The names of what differs. Fingerprints are compared only if the row was
    made by the same version of JAX, because the program text may differ between
    versions.
  """
  names = [name for name in made if name != "fingerprint"]
  if row["versions"]["jax"] == importlib.metadata.version("jax"):
    names.append("fingerprint")
  return [name for name in names if row["made_of"].get(name) != made[name]]


def _versions() -> dict[str, str]:
  return {name: importlib.metadata.version(name) for name in _MAKERS}


def _read() -> dict[str, dict[str, Any]]:
  rows = json.loads(_JSON.read_text()) if _JSON.exists() else []
  return {row["name"]: row for row in rows}


def _write(rows: dict[str, dict[str, Any]]) -> None:
  ordered = [rows[e.name] for e in plan_experiments.ALL if e.name in rows]
  _JSON.write_text(json.dumps(ordered, indent=1) + "\n")
  _PAGE.write_text(plan_page.text(ordered))


def make(chosen: Iterable[plan_experiments.Experiment], remake: bool) -> None:
  """Plans experiments, writing each row when it is finished."""
  rows = _read()
  known: dict[str, dict[str, Any]] = collections.defaultdict(dict)
  for experiment in chosen:
    made = made_of(experiment)
    row = rows.get(experiment.name)
    if row and not remake and not differences(row, made):
      print(f"{experiment.name}: up to date", flush=True)
      rows[experiment.name] = {**row, **described(experiment)}
      continue
    topology = plan.Topology.parse(experiment.topology)
    found = plan.make(subject_of(experiment), topology, known[topology.name])
    print(f"{experiment.name}:", *report.lines(found), sep="\n", flush=True)
    rows[experiment.name] = {
      **described(experiment),
      "versions": _versions(),
      "made_of": made,
      "plan": report.figures(found),
    }
    _write(rows)
  _write(rows)


def check(chosen: Iterable[plan_experiments.Experiment]) -> int:
  """Checks that rows of the table are up to date."""
  rows, faults = _read(), []
  for experiment in chosen:
    row = rows.get(experiment.name)
    if row is None:
      faults.append(f"{experiment.name} is missing")
      continue
    found = differences(row, made_of(experiment))
    if {**row, **described(experiment)} != row:
      found.append("description")
    if found:
      faults.append(f"{experiment.name}: changed {', '.join(found)}")
    else:
      print(f"{experiment.name}: up to date", flush=True)
  if not _PAGE.exists() or _PAGE.read_text() != plan_page.text(rows.values()):
    faults.append(f"{_PAGE.name} does not match {_JSON.name}")
  remedy = "run tools/make_plans.py where the extra [tpu] is installed"
  for fault in faults:
    print(f"OUT OF DATE: {fault}; {remedy}", file=sys.stderr)
  return 1 if faults else 0


def _chosen(prefix: str) -> list[plan_experiments.Experiment]:
  found = [e for e in plan_experiments.ALL if e.name.startswith(prefix)]
  if not found:
    names = ", ".join(e.name for e in plan_experiments.ALL)
    raise errors.UserError(
      f"no experiment begins with {prefix!r}; there are {names}"
    )
  return found


def main() -> int:
  """Parses the flags; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--only", default="", help="prefix of experiments")
  parser.add_argument("--all", action="store_true", help="recompile every row")
  parser.add_argument("--check", metavar="PREFIX", help="compile nothing")
  arguments = parser.parse_args()
  # It compiles for TPUs and must not initialise one.
  jax.config.update("jax_platforms", "cpu")
  try:
    if arguments.check is not None:
      return check(_chosen(arguments.check))
    if importlib.util.find_spec("libtpu") is None:
      raise errors.UserError(
        'libtpu is not installed: pip install -e ".[tpu]" (no TPU needed)'
      )
    make(_chosen(arguments.only), arguments.all)
  except errors.UserError as error:
    print(f"make_plans: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
