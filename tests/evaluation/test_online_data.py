"""Who can tell an online run's pairs apart, over its time."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import errors, records, stores
from rlhf_gap.cli import main
from rlhf_gap.evaluation import models, online_data, win_rate
from rlhf_gap.inference import score
from rlhf_gap.ops import logprobs
from tests.evaluation import tiny
from tests.training import ingredients

pytestmark = pytest.mark.slow

STEPS, SIZE = 6, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Two policies, a judge, and what an online run recorded with another."""
  base = tmp_path_factory.mktemp("online_data")
  ingredients.write(base / "prompts", "prompts")
  for number, name in enumerate(("golden", "sft", "one", "other", "proxy")):
    tiny.save(base / name / "checkpoint_9", tiny.params(number), 9)
  assert (
    main.main(
      [
        *("generate", _at(base, "one"), _at(base, "other")),
        *(f"--prompts={base / 'prompts'}", f"--judge={_at(base, 'proxy')}"),
        *(f"--reference={_at(base, 'sft')}", f"--output={base / 'pairs'}"),
        *(f"--num_pairs={STEPS * SIZE}", f"--batch_size={SIZE}"),
        *("--seed=5", f"--max_length={tiny.LENGTHS['response']}"),
      ]
    )
    == 0
  )
  return base


def _at(folder, name):
  return str(folder / name / "checkpoint_9")


def _flags(folder, output, *more):
  return [
    *("classify", _at(folder, "one"), _at(folder, "other")),
    *("--arms=online,offline", f"--pairs={folder / 'pairs'}"),
    *(f"--golden={_at(folder, 'golden')}", f"--output={output}"),
    *(f"--reference={_at(folder, 'sft')}", "--windows=3", "--num_pairs=8"),
    *("--judge_length=80", *more),
  ]


@pytest.fixture(scope="module")
def found(folder):
  assert main.main(_flags(folder, folder / "out")) == 0
  made = records.read(folder / "out" / "records.jsonl")
  return {record.run.arm: record for record in made}


def test_a_record_for_the_proxy_and_each_policy(folder, found):
  assert set(found) == {"proxy", "online", "offline"}
  assert found["online"].run.name == "online/one"
  assert found["proxy"].run.seed == 5
  labelled_by = stores.open(str(folder / "pairs")).manifest.label.judge
  assert found["proxy"].checkpoint.fingerprint == labelled_by.sha256
  for record in found.values():
    assert set(record.metrics) <= {f"accuracy/{step}" for step in (2, 4, 6)}
    assert record.metrics
    for name, measured in record.metrics.items():
      outcomes = record.by_prompt[name]
      assert measured.n == len(outcomes) <= 8
      assert measured.value == pytest.approx(np.mean(outcomes))
      assert set(outcomes) <= {0.0, 0.5, 1.0}


def _golden_labels(folder, rows):
  """The golden model's verdicts, by the command that labels stores."""
  output = folder / "labelled"
  if not output.exists():
    words = (f"--pairs={folder / 'pairs'}", f"--output={output}")
    command = ["label", _at(folder, "golden"), *words, "--input_length=80"]
    assert main.main(command) == 0
  before = stores.open(str(folder / "pairs")).read(rows)
  after = stores.open(str(output)).read(rows)
  kept = (before["chosen_tokens"] == after["chosen_tokens"]).all(axis=1)
  decided = after["judge_r12"] != after["judge_r21"]
  return before, kept, decided


def test_accuracies_are_those_of_labels_and_scores_made_one_by_one(
  folder, found
):
  reference = tiny.params(1)
  for number, step in enumerate((2, 4, 6)):
    rows = range(8 * number, 8 * number + 8)  # the eight before the step
    values, kept, decided = _golden_labels(folder, rows)
    name = f"accuracy/{step}"
    right = np.where(values["weight"] == 0, 0.5, kept)[decided]
    assert found["proxy"].by_prompt[name] == tuple(right.tolist())

    def log_prob(params, side, values=values):
      tokens = jnp.asarray(values[f"{side}_tokens"])
      each = score.token_log_probs(
        tiny.CONFIG, params, jnp.asarray(values["prompt_tokens"]), tokens
      )
      return np.asarray(
        logprobs.sequence_sum(each, logprobs.response_mask(tokens)), np.float64
      )

    for arm, params in (
      ("online", tiny.params(2)),
      ("offline", tiny.params(3)),
    ):
      chosen, rejected = (
        log_prob(params, side) - log_prob(reference, side)
        for side in ("chosen", "rejected")
      )
      agrees = np.where(kept, chosen > rejected, chosen < rejected)[decided]
      assert found[arm].by_prompt[name] == tuple(agrees.astype(float).tolist())


@pytest.mark.parametrize(
  ("more", "expected"),
  [
    (("--windows=4",), "do not fit into"),
    (("--windows=4", "--num_pairs=6"), "do not fit into"),  # 2, 1, 1, 2 steps
    (("--num_pairs=1",), "do not fit into"),
    (("--windows=0",), "--windows=0; expected a whole number, 1 or more"),
    (("--batch_size=0",), "--batch_size=0; expected a whole number, 1 or more"),
    (("--arms=online",), "1 names for 2 checkpoints"),
    (("--judge_length=10",), "cannot hold"),
  ],
)
def test_mistakes_write_nothing(folder, capsys, tmp_path, more, expected):
  output = tmp_path / "out"
  assert main.main(_flags(folder, output, *more)) == 2
  assert expected in capsys.readouterr().err
  assert not output.exists()


def test_a_golden_model_without_opinions(folder):
  golden = win_rate.load_judge(
    models.load(_at(folder, "golden")),
    stores.open(str(folder / "pairs")).manifest.vocabulary,
    length=80,
    keep="end",
    max_length=tiny.LENGTHS["response"],
  )
  model = golden.model
  silent = jax.tree.map(jnp.zeros_like, model.params)
  model = dataclasses.replace(model, params=silent)
  with pytest.raises(errors.UserError, match="rates the two responses equally"):
    online_data.windows(
      stores.open(str(folder / "pairs")),
      dataclasses.replace(golden, model=model),
      count=3,
      num_pairs=8,
      batch_size=8,
    )


def test_pairs_that_no_judge_labelled(folder, capsys, tmp_path):
  ingredients.write(tmp_path / "pairs", "pairs")
  flags = _flags(folder, tmp_path / "out")
  flags[4] = f"--pairs={tmp_path / 'pairs'}"
  assert main.main(flags) == 2
  assert "an online run recorded" in capsys.readouterr().err
