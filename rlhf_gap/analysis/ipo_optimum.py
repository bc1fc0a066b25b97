"""IPO's optimum in closed form, online and offline.

Assume hard, transitive labels, and let u in [0, 1] be the rank of a response
among the SFT policy's own, which is uniform under that policy. Offline, pairs
are sampled from the SFT policy, and the optimum is an exponential tilt of it,

  pi proportional to pi_sft exp(u / beta)

(Tang et al. 2024, Appendices E.1 and H, with mu = pi_sft), whose win rate
against SFT is E[u]. Online, pairs are sampled from pi itself. The fixed point
pi = pi_sft exp(p(y > pi) / beta) / Z satisfies F' = exp(F / beta) / Z, where F
is the distribution function of u. Its KL is

  1 / (2 beta) - log[(1 / beta) / (1 - exp(-1 / beta))],

and its win rate is that of the tilt at the same beta. At the same KL, the
optimum of offline alignment therefore wins more often: in theory alone, online
has no advantage.
"""

import numpy as np
from jaxtyping import Float


def win_rate(beta: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
  """Returns the optimum's win rate against SFT, online and offline.

  E[u] under the density exp(u / beta) on [0, 1] is
  1 / (1 - exp(-1 / beta)) - beta.

  Args:
    beta: IPO's beta with summed log-probabilities, > 0.
  """
  return 1 / -np.expm1(-1 / beta) - beta


def offline_kl(beta: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
  """Returns the offline optimum's KL to SFT in nats: E[u] / beta - log Z.

  Args:
    beta: > 0.
  """
  # log Z = log(beta (exp(1 / beta) - 1)), without overflow.
  log_z = np.log(beta) + 1 / beta + np.log(-np.expm1(-1 / beta))
  return win_rate(beta) / beta - log_z


def online_kl(beta: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
  """Returns the online fixed point's KL to SFT in nats.

  Args:
    beta: > 0.
  """
  return 1 / (2 * beta) + np.log(beta) + np.log(-np.expm1(-1 / beta))
