"""The judges, opponents and data that checkpoints are evaluated with."""

import dataclasses
import functools
import os

import numpy as np

from rlhf_gap import errors, progress, records, stores
from rlhf_gap.evaluation import (
  batches,
  classification,
  models,
  samples,
  utility,
  win_rate,
)


@dataclasses.dataclass(frozen=True)
class YardstickSettings:
  """Settings of an evaluation; stored in each `RunRecord`.

  Attributes:
    num_prompts: number of prompts of the win rates, with one sample each.
    kl_prompts: number of these prompts for the KL.
    own_pairs: number of these prompts for comparing two samples of the policy.
    num_pairs: number of labelled pairs to classify.
    max_length: maximum response length in tokens, EOS included.
    judge_length: length of the preference models' input in tokens.
    keep: which end of a prompt to keep if it is truncated, "end" or "start".
    batch_size: rows per batch. It may change the last bits of results.
    seed: seed of prompts, pairs and samples.

  Raises:
    UserError: a value is out of range.
  """

  num_prompts: int = 2048
  kl_prompts: int = 256
  own_pairs: int = 256
  num_pairs: int = 256
  max_length: int = 128
  judge_length: int = 1024
  keep: str = "end"
  batch_size: int = 64
  seed: int = 0

  def __post_init__(self) -> None:
    all_prompts = self.num_prompts
    for name, low, high in (
      ("num_prompts", 2, None),
      ("kl_prompts", 2, all_prompts),
      ("own_pairs", 0, all_prompts),
      ("num_pairs", 2, None),
      ("max_length", 1, None),
      ("batch_size", 1, None),
      ("seed", 0, 2**32 - 1),
    ):
      value = getattr(self, name)
      if value < low or (high is not None and value > high):
        bounds = f"{low} to {high}" if high is not None else f"at least {low}"
        raise errors.UserError(f"--{name}={value}; expected {bounds}")


@dataclasses.dataclass(frozen=True)
class Sources:
  """Paths of the inputs of an evaluation.

  Attributes:
    golden: checkpoint of the golden preference model.
    reference: checkpoint of the reference policy.
    prompts: a store of prompts.
    proxy: checkpoint of the proxy preference model; None to leave it out.
    golden_policy: checkpoint of the policy to compare with.
    golden_samples: a store of its samples, instead of the checkpoint.
    pairs: a store of pairs labelled by the golden model, if any.
    dtype: "float32" or "bfloat16" to cast all parameters to; None keeps them.

  Raises:
    UserError: not exactly one of golden policy and golden samples is given.
  """

  golden: str
  reference: str
  prompts: str
  proxy: str | None = None
  golden_policy: str | None = None
  golden_samples: str | None = None
  pairs: str | None = None
  dtype: str | None = None

  def __post_init__(self) -> None:
    if (self.golden_policy is None) == (self.golden_samples is None):
      raise errors.UserError(
        "give either --golden_policy=CHECKPOINT or --golden_samples=STORE: the"
        " win rate is against its samples"
      )

  def paths(self) -> dict[str, str]:
    """Returns the given paths by role."""
    fields = dataclasses.asdict(self)
    return {k: v for k, v in fields.items() if v is not None and k != "dtype"}


