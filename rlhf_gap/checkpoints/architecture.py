"""Infers a `T5Config` from parameter names and shapes, and checks it."""

import re
from collections.abc import Mapping

from rlhf_gap import errors
from rlhf_gap.checkpoints import stored
from rlhf_gap.models import t5

Shapes = Mapping[str, tuple[int, ...]]

_EMBEDDING = "token_embedder/embedding"
_RELATIVE = "encoder/relpos_bias/rel_embedding"
_QUERY = "encoder/layers_0/attention/query/kernel"
_LAYER = re.compile(r"(encoder|decoder)/layers_(0|[1-9][0-9]{0,2})/")

# Above any real model's, yet a product of two sizes fits in 64 bits.
_MAX_SIZE = 2**31


def infer(shapes: Shapes, path: str) -> t5.T5Config:
  """Infers the architecture from the parameters' names and shapes.

  The number of heads is the first axis of the relative-position table. The
  output head is tied if there is no `logits_dense`. Two input kernels mean
  gated GELU and one means ReLU, as in T5X.

  Args:
    shapes: shape of each parameter by T5X's name.
    path: the checkpoint, for messages.

  Returns:
    The architecture; fields that shapes do not determine have their defaults.

  Raises:
    UserError: the parameters are not those of a T5.
  """
  vocab_size, emb_dim = _matrix(shapes, _EMBEDDING, path)
  num_heads, num_buckets = _matrix(shapes, _RELATIVE, path)
  _, joined = _matrix(shapes, _QUERY, path)
  if joined % num_heads:
    raise errors.UserError(
      f"{path}: {_QUERY} has {joined} columns, not divisible by the"
      f" {num_heads} heads (rows of {_RELATIVE}); the file is damaged"
    )
  gated = "encoder/layers_0/mlp/wi_0/kernel" in shapes
  first = f"encoder/layers_0/mlp/{'wi_0' if gated else 'wi'}/kernel"
  config = t5.T5Config(
    vocab_size=vocab_size,
    emb_dim=emb_dim,
    num_heads=num_heads,
    head_dim=joined // num_heads,
    mlp_dim=_matrix(shapes, first, path)[1],
    num_encoder_layers=_count_layers(shapes, "encoder", path),
    num_decoder_layers=_count_layers(shapes, "decoder", path),
    mlp_activations=("gelu", "linear") if gated else ("relu",),
    logits_via_embedding="decoder/logits_dense/kernel" not in shapes,
    num_buckets=num_buckets,
  )
  check(config, shapes, path)
  return config


def _matrix(shapes: Shapes, name: str, path: str) -> tuple[int, int]:
  if name not in shapes:
    raise errors.UserError(
      f"{path}: holds no {name}{_hint(shapes)}; expected the parameters of"
      " a T5 encoder-decoder, one folder per layer"
    )
  shape = shapes[name]
  if len(shape) != 2 or not all(0 < size < _MAX_SIZE for size in shape):
    raise errors.UserError(
      f"{path}: {name} has shape {shape}; expected a matrix of at least one"
      " row and column; the file is damaged or not a T5"
    )
  return shape[0], shape[1]


def _hint(shapes: Shapes) -> str:
  for name in shapes:
    # scalable_t5 scans its layers: each array is stacked over all of them.
    if re.match(r"(encoder/encoder|decoder/decoder|encoder/layers)/", name):
      return (
        " (its layers are stacked, as in T5X's scalable_t5, which is not"
        " supported)"
      )
    if re.match(r"encoder/layers_[0-9]+/relpos_bias/", name):
      return (
        " (it has a relative-position table in every layer, as in umT5, which"
        " is not supported)"
      )
  return f" among its {len(shapes)} parameters"


def _count_layers(shapes: Shapes, stack: str, path: str) -> int:
  matches = map(_LAYER.match, shapes)
  layers = {int(m[2]) for m in matches if m and m[1] == stack}
  absent = set(range(max(layers, default=0) + 1)) - layers
  if absent:
    raise errors.UserError(
      f"{path}: holds {len(layers)} {stack} layers but no"
      f" {stack}/layers_{min(absent)}; expected layers_0, layers_1, and so on;"
      " the checkpoint is incomplete"
    )
  return len(layers)


def check(config: t5.T5Config, shapes: Shapes, path: str) -> None:
  """Checks that the parameters are those of an architecture.

  Args:
    config: the expected architecture.
    shapes: shape of each parameter by T5X's name.
    path: the checkpoint, for messages.

  Raises:
    UserError: a parameter is missing, unknown, or has the wrong shape.
  """
  _check_buckets(config, path)
  flat = stored.flatten(t5.param_shapes(config))
  expected = {name: tuple(leaf.shape) for name, leaf in flat.items()}
  for name in sorted(set(expected) - set(shapes)):
    raise errors.UserError(
      f"{path}: {name} is missing; expected shape {expected[name]}; the"
      " checkpoint is incomplete or has another architecture"
    )
  for name in sorted(set(shapes) - set(expected)):
    raise errors.UserError(
      f"{path}: {name[:120]} is not a parameter of T5; the checkpoint has"
      f" another architecture{errors.did_you_mean(name[:120], expected)}"
    )
  for name, shape in sorted(shapes.items()):
    if shape != expected[name]:
      raise errors.UserError(
        f"{path}: {name} has shape {shape}, expected {expected[name]}; the"
        " configuration and the file disagree"
      )


def _check_buckets(config: t5.T5Config, path: str) -> None:
  # An encoder has half of its buckets for each direction. Half of those cover
  # one distance each; the others grow logarithmically up to max_distance.
  if config.num_buckets < 4 or config.max_distance <= config.num_buckets // 2:
    raise errors.UserError(
      f"{path}: num_buckets={config.num_buckets} with"
      f" max_distance={config.max_distance}; expected at least 4 buckets and a"
      " distance of more than half their number"
    )


def check_vocabulary(
  config: t5.T5Config, vocabulary_size: int, path: str
) -> None:
  """Checks that the embedding has a row for every id of the vocabulary.

  Args:
    config: the architecture.
    vocabulary_size: number of ids, extra ids included.
    path: the checkpoint, for messages.

  Raises:
    UserError: an id would have no row.
  """
  if vocabulary_size > config.vocab_size:
    raise errors.UserError(
      f"{path}: its embedding has {config.vocab_size:,} rows, but the"
      f" vocabulary has {vocabulary_size:,} ids; it belongs to another model"
    )
