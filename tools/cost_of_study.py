"""Says what the training of a study costs at least, in chip-hours.

Usage: python tools/cost_of_study.py GIN_FILE [--chip=v5e] [--gin.NAME=VALUE]

Counts the matrix products of every `train` stage, by hand from the models'
shapes, and divides them by a chip's published peak: no run is faster. Decoding
a token reads all parameters and is bound by memory instead: it is counted so.
`rlhf-gap plan` compiles single runs and tells more.
"""

import argparse
import dataclasses
import sys

from rlhf_gap.cli import gin_files
from rlhf_gap.models import t5
from rlhf_gap.plan import chips
from rlhf_gap.study import experiment, pipeline, stages

_BYTES = 2  # of a bfloat16 parameter, as it is read


@dataclasses.dataclass(frozen=True)
class Forward:
  """A model's work on one row.

  Attributes:
    encoder: FLOPs of a prompt's window.
    decoder: FLOPs of one response's, the cross attention's keys included.
    parameters: that a decoded token reads.
  """

  encoder: float
  decoder: float
  parameters: float


def forward(config: t5.T5Config, source: int, target: int) -> Forward:
  """Returns a T5's work, 2 FLOPs a product and addition.

  Args:
    config: the architecture.
    source: tokens of the prompt's window.
    target: tokens of a response's.
  """
  wide, heads = config.emb_dim, config.num_heads * config.head_dim
  attention = 4 * wide * heads
  mlp = (len(config.mlp_activations) + 1) * wide * config.mlp_dim
  layers = config.num_decoder_layers
  head = wide * config.vocab_size
  encoder = config.num_encoder_layers * (
    2 * (attention + mlp) * source + 4 * source**2 * heads
  )
  decoder = layers * (
    2 * (attention + attention / 2 + mlp) * target
    + 2 * (attention / 2) * source  # keys and values of the prompt
    + 4 * target * (target + source) * heads
  )
  decoder += 2 * head * target
  return Forward(encoder, decoder, layers * (2 * attention + mlp) + head)


def _model(file: str) -> t5.T5Config:
  gin_files.parse([file])
  return gin_files.macro("MODEL")


@dataclasses.dataclass(frozen=True)
class Costs:
  """Chip-seconds of a study's training steps."""

  study: experiment.Study
  chip: chips.Chip
  models: dict[str, Forward]  # by "policy", "golden" and the sizes' names
  judges: dict[str, Forward]  # at the judge's window, one token out

  def of(self, stage: stages.Stage) -> float:
    """Returns a stage's chip-seconds, at the peak."""
    words = dict(word.partition("=")[::2] for word in stage.command)
    rows = int(words["--gin.BATCH_SIZE"])
    steps = int(words["--gin.TRAIN_STEPS"])
    kind = stage.command[1].rpartition("/")[2].removesuffix(".gin")
    name = stage.name.split("/")[1]
    flops = self._products(kind, name, words) * rows * steps
    seconds = flops / self.chip.flops_per_second
    if "--gin.PROMPTS" in words:
      read = self._model(name).parameters * _BYTES
      tokens = self.study.data.targets_length * steps
      seconds += tokens * read / self.chip.hbm_bytes_per_second
    return seconds

  def _model(self, name: str) -> Forward:
    return self.models.get(name, self.models["policy"])

  def _products(self, kind: str, name: str, words: dict[str, str]) -> float:
    """FLOPs a row: backward is twice forward; a pair is two responses."""
    if kind == "preference":
      judge = self.judges["golden" if name == "golden" else "policy"]
      return 3 * 2 * (judge.encoder + judge.decoder)  # both orders
    model = self._model(name)
    if kind in ("sft", "pretrain"):
      return 3 * (model.encoder + model.decoder)
    pair = model.encoder + 2 * model.decoder
    work = 3 * pair
    if "--gin.PROMPTS" in words:
      golden = "/golden/" in words["--gin.JUDGE_CHECKPOINT_PATH"]
      judge = self.judges["golden" if golden else "policy"]
      # Samples, the reference's scores, and the judge in both orders.
      return work + 2 * pair + 2 * (judge.encoder + judge.decoder)
    stored = "golden_labels" not in words["--gin.PAIRS"]
    return work if stored else work + pair  # scores the reference, too


def costs_of(study: experiment.Study, chip: str) -> Costs:
  """Reads a study's model files.

  Args:
    study: the description.
    chip: whose peaks.
  """
  data = study.data
  configs = {"policy": _model(study.policy), "golden": _model(study.golden)}
  sizes = study.ablations.sizes if study.ablations else ()
  configs |= {size.name: _model(size.policy) for size in sizes}
  window = data.judge_length or data.inputs_length
  lengths = (data.inputs_length, data.targets_length)
  return Costs(
    study,
    chips.CHIPS[chip],
    {name: forward(c, *lengths) for name, c in configs.items()},
    {name: forward(c, window, 1) for name, c in configs.items()},
  )


def main() -> int:
  """Prints chip-hours by part of the study."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("gin_file")
  parser.add_argument("--chip", default="v5e", choices=sorted(chips.CHIPS))
  arguments, given = parser.parse_known_args()
  bindings = [
    word.removeprefix("--gin.").replace("=", " = ", 1) for word in given
  ]
  gin_files.parse([arguments.gin_file], bindings)
  missing = gin_files.required_macros()
  bindings += [f"{name} = 'not-needed'" for name in missing]
  gin_files.parse([arguments.gin_file], bindings)
  study = gin_files.construct(experiment.Study, [arguments.gin_file], bindings)
  costs = costs_of(study, arguments.chip)
  hours: dict[str, float] = {}
  for stage in pipeline.stages(study):
    if stage.command[0] == "train":
      part = stage.name.split("/")[1]
      hours[part] = hours.get(part, 0.0) + costs.of(stage) / 3600
  for part, value in hours.items():
    print(f"{part:<16}{value:>10,.1f}")
  print(f"{'all':<16}{sum(hours.values()):>10,.1f} {arguments.chip} chip-hours")
  return 0


if __name__ == "__main__":
  sys.exit(main())
