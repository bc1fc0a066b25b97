"""Sharding over many devices: one mesh and T5X's logical axis rules.

mesh = Mesh(model=4).make()               # data: all other devices
with active(mesh):
  checkpoint = checkpoints.load(path, shardings=parameters_on(mesh))
"""

from rlhf_gap.partitioning.mesh import Mesh
from rlhf_gap.partitioning.placing import (
  AnyMesh,
  active,
  check_batch,
  check_model,
  checked_parameters_on,
  computing,
  constrain_rows,
  model_rules,
  optimizer_state,
  parameters,
  parameters_on,
  place_rows,
  replicated,
  rows,
  rows_held,
  standard_rules,
  undivided,
  without_fsdp,
)

__all__ = [
  "AnyMesh",
  "Mesh",
  "active",
  "check_batch",
  "check_model",
  "checked_parameters_on",
  "computing",
  "constrain_rows",
  "optimizer_state",
  "parameters",
  "parameters_on",
  "place_rows",
  "replicated",
  "rows",
  "rows_held",
  "model_rules",
  "standard_rules",
  "undivided",
  "without_fsdp",
]
