"""The experiments of single figures, as gin binds them. All are optional."""

import dataclasses

from rlhf_gap import checks, errors


@dataclasses.dataclass(frozen=True)
class Staleness:
  """How old the pairs of an online run may be.

  Attributes:
    sync_every_steps: steps between refreshes of the sampling parameters. None
      never refreshes them: all pairs come from the SFT policy.
    passes: how often batches are trained on before the next refresh.
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
    policy_gin_file: path of the gin file with its architecture.
    start: checkpoint to start its SFT from; None initializes at random.
    batch_size: batch size of its policy runs; None is the baseline's.
    kl_prompts: number of prompts for its KL; None is the study's.
    sft_steps: steps of its SFT; None is the study's.
    sft_batch_size: batch size of its SFT; None is the study's.
    sft_microbatches: microbatches per batch of its SFT.
    train_flags: additional arguments of its `rlhf-gap train`; None is the
      study's.
  """

  name: str
  policy_gin_file: str
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
        f"size name={self.name!r}; expected a word, such as 'xl'"
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

  All tuned arms share one list of learning rates.

  Attributes:
    tasks: which of the study's tasks.
    learning_rates: learning rates of every tuned arm below; empty is the
      baseline's only.
    full_grid: whether to run all combinations of the offline sweep's
      hyper-parameters as well (Fig. 1).
    generated_pairs: number of pairs to sample from two checkpoints for offline
      runs (Figs. 5 and 12); None for none.
    generated_steps: steps of these runs, saved ten times; None is the
      baseline's.
    early_step: the early checkpoint that some pairs come from (the paper's 800
      of 4,000); one of the baseline's early steps.
    best_of_two: whether to run Best-of-2 as well as IPO (Fig. 9).
    shuffle_blocks: batches per block, for offline runs on online data that are
      shuffled within blocks (Fig. 13); 1 keeps their order.
    sizes: additional sizes of the policy (Figs. 10, 11 and 14).
    staleness: how old the pairs of online runs may be (semi-online, reuse).
    online_data_windows: windows of the online run whose pairs the final
      policies and the proxy classify (Fig. 6); 0 for none.
    online_data_pairs: pairs in each window.
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
      ("sizes (by name)", [size.name for size in self.sizes]),
      ("staleness (by sync_every_steps)", [s.name for s in self.staleness]),
      ("shuffle_blocks", [str(blocks) for blocks in self.shuffle_blocks]),
    ):
      if len(set(names)) != len(names):
        raise errors.UserError(
          f"{what}: {', '.join(names)}; expected no duplicates"
        )

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
