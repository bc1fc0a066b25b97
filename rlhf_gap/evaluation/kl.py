"""The KL divergence of the policy from the reference, in nats."""

import functools

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from rlhf_gap import records
from rlhf_gap.evaluation import batches, intervals, models
from rlhf_gap.inference import score
from rlhf_gap.models import t5


@functools.partial(jax.jit, static_argnums=0)
def _sequence_kl(
  config: t5.T5Config,
  params: t5.Params,
  reference_params: t5.Params,
  prompt: Int[Array, "batch source"],
  response: Int[Array, "batch target"],
) -> Float[Array, "batch"]:
  steps = score.per_step_kl(
    config, params, reference_params, prompt, response[:, None]
  )
  return steps.sum(axis=(1, 2))


def along(
  policy: models.Model,
  reference: models.Model,
  prompt: Int[np.ndarray, "rows source"],
  response: Int[np.ndarray, "rows target"],
  using: batches.Batches,
) -> Float[np.ndarray, "rows"]:
  """Returns sum_t KL(pi(.|x, y_<t) || pi_ref(.|x, y_<t)) along each response.

  Exact over the vocabulary at every step, the EOS step included (Tang et al.
  2024, Appendix D). Along y ~ pi at temperature 1 its mean estimates
  KL(pi || pi_ref) without bias, up to the length at which samples are cut.

  Args:
    policy: pi.
    reference: pi_ref, of the same architecture.
    prompt: token ids, padded with 0.
    response: sampled from the policy.
    using: batching.

  Returns:
    Nats, >= 0 up to rounding; exactly 0 for equal policies.

  Raises:
    UserError: a divergence is not finite.
  """

  def divergence(x: Array, y: Array) -> Array:
    return _sequence_kl(policy.config, policy.params, reference.params, x, y)

  along_each = using.map(divergence, batches.without_padding(prompt), response)
  # The policy's own logits were finite when it was sampled.
  models.check_finite(reference, "log-probabilities", along_each)
  return along_each


def measure(
  sequence_kl: Float[np.ndarray, "rows"],
) -> dict[str, records.Measurement]:
  """Returns "kl_nats": the mean over prompts, with a normal interval."""
  # Rounding may give slightly negative values for nearly equal policies.
  return {"kl_nats": intervals.mean(np.maximum(sequence_kl, 0.0), low=0.0)}
