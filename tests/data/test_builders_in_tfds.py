"""The builders through TFDS's own test case, on made-up files.

It checks registration, info, features, the examples of every split, that no
example is in two splits, and that preparing and loading agree.
"""

import pathlib
import tempfile

import pytest

pytest.importorskip("dill", reason="tensorflow_datasets.testing imports it")

from tensorflow_datasets import testing  # noqa: E402

from rlhf_gap.data import builders  # noqa: E402
from tests.data import made_up  # noqa: E402


class _MadeUp:
  """Writes the manual folder that the test case reads."""

  @classmethod
  def setUpClass(cls):  # noqa: N802
    """Is called by unittest."""
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    made_up.write_all(pathlib.Path(folder.name))
    cls.EXAMPLE_DIR = folder.name
    super().setUpClass()


class TestHelpfulness(_MadeUp, testing.DatasetBuilderTestCase):
  """Splits as published."""

  DATASET_CLASS = builders.AnthropicHelpfulness
  SPLITS = {"train": 4, "test": 1}


class TestHarmlessness(_MadeUp, testing.DatasetBuilderTestCase):
  """Splits as published."""

  DATASET_CLASS = builders.AnthropicHarmlessness
  SPLITS = {"train": 4, "test": 1}


class TestSummarization(_MadeUp, testing.DatasetBuilderTestCase):
  """Splits as published."""

  DATASET_CLASS = builders.OpenaiSummarization
  SPLITS = {"train": 2, "valid1": 2, "valid2": 1}


class TestArena(_MadeUp, testing.DatasetBuilderTestCase):
  """Later turns with two histories are dropped."""

  DATASET_CLASS = builders.ChatArena
  BUILDER_CONFIG_NAMES_TO_TEST = ["shared_context"]
  SPLITS = {"train": 2, "validation": 1}


class TestArenaCut(_MadeUp, testing.DatasetBuilderTestCase):
  """Later turns with two histories are cut."""

  DATASET_CLASS = builders.ChatArena
  BUILDER_CONFIG_NAMES_TO_TEST = ["shared_prefix"]
  SPLITS = {"train": 3, "validation": 1}