@dataclasses.dataclass(frozen=True)
class Yardstick:
  """Judges, opponents, reference, prompts and pairs; made by `load`.

  Samples and scores of opponents are computed at first use.

  Attributes:
    settings: the settings.
    sources: the paths of the inputs.
    prompts: the prompts.
    golden: the golden preference model.
    proxy: the proxy, or None.
    reference: the reference policy.
    golden_policy: identity of the golden policy's checkpoint.
    pairs: labelled pairs, or None.
    utility_function: the corpus's hidden utility, or None.
    samples_folder: folder of samples; each store's name identifies its content,
      so evaluations may share the folder.
  """

  settings: YardstickSettings
  sources: Sources
  prompts: samples.Prompts
  golden: win_rate.Judge
  proxy: win_rate.Judge | None
  reference: models.Model
  golden_policy: stores.CheckpointIdentity
  pairs: classification.Pairs | None
  utility_function: utility.Function | None
  samples_folder: str

  @property
  def plan(self) -> samples.Plan:
    """The plan for sampling each checkpoint."""
    return _plan(self.settings, self.prompts, "policy")

  @functools.cached_property
  def evaluation(self) -> records.Evaluation:
    """The description of this evaluation in records."""
    proxy, pairs = self.proxy, self.pairs
    return records.Evaluation(
      golden=self.golden.model.checkpoint.sha256,
      proxy=None if proxy is None else proxy.model.checkpoint.sha256,
      reference=self.reference.checkpoint.sha256,
      golden_policy=self.golden_policy.sha256,
      prompts=self.prompts.fingerprint,
      pairs=None if pairs is None else pairs.fingerprint,
      settings={
        **dataclasses.asdict(self.settings),
        "dtype": self.sources.dtype,
        "has_utility": self.utility_function is not None,
      },
    )

  @functools.cached_property
  def golden_samples(self) -> np.ndarray:
    """The golden policy's responses, int32 [prompts, length]."""
    plan = _plan(self.settings, self.prompts, "golden_policy")
    if self.sources.golden_samples is not None:
      store = samples.open_existing(self.sources.golden_samples, plan)
      return samples.responses(store, self.settings.num_prompts)
    path = self.samples_path(self.golden_policy, plan)
    if samples.is_complete(path):
      return samples.responses(stores.open(path), self.settings.num_prompts)
    policy = _model(str(self.sources.golden_policy), self.sources, self.prompts)
    return self._opponents(policy, plan)

  @functools.cached_property
  def reference_samples(self) -> np.ndarray:
    """The reference's responses, int32 [prompts, length]."""
    plan = _plan(self.settings, self.prompts, "reference")
    return self._opponents(self.reference, plan)

  def sample_opponents(self) -> None:
    """Computes now the samples and scores otherwise computed at first use."""
    for name in ("golden_samples", "reference_samples", "reference_scores"):
      getattr(self, name)

  def _opponents(self, model: models.Model, plan: samples.Plan) -> np.ndarray:
    what = f"sampling the {plan.role.replace('_', ' ')}"
    path = self.samples_path(model.checkpoint, plan)
    with progress.bar(what, plan.num_rows, "prompts") as bar:
      using = batches.Batches(plan.batch_size, bar.update)
      store = samples.sample_missing(path, model, plan, using)
    return samples.responses(store, self.settings.num_prompts)

  def samples_path(
    self, checkpoint: stores.CheckpointIdentity, plan: samples.Plan
  ) -> str:
    """Returns the path of a checkpoint's samples."""
    return os.path.join(self.samples_folder, plan.folder(checkpoint))

  @functools.cached_property
  def reference_scores(self) -> classification.Scores | None:
    """The reference's log-probabilities of the labelled pairs."""
    if self.pairs is None:
      return None
    count = len(self.pairs.prompt)
    with progress.bar("scoring the pairs", count, "pairs") as bar:
      return classification.score(
        self.reference,
        self.pairs.prompt,
        self.pairs.responses,
        batches.Batches(self.settings.batch_size, bar.update),
      )

  @functools.cached_property
  def decode(self) -> utility.Decode:
    """Maps token ids to text."""
    return stores.decoder(self.prompts.manifest.vocabulary)

  @functools.cached_property
  def golden_utility(self) -> np.ndarray | None:
    """The utility of each of the golden policy's responses, if known."""
    return self.utilities(self.golden_samples)

  def utilities(self, responses: np.ndarray) -> np.ndarray | None:
    """Returns the hidden utility of a response to each prompt, if known."""
    if self.utility_function is None:
      return None
    return utility.of_tokens(
      self.utility_function, self.decode, self.prompts.tokens, responses
    )


def load(
  sources: Sources,
  settings: YardstickSettings,
  samples_folder: str,
  utility_function: utility.Function | None = None,
) -> Yardstick:
  """Loads all inputs and checks that they fit together; writes nothing.

  Args:
    sources: the paths of the inputs.
    settings: the settings.
    samples_folder: folder of samples.
    utility_function: the hidden utility of a miniature.

  Returns:
    The yardstick.

  Raises:
    UserError: an input is missing or inconsistent with the others.
  """
  prompts = samples.choose_prompts(
    sources.prompts, settings.num_prompts, settings.seed
  )
  pairs = _pairs(sources, settings, prompts)
  golden_policy = _golden_policy(sources, settings, prompts)
  golden = _judge(sources.golden, sources, settings, prompts)
  proxy = None
  if sources.proxy is not None:
    proxy = _judge(sources.proxy, sources, settings, prompts)
  return Yardstick(
    settings=settings,
    sources=sources,
    prompts=prompts,
    golden=golden,
    proxy=proxy,
    reference=_model(sources.reference, sources, prompts),
    golden_policy=golden_policy,
    pairs=pairs,
    utility_function=utility_function,
    samples_folder=samples_folder,
  )


def _plan(
  settings: YardstickSettings, prompts: samples.Prompts, role: str
) -> samples.Plan:
  return samples.Plan(
    prompts=prompts,
    num_seconds=settings.own_pairs if role == "policy" else 0,
    max_length=settings.max_length,
    batch_size=settings.batch_size,
    seed=settings.seed,
    role=role,
  )


def _pairs(
  sources: Sources, settings: YardstickSettings, prompts: samples.Prompts
) -> classification.Pairs | None:
  if sources.pairs is None:
    return None
  store = stores.open(sources.pairs)
  stores.check_vocabulary(
    store.manifest.vocabulary, prompts.manifest.vocabulary, sources.pairs
  )
  return classification.choose_pairs(store, settings.num_pairs, settings.seed)


def _model(
  path: str, sources: Sources, prompts: samples.Prompts
) -> models.Model:
  stores.check_own_vocabulary(path, prompts.manifest.vocabulary, prompts.path)
  model = models.load(path, sources.dtype)
  models.check_token_ids(model, int(prompts.tokens.max()), prompts.path)
  return model


def _judge(
  path: str,
  sources: Sources,
  settings: YardstickSettings,
  prompts: samples.Prompts,
) -> win_rate.Judge:
  return win_rate.load_judge(
    _model(path, sources, prompts),
    prompts.manifest.vocabulary,
    length=settings.judge_length,
    keep=settings.keep,
    max_length=settings.max_length,
  )


def _golden_policy(
  sources: Sources, settings: YardstickSettings, prompts: samples.Prompts
) -> stores.CheckpointIdentity:
  if sources.golden_policy is not None:
    return models.named(sources.golden_policy)
  plan = _plan(settings, prompts, "golden_policy")
  store = samples.open_existing(str(sources.golden_samples), plan)
  source = store.manifest.source
  return stores.CheckpointIdentity(
    "", str(source["checkpoint"]), int(source["step"] or 0)
  )
