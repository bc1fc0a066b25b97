"""What records say, with intervals over prompts and seeds."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from rlhf_gap.study import arms, curves, resampling
from rlhf_gap.study.resampling import Estimate, Percentiles, UndefinedError


@dataclasses.dataclass(frozen=True)
class Settings:
  """Of every bootstrap of a report.

  Attributes:
    replicates: how many draws.
    seed: of the draws.
  """

  replicates: int = 1000
  seed: int = 0

  def design(self, *compared: arms.Arm) -> resampling.Design:
    """Returns what to draw for a statistic of these arms."""
    return resampling.Design(
      num_prompts=compared[0].num_prompts,
      num_seeds=min(len(arm.seeds) for arm in compared),
      replicates=self.replicates,
      seed=self.seed,
    )


@dataclasses.dataclass(frozen=True)
class MatchedGap:
  """By how much one arm beats another at the same KL.

  Attributes:
    mean: the mean difference of their frontiers over the shared range of KL,
      every stretch of log KL counting by its length.
    at_peak: the difference of their highest win rates, each at its own KL.
    low_kl_nats: where the shared range begins.
    high_kl_nats: where it ends.
  """

  mean: Estimate
  at_peak: Estimate
  low_kl_nats: float
  high_kl_nats: float


def matched_gap(
  first: arms.Arm,
  second: arms.Arm,
  settings: Settings,
  *,
  coordinate: curves.Coordinate = "log",
) -> MatchedGap:
  """Compares the frontiers of two arms (see `curves`).

  The range is that of the data as they are, in all replicates alike.

  Args:
    first: whose win rate counts positive.
    second: whose counts negative.
    settings: of the bootstrap.
    coordinate: in which win rates are joined and averaged.

  Returns:
    Both differences.

  Raises:
    UndefinedError: the arms reach no common range of KL.
  """
  ends = curves.shared_extent(first, second, coordinate)
  if ends is None:
    raise UndefinedError(
      f"the KL ranges of {first.name} ({_range(first)}) and {second.name}"
      f" ({_range(second)}) do not overlap"
    )
  design = settings.design(first, second)
  grid = curves.grid_of(ends)

  def difference(draws: resampling.Draws) -> np.ndarray:
    one, other = (
      curves.frontier(
        curves.by_configuration(arm, draws, grid, coordinate=coordinate)
      )
      for arm in (first, second)
    )
    return _mean_where_defined(one - other)

  def of_peaks(draws: resampling.Draws) -> np.ndarray:
    one, other = (
      curves.highest(_on_own_grid(arm, draws, coordinate))
      for arm in (first, second)
    )
    return one - other

  low, high = curves.kl_of(np.array(ends), coordinate).tolist()
  return MatchedGap(
    mean=resampling.estimate(difference, design),
    at_peak=resampling.estimate(of_peaks, design),
    low_kl_nats=low,
    high_kl_nats=high,
  )


def _range(arm: arms.Arm) -> str:
  ends = curves.extent(arm)
  if ends is None:
    return "no run with two checkpoints"
  return " to ".join(f"{math.exp(end):.3g}" for end in ends) + " nats"


def _mean_where_defined(
  values: Float[np.ndarray, "rows grid"],
) -> Float[np.ndarray, "rows"]:
  defined = ~np.isnan(values)
  # By the trapezoidal rule: an end stands for half a stretch.
  stretch = np.ones(values.shape[1])
  stretch[[0, -1]] = 0.5
  total = np.where(defined, values, 0.0) @ stretch
  count = defined @ stretch
  return np.divide(
    total, count, out=np.full_like(total, np.nan), where=count > 0
  )


def _on_own_grid(
  arm: arms.Arm,
  draws: resampling.Draws,
  coordinate: curves.Coordinate = "log",
) -> curves.CrossFitted:
  ends = curves.extent(arm, coordinate)
  if ends is None:
    raise UndefinedError(f"{arm.name} has no run with two checkpoints")
  return curves.by_configuration(
    arm, draws, curves.grid_of(ends), coordinate=coordinate
  )


@dataclasses.dataclass(frozen=True)
class Peak:
  """The highest win rate of an arm.

  Attributes:
    win_rate: cross-fitted (see `curves`).
    kl_nats: where it is.
    at_the_end: whether that is the far end of the curve, so that the arm might
      rise on.
  """

  win_rate: Estimate
  kl_nats: Percentiles
  at_the_end: bool


def peak(arm: arms.Arm, settings: Settings) -> Peak:
  """Finds the highest win rate of an arm's frontier.

  Args:
    arm: the arm.
    settings: of the bootstrap.

  Returns:
    The peak.

  Raises:
    UndefinedError: no run has two checkpoints with a KL.
  """
  design = settings.design(arm)
  found = _on_own_grid(arm, resampling.draw(design))
  ends = curves.extent(arm)
  if ends is None:
    raise UndefinedError(f"{arm.name} has no run with two checkpoints")
  places = curves.place_of_highest(found)
  return Peak(
    win_rate=resampling.estimate(
      lambda draws: curves.highest(_on_own_grid(arm, draws)), design
    ),
    kl_nats=resampling.percentiles(np.exp(curves.grid_of(ends))[places]),
    at_the_end=bool(places[0] == curves.GRID_POINTS - 1),
  )


@dataclasses.dataclass(frozen=True)
class Fall:
  """What an arm loses after its peak, when trained on.

  Attributes:
    win_rate: the golden win rate at the peak less that at the end of training.
    proxy: the proxy's opinion at the end less that at the peak; None where the
      proxy was not asked.
    configuration: the one that falls most; "" where there is one.
    peak_kl_nats: its KL at the peak, the mean over seeds.
    end_kl_nats: at the end.
  """

  win_rate: Estimate
  proxy: Estimate | None
  configuration: str
  peak_kl_nats: float
  end_kl_nats: float


def fall(arm: arms.Arm, settings: Settings) -> Fall:
  """Measures how far an arm falls from its peak to the end of training.

  Configuration and step of the peak are chosen on one half of the prompts,
  where the fall is greatest, and valued on the other half, and the other way
  round: a peak picked out of noise falls by itself.

  Args:
    arm: the arm. Its runs of one configuration have common steps.
    settings: of the bootstrap.

  Returns:
    The fall; 0 where the last checkpoint is the highest.

  Raises:
    UndefinedError: no configuration has two steps that all its runs reach.
  """
  design = settings.design(arm)
  metrics = [arms.WIN]
  if arm.has(f"proxy_{arms.WIN}"):
    metrics.append(f"proxy_{arms.WIN}")
  paths = _Paths(arm)

  def change(metric: str) -> resampling.Statistic:
    return lambda draws: paths.cross_fitted(draws, metric)

  falls, *rises = (
    resampling.estimate(change(metric), design) for metric in metrics
  )
  place = paths.place(resampling.draw(design))
  number, step = divmod(place, paths.most_steps)
  return Fall(
    win_rate=falls,
    proxy=_negative(rises[0]) if rises else None,
    configuration=arm.configurations[number].label,
    peak_kl_nats=paths.kl(number, step),
    end_kl_nats=paths.kl(number, -1),
  )


def _negative(of: Estimate) -> Estimate:
  return dataclasses.replace(
    of, value=-of.value, ci95_low=-of.ci95_high, ci95_high=-of.ci95_low
  )


class _Paths:
  """Win rates by training step, the mean over seeds."""

  def __init__(self, arm: arms.Arm):
    self._arm = arm
    self._steps = [
      sorted(set.intersection(*(set(r.steps.tolist()) for r in c.runs)))
      for c in arm.configurations
    ]
    self.most_steps = max(map(len, self._steps))
    if self.most_steps < 2:
      raise UndefinedError(
        f"{arm.name} has no two steps that all runs of a configuration reach"
      )

  def kl(self, number: int, place: int) -> float:
    """Returns a configuration's KL at one of its steps."""
    step = self._steps[number][place]
    return float(
      np.mean(
        [
          run.kl_nats[run.steps.tolist().index(step)].mean()
          for run in self._arm.configurations[number].runs
        ]
      )
    )

  def place(self, draws: resampling.Draws) -> int:
    """Returns where the fall is greatest on all prompts."""
    lost = self._lost(draws, arms.WIN, "all")[:1]
    return int(np.argmax(np.nan_to_num(lost, nan=-np.inf)[0]))

  def cross_fitted(self, draws: resampling.Draws, metric: str) -> np.ndarray:
    """Returns what `metric` loses after the peak of the golden win rate."""
    parts: tuple[tuple[resampling.Part, resampling.Part], ...]
    parts = (("even", "odd"), ("odd", "even"))
    picked = []
    for choose, judge in parts:
      by = self._lost(draws, arms.WIN, choose)
      value = self._lost(draws, metric, judge)
      best = np.argmax(np.where(np.isnan(by), -np.inf, by), axis=1)
      picked.append(np.take_along_axis(value, best[:, None], axis=1)[:, 0])
    return np.mean(picked, axis=0)

  def _lost(
    self, draws: resampling.Draws, metric: str, part: resampling.Part
  ) -> np.ndarray:
    """Returns value at a step less that at the end, [rows, places]."""
    weights = draws.of_seeds(self._arm.seeds)
    shape = (len(weights), len(self._steps), self.most_steps)
    lost = np.full(shape, np.nan)
    for number, steps in enumerate(self._steps):
      if len(steps) < 2:
        continue
      runs = self._arm.configurations[number].runs
      columns = weights[:, [self._arm.seeds.index(r.seed) for r in runs]]
      total = sum(
        columns[:, [i]] * _at_steps(run, steps, metric, draws, part)
        for i, run in enumerate(runs)
      )
      count = columns.sum(axis=1, keepdims=True)
      path = np.divide(
        total, count, out=np.full_like(total, np.nan), where=count > 0
      )
      lost[:, number, : len(steps)] = path - path[:, -1:]
    return lost.reshape(len(lost), -1)


