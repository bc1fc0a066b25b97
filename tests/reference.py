"""Finds what the real T5X and transformers wrote; says why where it cannot."""

import json
import os
import pathlib
from typing import Any

import numpy as np
import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_FOLDERS = (
  pathlib.Path(__file__).parent / "golden",
  pathlib.Path(os.environ.get("RLHF_GAP_REFERENCE", _ROOT.parent / "shared")),
)

# Checkpoint, and the folder with what T5X or transformers computed from it.
MODELS = {
  "t5x_1_1": ("t5x_reference/t5_1_1_tiny/checkpoint_1000", "t5_1_1_tiny"),
  "t5x_1_0": ("t5x_reference/t5_1_0_tiny/checkpoint_1000", "t5_1_0_tiny"),
  "t5x_factored": (
    "t5x_reference/t5_1_1_factored/checkpoint_1002",
    "t5_1_1_factored",
  ),
  "orbax_1_1": (
    "t5x_reference/t5_1_1_tiny_orbax/checkpoint_1000",
    "t5_1_1_tiny",
  ),
  "orbax_1_0": (
    "t5x_reference/t5_1_0_tiny_orbax/checkpoint_1000",
    "t5_1_0_tiny",
  ),
  "hf_1_1": ("hf_reference/t5_v1_1_tiny", "t5_v1_1_tiny"),
  "hf_1_0": ("hf_reference/t5_v1_0_tiny", "t5_v1_0_tiny"),
}


def path(name: str) -> str:
  """Returns where the reference file or folder `name` is, or skips."""
  for folder in _FOLDERS:
    if (folder / name).exists():
      return str(folder / name)
  pytest.skip(f"reference {name} is not in this clone (tests/golden/README.md)")
  raise AssertionError  # pytest.skip does not return


def checkpoint(model: str) -> str:
  """Returns the checkpoint of one of `MODELS`."""
  return path(MODELS[model][0])


def expected(model: str) -> dict[str, np.ndarray]:
  """Returns inputs and outputs that the other implementation computed."""
  folder = "hf_reference" if model.startswith("hf") else "t5x_reference"
  with np.load(path(f"{folder}/{MODELS[model][1]}/expected.npz")) as arrays:
    return {name: arrays[name] for name in arrays.files}


def table(model: str, name: str) -> Any:
  """Returns a JSON file beside a T5X model."""
  file = path(f"t5x_reference/{MODELS[model][1]}/{name}.json")
  return json.loads(pathlib.Path(file).read_text())
