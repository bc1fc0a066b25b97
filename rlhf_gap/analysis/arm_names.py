"""Names of arms, as records store them, and what legends call them."""

METHODS = ("online", "tandem", "offline")
"""Arms of every study.

Records and folders store "tandem" for offline runs on shuffled online data (the
tandem setting of Ostrovski et al. 2021). Reports and pages say "shuffled online
data".
"""

GENERATED = ("final_final", "sft_early", "early_final")
"""Offline arms on generated pairs, named for the checkpoints of both responses.

"early" and "final" are checkpoints of the online run. Tang et al. (2024), Figs.
5 and 12, call the data sets 4k/4k, sft/800 and 800/4k.
"""

FULL_GRID = "offline_grid"
"""Offline arm that changes several settings of the baseline at once."""

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


def title(name: str) -> str:
  """Returns the name of an arm that readers see."""
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
