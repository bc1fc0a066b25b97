"""Losses in NumPy float64, from the papers' equations; knows no `rlhf_gap`.

rho and margins are float64 [pairs]; log-probabilities are natural logarithms.
"""

import numpy as np


def ipo_gpo(rho, beta):
  """Tang et al. 2024, App. B: f(beta rho) with f(z) = (z - 1/2)^2."""
  z = np.float64(beta) * rho
  return z**2 - z + 0.25


def ipo_azar(rho, beta):
  """Azar et al. 2023, Eq. 17: the distance to tau^-1 / 2, squared."""
  return np.power(rho - 0.5 / np.float64(beta), 2)


def ipo_calandriello(rho, beta):
  """Calandriello et al. 2024, Eq. 5: the log-ratios' fall, plus tau rho^2."""
  return np.float64(beta) * rho**2 - rho


def ipo_eq1_literal(rho, beta):
  """Tang et al. 2024, Eq. 1 as printed: the distance to beta / 2, squared."""
  return np.power(rho - 0.5 * np.float64(beta), 2)


def dpo(rho, beta, label_smoothing=0.0):
  """Rafailov et al. 2023, Eq. 7; the label is wrong with that probability."""
  z = np.float64(beta) * rho
  right, wrong = np.logaddexp(0, -z), np.logaddexp(0, z)
  return right + label_smoothing * (wrong - right)


def hinge(rho, beta):
  """Liu et al. 2023: what gamma rho lacks of 1."""
  z = np.float64(beta) * rho
  return np.where(z < 1, 1 - z, 0)


def slic(margin, delta):
  """Zhao et al. 2023: what the policy's margin lacks of delta."""
  return np.where(margin < delta, delta - margin, 0)


def expected(loss, rho, probability):
  """Calandriello et al. 2024: the loss expected over the label."""
  p = np.asarray(probability, np.float64)
  return p * loss(rho) + (1 - p) * loss(-rho)


def preference_model(chosen_first, rejected_first, probability):
  """Tang et al. 2024, Eq. 5, from probabilities, expected over the label."""
  r12, r21 = (1 / (1 + np.exp(-x)) for x in (chosen_first, rejected_first))
  if_chosen = -0.5 * np.log(r12) - 0.5 * np.log(1 - r21)
  if_rejected = -0.5 * np.log(r21) - 0.5 * np.log(1 - r12)
  return probability * if_chosen + (1 - probability) * if_rejected


def reduced(token_log_probs, lengths, reduction):
  """Sums or averages the first `lengths[i]` of row i's log-probabilities."""
  over = {"sum": np.sum, "mean": np.mean}[reduction]
  rows = zip(token_log_probs, lengths, strict=True)
  return np.array([over(np.float64(row[:n])) for row, n in rows])
