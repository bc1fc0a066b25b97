"""The true utility: of texts, against an opponent."""

import numpy as np

from rlhf_gap import stores
from rlhf_gap.data import mini
from rlhf_gap.evaluation import utility

ROW = next(iter(mini.prompts("mini_helpfulness", 0, 0, 1)))


def test_tokens_are_read_as_text():
  vocabulary = stores.sentencepiece(mini.VOCABULARY_PATH)
  encode, decode = stores.encoder(vocabulary), stores.decoder(vocabulary)
  texts = ["use water and pot", "ok", "sorry i can not"]
  prompts = [ROW["prompt"]] * 3

  def padded(rows):
    ids = [[*encode(text), 1] for text in rows]
    return np.array([r + [0] * (24 - len(r)) for r in ids], np.int32)

  def worth(asked, answered):
    return mini.utilities("mini_helpfulness", asked, answered)

  found = utility.of_tokens(worth, decode, padded(prompts), padded(texts))
  np.testing.assert_array_equal(found, worth(prompts, texts))
  assert len(set(found)) == 3


def test_equal_worth_is_a_tie():
  measured = utility.measure(
    np.array([1.0, 2.0, 3.0, -4.0]), np.array([1.0, 3.0, -4.0, -5.0])
  )
  assert measured["utility"].value == 0.5
  assert measured["utility_win_rate"].value == (0.5 + 0 + 1 + 1) / 4
