"""Gao's forms of over-optimization, fitted to win rates.

With d = sqrt(KL(policy || reference)), Gao et al. (2023), "Scaling laws for
reward model over-optimization", find

  R(d) = d (a - b log d)   for policies trained by reinforcement,
  R(d) = d (a - b d)       for best-of-n,

where R is the gain of golden reward over the reference. Here R is the win rate
minus the reference's win rate; Rafailov et al. (2024) fit the first form to
direct alignment in this way. Both forms are linear in a and b, so least squares
has a closed form.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float

from rlhf_gap.analysis import arms, curves, resampling
from rlhf_gap.analysis.resampling import Estimate, Percentiles, UndefinedError
from rlhf_gap.analysis.statistics import BootstrapSettings

Name = Literal["reinforcement", "best_of_n"]


def value(
  form: Name,
  d: Float[np.ndarray, "*#shape"],
  a: float | np.ndarray,
  b: float | np.ndarray,
) -> Float[np.ndarray, "..."]:
  """Returns R(d).

  Args:
    form: the form.
    d: sqrt(KL in nats), > 0.
    a: the slope at d = 1, or at 0 for best-of-n.
    b: how fast the slope decreases.
  """
  first, second = _basis(form, d)
  return a * first + b * second


def _basis(form: Name, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  return (d, -d * np.log(d)) if form == "reinforcement" else (d, -d * d)


def peak_kl(
  form: Name, a: Float[np.ndarray, "rows"], b: Float[np.ndarray, "rows"]
) -> Float[np.ndarray, "rows"]:
  """Returns the KL at which R is greatest, in nats.

  d* = exp(a / b - 1), or a / (2 b) of best-of-n.

  Args:
    form: which.
    a: see `value`.
    b: likewise.

  Returns:
    d*^2; infinite if R never falls (b <= 0); 0 if best-of-n falls from the
    start (a <= 0).
  """
  has_peak = b > 0
  ratio = np.divide(a, b, out=np.zeros_like(a), where=has_peak)
  # exp(350)^2 is near the largest float64; such a peak is out of reach.
  top = (
    np.exp(np.minimum(ratio - 1, 350.0))
    if form == "reinforcement"
    else np.maximum(ratio / 2, 0.0)
  )
  return np.where(has_peak, top**2, np.inf)


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
  """One form fitted to one arm.

  Attributes:
    form: which.
    a: see `value`.
    b: likewise.
    peak_kl_nats: KL at which the form is greatest; infinite if it never falls.
    residual: root mean square of win rates about the form.
    curve: gives the win rates at some KLs, with pointwise intervals.
  """

  form: Name
  a: Estimate
  b: Estimate
  peak_kl_nats: Percentiles
  residual: float
  curve: Callable[[np.ndarray], resampling.Spread]


def fit(
  form: Name, arm: arms.Arm, reference: arms.Arm, settings: BootstrapSettings
) -> Fit:
  """Fits a form to all checkpoints of an arm.

  Every checkpoint has the same weight. The bootstrap resamples prompts and
  seeds; KL, win rate and the reference's win rate follow the prompts.

  Args:
    form: which.
    arm: the arm, all configurations together.
    reference: the SFT policy's arm: its win rate is R = 0.
    settings: of the bootstrap.

  Returns:
    The fit.

  Raises:
    UndefinedError: fewer than three checkpoints with a KL.
  """
  if sum(int(curves.moved(run).sum()) for run in arm.runs) < 3:
    raise UndefinedError(
      f"{arm.name} has fewer than three checkpoints with a KL to fit"
    )
  design = settings.design(arm)

  def solved(resamples: resampling.Resamples) -> np.ndarray:
    return _solve(form, _points(arm, reference, resamples))

  def curve(kl_nats: np.ndarray) -> resampling.Spread:
    def along(resamples: resampling.Resamples) -> np.ndarray:
      a, b = solved(resamples).T[..., None]
      start = _start(reference, resamples)[:, None]
      return start + value(form, np.sqrt(kl_nats)[None], a, b)

    return resampling.spread(along, design)

  resamples = resampling.resample(design)
  both = solved(resamples)
  points = _points(arm, reference, resamples)
  fitted = value(form, points.d[:1], *both[0])
  return Fit(
    form=form,
    a=resampling.estimate(lambda d: solved(d)[:, 0], design),
    b=resampling.estimate(lambda d: solved(d)[:, 1], design),
    peak_kl_nats=resampling.percentiles(peak_kl(form, *both.T)),
    residual=math.sqrt(float(((points.gain[:1] - fitted) ** 2).mean())),
    curve=curve,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class _Points:
  d: Float[np.ndarray, "rows points"]
  gain: Float[np.ndarray, "rows points"]
  weight: Float[np.ndarray, "rows points"]


def _start(reference: arms.Arm, resamples: resampling.Resamples) -> np.ndarray:
  return curves.mean(reference.runs[0], arms.WIN, resamples)[:, -1]


def _points(
  arm: arms.Arm, reference: arms.Arm, resamples: resampling.Resamples
) -> _Points:
  weights = resamples.seed_counts(arm.seeds)
  d, gain, weight = [], [], []
  for run in arm.runs:
    here = curves.moved(run)
    kl = curves.mean(run, arms.KL, resamples)[:, here]
    d.append(np.sqrt(np.maximum(kl, curves.LEAST_KL_NATS / 10)))
    win_rate = curves.mean(run, arms.WIN, resamples)[:, here]
    gain.append(win_rate - _start(reference, resamples)[:, None])
    column = weights[:, [arm.seeds.index(run.seed)]]
    weight.append(np.broadcast_to(column, kl.shape))
  return _Points(
    *(np.concatenate(column, axis=1) for column in (d, gain, weight))
  )


def _solve(form: Name, points: _Points) -> Float[np.ndarray, "rows 2"]:
  """Weighted least squares of each row, by the normal equations."""
  first, second = _basis(form, points.d)
  w = points.weight
  f, g, h = ((w * x * y).sum(axis=1) for x, y in _pairs(first, second))
  p = (w * first * points.gain).sum(axis=1)
  q = (w * second * points.gain).sum(axis=1)
  determinant = f * h - g * g
  # Collinear columns: all checkpoints have one KL, so there is nothing to fit.
  solvable = determinant > 1e-9 * f * h
  scale = np.where(solvable, determinant, np.nan)
  return np.stack([(h * p - g * q) / scale, (f * q - g * p) / scale], axis=1)


def _pairs(
  first: np.ndarray, second: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
  return (first, first), (first, second), (second, second)