def _at_steps(
  run: arms.Trajectory,
  steps: Sequence[int],
  metric: str,
  draws: resampling.Draws,
  part: resampling.Part,
) -> np.ndarray:
  rows = np.searchsorted(run.steps, steps)
  return curves.mean(run, metric, draws, part)[:, rows]


def quantile(arm: arms.Arm, q: float, settings: Settings) -> Estimate:
  """Returns a quantile of win rate over all checkpoints of an arm.

  Tang et al. (2024), Figs. 11 and 14, take q = 0.9 over checkpoints and
  hyper-parameters as "best performance". It is no maximum, but still the upper
  end of noisy numbers, so a little high.

  Args:
    arm: the arm.
    q: in [0, 1].
    settings: of the bootstrap; a seed that is drawn twice counts twice.

  Returns:
    The quantile: the least win rate that a share q of checkpoints does not
    exceed.
  """

  def of(draws: resampling.Draws) -> np.ndarray:
    weights = draws.of_seeds(arm.seeds)
    values, counts = [], []
    for run in arm.runs:
      means = curves.mean(run, arms.WIN, draws)
      values.append(means)
      column = weights[:, [arm.seeds.index(run.seed)]]
      counts.append(np.broadcast_to(column, means.shape))
    return _weighted_quantile(
      np.concatenate(values, axis=1), np.concatenate(counts, axis=1), q
    )

  return resampling.estimate(of, settings.design(arm))


