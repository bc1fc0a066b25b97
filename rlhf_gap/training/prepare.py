"""Loads and checks a run's inputs before anything is written."""

import dataclasses
import functools
import os

import jax
import jax.numpy as jnp

from rlhf_gap import (
  checkpoints,
  errors,
  pairs,
  partitioning,
  processes,
  stores,
)
from rlhf_gap.inference import judge
from rlhf_gap.models import t5
from rlhf_gap.pairs.online import same_architecture
from rlhf_gap.training import identity, loop, model_dir, objectives, saving
from rlhf_gap.training.description import Run

# Tolerance of step-0 metrics. The same scores come from two programs with
# different orders of summation.
_TOLERANCE_NATS = {"float32": 2e-3, "bfloat16": 0.5}

# Number of rows whose token ids are checked before a run begins.
_ROWS_LOOKED_AT = 1024


@dataclasses.dataclass(frozen=True)
class PreparedRun:
  """A run's loaded model, objective and inputs.

  Attributes:
    config: the architecture, with the run's dropout, dtype and remat policy.
    objective: the objective, bound to `config`.
    context: the context for opening sources.
    initial: the checkpoint to start from; None for new parameters or a resumed
      run.
    identity: the run's identity.
    words: the preference model's words; None for a policy.
    seed: seed of new parameters.
  """

  config: t5.T5Config
  objective: objectives.Objective
  context: pairs.Context
  initial: checkpoints.Checkpoint | None
  identity: identity.Identity
  words: judge.Words | None
  seed: int

  @classmethod
  def load(cls, run: Run) -> "PreparedRun":
    """Loads and checks a run's inputs.

    Args:
      run: the run's description.

    Raises:
      UserError: a store or checkpoint is invalid, or they do not match.
    """
    mesh = _mesh(run)
    opened = run.source.stores()
    if run.validation is not None:
      opened.append(stores.open(run.validation))
    _check_long_enough(run)
    vocabulary = _check_stores(run, opened)
    config, initial = _model(run, mesh)
    for store in opened:
      _check_ids(store, config, run.initial or "the model")
    fingerprints = identity.Fingerprints()
    words = None
    if isinstance(run.objective, objectives.PreferenceModel):
      words = judge.words_of(vocabulary)
    reference = _reference(run, config, initial, fingerprints, mesh)
    context = pairs.Context(
      config,
      reference,
      run.batch_size,
      run.seed,
      mesh,
      fingerprint=fingerprints.checkpoint,
    )
    noted = processes.from_first(lambda: model_dir.identity_of(run.model_dir))
    wanted = identity.identify(run, fingerprints, noted)
    for settings in wanted:
      settings[identity.VOCABULARY] = vocabulary.fingerprint
    objective = bound(run.objective, config, words)
    if processes.from_first(lambda: saving.steps_in(run.model_dir)):
      initial = None  # the run resumes from its own checkpoint
    return cls(config, objective, context, initial, wanted, words, run.seed)

  def initial_params(self) -> t5.Params:
    """Returns initial parameters, in buffers that may be donated."""
    if self.initial is None:
      key, mesh = jax.random.key(self.seed), self.context.mesh
      if mesh is None:
        return t5.init(self.config, key)
      places = partitioning.parameters(self.config, mesh)
      init = jax.jit(t5.init, static_argnums=0, out_shardings=places)
      return init(self.config, key)
    # Copied where shared with the reference, because the step donates them.
    reference = self.context.reference
    held = jax.tree.leaves(reference.params) if reference else []
    shared = set(map(id, held))
    return jax.tree.map(
      lambda p: (
        jnp.array(p, jnp.float32, copy=True)
        if id(p) in shared
        else p.astype(jnp.float32)
      ),
      self.initial.params,
    )


def _mesh(run: Run) -> jax.sharding.Mesh | None:
  """Returns the run's mesh; None for a single device."""
  if run.mesh is not None:
    mesh = run.mesh.make()
    partitioning.check_batch(run.batch_size, run.num_microbatches, mesh)
    return mesh
  if processes.count() > 1:
    raise errors.UserError(
      f"{processes.count()} processes and no mesh to share the work over; add"
      " --gin_file=gin_configs/runs/parts/mesh.gin"
    )
  if jax.default_backend() != "cpu":
    _check_alone()
  return None


def _check_alone() -> None:
  """Raises `UserError` if accelerators would be left idle."""
  count = jax.local_device_count()
  if count > 1:
    raise errors.UserError(
      f"{count} {jax.devices()[0].device_kind} devices and no mesh: all but one"
      " would be idle; add --gin_file=gin_configs/runs/parts/mesh.gin, or hide"
      " the others from JAX"
    )


def _model(
  run: Run, mesh: jax.sharding.Mesh | None
) -> tuple[t5.T5Config, checkpoints.Checkpoint | None]:
  """Returns the architecture, and the checkpoint to start from, if any."""
  initial, config = None, run.model
  if run.initial is not None:
    initial = checkpoints.load(
      run.initial,
      shardings=partitioning.checked_parameters_on(mesh),
      optimizer_state=False,
    )
    config = initial.config
  assert config is not None
  if mesh is not None:
    partitioning.check_model(config, mesh)
  config = dataclasses.replace(
    config,
    dropout_rate=run.dropout_rate,
    dtype=run.dtype,
    remat_policy=run.remat_policy,
  )
  return config, initial


