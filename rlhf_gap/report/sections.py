"""The parts of a report, as HTML."""

import dataclasses
import math
import pathlib
from collections.abc import Iterable, Sequence

from rlhf_gap.analysis import (
  arms,
  comparison,
  curves,
  gao,
  quantiles,
  statistics,
  summary,
  verdicts,
)
from rlhf_gap.analysis.resampling import Estimate, Percentiles, UndefinedError
from rlhf_gap.analysis.verdicts import Evidence, Verdict
from rlhf_gap.paper import departures, registry
from rlhf_gap.paper.claims import Answered
from rlhf_gap.plotting import drawing, styles
from rlhf_gap.records import RunRecord
from rlhf_gap.report import page
from rlhf_gap.report.page import Markup, tag

_SHORT_ANSWER = {
  Verdict.SUPPORTED: "Yes",
  Verdict.CONTRADICTED: "No",
  Verdict.UNDERPOWERED: "Not decided",
}
_MOST_PROMPTS = 5


def badge(word: str) -> Markup:
  """Returns a verdict or status, told by its word as well as its colour."""
  return tag("span", word, class_=f"badge {word}")


def answers(main: Sequence[Answered]) -> Markup:
  """Returns the study's question and its answer on every task.

  Args:
    main: the main claim, answered.
  """
  lines = []
  for one in main:
    task = f"{one.task}: " if one.task else ""
    short = tag("strong", f"{task}{_SHORT_ANSWER[one.answer.verdict]}.")
    rest = "; ".join(filter(None, (one.answer.numbers, one.answer.reason)))
    lines.append(tag("p", short, f" {_sentence(rest)} ", class_="answer"))
  question = "Does online alignment beat offline alignment at the same KL?"
  return page.join([tag("h1", question), *lines])


def _sentence(text: str) -> str:
  return f"{text[:1].upper()}{text[1:]}." if text else ""


def holes(found: Sequence[str]) -> Markup:
  """Returns what is missing, plainly; nothing where nothing is.

  Args:
    found: a line each.
  """
  if not found:
    return Markup("")
  lines = tag("ul", *(tag("li", one) for one in found))
  return tag("div", tag("strong", "Holes in this report"), lines, class_="hole")


def figure_of(figure: drawing.Figure, stem: str) -> Markup:
  """Returns a figure with its caption and its numbers.

  Args:
    figure: the figure.
    stem: of its files, as `drawing.write` gives it.
  """
  svg, numbers = (
    pathlib.Path(f"{stem}.{ending}").read_bytes() for ending in ("svg", "csv")
  )
  link = page.download(numbers, f"{figure.name}.csv", "numbers as CSV")
  lacks = [tag("li", one) for one in figure.missing]
  return tag(
    "figure",
    page.image(svg, f"{figure.title}. {figure.caption}"),
    tag("figcaption", tag("b", figure.title), f". {figure.caption} ", link),
    tag("div", "Missing here:", tag("ul", *lacks), class_="hole")
    if lacks
    else Markup(""),
  )


def missing_figure(title: str, reason: str) -> Markup:
  """Returns what stands in the place of a figure that cannot be drawn."""
  line = tag("p", tag("strong", title), f" cannot be drawn: {reason}.")
  return tag("figure", line, class_="hole")


def claim_list(answered: Iterable[Answered]) -> Markup:
  """Returns every claim with its verdict and its numbers."""
  return page.join(
    tag(
      "div",
      tag(
        "div",
        tag("b", one.claim.statement),
        tag("div", one.claim.source, class_="quiet"),
      ),
      tag("div", badge(str(one.answer.verdict))),
      tag(
        "div",
        one.answer.numbers,
        tag("div", one.answer.reason, class_="quiet"),
      ),
      class_="claim",
    )
    for one in answered
  )


def paper_section(
  section: registry.Section,
  figures: Sequence[Markup],
  answered: Sequence[Answered],
) -> Markup:
  """Returns one figure of the paper: what it shows, ours, the verdicts.

  Args:
    section: which.
    figures: drawn.
    answered: the task's claims; those that the section bears on are shown.
  """
  own = [one for one in answered if one.claim.name in section.claims]
  return tag(
    "section",
    tag("h3", section.title),
    tag("p", section.shows),
    tag("div", *figures, class_="figures"),
    claim_list(own),
  )