def _weighted_quantile(
  values: Float[np.ndarray, "rows n"],
  counts: Float[np.ndarray, "rows n"],
  q: float,
) -> Float[np.ndarray, "rows"]:
  order = np.argsort(values, axis=1, kind="stable")
  ranked = np.take_along_axis(values, order, axis=1)
  reached = np.take_along_axis(counts, order, axis=1).cumsum(axis=1)
  # A hair of slack: q times a whole number may round up.
  enough = reached >= q * reached[:, -1:] - 1e-9
  # The first that counts at all, where q is 0.
  first = np.argmax(enough & (reached > 0), axis=1)
  return np.take_along_axis(ranked, first[:, None], axis=1)[:, 0]


@dataclasses.dataclass(frozen=True)
class Correlation:
  """Pearson's r of points that come in groups.

  Attributes:
    value: r.
    ci95_low: lower end of its 95% interval.
    ci95_high: upper end.
    num_points: points behind it.
    num_groups: independent groups of them.
  """

  value: float
  ci95_low: float
  ci95_high: float
  num_points: int
  num_groups: int


def correlation(
  x: Float[np.ndarray, "points"],
  y: Float[np.ndarray, "points"],
  groups: Sequence[str],
) -> Correlation:
  """Returns Pearson's r with an interval that respects runs.

  Checkpoints of a run are no independent points. On Fisher's scale z = artanh r
  the standard error is a jackknife that leaves one group out at a time; the
  interval is Student's with one degree of freedom less than groups.

  Args:
    x: such as accuracy, a value a checkpoint.
    y: such as win rate.
    groups: the run of each point.

  Returns:
    r and its interval, within [-1, 1].

  Raises:
    UndefinedError: fewer than three groups, or a group without which x or y
      does not vary.
  """
  names = sorted(set(groups))
  if len(names) < 3:
    raise UndefinedError(
      f"{len(names)} runs; an interval of a correlation needs three or more"
    )
  member = np.array([names.index(group) for group in groups])
  z = _fisher(x, y)
  left_out = np.array(
    [_fisher(x[member != i], y[member != i]) for i in range(len(names))]
  )
  n = len(names)
  spread = left_out - left_out.mean()
  sem = math.sqrt((n - 1) / n * float((spread**2).sum()))
  half = float(stats.t.ppf(0.975, n - 1)) * sem
  return Correlation(
    math.tanh(z), math.tanh(z - half), math.tanh(z + half), len(x), n
  )


def _fisher(x: np.ndarray, y: np.ndarray) -> float:
  if np.ptp(x) == 0 or np.ptp(y) == 0:
    raise UndefinedError("a correlation needs values that vary")
  # Points on a line: artanh 1 is infinite, the interval need not be.
  r = float(np.clip(np.corrcoef(x, y)[0, 1], -1 + 1e-12, 1 - 1e-12))
  return math.atanh(r)