@functools.cache
def bound(
  spec: objectives.ObjectiveSpec, config: t5.T5Config, words: judge.Words | None
) -> objectives.Objective:
  """Returns `spec.bind(config, words)`, cached to compile only once."""
  return spec.bind(config, words)


def _reference(
  run: Run,
  config: t5.T5Config,
  initial: checkpoints.Checkpoint | None,
  fingerprints: identity.Fingerprints,
  mesh: jax.sharding.Mesh | None,
) -> pairs.Reference | None:
  if not run.objective.needs_reference:
    return None
  if run.initial is None or initial is None:
    raise errors.UserError(
      "policy optimisation starts from a checkpoint; set"
      " INITIAL_CHECKPOINT_PATH"
    )
  config = dataclasses.replace(config, dropout_rate=0.0)
  loaded, path = initial, run.initial
  if run.reference is not None and run.reference != run.initial:
    path = run.reference
    places = partitioning.parameters_on(mesh)
    loaded = checkpoints.load(
      path, shardings=places, activations=run.dtype, optimizer_state=False
    )
    if not same_architecture(loaded.config, config):
      raise errors.UserError(
        f"{path}: the reference has a different architecture from the policy"
        f" {run.initial}"
      )
  return pairs.Reference(
    config,
    loaded.params,
    stores.CheckpointIdentity(path, fingerprints.checkpoint(path), loaded.step),
    every_steps=run.reference_every_steps,
  )


def _check_stores(run: Run, opened: list[stores.Store]) -> stores.Vocabulary:
  vocabulary = opened[0].manifest.vocabulary
  for store in opened:
    other = store.manifest.vocabulary
    if other.fingerprint != vocabulary.fingerprint:
      raise errors.UserError(
        f"{store.path} was built with a different vocabulary"
        f" ({other.path or other.kind}) from {opened[0].path}"
        f" ({vocabulary.path or vocabulary.kind})"
      )
    limits = run.feature_lengths or {}
    for axis, name in (("prompt", "inputs"), ("response", "targets")):
      found = store.manifest.feature_lengths.get(axis, 0)
      if found > limits.get(name, found):
        raise errors.UserError(
          f"{store.path} has {axis}s of {found} tokens, but"
          f" TASK_FEATURE_LENGTHS allows {limits[name]}; build the store with"
          f" --{name}_length={limits[name]}, or raise the limit"
        )
  _check_trained_with(run.initial, vocabulary)
  return vocabulary


def _check_long_enough(run: Run) -> None:
  """Checks that a replayed run has enough batches; it is read only once."""
  if not isinstance(run.source, pairs.Replay):
    return
  batches = stores.open(run.source.store).num_rows // run.batch_size
  if 0 < batches < run.train_steps:
    raise errors.UserError(
      f"{run.source.store} holds {batches} batches of {run.batch_size}, but"
      f" TRAIN_STEPS={run.train_steps}; set TRAIN_STEPS={batches}"
    )


def _check_ids(store: stores.Store, config: t5.T5Config, path: str) -> None:
  names = [c.name for c in store.manifest.columns if c.holds_tokens]
  rows = range(min(store.num_rows, _ROWS_LOOKED_AT))
  largest = max(int(v.max()) for v in store.read(rows, names).values())
  if largest >= config.vocab_size:
    raise errors.UserError(
      f"{path}: its embedding has {config.vocab_size:,} rows, but {store.path}"
      f" has token {largest:,}; the store was built with a different"
      " vocabulary"
    )


def _check_trained_with(
  initial: str | None, vocabulary: stores.Vocabulary
) -> None:
  """Compares the vocabulary recorded by the run that made `initial`."""
  if initial is None or "://" in initial:
    return
  stores.check_own_vocabulary(initial, vocabulary, "the run's store")
  found = model_dir.identity_of(os.path.dirname(os.path.abspath(initial)))
  trained = found.get(identity.VOCABULARY)
  if trained is not None and trained != vocabulary.fingerprint:
    raise errors.UserError(
      f"{initial} was trained with another vocabulary than the store's"
      f" {vocabulary.path or vocabulary.kind}"
    )


def start_check(run: Run) -> loop.StartCheck | None:
  """Returns a check that rho and KL are 0 at step 0 and the loss is f(0).

  Args:
    run: the description.

  Returns:
    The check; None if policy and reference may differ at step 0.
  """
  same = run.reference in (None, run.initial)
  if not run.objective.needs_reference or not same or run.dropout_rate:
    return None
  expected = {"rho_size_nats": 0.0, "log_ratio_nats": 0.0}
  initial = run.objective.initial_value
  if initial is not None:
    expected["loss"] = initial
  tolerance = _TOLERANCE_NATS[run.dtype]

  def check(metrics: dict[str, float], weight: float) -> None:
    for name, value in expected.items():
      bound = tolerance * (1 + abs(value))
      if weight and not abs(metrics[name] - value) <= bound:
        raise errors.UserError(
          f"step 0: {name} is {metrics[name]:.6g}; expected {value:.6g} within"
          f" {bound:.2g} where policy and reference are the same parameters;"
          " the store's reference log-probabilities may be another model's"
        )

  return check
