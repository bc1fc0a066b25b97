"""Gathers the stages' results into the report's inputs: records and summary."""

import functools
import glob
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import jax

from rlhf_gap import checkpoints, files, records, stores
from rlhf_gap.analysis import arms, summary
from rlhf_gap.models import t5
from rlhf_gap.paper import registry
from rlhf_gap.study import ablation_stages, judges, pipeline
from rlhf_gap.study.commands import Commands
from rlhf_gap.study.experiment import Study
from rlhf_gap.study.scheduler import Result
from rlhf_gap.study.stages import Stage
from rlhf_gap.training import metric_log

# task -> (prompt, response) -> hidden utility; None if the task has none
UtilityOf = Callable[[str], judges.Utility | None]

_STATUS: Mapping[str, summary.Status] = {
  "done": "done",
  "failed": "failed",
  "running": "running",
}
# (run, arm, metric) of the training curves that the report shows.
_CURVES = (
  ("sft", "sft", "train/loss"),
  ("golden", "golden", "train/accuracy"),
  ("proxy", "proxy", "train/accuracy"),
)
_NUM_EXAMPLES = 8
_POLICY_CURVES = ("train/loss", "train/rho_nats", "train/log_ratio_nats")


def write(
  study: Study,
  stages: Sequence[Stage],
  results: Mapping[str, Result],
  workdir: str,
  utility_of: UtilityOf,
  *,
  confidence: float = 0.95,
) -> None:
  """Writes each task's records into one file, and `study.json`.

  Args:
    study: the description.
    stages: its stages.
    results: the status of each stage.
    workdir: the study's folder.
    utility_of: returns a miniature's hidden utility.
    confidence: confidence of the report's intervals.
  """
  before = summary.read(workdir)
  for task in study.tasks:
    _merge_records(study, task, workdir)
  summary.write(
    workdir,
    summary.Summary(
      name=study.name,
      stages=tuple(_stage(s, results[s.name], workdir) for s in stages),
      tasks=tuple(
        _task(study, task, workdir, utility_of(task)) for task in study.tasks
      ),
      num_seeds=len(study.seeds),
      earlier_looks=_earlier_looks(before, len(study.seeds)),
      confidence=confidence,
      claims_sha256=_claims_at_the_start(workdir),
    ),
  )


def _claims_at_the_start(workdir: str) -> str:
  path = os.path.join(workdir, summary.CLAIMS_FILE_NAME)
  return files.read_text(path).strip() if os.path.exists(path) else ""


def _earlier_looks(
  before: summary.Summary | None, num_seeds: int
) -> tuple[int, ...]:
  """Returns the numbers of seeds at which the study was reported before."""
  if before is None:
    return ()
  seen = {*before.earlier_looks, before.num_seeds}
  return tuple(sorted(n for n in seen if 0 < n < num_seeds))


def _records_path(task: str) -> str:
  return os.path.join(task, "records.jsonl")


def _merge_records(study: Study, task: str, workdir: str) -> None:
  path = os.path.join(workdir, _records_path(task))
  os.makedirs(os.path.dirname(path), exist_ok=True)
  runs = [*pipeline.arms(study, task), *ablation_stages.starts(study, task)]
  names = ["sft", *(n.removeprefix(f"{task}/") for n, _ in runs)]
  folders = [os.path.join(workdir, task, "evaluation", n) for n in names]
  records.write(path, _read_all(folders))
  classified = ablation_stages.classified(study, task)
  if classified:
    folders = [os.path.join(workdir, stage) for stage in classified]
    path = os.path.join(workdir, _online_data_path(task))
    records.write(path, _read_all(folders))


def _read_all(folders: Sequence[str]) -> list[records.RunRecord]:
  return [
    record
    for folder in folders
    for record in records.read(os.path.join(folder, "records.jsonl"))
  ]


def _online_data_path(task: str) -> str:
  return os.path.join(task, "online_data.jsonl")


def _stage(stage: Stage, result: Result, workdir: str) -> summary.StageSummary:
  words = ["rlhf-gap", *stage.argv(workdir)]
  return summary.StageSummary(
    name=stage.name,
    command=shlex.join(words),
    status=_STATUS.get(result.status, "missing"),
    seconds=result.seconds or None,
    reason=result.reason,
  )


def _task(
  study: Study, task: str, workdir: str, utility: judges.Utility | None
) -> summary.TaskSummary:
  at = functools.partial(os.path.join, workdir, task)
  examined = [
    judges.examine(
      judge,
      stores.open(at(f"{judge}_validation")),
      stores.open(at(source)),
      labels,
      utility,
    )
    for judge, source, labels in (
      ("golden", "data/validation", "rater" if utility else "human"),
      ("proxy", f"{study.rater}_validation", study.rater),
    )
    if os.path.exists(at(f"{judge}_validation", "manifest.json"))
  ]
  return summary.TaskSummary(
    name=task,
    records=_records_path(task),
    judges=tuple(examined),
    samples=tuple(_golden_policy(at("samples"))),
    curves=tuple(_curves(study, task, at)),
    arms=tuple(dict.fromkeys(arm for _, arm in pipeline.arms(study, task))),
    online_data=_online_data_path(task)
    if ablation_stages.classified(study, task)
    else "",
    sizes=_sizes(study, task, workdir),
    own_golden=_own_golden(study),
  )


def _own_golden(study: Study) -> Literal["", "trained", "given"]:
  if study.data.own is None:
    return ""
  return "given" if study.golden_training is None else "trained"


def _sizes(study: Study, task: str, workdir: str) -> dict[str, int]:
  """Counts the parameters of the SFT policies that exist."""
  counts = {}
  commands = Commands(study, task)
  others = ablation_stages.starts(study, task)
  for stage, arm in ((f"{task}/sft", "sft"), *others):
    path = commands.sft_checkpoint(stage.removeprefix(f"{task}/"))
    path = path.replace("{workdir}", workdir)
    if others and os.path.isdir(path):
      shapes = t5.param_shapes(checkpoints.open(path).config)
      counts[arms.size_of(arm)] = sum(
        leaf.size for leaf in jax.tree.leaves(shapes)
      )
  return counts


def _golden_policy(samples: str) -> Iterator[summary.Sample]:
  """Yields the opponents' responses, which no record contains."""
  manifests = os.path.join(samples, "golden_policy_*", "manifest.json")
  for path in sorted(glob.glob(manifests)):
    store = stores.open(os.path.dirname(path))
    decode = stores.decoder(store.manifest.vocabulary)
    # The records' examples are of the same first prompts.
    values = store.read(range(min(_NUM_EXAMPLES, store.num_rows)))
    for prompt, response in zip(
      values["prompt_tokens"], values["response_tokens"], strict=True
    ):
      label = f"golden policy, step {store.manifest.source['step']}"
      responses = {label: decode(response.tolist())}
      yield summary.Sample(decode(prompt.tolist()), responses)


def _curves(
  study: Study, task: str, at: Callable[[str], str]
) -> list[summary.LoggedCurve]:
  wanted = list(_CURVES)
  for name, arm in pipeline.arms(study, task):
    if registry.is_ablation(arm):
      continue  # no report shows their logs
    run = name.removeprefix(f"{task}/")
    wanted += [(run, arm, metric) for metric in _POLICY_CURVES]
  curves = []
  for run, arm, metric in wanted:
    steps, values = summary.thinned(metric_log.read(at(run)), metric, most=60)
    if steps:
      curves.append(summary.LoggedCurve(run, arm, metric, steps, values))
  return curves
