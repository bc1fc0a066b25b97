"""Contrastive losses: functions of rho, one value per pair.

rho = (log pi(y_w|x) - log pi(y_l|x)) - (log pi_ref(y_w|x) - log pi_ref(y_l|x)),
the policy's margin minus the reference's. Its unit is nats if log-probabilities
are summed over tokens, and nats per token if they are averaged. All except
`slic` are f(beta rho) for some f, up to a factor (GPO, arXiv 2402.05749).
"""

import difflib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rlhf_gap import errors


def gpo(
  rho: Float[Array, "batch"], *, beta: float, f: Callable[[Array], Array]
) -> Float[Array, "batch"]:
  """Generalised preference optimisation, f(beta rho) (arXiv 2402.05749).

  Args:
    rho: policy margin minus reference margin, in nats or nats per token.
    beta: strength of the regularisation, > 0; larger stays nearer the
      reference.
    f: a convex function with f'(0) < 0, such as `squared`, `logistic`,
      `hinged`.

  Returns:
    The loss of each pair; f(0) where policy and reference agree.
  """
  return f(beta * rho)


def squared(z: Float[Array, "*any"]) -> Float[Array, "*any"]:
  """f(z) = (z - 1/2)^2, which makes GPO into IPO; minimal at z = 1/2."""
  return jnp.square(z - 0.5)


def logistic(z: Float[Array, "*any"]) -> Float[Array, "*any"]:
  """f(z) = -log sigmoid(z), which makes GPO into DPO; no minimum."""
  return -jax.nn.log_sigmoid(z)


def hinged(z: Float[Array, "*any"]) -> Float[Array, "*any"]:
  """f(z) = max(0, 1 - z), the hinge; zero, with zero gradient, from z = 1."""
  return jax.nn.relu(1.0 - z)


IPO_FORMS = ("gpo", "azar", "calandriello", "eq1_literal")


def ipo(
  rho: Float[Array, "batch"], *, beta: float, form: str = "gpo"
) -> Float[Array, "batch"]:
  """Identity preference optimisation, in the forms of four papers.

  - gpo: (beta rho - 1/2)^2. Tang et al. 2024 (arXiv 2405.08448), App. B.
  - azar: (rho - 1/(2 beta))^2. Azar et al. 2023 (arXiv 2310.12036), Eq. 17,
    whose tau is our beta.
  - calandriello: -rho + beta rho^2. Calandriello et al. 2024 (arXiv
    2403.08635), Eq. 5, whose tau is our beta.
  - eq1_literal: (rho - beta/2)^2. Tang et al. 2024, Eq. 1 as printed: beta is
    inverted, and at beta = 0.1 the policy hardly leaves the reference.

  The first three have one minimiser, rho = 1/(2 beta), and differ by the
  factors beta^2 : 1 : beta and by a constant; with a label of probability q
  (`with_label`) it is (2 q - 1)/(2 beta). The fourth is the second with
  1/beta in beta's place.

  Args:
    rho: policy margin minus reference margin, in nats or nats per token.
    beta: strength of the regularisation, > 0; larger stays nearer the reference
      (but for eq1_literal).
    form: gpo, azar, calandriello or eq1_literal.

  Returns:
    The loss of each pair: at rho = 0 it is 1/4, 1/(4 beta^2), 0, beta^2/4, and
    its slope -beta, -1/beta, -1, -beta.

  Raises:
    UserError: there is no such form.
  """
  check_ipo_form(form)
  match form:
    case "gpo":
      return jnp.square(beta * rho - 0.5)
    case "azar":
      return jnp.square(rho - 1 / (2 * beta))
    case "calandriello":
      return -rho + beta * jnp.square(rho)
    case _:  # eq1_literal
      return jnp.square(rho - beta / 2)


def check_ipo_form(form: str) -> None:
  """Raises `UserError` unless `form` is one of `IPO_FORMS`."""
  if form in IPO_FORMS:
    return
  near = difflib.get_close_matches(str(form), IPO_FORMS, n=1)
  hint = f" (did you mean {near[0]}?)" if near else ""
  raise errors.UserError(
    f"unknown form of IPO {form!r}{hint}; expected one of"
    f" {', '.join(IPO_FORMS)}"
  )


def dpo(
  rho: Float[Array, "batch"], *, beta: float, label_smoothing: float = 0.0
) -> Float[Array, "batch"]:
  """Direct preference optimisation, -log sigmoid(beta rho).

  Rafailov et al. 2023 (arXiv 2305.18290), Eq. 7. With label smoothing e it is
  conservative DPO (Mitchell 2023), -(1 - e) log sigmoid(beta rho) - e log
  sigmoid(-beta rho): each label is taken to be wrong with probability e.

  Args:
    rho: policy margin minus reference margin, in nats or nats per token.
    beta: strength of the regularisation, > 0.
    label_smoothing: e, in [0, 1/2).

  Returns:
    The loss of each pair, log 2 at rho = 0 with the slope -(1 - 2 e) beta/2;
    minimal at rho = log((1 - e)/e)/beta; without a minimum if e = 0.
  """

  def hard(x: Array) -> Array:
    return gpo(x, beta=beta, f=logistic)

  return with_label(hard, rho, 1 - label_smoothing)


def hinge(rho: Float[Array, "batch"], *, beta: float) -> Float[Array, "batch"]:
  """The hinge on rho, max(0, 1 - beta rho).

  RSO's hinge-norm (Liu et al. 2023, arXiv 2309.06657), whose gamma is our beta,
  and GPO's SLiC: it is normalised by the reference, as `slic` is not.

  Args:
    rho: policy margin minus reference margin, in nats or nats per token.
    beta: strength of the regularisation, > 0.

  Returns:
    The loss of each pair: 1 at rho = 0 with the slope -beta, and zero, with
    zero gradient, from rho = 1/beta.
  """
  return gpo(rho, beta=beta, f=hinged)


def slic(
  margin: Float[Array, "batch"], *, delta: float
) -> Float[Array, "batch"]:
  """SLiC-HF's calibration loss, max(0, delta - margin); no reference.

  Zhao et al. 2023 (arXiv 2305.10425), without its cross-entropy term.

  Args:
    margin: log pi(y_w|x) - log pi(y_l|x), in nats or nats per token, of the
      policy alone.
    delta: the margin to reach, > 0, in the same unit.

  Returns:
    The loss of each pair: its slope is -1 below delta; from there it is zero,
    with zero gradient.
  """
  return jax.nn.relu(delta - margin)


def with_label(
  loss: Callable[[Array], Array],
  rho: Float[Array, "batch"],
  probability: Float[Array, "batch"] | float,
) -> Float[Array, "batch"]:
  """Returns the loss expected under an uncertain label.

  That is p loss(rho) + (1 - p) loss(-rho).

  The soft labels of Calandriello et al. 2024 (arXiv 2403.08635): swapping the
  two responses turns rho into -rho.

  Args:
    loss: a loss of rho (or of the margin, for `slic`).
    rho: its argument.
    probability: p, the probability that y_w is the better response; 1 for a
      hard label, 1/2 for a tie.

  Returns:
    The expected loss of each pair; exactly loss(rho) if p = 1.
  """
  return probability * loss(rho) + (1 - probability) * loss(-rho)
