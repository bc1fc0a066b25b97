"""Runs of several cooperating processes, on one host or many.

with processes.joined("host0:8476", 2, process_id, limits=processes.Limits()):
  processes.check_same({"seed": "0"})
  done = processes.from_first(lambda: os.listdir(folder))
  for step in range(10):
    processes.mark(f"step {step}")  # a process that stops marking is hung
    ...

Without `joined`, a process is the first of one, and these functions do nothing.
"""

from rlhf_gap.processes.gathering import gathered as gathered
from rlhf_gap.processes.joining import check_same as check_same
from rlhf_gap.processes.joining import compile_together as compile_together
from rlhf_gap.processes.joining import count as count
from rlhf_gap.processes.joining import from_first as from_first
from rlhf_gap.processes.joining import index as index
from rlhf_gap.processes.joining import is_first as is_first
from rlhf_gap.processes.joining import joined as joined
from rlhf_gap.processes.joining import mark as mark
from rlhf_gap.processes.joining import meet as meet
from rlhf_gap.processes.joining import stops_at as stops_at
from rlhf_gap.processes.watch import Limits as Limits
