"""A seeded permutation of any size, evaluated at a position in O(1).

A balanced Feistel network permutes [0, 4^w) for the smallest w that covers the
size. Values outside the size go through the network again until they fall
inside (cycle walking, fewer than four steps on average; Black and Rogaway 2002,
"Ciphers with Arbitrary Finite Domains"). All arithmetic is on 64-bit integers
and independent of NumPy's generators, so orders are the same on every machine
and in every version.
"""

import numpy as np

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
# With 8, the permutations of four to seven values are measurably non-uniform.
_ROUNDS = 10


def _mix(value: int) -> int:
  """SplitMix64's finaliser: a bijection of 64-bit integers."""
  value = ((value ^ (value >> 30)) * _MULTIPLIERS[0]) & _MASK
  value = ((value ^ (value >> 27)) * _MULTIPLIERS[1]) & _MASK
  return value ^ (value >> 31)


def _mix_array(values: np.ndarray) -> np.ndarray:
  """`_mix` of each value; NumPy's uint64 products wrap modulo 2^64."""
  values = (values ^ (values >> np.uint64(30))) * np.uint64(_MULTIPLIERS[0])
  values = (values ^ (values >> np.uint64(27))) * np.uint64(_MULTIPLIERS[1])
  return values ^ (values >> np.uint64(31))


def _keys(key: tuple[int, ...]) -> np.ndarray:
  """Returns one key per round, and one more."""
  state = 0
  for word in key:
    state = _mix(((state + _GAMMA) & _MASK) ^ _mix(word & _MASK))
  keys = [_mix((state + i * _GAMMA) & _MASK) for i in range(1, _ROUNDS + 2)]
  return np.array(keys, dtype=np.uint64)


def _network(
  values: np.ndarray, round_keys: list[np.uint64], width: int
) -> np.ndarray:
  """Permutes [0, 4^width) under the round keys."""
  bits, mask = np.uint64(width), np.uint64((1 << width) - 1)
  left, right = values >> bits, values & mask
  for round_key in round_keys:
    left, right = right, left ^ (_mix_array(right ^ round_key) & mask)
  return (left << bits) | right


def permute(
  positions: np.ndarray, size: int, key: tuple[int, ...]
) -> np.ndarray:
  """Applies a permutation of [0, size) to each position.

  Args:
    positions: integers in [0, size), any shape.
    size: number of permuted values, in [1, 2^62].
    key: determines the permutation: integers of up to 64 bits each, such as
      (seed, epoch).

  Returns:
    int64, the shape of `positions`. Distinct positions give distinct values.

  Raises:
    ValueError: a position or the size is out of range.
  """
  if not 1 <= size <= 1 << 62:
    raise ValueError(f"size is {size}; expected 1 to 2^62")
  positions = np.asarray(positions)
  if positions.size and not 0 <= positions.min() <= positions.max() < size:
    raise ValueError(
      f"positions run from {positions.min()} to {positions.max()}; expected"
      f" 0 to {size - 1}"
    )
  width = max(1, -(-(size - 1).bit_length() // 2))
  *round_keys, last_key = _keys(key)
  values = _network(positions.astype(np.uint64), round_keys, width)
  outside = values >= size
  while outside.any():
    values[outside] = _network(values[outside], round_keys, width)
    outside = values >= size
  # For 16 or more values, a Feistel network gives only even permutations.
  # Swapping two values for half of the keys adds the odd ones.
  if size > 1 and last_key & np.uint64(1):
    values = np.where(values < 2, values ^ np.uint64(1), values)
  return values.astype(np.int64)
