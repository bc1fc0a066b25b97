"""transformers' T5 in PyTorch at the same shapes, for comparison.

PyTorch's threads spin while they wait for each other, which is many times
slower on a busy machine: compare only on an idle one.
"""

from collections.abc import Callable
from typing import Any

from rlhf_gap import errors
from rlhf_gap.benchmarks import workloads
from rlhf_gap.models import t5


def _modules() -> tuple[Any, Any]:
  try:
    import torch
    import transformers
  except ImportError as error:
    raise errors.UserError(
      f"--peer=hf: {error.name} is not installed; pip install -e '.[hf]'"
    ) from error
  transformers.logging.set_verbosity_error()
  return torch, transformers


def _model(config: t5.T5Config) -> tuple[Any, Any]:
  """Returns torch and a randomly initialised model, on a GPU if available."""
  torch, transformers = _modules()
  activations = {
    ("gelu", "linear"): "gated-gelu",
    ("silu", "linear"): "gated-silu",
    ("relu",): "relu",
  }
  if config.mlp_activations not in activations:
    raise errors.UserError(
      f"--peer=hf: transformers has no T5 with {config.mlp_activations}"
    )
  hf_config = transformers.T5Config(
    vocab_size=config.vocab_size,
    d_model=config.emb_dim,
    d_kv=config.head_dim,
    d_ff=config.mlp_dim,
    num_layers=config.num_encoder_layers,
    num_decoder_layers=config.num_decoder_layers,
    num_heads=config.num_heads,
    feed_forward_proj=activations[config.mlp_activations],
    tie_word_embeddings=config.logits_via_embedding,
    dropout_rate=0.0,
    decoder_start_token_id=0,
  )
  model = transformers.T5ForConditionalGeneration(hf_config).eval()
  device = "cuda" if torch.cuda.is_available() else "cpu"
  return torch, model.to(device, getattr(torch, config.dtype))


def sampling(
  config: t5.T5Config, shape: workloads.Shape
) -> Callable[[], object]:
  """Returns a call of `generate` at full length, over the whole vocabulary."""
  torch, model = _model(config)
  prompts = _tensor(torch, model, config, (shape.batch, shape.source), 0)

  def generate() -> object:
    with torch.no_grad():
      generated = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=True,
        top_k=0,
        num_return_sequences=shape.responses,
        max_new_tokens=shape.target,
        min_new_tokens=shape.target,
      )
    return generated.cpu()

  return generate


def gradient(
  config: t5.T5Config, shape: workloads.Shape
) -> Callable[[], object]:
  """Returns a call of loss and backward pass, with one row per response."""
  torch, model = _model(config)
  rows = shape.batch * shape.responses
  prompts = _tensor(torch, model, config, (rows, shape.source), 0)
  targets = _tensor(torch, model, config, (rows, shape.target), 1)

  def step() -> object:
    model.zero_grad()
    loss = model(input_ids=prompts, labels=targets).loss
    loss.backward()
    return loss.item()

  return step


def _tensor(
  torch: Any,
  model: Any,
  config: t5.T5Config,
  shape: tuple[int, ...],
  seed: int,
) -> Any:
  ids = workloads.tokens(config, shape, seed)
  return torch.asarray(ids).long().to(model.device)