def departure_table(*, miniature: bool) -> Markup:
  """Returns every departure from the paper, and why.

  Args:
    miniature: whether the study is one of miniatures.
  """
  rows = (
    tag(
      "div",
      tag("b", one.what),
      tag("p", tag("span", "Paper: ", class_="quiet"), one.paper),
      tag("p", tag("span", "Here: ", class_="quiet"), one.here),
      tag("p", tag("span", "Why: ", class_="quiet"), one.why),
      class_="departure",
    )
    for one in departures.of(miniature=miniature)
  )
  scope = "the miniature studies do" if miniature else "the paper's study does"
  head = (
    f"What {scope} otherwise than the paper. A study that binds other models,"
    " data, steps or sweeps than gin_configs has departures of its own: they"
    " stand in the commands of its stages."
  )
  return page.join([tag("p", head), *rows])


def arm_table(evidence: Evidence) -> Markup:
  """Returns what each arm is and how far it got."""
  header = (
    *("arm", "configurations", "seeds", "checkpoints", "KL range, nats"),
    *("peak win rate", "KL at the peak", "90% quantile", "peak by Gao's form"),
  )
  rows = [
    (
      name,
      str(len(arm.configurations)),
      str(len(arm.seeds)),
      str(arm.num_checkpoints),
      *_reached(arm, evidence),
    )
    for name, arm in (
      (name, evidence.arms[name]) for name in styles.styles_of(evidence.arms)
    )
  ]
  return page.table(header, rows)


def _reached(arm: arms.Arm, evidence: Evidence) -> tuple[str, ...]:
  ends = curves.extent(arm)
  if ends is None:
    level = quantiles.quantile(arm, 1.0, evidence.settings)
    return "-", verdicts.plain(level), "-", "-", "-"
  low, high = (math.exp(end) for end in ends)
  top = quantiles.quantile(arm, 0.9, evidence.settings)
  return (
    f"{low:.2g} to {high:.2g}",
    *_peak(arm, evidence),
    verdicts.plain(top),
    _gao_peak(arm, evidence),
  )


def _peak(arm: arms.Arm, evidence: Evidence) -> tuple[str, str]:
  try:
    peak = statistics.peak(arm, evidence.settings)
  except UndefinedError:  # some seed has hardly been evaluated yet
    return "-", "-"
  end = ", the last point" if peak.at_the_end else ""
  return verdicts.plain(peak.win_rate), _factors(peak.log_kl) + end


def _gao_peak(arm: arms.Arm, evidence: Evidence) -> str:
  try:
    fit = gao.fit("reinforcement", arm, evidence.arm("sft"), evidence.settings)
  except UndefinedError:
    return "-"
  return f"KL {_kl(fit.peak_kl_nats)}"


def _factors(log_kl: Estimate) -> str:
  value, low, high = (
    math.exp(min(x, 99.0))
    for x in (log_kl.value, log_kl.ci95_low, log_kl.ci95_high)
  )
  return _kl(Percentiles(value, low, high))


def _kl(found: Percentiles) -> str:
  value, low, high = (
    f"{x:.2g}" if x < 1e4 else "out of reach"
    for x in (found.value, found.low, found.high)
  )
  return f"{value} [{low}, {high}]"


def judge_table(evidence: Evidence) -> Markup:
  """Returns accuracy and position bias of the preference models."""
  rows = []
  for name, judge in evidence.judges.items():
    bias = judge.position_bias
    accuracies = page.join(
      tag(
        "div",
        f"{_LABELS.get(key, key)} {verdicts.plain(found)} ({found.n:,} pairs)",
      )
      for key, found in judge.accuracy.items()
    )
    rows.append(
      (
        name,
        accuracies or "not measured",
        f"{verdicts.plain(bias)} ({bias.n:,} pairs)" if bias else "-",
      )
    )
  return page.table(
    ("preference model", "agrees with", "what being read first is worth"), rows
  )


_LABELS = {
  "rater": "the rater",
  "human": "people",
  "golden": "golden labels",
  "utility": "the hidden utility",
}


@dataclasses.dataclass(frozen=True)
class _Policy:
  label: str
  examples: dict[str, str]


def samples(evidence: Evidence, more: Sequence[summary.Sample]) -> Markup:
  """Returns responses of all policies to a few prompts, side by side.

  Args:
    evidence: of one task; its records hold samples.
    more: of policies without records.
  """
  policies = list(_policies(evidence))
  extra = {sample.prompt: sample.responses for sample in more}
  prompts = list(
    dict.fromkeys([p for one in policies for p in one.examples] + list(extra))
  )
  parts = []
  for prompt in prompts[:_MOST_PROMPTS]:
    cards = [
      *((one.label, one.examples.get(prompt)) for one in policies),
      *extra.get(prompt, {}).items(),
    ]
    parts += [
      tag("blockquote", prompt, class_="text"),
      tag(
        "div",
        *(
          tag(
            "div",
            tag("b", label),
            tag("span", response or "(empty)", class_="text"),
            class_="sample",
          )
          for label, response in cards
          if response is not None
        ),
        class_="samples",
      ),
    ]
  return page.join(parts or [tag("p", "No record holds samples.")])


