"""The loss of the pairwise preference model, one value per pair."""

from jaxtyping import Array, Float

from rlhf_gap.losses import contrastive


def preference_model(
  chosen_first_logit: Float[Array, "batch"],
  rejected_first_logit: Float[Array, "batch"],
  probability: Float[Array, "batch"] | float = 1.0,
) -> Float[Array, "batch"]:
  """The order-randomised log-loss of a preference model.

  -1/2 log r(x, y_w, y_l) - 1/2 log(1 - r(x, y_l, y_w)), Tang et al. 2024 (arXiv
  2405.08448), Eq. 5, which prints the opposite sign. The expectation over the
  order is exact, because both orders are evaluated. With a label of probability
  p, it is p times that plus 1 - p times that of the swapped pair.

  Args:
    chosen_first_logit: log(r/(1 - r)) of r(x, y_w, y_l): the log-odds of the
      answer A with y_w shown as A.
    rejected_first_logit: the same with y_l shown as A.
    probability: p, that y_w is the better one; 1 for a hard label.

  Returns:
    The loss of each pair in nats, >= 0; log 2 where both logits are 0, with the
    slopes -(2 p - 1)/4 and (2 p - 1)/4. Finite for any finite logits.
  """
  # Each order's log-odds that y_w is the better one.
  orders = (chosen_first_logit, -rejected_first_logit)
  first, second = (
    contrastive.with_label(contrastive.logistic, log_odds, probability)
    for log_odds in orders
  )
  return 0.5 * (first + second)
