"""Negative log-likelihood losses, one value per row."""

from jaxtyping import Array, Float


def sft(sequence_log_probs: Float[Array, "batch"]) -> Float[Array, "batch"]:
  """Supervised fine-tuning, -log pi(y|x) (Tang et al. 2024, App. C).

  Args:
    sequence_log_probs: log pi(y|x) of each response, in nats summed over its
      tokens, or nats a token.

  Returns:
    The loss of each row, >= 0, in the same unit; its slope is -1.
  """
  return -sequence_log_probs


def best_of_two(
  chosen_log_probs: Float[Array, "batch"],
) -> Float[Array, "batch"]:
  """Best-of-2, -log pi(y_w|x): `sft` on the winner of each pair.

  Tang et al. 2024 (arXiv 2405.08448), Eq. 3, whose sign is a slip: it prints
  the minimum of E[log pi(y_w|x)]. It uses neither the reference nor the loser.
  Ties have no winner and must have weight 0.

  Args:
    chosen_log_probs: log pi(y_w|x), in nats summed over tokens, or nats a
      token.

  Returns:
    The loss of each pair, >= 0, in the same unit; its slope is -1.
  """
  return sft(chosen_log_probs)
