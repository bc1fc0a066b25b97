"""The reference policy, which scores pairs."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlhf_gap import processes, stores
from rlhf_gap.inference import score
from rlhf_gap.models import precision, t5


class Reference:
  """The reference policy; replaced periodically in an iterative run."""

  def __init__(
    self,
    config: t5.T5Config,
    params: t5.Params,
    identity: stores.CheckpointIdentity,
    *,
    every_steps: int | None = None,
  ):
    """Starts with the initial reference.

    Args:
      config: the architecture.
      params: its parameters; must not be donated elsewhere.
      identity: the checkpoint's identity, recorded in stores.
      every_steps: period, in steps, at which the policy replaces the reference
        (iterative alignment); None to keep it fixed.
    """
    self.config = config
    self.params = precision.as_computed(config, params)
    self.identity = identity
    self.every_steps = every_steps
    self._is_compiled = False

  def refresh(self, step: int, params: t5.Params) -> None:
    """Replaces the reference by the policy if an iteration ends at `step`."""
    if self.every_steps and step and step % self.every_steps == 0:
      # Copied, because the next training step donates the policy's arrays.
      copied = jax.tree.map(jnp.copy, params)
      self.params = precision.as_computed(self.config, copied)

  def state(self) -> dict[str, Any]:
    """Returns the parameters if they cannot be loaded from a checkpoint."""
    return {"reference": self.params} if self.every_steps else {}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Restores what `state` returned."""
    self.params = state.get("reference", self.params)

  def log_probs(
    self,
    prompt: Int[Array, "batch source"],
    responses: Int[Array, "batch responses target"],
  ) -> Float[Array, "batch responses"]:
    """Returns log pi_ref(y|x), nats, summed over tokens with EOS."""
    arguments = (self.config, self.params, prompt, responses)
    if not self._is_compiled:
      processes.compile_together(sequence_log_probs, *arguments)
      self._is_compiled = True
    return sequence_log_probs(*arguments)


@functools.partial(jax.jit, static_argnums=0)
def sequence_log_probs(
  config: t5.T5Config,
  params: t5.Params,
  prompt: Int[Array, "batch source"],
  responses: Int[Array, "batch responses target"],
) -> Float[Array, "batch responses"]:
  """Returns log pi(y|x) of several responses per prompt.

  Args:
    config: the architecture.
    params: its parameters.
    prompt: token ids, padded with 0 on the right.
    responses: token ids; EOS, then pads.

  Returns:
    Nats, summed over tokens with EOS.
  """
  return score.response_log_probs(config, params, prompt, responses).sum(-1)
