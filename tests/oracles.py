"""NumPy float64 written from the equations; never imports `rlhf_gap`."""

import numpy as np


def _rms(x):
  return np.sqrt(np.mean(np.square(x)))


def adafactor(start, gradients, learning_rate, scaled):
  """Returns a parameter after each step of Adafactor (arXiv 1804.04235).

  Algorithms 4 and 5 without momentum, with T5X's constants: decay exponent
  0.8, update clipping at 1, 1e-30 added to the squared gradient, parameter
  scale at least 1e-3, factored where both axes reach 128.
  """
  x = start.astype(np.float64)
  factored = x.ndim == 2 and min(x.shape) >= 128
  v, row, column = np.zeros(x.shape), 0.0, 0.0
  seen = []
  for t, gradient in enumerate(gradients, 1):
    g = gradient.astype(np.float64)
    decay = 1 - t**-0.8
    square = g**2 + 1e-30
    if factored:
      row = decay * row + (1 - decay) * square.mean(1)
      column = decay * column + (1 - decay) * square.mean(0)
      second = np.outer(row, column) / row.mean()
    else:
      v = decay * v + (1 - decay) * square
      second = v
    u = g / np.sqrt(second)
    u /= max(1.0, _rms(u))
    scale = max(_rms(x), 1e-3) if scaled else 1.0
    x = x - learning_rate * scale * u
    seen.append(x)
  return seen


def adamw(start, gradients, learning_rate, weight_decay):
  """Returns a parameter after each step of AdamW (arXiv 1711.05101, Alg. 2)."""
  x = start.astype(np.float64)
  m, v = np.zeros(x.shape), np.zeros(x.shape)
  seen = []
  for t, gradient in enumerate(gradients, 1):
    g = gradient.astype(np.float64)
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g**2
    step = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    x = x - learning_rate * (step + weight_decay * x)
    seen.append(x)
  return seen


def choose(condition, yes, no):
  """Returns row i of `yes` where condition[i], else row i of `no`."""
  return np.array(
    [y if c else n for c, y, n in zip(condition, yes, no, strict=True)]
  )
