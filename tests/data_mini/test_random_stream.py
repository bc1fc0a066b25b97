"""Random rng: the published stream, and what is drawn from it."""

import collections

import pytest

from rlhf_gap.data.mini.random_stream import RandomStream, text_key


def test_bits_are_splitmix64():
  # The stream of seed 1234567 as printed for SplitMix64 by Rosetta Code.
  rng = RandomStream(1234567)
  assert [rng.bits() for _ in range(5)] == [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
  ]


def test_key_depends_on_every_part_and_on_where_parts_end():
  keys = {
    text_key("a", 1),
    text_key("a", 2),
    text_key("a1"),
    text_key("a1", ""),
    text_key(1, "a"),
  }
  assert len(keys) == 5
  assert text_key("a", 1) == text_key("a", "1")


@pytest.mark.parametrize(
  ("draw", "probabilities"),
  [
    (lambda d: d.below(3), {0: 1 / 3, 1: 1 / 3, 2: 1 / 3}),
    (lambda d: d.choice("xy"), {"x": 0.5, "y": 0.5}),
    (
      lambda d: d.weighted_choice((("x", 1), ("y", 0), ("z", 3))),
      {"x": 0.25, "z": 0.75},
    ),
    (lambda d: d.chance(0.1), {True: 0.1, False: 0.9}),
    (lambda d: int(4 * d.uniform()), dict.fromkeys(range(4), 0.25)),
    (
      lambda d: "".join(d.shuffled("abc")),
      dict.fromkeys(("abc", "acb", "bac", "bca", "cab", "cba"), 1 / 6),
    ),
  ],
)
def test_frequencies(draw, probabilities):
  rng, count = RandomStream(7), 4_000
  seen = collections.Counter(draw(rng) for _ in range(count))
  assert seen.keys() == probabilities.keys()
  chi_square = sum(
    (seen[value] - count * p) ** 2 / (count * p)
    for value, p in probabilities.items()
  )
  # 20.5 is the 99.9% quantile at five degrees of freedom, the most there are.
  assert chi_square < 20.5


def test_shuffling_leaves_its_argument_alone():
  items = [1, 2, 3, 4]
  assert sorted(RandomStream(0).shuffled(items)) == [1, 2, 3, 4]
  assert items == [1, 2, 3, 4]
