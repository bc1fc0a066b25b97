"""A checkpoint to its record: the same twice, never measured twice."""

import contextlib
import dataclasses
import functools
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf_gap import checkpoints, errors, progress, records, stores
from rlhf_gap.data import mini
from rlhf_gap.evaluation import models, provenance, run, samples, yardstick
from rlhf_gap.inference import judge
from tests.evaluation import tiny

pytestmark = pytest.mark.slow

SETTINGS = yardstick.YardstickSettings(
  num_prompts=24,
  kl_prompts=16,
  own_pairs=8,
  num_pairs=10,
  max_length=8,
  judge_length=48,
  batch_size=16,
)
RUN = records.TrainingRun("run", "online", "ipo", {"beta": 0.1}, 5)
UTILITY = functools.partial(mini.utilities, tiny.CORPUS)
OPPONENTS = ("", "_vs_reference")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
  folder = tmp_path_factory.mktemp("sources")
  return yardstick.Sources(
    prompts=tiny.prompts(folder / "prompts"),
    pairs=tiny.pairs(folder / "pairs"),
    golden=tiny.save(folder / "golden", tiny.params(0)),
    proxy=tiny.save(folder / "proxy", tiny.params(1)),
    reference=tiny.save(folder / "reference", tiny.params(2)),
    golden_policy=tiny.save(folder / "golden_policy", tiny.params(3), 90),
  )


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
  params = tiny.moved(tiny.params(2), tiny.params(4), 0.3)
  folder = tmp_path_factory.mktemp("run")
  return tiny.save(folder / "checkpoint_30", params, 30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return str(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="module")
def measured_by(sources, folder):
  return yardstick.load(sources, SETTINGS, folder, UTILITY)


@pytest.fixture(scope="module")
def record(measured_by, policy):
  return run.evaluate(measured_by, policy, RUN)


def _drawn(by, path):
  """The policy's samples as they are kept."""
  store = stores.open(by.samples_path(models.named(path), by.plan))
  return store, samples.responses(store, SETTINGS.num_prompts)


def test_a_record_says_what_was_measured(record, measured_by, sources, policy):
  assert record.run == RUN
  fingerprint = checkpoints.fingerprint(policy)
  assert record.checkpoint == records.EvaluatedCheckpoint(fingerprint, 30)
  evaluation = record.evaluation
  for name in ("golden", "proxy", "reference", "golden_policy"):
    path = getattr(sources, name)
    assert getattr(evaluation, name) == checkpoints.fingerprint(path)
    assert record.environment.paths[name] == path
  assert evaluation.settings["num_prompts"] == 24
  assert evaluation.settings["seed"] == 0
  assert record.environment.paths["checkpoint"] == policy
  assert record.environment.wall_seconds > 0
  assert record.code == provenance.code()
  assert record.code.packages["jax"]
  decode = measured_by.decode
  _, own = _drawn(measured_by, policy)
  assert [(one.prompt, one.response) for one in record.examples] == [
    (decode(x.tolist()), decode(y.tolist()))
    for x, y in zip(measured_by.prompts.tokens[:8], own[:8], strict=True)
  ]
  assert records.loads(records.dumps(record), "here") == record


def test_win_rates_are_those_of_the_judges(record, measured_by, policy):
  _, own = _drawn(measured_by, policy)
  opponents = measured_by.golden_samples, measured_by.reference_samples
  compare = jax.jit(
    judge.compare, static_argnums=(0, 2), static_argnames="length"
  )
  for prefix, by in (("", measured_by.golden), ("proxy_", measured_by.proxy)):
    for suffix, other in zip(OPPONENTS, opponents, strict=True):
      verdict = compare(
        by.model.config,
        by.model.params,
        by.words,
        *map(jnp.asarray, (measured_by.prompts.tokens, own, other)),
        length=48,
      )
      label = np.asarray(verdict.label)
      name = f"{prefix}win_rate{suffix}"
      assert record.by_prompt[name] == tuple(label.tolist())
      assert record.metrics[name].value == pytest.approx(label.mean())
      assert record.metrics[name].n == 24
      assert record.metrics[
        f"{prefix}probability{suffix}"
      ].value == pytest.approx(float(verdict.probability.mean()), abs=1e-6)


def test_every_metric_is_there_with_its_interval(record):
  judged = [
    f"{prefix}{name}{suffix}"
    for prefix in ("", "proxy_")
    for name in ("win_rate", "tie_rate", "probability", "position_bias")
    for suffix in OPPONENTS
  ]
  assert set(record.metrics) == {
    *judged,
    "kl_nats",
    *("pair_accuracy_sum", "pair_accuracy_mean", "margin_nats"),
    *("chosen_log_ratio_nats", "rejected_log_ratio_nats"),
    *("own_pair_accuracy_sum", "own_pair_accuracy_mean"),
    *("response_length_tokens", "eos_rate", "distinct_1", "distinct_2"),
    *("utility", "utility_win_rate"),
  }
  for measured in record.metrics.values():
    assert measured.ci95_low <= measured.value <= measured.ci95_high
  assert record.metrics["kl_nats"].n == 16 == len(record.by_prompt["kl_nats"])
  assert record.metrics["kl_nats"].value == pytest.approx(
    np.mean(record.by_prompt["kl_nats"]), rel=1e-4
  )
  assert record.metrics["kl_nats"].value > 0
  assert record.metrics["pair_accuracy_sum"].n == 10
  assert record.metrics["utility"].value == pytest.approx(
    np.mean(record.by_prompt["utility"]), rel=1e-4
  )
  assert record.metrics["utility_win_rate"].value == pytest.approx(
    np.mean(record.by_prompt["utility_win_rate"])
  )


def test_the_utility_is_that_of_the_texts(record, measured_by, policy):
  _, own = _drawn(measured_by, policy)
  prompts = [measured_by.decode(x.tolist()) for x in measured_by.prompts.tokens]

  def worth(responses):
    texts = [measured_by.decode(y.tolist()) for y in responses]
    return UTILITY(prompts, texts)

  mine, golden = worth(own), worth(measured_by.golden_samples)
  assert record.metrics["utility"].value == pytest.approx(mine.mean())
  wins = np.where(mine == golden, 0.5, mine > golden)
  assert record.metrics["utility_win_rate"].value == pytest.approx(wins.mean())


def test_the_same_twice(record, sources, policy, tmp_path):
  """Another process's folders, everything loaded and drawn again."""
  again = run.evaluate(
    yardstick.load(sources, SETTINGS, str(tmp_path), UTILITY), policy, RUN
  )
  assert again.identity() == record.identity()
  assert again.environment != record.environment


def test_kept_samples_are_not_drawn_again(
  record, measured_by, policy, monkeypatch
):
  def never(*arguments, **settings):
    raise AssertionError("sampled again")

  monkeypatch.setattr(samples.sample, "sample", never)
  again = run.evaluate(measured_by, policy, RUN)
  assert again.identity() == record.identity()


def test_what_is_recorded_is_found(record, measured_by, policy, sources):
  found = functools.partial(run.find, measured_by, policy)
  assert found(RUN, [record]) is record
  assert found(RUN, []) is None
  assert found(dataclasses.replace(RUN, seed=6), [record]) is None
  other = dataclasses.replace(
    record, checkpoint=records.EvaluatedCheckpoint("ab" * 32, 30)
  )
  assert found(RUN, [other, record]) is record
  fewer = dataclasses.replace(SETTINGS, num_pairs=9)
  by = yardstick.load(sources, fewer, measured_by.samples_folder, UTILITY)
  assert run.find(by, policy, RUN, [record]) is None


def test_a_record_without_its_samples_is_not_enough(
  record, sources, policy, tmp_path
):
  by = yardstick.load(sources, SETTINGS, str(tmp_path), UTILITY)
  assert run.find(by, policy, RUN, [record]) is None
  assert os.listdir(tmp_path) == []


def test_the_reference_itself(measured_by, sources):
  """Step 0: no divergence, no preference, and not its own random bits."""
  metrics = run.evaluate(measured_by, sources.reference, RUN).metrics
  assert metrics["kl_nats"] == records.Measurement(0.0, 0.0, 0.0, 0.0, 16)
  for name in ("pair_accuracy_sum", "own_pair_accuracy_sum"):
    assert (metrics[name].value, metrics[name].sem) == (0.5, 0.0)
  assert metrics["chosen_log_ratio_nats"].value == 0.0
  assert metrics["tie_rate_vs_reference"].value < 0.5


def test_without_proxy_pairs_and_utility(sources, policy, tmp_path):
  less = dataclasses.replace(sources, proxy=None, pairs=None)
  settings = dataclasses.replace(SETTINGS, own_pairs=0)
  found = run.evaluate(
    yardstick.load(less, settings, str(tmp_path)), policy, RUN
  )
  absent = ("proxy", "pair_accuracy", "log_ratio", "utility")
  assert not [n for n in found.metrics if any(a in n for a in absent)]
  assert found.evaluation.proxy is None
  assert found.evaluation.pairs is None
  assert "win_rate_vs_reference" in found.metrics


def test_samples_of_the_golden_policy_instead_of_itself(
  record, sources, measured_by, policy
):
  plan = dataclasses.replace(
    measured_by.plan, role="golden_policy", num_seconds=0
  )
  drawn = measured_by.samples_path(measured_by.golden_policy, plan)
  kept = dataclasses.replace(sources, golden_policy=None, golden_samples=drawn)
  by = yardstick.load(kept, SETTINGS, measured_by.samples_folder, UTILITY)
  assert run.evaluate(by, policy, RUN).identity() == record.identity()


def test_the_bar_counts_every_row(measured_by, policy, monkeypatch, tmp_path):
  bars = {}

  @contextlib.contextmanager
  def counted(what, total, unit):
    class Counter:
      def update(self, n):
        bars[what][1] += n

    bars[what] = [total, 0]
    yield Counter()

  by = dataclasses.replace(measured_by, samples_folder=str(tmp_path))
  monkeypatch.setattr(progress, "bar", counted)
  run.evaluate(by, policy, RUN)
  names = {"sampling the golden policy", "sampling the reference"}
  assert names | {"scoring the pairs", "evaluating checkpoint_30"} <= set(bars)
  for what, (total, done) in bars.items():
    assert done == total, what


def test_another_architecture_is_refused_before_anything_is_written(
  sources, tmp_path
):
  config = dataclasses.replace(tiny.CONFIG, mlp_dim=24)
  path = tiny.save(tmp_path / "wide", tiny.params(0, config), config=config)
  by = yardstick.load(sources, SETTINGS, str(tmp_path / "samples"), UTILITY)
  with pytest.raises(errors.UserError, match="mlp_dim is 24, but 16 in the"):
    run.evaluate(by, path, RUN)
  assert os.listdir(tmp_path) == ["wide"]


def test_dropout_is_no_difference_of_architecture(sources, measured_by):
  reference = measured_by.reference
  config = dataclasses.replace(tiny.CONFIG, dropout_rate=0.1)
  dropped = dataclasses.replace(reference, config=config)
  models.check_same_architecture(dropped, reference)


@pytest.mark.parametrize(
  ("role", "expected"),
  [("golden", "its verdicts"), ("reference", "its log-probabilities")],
)
def test_a_model_that_has_diverged_is_named(
  measured_by, policy, role, expected
):
  _ = measured_by.golden_samples, measured_by.reference_samples
  found = getattr(measured_by, role)
  model = found if role == "reference" else found.model
  nans = jax.tree.map(lambda x: x * np.float32(np.nan), model.params)
  model = dataclasses.replace(model, params=nans)
  if role == "golden":
    model = dataclasses.replace(found, model=model)
  by = dataclasses.replace(measured_by, **{role: model})
  with pytest.raises(errors.UserError, match=f"{role}: {expected} are not"):
    run.evaluate(by, policy, RUN)


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    ({"num_prompts": 1}, "--num_prompts=1; expected at least 2"),
    ({"kl_prompts": 25}, "--kl_prompts=25; expected 2 to 24"),
    ({"own_pairs": 25}, "--own_pairs=25; expected 0 to 24"),
    ({"batch_size": 0}, "--batch_size=0; expected at least 1"),
    ({"seed": -1}, "--seed=-1; expected 0 to"),
  ],
)
def test_settings_out_of_range(changes, expected):
  with pytest.raises(errors.UserError, match=expected):
    dataclasses.replace(SETTINGS, **changes)


def test_a_model_of_a_smaller_vocabulary(sources, tmp_path):
  config = dataclasses.replace(tiny.CONFIG, vocab_size=20)
  path = tiny.save(tmp_path / "small", tiny.params(0, config), config=config)
  small = dataclasses.replace(sources, golden=path)
  with pytest.raises(errors.UserError, match="has 20 rows, but .* holds token"):
    yardstick.load(small, SETTINGS, str(tmp_path / "samples"))


def test_the_commit_of_a_folder(tmp_path):
  assert provenance.git_commit(str(tmp_path)) == ""
  assert provenance.git_commit(str(tmp_path / "absent")) == ""


def test_by_prompt_values_are_short(record):
  """Six digits each: a record of 2,048 prompts stays below 100 KB."""
  text = json.dumps(record.by_prompt)
  count = sum(map(len, record.by_prompt.values()))
  assert len(text) < 12 * count
