"""A section of the report: one figure of the paper.

A figure's file states the paper's result, the arms that it needs, our pictures
and our claims. `registry` lists the sections in the order of the report.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection

from rlhf_gap.analysis.claims import Claim, any_matches
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.plotting.picture import Picture

PlotPicture = Callable[[Evidence, float], Picture]
"""Plots a task's evidence, given the base of the KL axis's logarithm."""


@dataclasses.dataclass(frozen=True)
class Section:
  """One figure of the paper, or a question of later literature.

  Attributes:
    title: the section's title.
    paper_shows: what the paper's figure shows, in our words.
    pictures: our pictures.
    claims: what we decide about the figure.
    requires_any: patterns of arm names. A report shows the section only if its
      study plans an arm that matches one of them; see `Claim.requires_any`.
    own_arms: patterns of the arms that belong to this figure alone and are left
      out of the report's first picture.
  """

  title: str
  paper_shows: str
  pictures: tuple[PlotPicture, ...]
  claims: tuple[Claim, ...]
  requires_any: tuple[str, ...]
  own_arms: tuple[str, ...] = ()

  def is_wanted(self, planned: Collection[str]) -> bool:
    """Returns whether a study with these arms is to show it."""
    return any_matches(planned, self.requires_any)


def without_kl_axis(plot: Callable[[Evidence], Picture]) -> PlotPicture:
  """Adapts a picture without a KL axis to `PlotPicture`."""

  @functools.wraps(plot)
  def plotted(evidence: Evidence, log_base: float) -> Picture:
    del log_base
    return plot(evidence)

  return plotted
