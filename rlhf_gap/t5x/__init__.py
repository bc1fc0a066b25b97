"""This project's losses, batches and pair stores inside T5X.

The only package that imports t5x, which is on no package index. Importing it
without T5X raises an ImportError of one line; nothing else needs it.
"""

import importlib.util

if importlib.util.find_spec("t5x") is None:
  raise ModuleNotFoundError(
    "rlhf_gap.t5x needs T5X, which is not installed: put a checkout of"
    " github.com/google-research/t5x on PYTHONPATH",
    name="t5x",
  )
