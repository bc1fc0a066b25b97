"""Procedural miniatures of the four preference datasets, with known utilities.

A row is a pure function of (name, seed, split, index). A grammar generates a
prompt and two responses of varied quality, a hidden utility function scores
each response, and a noisy rater compares them.
"""

from rlhf_gap.data.mini.corpora import CORPORA, Corpus
from rlhf_gap.data.mini.pretraining import (
  PRETRAINED_SIZES,
  TextRow,
  pretrained,
  texts,
)
from rlhf_gap.data.mini.rater import (
  TIE,
  preference_probability,
  tie_probability,
)
from rlhf_gap.data.mini.reading import EMPTY_UTILITY, FLOOR
from rlhf_gap.data.mini.rows import (
  SPLITS,
  PairRow,
  PromptRow,
  pairs,
  prompts,
  split_of,
  utilities,
  utility,
)
from rlhf_gap.data.mini.vocabulary import VOCABULARY_PATH

__all__ = [
  "CORPORA",
  "EMPTY_UTILITY",
  "FLOOR",
  "PRETRAINED_SIZES",
  "SPLITS",
  "TIE",
  "VOCABULARY_PATH",
  "Corpus",
  "PairRow",
  "PromptRow",
  "TextRow",
  "pairs",
  "preference_probability",
  "pretrained",
  "prompts",
  "split_of",
  "texts",
  "tie_probability",
  "utilities",
  "utility",
]
