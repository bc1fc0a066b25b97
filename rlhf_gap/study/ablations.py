"""What a study may measure besides online, offline and tandem, as gin binds it.

Each part is one of the paper's experiments; what is not given is not run.
"""

import dataclasses

from rlhf_gap import checks, errors


@dataclasses.dataclass(frozen=True)
class Staleness:
  """How old the pairs of an online run may grow.

  Attributes:
    sync_every_steps: steps between refreshes of the sampling parameters; None
      is never: all pairs come from the SFT policy.
    passes: how often the batches between two refreshes are trained on.
  """

  sync_every_steps: int | None
  passes: int = 1

  def __post_init__(self) -> None:
    checks.counts(sync_every_steps=self.sync_every_steps, passes=self.passes)

  @property
  def name(self) -> str:
    """Such as "stale_16", "stale_never" or "reuse_4x16"."""
    every = "never" if self.sync_every_steps is None else self.sync_every_steps
    if self.passes == 1:
      return f"stale_{every}"
    return f"reuse_{self.passes}x{every}"


@dataclasses.dataclass(frozen=True)
class Size:
  """A policy of another size, compared with the study's own.

  Attributes:
    name: such as "xl"; its arms are called "online@xl" and so on.
    policy: gin file of its architecture.
    start: checkpoint to start its SFT from; None draws new parameters.
    batch_size: of its online, offline and tandem runs; None is the baseline's.
    kl_prompts: on how many prompts its KL is taken; None as of all others.
    sft_steps: of its SFT; None as of the study's own size.
    sft_batch_size: likewise.
    sft_microbatches: parts in which its SFT works through a batch.
    train_flags: further words of its `rlhf-gap train`; None as of all others.
  """

  name: str
  policy: str
  start: str | None = None
  batch_size: int | None = None
  kl_prompts: int | None = None
  sft_steps: int | None = None
  sft_batch_size: int | None = None
  sft_microbatches: int = 1
  train_flags: tuple[str, ...] | None = None

  def __post_init__(self) -> None:
    if not self.name.isidentifier():
      raise errors.UserError(
        f"a size is called {self.name!r}; expected a word, such as 'xl'"
      )
    checks.counts(
      batch_size=self.batch_size,
      kl_prompts=self.kl_prompts,
      sft_steps=self.sft_steps,
      sft_batch_size=self.sft_batch_size,
      sft_microbatches=self.sft_microbatches,
    )


@dataclasses.dataclass(frozen=True)
class Ablations:
  """The paper's experiments beyond Figures 1 and 4.

  Sweeps of learning rates are those of the tandem runs' part of the study
  unless said otherwise: one list serves every arm that is tuned.

  Attributes:
    tasks: on which of the study's tasks.
    learning_rates: of every tuned arm below; empty is the baseline's alone.
    full_grid: whether to run all combinations of the offline sweep's
      hyper-parameters, too (Fig. 1).
    generated_pairs: pairs drawn from two checkpoints, for offline runs (Figs. 5
      and 12); None for none.
    generated_steps: updates of these runs, saved ten times; None is as the
      baseline.
    early_step: the early checkpoint that some of them come from (the paper's
      800 of 4,000); one of the baseline's early steps.
    best_of_two: whether to imitate winners instead of IPO, too (Fig. 9).
    shuffle_blocks: batches in a block, for replays that are permuted within
      blocks (Fig. 13); 1 repeats the online run.
    sizes: further sizes of the policy (Figs. 10, 11 and 14).
    staleness: how old pairs are trained on (semi-online, reuse).
    online_data_windows: stretches of the online run whose pairs final policies
      and the proxy classify (Fig. 6); 0 for none.
    online_data_pairs: pairs in each.
  """

  tasks: tuple[str, ...]
  learning_rates: tuple[float, ...] = ()
  full_grid: bool = False
  generated_pairs: int | None = None
  generated_steps: int | None = None
  early_step: int | None = None
  best_of_two: bool = False
  shuffle_blocks: tuple[int, ...] = ()
  sizes: tuple[Size, ...] = ()
  staleness: tuple[Staleness, ...] = ()
  online_data_windows: int = 0
  online_data_pairs: int = 64

  def __post_init__(self) -> None:
    self._check_numbers()
    if (self.generated_pairs is None) != (self.early_step is None):
      raise errors.UserError(
        f"generated_pairs={self.generated_pairs} and"
        f" early_step={self.early_step}: expected both or neither"
      )
    for what, names in (
      ("sizes", [one.name for one in self.sizes]),
      ("staleness", [one.name for one in self.staleness]),
      ("shuffle_blocks", [str(one) for one in self.shuffle_blocks]),
    ):
      if len(set(names)) != len(names):
        raise errors.UserError(f"{what}: {', '.join(names)}: one stands twice")

  def _check_numbers(self) -> None:
    checks.several(
      tasks=self.tasks,
      learning_rates=self.learning_rates,
      shuffle_blocks=self.shuffle_blocks,
      sizes=self.sizes,
      staleness=self.staleness,
    )
    for rate in self.learning_rates:
      checks.positive(learning_rates=rate)
    for batches in self.shuffle_blocks:
      checks.counts(shuffle_blocks=batches)
    checks.counts(
      generated_pairs=self.generated_pairs,
      generated_steps=self.generated_steps,
      early_step=self.early_step,
    )
    checks.counts(at_least=0, online_data_windows=self.online_data_windows)
    checks.counts(at_least=2, online_data_pairs=self.online_data_pairs)
