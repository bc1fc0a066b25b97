"""Every gin file parses, names nothing unknown, and says what is true."""

import pathlib
import re

import jax
import pytest

from rlhf_gap import errors
from rlhf_gap.cli import gin_files
from rlhf_gap.models import t5

_ROOT = pathlib.Path(__file__).parents[2]
_MODELS = sorted((_ROOT / "gin_configs" / "models").glob("*.gin"))


@pytest.mark.parametrize("file", _MODELS, ids=lambda p: p.stem)
def test_a_model_file_has_the_parameters_that_its_header_tells(file):
  gin_files.parse([str(file.relative_to(_ROOT))])
  config = gin_files.macro("MODEL")
  leaves = jax.tree.leaves(t5.param_shapes(config))
  text = file.read_text()
  said = re.search(r"([\d,]+) parameters", text)
  assert sum(leaf.size for leaf in leaves) == int(said[1].replace(",", ""))
  assert f"emb {config.emb_dim}" in text
  assert f"{config.num_heads} heads x {config.head_dim}" in text
  assert f"mlp {config.mlp_dim}" in text
  assert f"vocabulary {config.vocab_size:,}" in text
  assert len(text.splitlines()) <= 60


def test_bindings_override_files():
  gin_files.parse(
    ["gin_configs/models/mini_policy.gin"],
    ["t5.T5Config.emb_dim = 32", "DROPOUT_RATE = 0.25"],
  )
  config = gin_files.macro("MODEL")
  assert (config.emb_dim, config.dropout_rate) == (32, 0.25)


def test_a_search_path_is_looked_through(tmp_path):
  (tmp_path / "mine.gin").write_text("MODEL = 3\n")
  gin_files.parse(["mine.gin"], search_paths=[str(tmp_path)])
  assert gin_files.macro("MODEL") == 3


_HEAD = "from __gin__ import dynamic_registration\n"
_T5 = f"{_HEAD}from rlhf_gap.models import t5\n"


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    (f"{_T5}t5.T5Confg.emb_dim = 3\n", ("mine.gin:3", "T5Confg")),
    (f"{_T5}t5.T5Config.emb_dimm = 3\n", ("mine.gin:3", "emb_dimm")),
    (f"{_T5}t5.T5Config.emb_dim = = 3\n", ("mine.gin:3", "parse")),
    (f"{_HEAD}from rlhf_gap.models import t6\n", ("t6",)),
  ],
)
def test_a_mistake_is_one_line_with_its_place(tmp_path, text, expected):
  (tmp_path / "mine.gin").write_text(text)
  with pytest.raises(errors.UserError) as caught:
    gin_files.parse([str(tmp_path / "mine.gin")])
  message = str(caught.value)
  assert "\n" not in message
  for part in expected:
    assert part in message


def test_a_mistyped_file_suggests_the_near_one():
  with pytest.raises(errors.UserError, match=r"did you mean .*t5_1_1_small"):
    gin_files.parse(["gin_configs/models/t5_1_1_smal.gin"])


def test_a_macro_that_no_file_sets():
  gin_files.parse([])
  with pytest.raises(errors.UserError, match="sets MODEL"):
    gin_files.macro("MODEL")
