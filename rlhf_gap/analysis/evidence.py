"""The inputs of a claim: one task of a study, as measured."""

import dataclasses
from collections.abc import Mapping

from rlhf_gap.analysis import statistics, summary
from rlhf_gap.analysis.arms import Arm
from rlhf_gap.analysis.resampling import UndefinedError
from rlhf_gap.records import Measurement, RunRecord

_LABEL_NAMES = {
  "golden": "golden labels",
  "utility": "the hidden utility",
}


@dataclasses.dataclass(frozen=True)
class Evidence:
  """One task of a study, as measured.

  Attributes:
    task: the task's name.
    arms: the arms, by name.
    records: the records that the arms were made of.
    judges: the examined preference models, by name.
    settings: settings of every bootstrap.
    online_data: records of `rlhf_gap.evaluation.online_data`: how often each
      classifier picks the better response of an online run's own pairs.
    sizes: parameters of the policy, by size; "" is the study's own size.
    planned: names of the arms that the study was to run, finished or not.
  """

  task: str
  arms: Mapping[str, Arm]
  records: tuple[RunRecord, ...] = ()
  judges: Mapping[str, summary.Judge] = dataclasses.field(default_factory=dict)
  settings: statistics.BootstrapSettings = statistics.BootstrapSettings()
  online_data: tuple[RunRecord, ...] = ()
  sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
  planned: tuple[str, ...] = ()

  @property
  def names(self) -> list[str]:
    """Names of all arms, including planned ones without records."""
    return sorted({*self.arms, *self.planned})

  def arm(self, name: str) -> Arm:
    """Returns an arm.

    Raises:
      UndefinedError: there is none of this name.
    """
    if name not in self.arms:
      raise UndefinedError(f"there are no records of the arm {name}")
    return self.arms[name]

  def accuracy(self, judge: str, against: str) -> Measurement:
    """Returns how often a judge agrees with some labels.

    Args:
      judge: "golden" or "proxy".
      against: "golden" labels or the hidden "utility".

    Raises:
      UndefinedError: this was not measured.
    """
    examined = self.judges.get(judge)
    if examined is None or against not in examined.accuracy:
      raise UndefinedError(
        f"the {judge} preference model was not compared with"
        f" {_LABEL_NAMES[against]}"
      )
    return examined.accuracy[against]
