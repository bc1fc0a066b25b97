"""The paper's experiments, as arguments of `rlhf-gap plan`.

Tang et al. 2024, section 4.1 and Appendices A and C: 1,024 tokens of prompt and
128 of response; a batch of 32 at Large, 16 at XL, 8 at XXL, of 128 for Large's
supervised fine-tuning; four tasks in Figures 1 and 4, three in the others.
"""

import dataclasses
from typing import Any

_LARGE = "v5e:4x4"
_XL = _XXL = "v5p:4x4x4"
# Only for policies. 32 of the 256 chips share a layer, so each of the 8 groups
# processes one of the 8 rows.
_XXL_TOO = "v5e:16x16"
_OF_32 = (("NUM_PARTITIONS", 32),)
_STEPS = 4000
# Large's supervised fine-tuning and preference model use four microbatches,
# because a whole batch would not fit (see large_pod.gin).
_IN_PARTS = {"bindings": (("NUM_MICROBATCHES", 4),)}

# Total steps of the paper's runs of each program. Sweeps are assumed to vary
# one setting at a time around the baseline: 5 combinations of learning rate
# and beta, and offline also 20,000 steps.
_LARGE_ONLINE = (4 + 3) * _STEPS  # Figures 1 and 4; Best-of-2, Figure 9
_LARGE_OFFLINE = (
  4 * (5 * _STEPS + 20_000)  # Figure 1
  + 4 * 5 * _STEPS  # Figure 4: on shuffled online pairs
  + 3 * 4 * 3 * 20_000  # Figures 5 and 12: four datasets, three rates
  + 3 * 2 * _STEPS  # Figure 9
  + 3 * _STEPS  # Figure 13: three more levels of shuffling
)
# Figures 10, 11 and 14: three tasks, one setting; offline also on online pairs.
_LARGER_ONLINE, _LARGER_OFFLINE = 3 * _STEPS, 2 * 3 * _STEPS


@dataclasses.dataclass(frozen=True)
class Experiment:
  """One row of the table.

  Attributes:
    name: its name, beginning with the size.
    title: a short description.
    run: name of the run file.
    size: size of the trained model: "large", "xl" or "xxl".
    topology: the slice.
    study_steps: total steps of all such runs in the paper.
    judge: the judge's size, if pairs are sampled.
    bindings: macros that differ from those in the files.
  """

  name: str
  title: str
  run: str
  size: str
  topology: str
  study_steps: int
  judge: str = ""
  bindings: tuple[tuple[str, int], ...] = ()

  @property
  def words(self) -> list[str]:
    """The arguments of `rlhf-gap plan`."""
    words = [
      f"--gin_file=gin_configs/runs/{self.run}.gin",
      f"--gin_file=gin_configs/runs/parts/{self.size}_pod.gin",
      f"--gin_file=gin_configs/models/t5_1_1_{self.size}.gin",
      *(f"--gin.{name}={value}" for name, value in self.bindings),
    ]
    if self.judge:
      words.append(f"--judge_model=gin_configs/models/t5_1_1_{self.judge}.gin")
    return [*words, f"--topology={self.topology}"]

  def described(self) -> dict[str, Any]:
    """Returns the experiment's entry in the table."""
    return {
      "name": self.name,
      "title": self.title,
      "study_steps": self.study_steps,
      "command": ["rlhf-gap", "plan", *self.words],
    }


def _large() -> list[Experiment]:
  def of(
    name: str, title: str, run: str, steps: int, **more: Any
  ) -> Experiment:
    return Experiment(
      f"large_{name}", title, run, "large", _LARGE, steps, **more
    )

  return [
    of("online", "online, Large proxy", "online", _LARGE_ONLINE, judge="large"),
    of(
      "golden_policy",
      "golden policy: online, XXL golden judge",
      "online",
      4 * _STEPS,
      judge="xxl",
    ),
    of("offline", "offline, all data sets", "offline", _LARGE_OFFLINE),
    of(
      "preference",
      "proxy preference model",
      "preference",
      4 * _STEPS,
      **_IN_PARTS,
    ),
    of("sft", "supervised fine-tuning", "sft", _STEPS, **_IN_PARTS),
  ]


def _policies(
  size: str,
  topology: str,
  batch: int,
  judges: tuple[str, ...],
  more: tuple[tuple[str, int], ...] = (),
) -> list[Experiment]:
  def of(name: str, title: str, run: str, steps: int, judge: str) -> Experiment:
    full = f"{size}_{name}_{topology.replace(':', '_')}"
    sizes = (("BATCH_SIZE", batch), *more)
    return Experiment(full, title, run, size, topology, steps, judge, sizes)

  online = [
    of(
      f"online_{judge}_judge",
      f"online, {judge.upper() if judge != 'large' else 'Large'} judge",
      "online",
      _LARGER_ONLINE if judge == "large" else 0,
      judge,
    )
    for judge in judges
  ]
  return [*online, of("offline", "offline", "offline", _LARGER_OFFLINE, "")]


def _sft(size: str, topology: str, batch: int, steps: int) -> Experiment:
  return Experiment(
    f"{size}_sft",
    "supervised fine-tuning",
    "sft",
    size,
    topology,
    steps,
    bindings=(("BATCH_SIZE", batch), ("TRAIN_STEPS", steps)),
  )


_GOLDEN = Experiment(
  "xxl_golden",
  "golden preference model",
  "preference",
  "xxl",
  _XXL,
  4 * _STEPS,
  bindings=(("BATCH_SIZE", 16),),
)

ALL = [
  *_large(),
  *_policies("xl", _XL, 16, ("large",)),
  _sft("xl", _XL, 16, 8000),
  *_policies("xxl", _XXL, 8, ("large", "xxl")),
  *_policies("xxl", _XXL_TOO, 8, ("large", "xxl"), _OF_32),
  _sft("xxl", _XXL, 8, 8000),
  _GOLDEN,
]
