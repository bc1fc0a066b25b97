"""Names of arms, as records store them, and what legends call them."""

from collections.abc import Mapping

from rlhf_gap.analysis import arms

_BEST_OF_TWO = ("online_bo2", "tandem_bo2", "offline_bo2")
GENERATED = ("final_final", "early_final", "sft_early")
"""Arms of offline runs on pairs of two checkpoints: whose, in order."""

FULL_GRID = "offline_grid"
"""Arm of the offline settings that combine several changes of the baseline."""

_TITLES = {
  FULL_GRID: "offline, full grid",
  "online": "online",
  "offline": "offline",
  "tandem": "shuffled online data",
  "online_bo2": "online, Best-of-2",
  "tandem_bo2": "shuffled online data, Best-of-2",
  "offline_bo2": "offline, Best-of-2",
  "final_final": "pairs final / final",
  "early_final": "pairs early / final",
  "sft_early": "pairs SFT / early",
  "shuffle_1": "no shuffling",
}


def is_ablation(name: str) -> bool:
  """Returns whether an arm belongs to one figure of the paper alone."""
  return (
    bool(arms.size_of(name))
    or name in _BEST_OF_TWO
    or name in GENERATED
    or name == FULL_GRID
    or name.startswith(("shuffle_", "stale_", "reuse_"))
  )


def main(found: Mapping[str, arms.Arm]) -> dict[str, arms.Arm]:
  """Returns the arms that no single figure owns: online, offline, tandem."""
  return {name: arm for name, arm in found.items() if not is_ablation(name)}


def title(name: str) -> str:
  """Returns what a legend calls an arm."""
  method, _, size = name.partition("@")
  if method.startswith("shuffle_") and method not in _TITLES:
    return f"within {method.removeprefix('shuffle_')} batches"
  if method.startswith("stale_"):
    return f"refreshed {_every(method.removeprefix('stale_'))}"
  if method.startswith("reuse_"):
    passes, _, every = method.removeprefix("reuse_").partition("x")
    return f"{passes} passes, refreshed {_every(every)}"
  text = _TITLES.get(method, method)
  return f"{text}, {size}" if size else text


def _every(steps: str) -> str:
  return "never" if steps == "never" else f"every {steps} steps"
