"""Gaps, peaks and gains of arms, with intervals over prompts and seeds."""

import dataclasses
import math

import numpy as np

from rlhf_gap.analysis import arms, curves, resampling
from rlhf_gap.analysis.resampling import Estimate, UndefinedError


@dataclasses.dataclass(frozen=True)
class BootstrapSettings:
  """Settings of every bootstrap of a report.

  Attributes:
    replicates: number of replicates.
    seed: random seed of the bootstrap.
    confidence: confidence of every interval; more than 0.95 if a study is
      looked at repeatedly (see `looks`).
  """

  replicates: int = 1000
  seed: int = 0
  confidence: float = 0.95

  def design(self, *compared: arms.Arm) -> resampling.Design:
    """Returns what to resample for a statistic of these arms."""
    return resampling.Design(
      num_prompts=compared[0].num_prompts,
      # The fewest of any configuration: any may decide the statistic.
      num_seeds=min(
        len(configuration.runs)
        for arm in compared
        for configuration in arm.configurations
      ),
      replicates=self.replicates,
      seed=self.seed,
      confidence=self.confidence,
    )


@dataclasses.dataclass(frozen=True)
class MatchedGap:
  """By how much one arm beats another at the same KL.

  Attributes:
    mean: the mean difference of their frontiers over the shared range of log
      KL.
    at_peak: the difference of their highest win rates, each at its own KL.
    low_kl_nats: lower end of the shared range.
    high_kl_nats: upper end of the shared range.
  """

  mean: Estimate
  at_peak: Estimate
  low_kl_nats: float
  high_kl_nats: float