def _policies(evidence: Evidence) -> Iterable[_Policy]:
  """SFT, and each arm at its best checkpoint and at its end."""
  names = styles.styles_of(evidence.arms)
  for name in sorted(names, key=lambda name: name != "sft"):
    found = [r for r in evidence.records if r.run.arm == name and r.examples]
    if not found:
      continue
    best = max(found, key=lambda r: (r.metrics["win_rate"].value, r.key))
    yield _policy(name, "at its best" if len(found) > 1 else "", best)
    of_run = [r for r in found if r.run.name == best.run.name]
    last = max(of_run, key=lambda r: r.checkpoint.step)
    if last.checkpoint.step != best.checkpoint.step:
      yield _policy(name, "at the end of that run", last)


def _policy(name: str, when: str, record: RunRecord) -> _Policy:
  kl = record.metrics.get("kl_nats")
  parts = [f"{name} {when}".strip(), f"step {record.checkpoint.step:,}"]
  if kl is not None:
    parts.append(f"KL {kl.value:.2g}")
  examples = {one.prompt: one.response for one in record.examples}
  return _Policy(", ".join(parts), examples)


def stage_list(stages: Sequence[summary.Stage]) -> Markup:
  """Returns every stage with its time and the command that repeats it."""
  total = math.fsum(stage.seconds or 0.0 for stage in stages)
  lines = [
    tag(
      "details",
      tag(
        "summary",
        tag("span", _time(stage.seconds), class_="time"),
        badge(stage.status),
        f" {stage.name}",
        tag("span", f" {stage.reason}", class_="quiet"),
      ),
      tag("pre", stage.command),
    )
    for stage in stages
  ]
  done = sum(stage.status == "done" for stage in stages)
  head = f"{done} of {len(stages)} stages are done; together {_time(total)}."
  return page.join([tag("p", head), *lines])


def _time(seconds: float | None) -> str:
  if seconds is None:
    return "-"
  if seconds < 60:
    return f"{seconds:.1f} s"
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest} s"


def method(settings: statistics.Settings, found: Sequence[RunRecord]) -> Markup:
  """Returns how the numbers came about, with all that repeating them needs."""
  paragraphs = [
    "Win rate: how often the golden preference model, reading both orders,"
    " prefers the policy's sample to the golden policy's; ties count 1/2. KL:"
    " exact over the vocabulary at every step, summed along the policy's"
    " samples, in nats.",
    "Gap at matched KL: each arm's frontier, the best of its configurations at"
    " each KL averaged over seeds, is joined linearly in log KL; the gap is the"
    " mean difference over the range of log KL that both arms reach. Which"
    " configuration is best for a seed is decided on the other seeds and one"
    " half of the prompts, and valued on this seed and the other half, so that"
    " a larger sweep is not favoured by luck.",
    f"Intervals are 95%, from {settings.replicates:,} bootstrap draws (seed"
    f" {settings.seed}) of prompts and seeds, crossed, n - 1 of n seeds at a"
    " time, with Student's t; of one number a run, Student's over seeds. The"
    " peak of Gao's form may be infinite: it has the middle 95% of the draws.",
    "A difference is supported where its interval lies above 0, contradicted"
    f" where it lies below {verdicts.SMALLEST_EFFECT:g}, and underpowered else"
    f" or with fewer than {verdicts.MIN_SEEDS} seeds; other claims say what"
    " they are decided by. A statement of several parts is supported where each"
    " is, and contradicted by one at 95% divided among them. Where two"
    f" arms share less than a factor of {comparison.LEAST_KL_FACTOR:g} in KL,"
    " nothing is decided. Each claim stands for itself: among many, chance"
    " decides one in forty.",
  ]
  parts = [tag("p", paragraph) for paragraph in paragraphs]
  if found:
    parts.append(_provenance(found))
  return page.join(parts)


def _provenance(found: Sequence[RunRecord]) -> Markup:
  """Lists what records were made with; all values where they differ."""
  values: dict[str, dict[str, None]] = {}
  for record in found:
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
  rows = [
    ("records", f"{len(found):,}"),
    *((name, ", ".join(several)) for name, several in values.items()),
  ]
  listed = page.table(("what", "which"), rows)
  return tag("details", tag("summary", "Versions and settings"), listed)
