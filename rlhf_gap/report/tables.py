"""The tables of a report and its samples, as text."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

from rlhf_gap.analysis import (
  arms,
  curves,
  gao,
  quantiles,
  statistics,
  summary,
)
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import Estimate, Percentiles, UndefinedError
from rlhf_gap.analysis.wording import plain
from rlhf_gap.plotting import styles
from rlhf_gap.records import RunRecord

ARM_HEADER = (
  *("arm", "configurations", "seeds", "checkpoints", "KL range, nats"),
  *("peak win rate", "KL at the peak", "90% quantile", "peak by Gao's form"),
)
_MAX_PROMPTS = 5
_LABEL_NAMES = {
  "rater": "the rater",
  "human": "people",
  "golden": "golden labels",
  "utility": "the hidden utility",
}


def arm_rows(evidence: Evidence) -> list[tuple[str, ...]]:
  """Returns a row of `ARM_HEADER` for every arm."""
  named = ((n, evidence.arms[n]) for n in styles.styles_of(evidence.arms))
  return [
    (
      name,
      str(len(arm.configurations)),
      str(len(arm.seeds)),
      str(arm.num_checkpoints),
      *_results(arm, evidence),
    )
    for name, arm in named
  ]


def _results(arm: arms.Arm, evidence: Evidence) -> tuple[str, ...]:
  ends = curves.extent(arm)
  if ends is None:
    highest = quantiles.quantile(arm, 1.0, evidence.settings)
    return "-", plain(highest), "-", "-", "-"
  low, high = (math.exp(end) for end in ends)
  top = quantiles.quantile(arm, 0.9, evidence.settings)
  return (
    f"{low:.2g} to {high:.2g}",
    *_peak(arm, evidence),
    plain(top),
    _gao_peak(arm, evidence),
  )


def _peak(arm: arms.Arm, evidence: Evidence) -> tuple[str, str]:
  try:
    peak = statistics.peak(arm, evidence.settings)
  except UndefinedError:  # few checkpoints of some seed are evaluated so far
    return "-", "-"
  suffix = ", the last point" if peak.at_the_end else ""
  return plain(peak.win_rate), _exponentiated(peak.log_kl) + suffix


def _gao_peak(arm: arms.Arm, evidence: Evidence) -> str:
  try:
    fit = gao.fit("reinforcement", arm, evidence.arm("sft"), evidence.settings)
  except UndefinedError:
    return "-"
  return f"KL {_kl_text(fit.peak_kl_nats)}"


def _exponentiated(log_kl: Estimate) -> str:
  value, low, high = (
    math.exp(min(x, 99.0))
    for x in (log_kl.value, log_kl.ci95_low, log_kl.ci95_high)
  )
  return _kl_text(Percentiles(value, low, high))


def _kl_text(kl_nats: Percentiles) -> str:
  value, low, high = (
    f"{x:.2g}" if x < 1e4 else "out of reach"
    for x in (kl_nats.value, kl_nats.low, kl_nats.high)
  )
  return f"{value} [{low}, {high}]"


@dataclasses.dataclass(frozen=True)
class JudgeRow:
  """A preference model: what it agrees with, and its position bias."""

  name: str
  accuracies: tuple[str, ...]
  position_bias: str


def judge_rows(evidence: Evidence) -> list[JudgeRow]:
  """Returns a row for every examined preference model."""
  rows = []
  for name, judge in evidence.judges.items():
    bias = judge.position_bias
    accuracies = tuple(
      f"{_LABEL_NAMES.get(key, key)} {plain(rate)} ({rate.n:,} pairs)"
      for key, rate in judge.accuracy.items()
    )
    shown_bias = f"{plain(bias)} ({bias.n:,} pairs)" if bias else "-"
    rows.append(JudgeRow(name, accuracies, shown_bias))
  return rows


@dataclasses.dataclass(frozen=True)
class PromptSamples:
  """A prompt with (policy, response) of every policy that answered it."""

  prompt: str
  responses: tuple[tuple[str, str], ...]


def samples(
  evidence: Evidence, more: Sequence[summary.Sample]
) -> list[PromptSamples]:
  """Returns responses of all policies to a few prompts.

  Args:
    evidence: one task's evidence; its records hold samples.
    more: samples of policies without records.
  """
  policies = list(_policies(evidence))
  without_records = {sample.prompt: sample.responses for sample in more}
  prompts = dict.fromkeys(
    [p for _, examples in policies for p in examples] + list(without_records)
  )
  return [
    PromptSamples(
      prompt,
      (
        *(
          (label, examples[prompt])
          for label, examples in policies
          if prompt in examples
        ),
        *without_records.get(prompt, {}).items(),
      ),
    )
    for prompt in list(prompts)[:_MAX_PROMPTS]
  ]


def _policies(evidence: Evidence) -> Iterator[tuple[str, dict[str, str]]]:
  """Yields SFT first, then each arm at its best checkpoint and its last."""
  names = styles.styles_of(evidence.arms)
  for name in sorted(names, key=lambda name: name != "sft"):
    own = [r for r in evidence.records if r.run.arm == name and r.examples]
    if not own:
      continue
    best = max(own, key=lambda r: (r.metrics["win_rate"].value, r.key))
    yield _policy(name, "at its best" if len(own) > 1 else "", best)
    of_run = [r for r in own if r.run.name == best.run.name]
    last = max(of_run, key=lambda r: r.checkpoint.step)
    if last.checkpoint.step != best.checkpoint.step:
      yield _policy(name, "at the end of that run", last)


def _policy(
  name: str, when: str, record: RunRecord
) -> tuple[str, dict[str, str]]:
  kl = record.metrics.get("kl_nats")
  words = [f"{name} {when}".strip(), f"step {record.checkpoint.step:,}"]
  if kl is not None:
    words.append(f"KL {kl.value:.2g}")
  examples = {each.prompt: each.response for each in record.examples}
  return ", ".join(words), examples


def provenance(records: Iterable[RunRecord]) -> list[tuple[str, str]]:
  """Returns the versions and settings of records; all values if they differ."""
  values: dict[str, dict[str, None]] = {}
  count = 0
  for record in records:
    count += 1
    judged = record.evaluation
    for name, value in (
      ("code", record.code.git_commit or "not under git"),
      ("python", record.code.python),
      *sorted(record.code.packages.items()),
      ("device", record.environment.device),
      *sorted(judged.settings.items()),
      ("golden model", judged.golden),
      ("golden policy", judged.golden_policy),
      ("SFT policy", judged.reference),
    ):
      values.setdefault(name, {})[str(value)] = None
  if not count:
    return []
  return [
    ("records", f"{count:,}"),
    *((name, ", ".join(several)) for name, several in values.items()),
  ]
