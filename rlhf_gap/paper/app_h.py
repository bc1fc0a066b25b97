"""What IPO's optimum would be, in closed form, against what was measured.

With hard, transitive labels and u in [0, 1] the rank of a response among the
SFT policy's own (uniform under it), pairs drawn from the SFT policy give

  pi proportional to pi_sft exp(u / beta)

(Tang et al. 2024, Appendices E.1 and H, with mu = pi_sft): an exponential tilt,
with E[u] its win rate against SFT. Online, pairs come from pi itself. For x =
log pi / pi_sft the fixed point pi = pi_sft exp(p(y > pi) / beta) / Z is solved
by F' = exp(F / beta) / Z with F the distribution function in u: its KL is
1 / (2 beta) - log[(1 / beta) / (1 - exp(-1 / beta))], its win rate the same as
the tilt's at the same beta. At the same KL, so, the optimum of offline
alignment would win more often: the theory alone has no gap in online's favour.
"""

import math

import numpy as np
from jaxtyping import Float
from matplotlib import axes

from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.analysis.verdicts import Evidence
from rlhf_gap.plotting import over_kl, styles
from rlhf_gap.plotting.drawing import Cell, Figure
from rlhf_gap.plotting.over_kl import Series
from rlhf_gap.plotting.styles import BLUE, VERMILLION

VS_SFT = "win_rate_vs_reference"


def win_rate(beta: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
  """Returns the optimum's win rate against SFT, on- and offline alike.

  E[u] under the density exp(u / beta) on [0, 1] is
  1 / (1 - exp(-1 / beta)) - beta.

  Args:
    beta: of IPO with summed log-probabilities, > 0.
  """
  return 1 / -np.expm1(-1 / beta) - beta


def offline_kl(beta: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
  """Returns the offline optimum's KL to SFT in nats: E[u] / beta - log Z.

  Args:
    beta: > 0.
  """
  # log Z = log(beta (exp(1 / beta) - 1)), without overflow.
  log_z = np.log(beta) + 1 / beta + np.log(-np.expm1(-1 / beta))
  return win_rate(beta) / beta - log_z


def online_kl(beta: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
  """Returns the online fixed point's KL to SFT in nats.

  Args:
    beta: > 0.
  """
  return 1 / (2 * beta) + np.log(beta) + np.log(-np.expm1(-1 / beta))


def prediction(evidence: Evidence, log_base: float) -> Figure:
  """App. H: win rate against SFT over KL, predicted and measured."""
  series, missing = [], []
  rows: list[tuple[Cell, ...]] = []
  for name in ("online", "offline"):
    try:
      arm = evidence.arm(name)
      if not arm.has(VS_SFT):
        raise UndefinedError("it was not compared with SFT")
      kl, band = over_kl.frontier(arm, evidence.settings, VS_SFT)
    except UndefinedError as error:
      missing.append(f"{name}: {error}")
      continue
    points = over_kl.points(arm, VS_SFT)
    style = styles.method_style(name)
    series.append(Series(f"{name}, measured", style, points, kl, band))
    rows += over_kl.point_rows(name, arm, VS_SFT)
    rows += over_kl.curve_rows("frontier", name, kl, band)
  if not series:
    raise UndefinedError("; ".join(missing))
  low = min(float(one.kl_nats[0]) for one in series)
  high = max(float(one.kl_nats[-1]) for one in series)
  beta = np.geomspace(1e-7, 30.0, 800)
  lines = {
    "online": (online_kl(beta), BLUE),
    "offline": (offline_kl(beta), VERMILLION),
  }
  win = win_rate(beta)

  def draw(ax: axes.Axes) -> None:
    over_kl.draw(ax, series, log_base, "win rate against SFT", None)
    for name, (kl, color) in lines.items():
      here = (kl >= low) & (kl <= high)
      ax.plot(
        np.log(kl[here]) / math.log(log_base),
        win[here],
        color=color,
        lw=1.2,
        ls=":",
        label=f"{name}, the optimum",
      )

  return Figure(
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
      for name, (kl, _) in lines.items()
      for x, y in zip(kl, win, strict=True)
      if low <= x <= high
    ],
    draw=draw,
    missing=tuple(missing),
  )
