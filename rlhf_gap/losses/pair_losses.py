"""Contrastive losses with their settings, bound by gin in run files.

They are functions of rho, in nats if token log-probabilities are summed
("sum"), and in nats per token if they are averaged ("mean").
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from rlhf_gap import errors
from rlhf_gap.losses import contrastive

_UNITS = {
  "sum": ("summed over tokens", "nats"),
  "mean": ("averaged over tokens", "nats a token"),
}


_IPO_FORMULAS = {
  "gpo": "(beta rho - 1/2)^2",
  "azar": "(rho - 1/(2 beta))^2",
  "calandriello": "-rho + beta rho^2",
  "eq1_literal": "(rho - beta/2)^2",
}


@runtime_checkable  # for checks of types while testing
class PairLoss(Protocol):
  """A contrastive loss with its settings."""

  @property
  def uses_reference(self) -> bool:
    """Whether its argument is rho; otherwise it is the policy's margin."""

  @property
  def target_nats(self) -> float | None:
    """The argument that minimizes the loss of a hard label, if any."""

  @property
  def initial_value(self) -> float:
    """Its value at 0; for rho, this is where policy equals reference."""

  def __call__(self, rho: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """Returns one value per pair."""

  def describe(self, reduction: str) -> str:
    """Describes the formula, settings and target margin in one line."""


@dataclasses.dataclass(frozen=True)
class Ipo:
  """IPO in one of its four forms; see `contrastive.ipo`.

  Attributes:
    beta: strength of the regularisation, > 0.
    form: gpo, azar, calandriello or eq1_literal.
  """

  beta: float = 0.1
  form: str = "gpo"

  uses_reference = True

  def __post_init__(self) -> None:
    _check_positive("Ipo.beta", self.beta)
    contrastive.check_ipo_form(self.form)

  @property
  def target_nats(self) -> float | None:
    """1/(2 beta); beta/2 for eq1_literal."""
    return self.beta / 2 if self.form == "eq1_literal" else 1 / (2 * self.beta)

  @property
  def initial_value(self) -> float:
    """Its value at rho = 0."""
    return {
      "gpo": 0.25,
      "azar": 1 / (2 * self.beta) ** 2,
      "calandriello": 0.0,
      "eq1_literal": (self.beta / 2) ** 2,
    }[self.form]

  def __call__(self, rho: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """Returns one value per pair."""
    return contrastive.ipo(rho, beta=self.beta, form=self.form)

  def describe(self, reduction: str) -> str:
    """Describes the formula, beta and target margin in one line."""
    formula = _IPO_FORMULAS[self.form]
    name = f"IPO ({self.form}): {formula}, beta = {self.beta:g}"
    return _line(name, "rho", self.target_nats, reduction)


@dataclasses.dataclass(frozen=True)
class Dpo:
  """DPO, or conservative DPO; see `contrastive.dpo`.

  Attributes:
    beta: strength of the regularisation, > 0.
    label_smoothing: probability that a label is wrong, in [0, 1/2).
  """

  beta: float = 0.1
  label_smoothing: float = 0.0

  uses_reference = True

  def __post_init__(self) -> None:
    _check_positive("Dpo.beta", self.beta)
    if not (
      _is_number(self.label_smoothing) and 0 <= self.label_smoothing < 0.5
    ):
      raise errors.UserError(
        f"Dpo.label_smoothing = {self.label_smoothing!r}; expected a number of"
        " at least 0 and below 0.5, the probability that a label is wrong"
      )

  @property
  def target_nats(self) -> float | None:
    """log((1 - e)/e)/beta; None without smoothing: the pull never ends."""
    e = self.label_smoothing
    return math.log((1 - e) / e) / self.beta if e else None

  @property
  def initial_value(self) -> float:
    """Its value at rho = 0."""
    return math.log(2)

  def __call__(self, rho: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """Returns one value per pair."""
    return contrastive.dpo(
      rho, beta=self.beta, label_smoothing=self.label_smoothing
    )

  def describe(self, reduction: str) -> str:
    """Describes the formula, settings and target margin in one line."""
    name = f"DPO: -log sigmoid(beta rho), beta = {self.beta:g}"
    if self.label_smoothing:
      name = (
        "cDPO: -(1 - e) log sigmoid(beta rho) - e log sigmoid(-beta rho),"
        f" beta = {self.beta:g}, e = {self.label_smoothing:g}"
      )
    endless = "no target rho: the pull never ends"
    return _line(name, "rho", self.target_nats, reduction, endless)


@dataclasses.dataclass(frozen=True)
class Hinge:
  """The hinge on rho; see `contrastive.hinge`.

  Attributes:
    beta: strength of the regularisation, > 0.
  """

  beta: float = 0.1

  uses_reference = True

  def __post_init__(self) -> None:
    _check_positive("Hinge.beta", self.beta)

  @property
  def target_nats(self) -> float | None:
    """1/beta, from which the loss is zero."""
    return 1 / self.beta

  @property
  def initial_value(self) -> float:
    """Its value at rho = 0."""
    return 1.0

  def __call__(self, rho: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """Returns one value per pair."""
    return contrastive.hinge(rho, beta=self.beta)

  def describe(self, reduction: str) -> str:
    """Describes the formula, beta and target margin in one line."""
    name = f"hinge: max(0, 1 - beta rho), beta = {self.beta:g}"
    return _line(name, "rho", self.target_nats, reduction)


@dataclasses.dataclass(frozen=True)
class Slic:
  """SLiC-HF's calibration loss; see `contrastive.slic`.

  Attributes:
    delta: target margin of the policy, > 0, in nats or nats per token.
  """

  delta: float = 1.0

  uses_reference = False

  def __post_init__(self) -> None:
    _check_positive("Slic.delta", self.delta)

  @property
  def target_nats(self) -> float | None:
    """Delta, from which the loss is zero."""
    return self.delta

  @property
  def initial_value(self) -> float:
    """Its value at margin 0; the margins of a run's first step differ."""
    return self.delta

  def __call__(self, rho: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """Returns one value per pair; `rho` is the policy's margin here."""
    return contrastive.slic(rho, delta=self.delta)

  def describe(self, reduction: str) -> str:
    """Describes the formula, delta and target margin in one line."""
    name = f"SLiC: max(0, delta - margin), delta = {self.delta:g}, no reference"
    return _line(name, "policy margin", self.target_nats, reduction)


@dataclasses.dataclass(frozen=True)
class Gpo:
  """f(beta rho) for any f; see `contrastive.gpo`.

  Attributes:
    beta: strength of the regularisation, > 0.
    f: a function of arrays, such as `losses.squared`.
  """

  beta: float
  f: Callable[[Array], Array]

  uses_reference = True

  def __post_init__(self) -> None:
    _check_positive("Gpo.beta", self.beta)
    if not callable(self.f):
      raise errors.UserError(
        f"Gpo.f = {self.f!r}; expected a function of beta rho, such as"
        " @losses.squared"
      )

  @property
  def target_nats(self) -> float | None:
    """None, because the minimum of f is unknown."""
    return None

  @property
  def initial_value(self) -> float:
    """Its value at rho = 0, f(0)."""
    return float(self.f(jnp.zeros(())))

  def __call__(self, rho: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """Returns one value per pair."""
    return contrastive.gpo(rho, beta=self.beta, f=self.f)

  def describe(self, reduction: str) -> str:
    """Describes f and beta in one line; the target margin is unknown."""
    f = getattr(self.f, "__name__", repr(self.f))
    name = f"GPO: f(beta rho), f = {f}, beta = {self.beta:g}"
    return _line(name, "rho", None, reduction, "target rho where f is least")


def _is_number(value: object) -> bool:
  return (
    isinstance(value, (int, float))
    and not isinstance(value, bool)
    and math.isfinite(value)
  )


def _check_positive(name: str, value: float) -> None:
  if not (_is_number(value) and value > 0):
    raise errors.UserError(
      f"{name} = {value!r}; expected a finite number above 0"
    )


def _line(
  name: str,
  argument: str,
  target: float | None,
  reduction: str,
  no_target: str = "",
) -> str:
  if reduction not in _UNITS:
    raise errors.UserError(
      f"unknown reduction {reduction!r} of token log-probabilities; expected"
      f" {' or '.join(_UNITS)}"
    )
  how, unit = _UNITS[reduction]
  aim = no_target
  if target is not None:
    aim = f"target {argument} = {target:g} {unit}"
  return f"{name}; log-probabilities {how}; {aim}"
