"""Appendix H: the gap that theory predicts."""

import math

import numpy as np
from matplotlib import axes

from rlhf_gap.analysis import comparison, ipo_optimum, statistics
from rlhf_gap.analysis.claims import Answer, Claim
from rlhf_gap.analysis.decline import negated
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import SMALLEST_EFFECT, exceeds
from rlhf_gap.analysis.wording import basis, signed
from rlhf_gap.paper import rules
from rlhf_gap.paper.section import Section
from rlhf_gap.plotting import over_kl, styles
from rlhf_gap.plotting.over_kl import Series
from rlhf_gap.plotting.picture import Cell, Picture
from rlhf_gap.plotting.styles import BLUE, VERMILLION

_AGAINST_SFT = "win_rate_vs_reference"
_ARMS = ("online", "offline")


def plot_appendix_h(evidence: Evidence, log_base: float) -> Picture:
  """Plots win rate against SFT over KL, predicted and measured."""
  series: list[Series] = []
  missing: list[str] = []
  rows: list[tuple[Cell, ...]] = []
  for name in _ARMS:
    try:
      arm = evidence.arm(name)
      if not arm.has(_AGAINST_SFT):
        raise UndefinedError("it was not compared with SFT")
      kl, band = over_kl.frontier(arm, evidence.settings, _AGAINST_SFT)
    except UndefinedError as error:
      missing.append(f"{name}: {error}")
      continue
    points = over_kl.points(arm, _AGAINST_SFT)
    style = styles.method_style(name)
    series.append(Series(f"{name}, measured", style, points, kl, band))
    rows += over_kl.point_rows(name, arm, _AGAINST_SFT)
    rows += over_kl.curve_rows("frontier", name, kl, band)
  if not series:
    raise UndefinedError("; ".join(missing))
  optima = _optima(
    low_kl=min(float(each.kl_nats[0]) for each in series),
    high_kl=max(float(each.kl_nats[-1]) for each in series),
  )

  def plot(ax: axes.Axes) -> None:
    over_kl.plot(ax, series, log_base, "win rate against SFT", None)
    for name, color in (("online", BLUE), ("offline", VERMILLION)):
      kl, win_rate = optima[name]
      ax.plot(
        np.log(kl) / math.log(log_base),
        win_rate,
        color=color,
        lw=1.2,
        ls=":",
        label=f"{name}, the optimum",
      )

  return Picture(
    name="app_h",
    title="Appendix H: the optimum and the measurement",
    caption=(
      "Dotted: IPO's optimum for hard, transitive labels, over all beta."
      " Offline's would be ahead at the same KL."
    ),
    header=over_kl.HEADER,
    rows=rows
    + [
      ("theory", name, "", "", "", "", float(x), float(y), "", "")
      for name, (kl, win_rate) in optima.items()
      for x, y in zip(kl, win_rate, strict=True)
    ],
    plot=plot,
    missing=tuple(missing),
  )


def _optima(
  *, low_kl: float, high_kl: float
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Returns KL and win rate of both optima within a range of KL."""
  beta = np.geomspace(1e-7, 30.0, 800)
  win_rate = ipo_optimum.win_rate(beta)
  optima = {}
  for name, kl in (
    ("online", ipo_optimum.online_kl(beta)),
    ("offline", ipo_optimum.offline_kl(beta)),
  ):
    inside = (kl >= low_kl) & (kl <= high_kl)
    optima[name] = (kl[inside], win_rate[inside])
  return optima


def _theory_does_not_explain_the_gap(evidence: Evidence) -> Answer:
  online, offline = (evidence.arm(name) for name in _ARMS)
  for arm in (online, offline):
    if not arm.has(_AGAINST_SFT):
      raise UndefinedError(f"{arm.name} was not compared with SFT")
  compared = comparison.compare(evidence, online, offline, metric=_AGAINST_SFT)
  verdict, reason = compared.exceeds()
  numbers = f"win rate against SFT: {compared.numbers}"
  return Answer(verdict, numbers, reason)


def _generator_stays_ahead(evidence: Evidence) -> Answer:
  """Online's last checkpoint generated the pairs of "final_final"."""
  trained, online = evidence.arm("final_final"), evidence.arm("online")
  gap = statistics.gain_over_last(trained, online, evidence.settings)
  verdict, reason = exceeds(negated(gap))
  return Answer(
    verdict,
    f"highest win rate on pairs of the final online policy minus that policy's"
    f" {signed(gap)} ({basis(gap)})",
    reason,
  )


APPENDIX_H = Section(
  title="Appendix H: what theory expects",
  paper_shows=(
    "The paper writes down IPO's optimum. For hard, transitive labels it has a"
    " closed form, by which offline would be ahead at the same KL: the optimum"
    " does not explain the gap."
  ),
  pictures=(plot_appendix_h,),
  claims=(
    Claim(
      "the optimum's theory does not explain the gap",
      "Measured against SFT at the same KL, online wins more often than"
      " offline; by IPO's optimum in closed form, offline would.",
      "Tang et al. (2024), Appendix H; derived in"
      " rlhf_gap/analysis/ipo_optimum.py",
      _theory_does_not_explain_the_gap,
      requires_any=_ARMS,
      judged=True,
      quote=(
        "this observation constitutes an empirical case where existing"
        " theories of offline algorithms fail to predict (section 5.2)"
      ),
      rule=rules.AHEAD + " Win rates here are against SFT.",
    ),
    Claim(
      "offline stays below the policy that generated its pairs",
      "Offline alignment on pairs of the final online policy does not reach"
      " that policy's win rate, though in theory IPO improves on the policy"
      " that its pairs come from.",
      "Tang et al. (2024), Appendix H",
      _generator_stays_ahead,
      requires_any=("final_final",),
      judged=True,
      quote=(
        "the optimization process does not seem to improve upon the"
        " behavior policy at least not as predicted by theory (Appendix H)"
      ),
      rule=(
        "The generating policy's win rate minus the arm's highest,"
        " cross-fitted. Supported if its interval lies above 0,"
        f" contradicted if it lies below {SMALLEST_EFFECT:g}."
      ),
    ),
  ),
  requires_any=_ARMS,
)
