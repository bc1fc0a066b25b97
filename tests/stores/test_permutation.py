"""The seeded permutation: a bijection, even, and the same for ever."""

import itertools
import math

import numpy as np
import pytest

from rlhf_gap.stores import permutation

_MASK = 2**64 - 1


def _splitmix(value: int) -> int:
  value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
  value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
  return value ^ (value >> 31)


def _reference(position: int, size: int, key: tuple[int, ...]) -> int:
  """The same permutation, one value at a time, in Python's own integers."""
  state = 0
  for word in key:
    state = _splitmix(((state + 0x9E3779B97F4A7C15) ^ _splitmix(word)) & _MASK)
  keys = [
    _splitmix((state + i * 0x9E3779B97F4A7C15) & _MASK) for i in range(1, 12)
  ]
  width = max(1, math.ceil((size - 1).bit_length() / 2))
  value = position
  while True:
    left, right = value >> width, value % 2**width
    for key_ in keys[:10]:
      left, right = right, left ^ (_splitmix(right ^ key_) % 2**width)
    value = left * 2**width + right
    if value < size:
      break
  swap = size > 1 and keys[10] % 2 and value < 2
  return 1 - value if swap else value


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000])
def test_is_a_bijection(size: int):
  for seed in range(5):
    found = permutation.permute(np.arange(size), size, (seed, 0, 1))
    np.testing.assert_array_equal(np.sort(found), np.arange(size))


@pytest.mark.parametrize("size", [1, 2, 7, 50_000, 2**40 + 1, 2**62])
def test_equals_the_reference(size: int):
  positions = np.unique([0, 1 % size, size // 3, size - 1])
  for key in [(0, 0, 0), (1, 0, 7), (2**64 - 1, 2, 10**12)]:
    expected = [_reference(int(p), size, key) for p in positions]
    assert permutation.permute(positions, size, key).tolist() == expected


def test_never_changes():
  # The order of a published run depends on these: a change of the algorithm
  # needs a new name, not new numbers here.
  found = permutation.permute(np.arange(10), 10, (0, 0, 0))
  assert found.tolist() == [1, 0, 9, 2, 4, 8, 7, 3, 5, 6]
  found = permutation.permute(np.arange(4), 50_000, (17, 0, 3))
  assert found.tolist() == [2249, 9281, 43627, 22774]


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_every_permutation_is_equally_likely(size: int):
  trials, cells = 1_500, math.factorial(size)
  counts = dict.fromkeys(itertools.permutations(range(size)), 0)
  for seed in range(trials):
    counts[
      tuple(permutation.permute(np.arange(size), size, (seed,)).tolist())
    ] += 1
  expected = trials / cells
  chi_squared = sum((n - expected) ** 2 / expected for n in counts.values())
  # Five standard deviations of a chi-squared with cells - 1 degrees.
  assert chi_squared < cells - 1 + 5 * math.sqrt(2 * (cells - 1))


def test_neighbours_land_anywhere():
  size = 1_000
  found = np.stack(
    [permutation.permute(np.arange(size), size, (s,)) for s in range(200)]
  )
  apart = (found[:, 1:] - found[:, :-1]) % size
  counts = np.bincount(apart.ravel() // 50, minlength=20)
  # A difference is never 0: the first bin has 49 of the 999 that occur.
  expected = apart.size * np.array([49] + 19 * [50]) / 999
  chi_squared = np.sum((counts - expected) ** 2 / expected)
  assert chi_squared < 19 + 5 * math.sqrt(2 * 19)


def test_each_word_of_the_key_counts():
  orders = {
    tuple(permutation.permute(np.arange(30), 30, key).tolist())
    for key in itertools.product(range(3), repeat=3)
  }
  assert len(orders) == 27


@pytest.mark.parametrize("positions", [[-1], [5]])
def test_refuses_a_position_outside(positions: list[int]):
  with pytest.raises(ValueError, match="expected 0 to 4"):
    permutation.permute(np.array(positions), 5, (0,))


@pytest.mark.parametrize("size", [0, 2**62 + 1])
def test_refuses_a_size_outside(size: int):
  with pytest.raises(ValueError, match="size is"):
    permutation.permute(np.arange(0), size, (0,))
