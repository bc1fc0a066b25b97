"""Estimates a run's memory and speed on a pod slice before paying for it.

Every program of a step is compiled ahead of time for the slice. Nothing runs,
no weights are read, and no accelerator is needed.
"""

from rlhf_gap.plan.subject import Subject
from rlhf_gap.plan.summary import Plan, make, mesh_of, smallest_that_fits
from rlhf_gap.plan.topologies import Topology

__all__ = [
  "Plan",
  "Subject",
  "Topology",
  "make",
  "mesh_of",
  "smallest_that_fits",
]
