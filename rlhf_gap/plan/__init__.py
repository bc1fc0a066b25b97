"""What a run needs of a slice, and how fast it can be there, before it is paid.

Every program of a step is compiled ahead of time for the slice; nothing runs,
no weights are read, and no accelerator is needed.
"""

from rlhf_gap.plan.programs import Subject
from rlhf_gap.plan.summary import Plan, mesh_of, of, smallest_that_fits
from rlhf_gap.plan.topologies import Topology

__all__ = [
  "Plan",
  "Subject",
  "Topology",
  "mesh_of",
  "of",
  "smallest_that_fits",
]
