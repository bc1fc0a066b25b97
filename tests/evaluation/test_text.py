"""Length, end and variety of responses, counted by hand."""

import numpy as np
import pytest

from rlhf_gap.evaluation import text

# Two ended, one was cut, one is empty.
RESPONSES = np.array(
  [[5, 6, 5, 1], [5, 6, 1, 0], [7, 7, 7, 7], [1, 0, 0, 0]], np.int32
)


def test_counts():
  measured = text.measure(RESPONSES)
  assert measured["response_length_tokens"].value == (4 + 3 + 4 + 1) / 4
  assert measured["eos_rate"].value == 3 / 4
  # 5 6 5 | 5 6 | 7 7 7 7: nine tokens of three kinds; of six pairs of
  # neighbours 5-6, 6-5 and 7-7 are different.
  assert measured["distinct_1"].value == pytest.approx(3 / 9)
  assert measured["distinct_2"].value == pytest.approx(3 / 6)
  assert {m.n for m in measured.values()} == {4}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_jackknife_leaves_each_text_out(n):
  rng = np.random.default_rng(n)
  texts = [rng.integers(2, 9, rng.integers(3, 12)).tolist() for _ in range(25)]

  def ratio(some):
    grams = [tuple(t[i : i + n]) for t in some for i in range(len(t) - n + 1)]
    return len(set(grams)) / len(grams)

  measured = text.distinct(texts, n)
  left_out = np.array(
    [ratio(texts[:i] + texts[i + 1 :]) for i in range(len(texts))]
  )
  assert measured.value == pytest.approx(ratio(texts))
  sem = np.sqrt(24 / 25 * ((left_out - left_out.mean()) ** 2).sum())
  assert measured.sem == pytest.approx(sem)


def test_what_cannot_be_counted_is_left_out():
  words = np.array([[5, 1, 0], [6, 1, 0]], np.int32)
  assert "distinct_1" in text.measure(words)
  assert "distinct_2" not in text.measure(words)
  empty = np.array([[1, 0], [1, 0]], np.int32)
  assert not {"distinct_1", "distinct_2"} & set(text.measure(empty))


def test_a_text_that_holds_all_there_is():
  measured = text.distinct([[5, 6], []], 1)
  assert measured.value == 1.0
  assert 0 <= measured.ci95_low <= measured.ci95_high == 1.0