def matched_gap(
  first: arms.Arm,
  second: arms.Arm,
  settings: BootstrapSettings,
  *,
  coordinate: curves.Coordinate = "log",
  metric: str = arms.WIN,
) -> MatchedGap:
  """Compares the frontiers of two arms (see `curves`).

  All replicates use the range of the original data.

  Args:
    first: the arm whose win rate counts positive.
    second: the arm whose win rate counts negative.
    settings: settings of the bootstrap.
    coordinate: the coordinate in which win rates are interpolated and averaged.
    metric: which outcomes by prompt to compare. All are on the same prompts.

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

  def difference(resamples: resampling.Resamples) -> np.ndarray:
    first_frontier, second_frontier = (
      curves.frontier(
        curves.by_configuration(
          arm, resamples, grid, metric=metric, coordinate=coordinate
        )
      )
      for arm in (first, second)
    )
    return curves.mean_over_grid(first_frontier - second_frontier)

  def of_peaks(resamples: resampling.Resamples) -> np.ndarray:
    first_highest, second_highest = (
      curves.highest(_on_own_grid(arm, resamples, coordinate, metric))
      for arm in (first, second)
    )
    return first_highest - second_highest

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


def _on_own_grid(
  arm: arms.Arm,
  resamples: resampling.Resamples,
  coordinate: curves.Coordinate = "log",
  metric: str = arms.WIN,
) -> curves.Curves:
  ends = curves.extent(arm, coordinate)
  if ends is None:
    raise UndefinedError(f"{arm.name} has no run with two checkpoints")
  return curves.by_configuration(
    arm, resamples, curves.grid_of(ends), metric=metric, coordinate=coordinate
  )


@dataclasses.dataclass(frozen=True)
class WorstPoint:
  """The KL at which one arm is least ahead of another, or most behind it.

  Attributes:
    kl_nats: the KL.
    difference: the difference of win rates there, negative if behind.
    lowest_bound: the lowest end of all pointwise 95% intervals. If it exceeds
      -d, the arm is nowhere behind by d: every point rejects that it is, and
      requiring all to reject needs no correction (Berger 1982).
    highest_bound: the lowest upper end of the simultaneous 95% band (sup-t over
      the replicates). If it is below -d, the arm is behind by d somewhere.
    num_prompts: prompts behind it.
    num_seeds: seeds behind it.
  """

  kl_nats: float
  difference: float
  lowest_bound: float
  highest_bound: float
  num_prompts: int
  num_seeds: int


def worst_point(
  first: arms.Arm, second: arms.Arm, settings: BootstrapSettings
) -> WorstPoint:
  """Looks for a KL at which one arm falls behind another.

  Args:
    first: the arm that should nowhere be behind.
    second: the arm it is compared with.
    settings: settings of the bootstrap.

  Raises:
    UndefinedError: the arms reach no common range of KL.
  """
  ends = curves.shared_extent(first, second)
  if ends is None:
    raise UndefinedError(
      f"the KL ranges of {first.name} ({_range(first)}) and {second.name}"
      f" ({_range(second)}) do not overlap"
    )
  grid = curves.grid_of(ends)
  design = settings.design(first, second)

  def difference(resamples: resampling.Resamples) -> np.ndarray:
    higher, lower = (
      curves.frontier(curves.by_configuration(arm, resamples, grid))
      for arm in (first, second)
    )
    return higher - lower

  band = resampling.spread(difference, design)
  if np.isnan(band.value).all():
    raise UndefinedError("the data leave it undefined")
  place = int(np.nanargmin(band.value))
  return WorstPoint(
    kl_nats=math.exp(grid[place]),
    difference=float(band.value[place]),
    lowest_bound=float(np.nanmin(band.low)),
    highest_bound=float(
      np.nanmin(resampling.simultaneous_high(band, design.confidence))
    ),
    num_prompts=design.num_prompts,
    num_seeds=design.num_seeds,
  )


@dataclasses.dataclass(frozen=True)
class Peak:
  """The highest win rate of an arm.

  Attributes:
    win_rate: the win rate there, cross-fitted (see `curves`).
    log_kl: log of the KL there, in nats.
    at_the_end: whether the peak is the far end of the curve, so that the arm
      might still rise.
  """

  win_rate: Estimate
  log_kl: Estimate
  at_the_end: bool

  @property
  def kl_nats(self) -> float:
    """The KL at the peak, in nats."""
    return math.exp(self.log_kl.value)


def peak(arm: arms.Arm, settings: BootstrapSettings) -> Peak:
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
  own_curves = _on_own_grid(arm, resampling.resample(design))
  places = curves.place_of_highest(own_curves)
  return Peak(
    win_rate=resampling.estimate(
      lambda resamples: curves.highest(_on_own_grid(arm, resamples)), design
    ),
    log_kl=resampling.estimate(
      lambda resamples: _log_kl_at_peak(arm, resamples), design
    ),
    at_the_end=bool(places[0] == curves.GRID_POINTS - 1),
  )


def log_peak_ratio(
  first: arms.Arm, second: arms.Arm, settings: BootstrapSettings
) -> Estimate:
  """Returns the log of the factor by which two arms' peaks differ in KL.

  Args:
    first: whose KL at the peak is divided.
    second: by whose.
    settings: of the bootstrap.

  Raises:
    UndefinedError: an arm has no run with two checkpoints with a KL.
  """

  def statistic(resamples: resampling.Resamples) -> np.ndarray:
    return _log_kl_at_peak(first, resamples) - _log_kl_at_peak(
      second, resamples
    )

  return resampling.estimate(statistic, settings.design(first, second))


def _log_kl_at_peak(
  arm: arms.Arm, resamples: resampling.Resamples
) -> np.ndarray:
  places = curves.place_of_highest(_on_own_grid(arm, resamples))
  ends = curves.extent(arm)
  if ends is None:
    raise UndefinedError(f"{arm.name} has no run with two checkpoints")
  return curves.grid_of(ends)[places]


def gain(
  arm: arms.Arm, reference: arms.Arm, settings: BootstrapSettings
) -> Estimate:
  """Returns an arm's highest win rate minus the reference's.

  Args:
    arm: the arm.
    reference: an arm such as SFT; its last checkpoint is used.
    settings: of the bootstrap.

  Returns:
    The gain, cross-fitted (see `curves`).

  Raises:
    UndefinedError: no run of the arm has two checkpoints with a KL.
  """

  def statistic(resamples: resampling.Resamples) -> np.ndarray:
    start = curves.mean(reference.runs[0], arms.WIN, resamples)[:, -1]
    return curves.highest(_on_own_grid(arm, resamples)) - start

  return resampling.estimate(statistic, settings.design(arm))


def gain_over_last(
  arm: arms.Arm, generator: arms.Arm, settings: BootstrapSettings
) -> Estimate:
  """Returns an arm's highest win rate minus another arm's at its end.

  Args:
    arm: the arm.
    generator: the other arm; the last checkpoint of each of its runs is used,
      averaged over seeds.
    settings: settings of the bootstrap.

  Returns:
    The gain, cross-fitted (see `curves`).

  Raises:
    UndefinedError: no run of the arm has two checkpoints with a KL.
  """

  def statistic(resamples: resampling.Resamples) -> np.ndarray:
    last = np.stack(
      [curves.mean(run, arms.WIN, resamples)[:, -1] for run in generator.runs]
    )
    seeds = tuple(run.seed for run in generator.runs)
    level = curves.mean_over_seeds(last, resamples.seed_counts(seeds))
    return curves.highest(_on_own_grid(arm, resamples)) - level

  return resampling.estimate(statistic, settings.design(arm, generator))


def overlap(
  first: arms.Arm, second: arms.Arm, settings: BootstrapSettings
) -> Estimate:
  """Returns the length of the range of KL that these runs share, in log KL.

  The range is that of these runs: only prompts are resampled, seeds are not.

  Args:
    first: an arm.
    second: another.
    settings: of the bootstrap.

  Returns:
    log(high / low); negative if there is a gap between the ranges.

  Raises:
    UndefinedError: an arm has no run with two checkpoints with a KL.
  """

  def statistic(resamples: resampling.Resamples) -> np.ndarray:
    low, high = zip(
      *(_extents(arm, resamples) for arm in (first, second)), strict=True
    )
    return np.minimum(*high) - np.maximum(*low)

  estimate = resampling.estimate(statistic, settings.design(first, second))
  prompts = min(run.kl_nats.shape[1] for run in (*first.runs, *second.runs))
  return dataclasses.replace(estimate, num_prompts=prompts)


def _extents(
  arm: arms.Arm, resamples: resampling.Resamples
) -> tuple[np.ndarray, np.ndarray]:
  """Returns `curves.extent` of every row of resamples."""
  lows, highs = [], []
  for configuration in arm.configurations:
    of_runs = [
      np.log(curves.mean(run, arms.KL, resamples)[:, curves.moved(run)])
      for run in configuration.runs
    ]
    if min(x.shape[1] for x in of_runs) > 1:
      lows.append(np.max([x.min(axis=1) for x in of_runs], axis=0))
      highs.append(np.min([x.max(axis=1) for x in of_runs], axis=0))
  if not lows:
    raise UndefinedError(f"{arm.name} has no run with two checkpoints")
  return np.min(lows, axis=0), np.max(highs, axis=0)
