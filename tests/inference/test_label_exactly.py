"""Labels by a miniature's hidden utility, against its Python definition."""

import numpy as np
import pytest

from rlhf_gap import stores
from rlhf_gap.cli import main
from rlhf_gap.data import mini
from rlhf_gap.inference import label_exactly

TASK = "mini_helpfulness"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
  output = str(tmp_path_factory.mktemp("exact") / "pairs")
  words = [f"{TASK}_pairs", "--rows=300", f"--output={output}"]
  assert main.main(["data", *words]) == 0
  return output


@pytest.fixture(scope="module")
def labelled(pairs, tmp_path_factory):
  output = str(tmp_path_factory.mktemp("exact") / "labelled")
  flags = [f"--pairs={pairs}", f"--output={output}"]
  assert main.main(["label", "utility", *flags]) == 0
  return output


def _utilities(store, side):
  decode = stores.decoder(store.manifest.vocabulary)
  values = store.read(range(store.num_rows))
  return np.array(
    [
      mini.utility(TASK, decode(prompt.tolist()), decode(tokens.tolist()))
      for prompt, tokens in zip(
        values["prompt_tokens"], values[f"{side}_tokens"], strict=True
      )
    ]
  )


def test_the_better_response_is_chosen_without_error(pairs, labelled):
  before, after = stores.open(pairs), stores.open(labelled)
  old = {side: _utilities(before, side) for side in ("chosen", "rejected")}
  new = {side: _utilities(after, side) for side in ("chosen", "rejected")}
  wrong = old["chosen"] < old["rejected"]
  assert 0 < wrong.sum() < len(wrong) / 2  # the noisy rater errs
  np.testing.assert_array_equal(new["chosen"], np.maximum(*old.values()))
  np.testing.assert_array_equal(new["rejected"], np.minimum(*old.values()))
  values = after.read(range(after.num_rows))
  tie = new["chosen"] == new["rejected"]
  np.testing.assert_array_equal(values["weight"], ~tie)
  np.testing.assert_array_equal(values["judge_r12"], np.where(tie, 0.5, 1.0))
  np.testing.assert_array_equal(values["judge_r21"], np.where(tie, 0.5, 0.0))
  assert after.manifest.label == stores.Label("utility")


def test_labels_differ_from_the_raters_in_the_fingerprint(pairs, labelled):
  assert stores.fingerprint(stores.open(pairs)) != stores.fingerprint(
    stores.open(labelled)
  )


def test_verdicts_are_symmetric():
  first, second = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 1.0])
  one = label_exactly.compare(first, second)
  other = label_exactly.compare(second, first)
  np.testing.assert_array_equal(one.label, [0, 0.5, 1])
  np.testing.assert_array_equal(one.label + other.label, 1)
  np.testing.assert_array_equal(one.first_order, other.second_order)


def test_mistakes(pairs, capsys, tmp_path):
  output = f"--output={tmp_path / 'new'}"
  words = ["label", "utility", f"--pairs={pairs}", output]
  assert main.main([*words, "--input_length=40"]) == 2
  assert "--input_length only applies" in capsys.readouterr().err
  assert not (tmp_path / "new").exists()
