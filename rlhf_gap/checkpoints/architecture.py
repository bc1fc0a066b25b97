"""The `T5Config` that names and shapes tell, and what contradicts it."""

import difflib
import re
from collections.abc import Mapping

from rlhf_gap import errors
from rlhf_gap.checkpoints import stored
from rlhf_gap.models import t5

Shapes = Mapping[str, tuple[int, ...]]

_EMBEDDING = "token_embedder/embedding"
_RELATIVE = "encoder/relpos_bias/rel_embedding"
_QUERY = "encoder/layers_0/attention/query/kernel"


def infer(shapes: Shapes, path: str) -> t5.T5Config:
  """Infers the architecture from the parameters' names and shapes.

  The number of heads is the first axis of the relative-position table, the
  output head is tied where there is no `logits_dense`, and the gate is GELU
  where there are two input kernels, ReLU where there is one, as in T5X.

  Args:
    shapes: shape of each parameter under T5X's name.
    path: the checkpoint, for messages.

  Returns:
    The architecture; what shapes cannot tell has its default.

  Raises:
    UserError: the parameters are not those of a T5.
  """
  for name in (_EMBEDDING, _RELATIVE, _QUERY):
    if name not in shapes:
      raise errors.UserError(
        f"{path}: holds no {name}{_hint(shapes)}; expected the parameters of"
        " a T5 encoder-decoder, one folder a layer"
      )
  vocab_size, emb_dim = shapes[_EMBEDDING]
  num_heads, num_buckets = shapes[_RELATIVE]
  joined = shapes[_QUERY][1]
  if joined % num_heads:
    raise errors.UserError(
      f"{path}: {_QUERY} has {joined} columns, which {num_heads} heads"
      f" (rows of {_RELATIVE}) do not divide; the file is damaged"
    )
  gated = "encoder/layers_0/mlp/wi_0/kernel" in shapes
  first = f"encoder/layers_0/mlp/{'wi_0' if gated else 'wi'}/kernel"
  config = t5.T5Config(
    vocab_size=vocab_size,
    emb_dim=emb_dim,
    num_heads=num_heads,
    head_dim=joined // num_heads,
    mlp_dim=shapes[first][1] if first in shapes else 0,
    num_encoder_layers=_count_layers(shapes, "encoder"),
    num_decoder_layers=_count_layers(shapes, "decoder"),
    mlp_activations=("gelu", "linear") if gated else ("relu",),
    logits_via_embedding="decoder/logits_dense/kernel" not in shapes,
    num_buckets=num_buckets,
  )
  check(config, shapes, path)
  return config


def _hint(shapes: Shapes) -> str:
  if any("/layers/" in f"/{name}" for name in shapes):
    return " (its layers are stacked, as T5X's scalable_t5 scans them)"
  return f" among its {len(shapes)} parameters"


def _count_layers(shapes: Shapes, stack: str) -> int:
  pattern = re.compile(rf"{stack}/layers_(\d+)/")
  found = {int(m[1]) for name in shapes if (m := pattern.match(name))}
  return max(found, default=-1) + 1


def check(config: t5.T5Config, shapes: Shapes, path: str) -> None:
  """Raises a `UserError` unless `shapes` are those of `config`.

  Args:
    config: the expected architecture.
    shapes: shape of each parameter under T5X's name.
    path: the checkpoint, for messages.

  Raises:
    UserError: a parameter is missing, unknown, or of another shape.
  """
  flat = stored.flatten(t5.param_shapes(config))
  expected = {name: tuple(leaf.shape) for name, leaf in flat.items()}
  for name in sorted(set(expected) - set(shapes)):
    raise errors.UserError(
      f"{path}: {name} is missing; expected shape {expected[name]}; the"
      " checkpoint is incomplete or of another architecture"
    )
  for name in sorted(set(shapes) - set(expected)):
    near = difflib.get_close_matches(name, expected, n=1)
    raise errors.UserError(
      f"{path}: {name} is no parameter of T5"
      + (f" (did you mean {near[0]}?)" if near else "")
      + "; the checkpoint is of another architecture"
    )
  for name, shape in sorted(shapes.items()):
    if shape != expected[name]:
      raise errors.UserError(
        f"{path}: {name} has shape {shape}, expected {expected[name]}; the"
        " configuration and the file disagree"
      )


def check_vocabulary(
  config: t5.T5Config, vocabulary_size: int, path: str
) -> None:
  """Raises a `UserError` if the vocabulary does not fit the embedding.

  Args:
    config: the architecture.
    vocabulary_size: number of ids, extra ids included.
    path: the checkpoint, for messages.

  Raises:
    UserError: an id of the vocabulary would have no row in the embedding.
  """
  if vocabulary_size > config.vocab_size:
    raise errors.UserError(
      f"{path}: its embedding has {config.vocab_size:,} rows, but the"
      f" vocabulary has {vocabulary_size:,} ids; it is the vocabulary of"
      " another model"
    )
