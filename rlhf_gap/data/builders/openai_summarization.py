"""OpenAI summarize-from-feedback, the comparisons of TL;DR summaries."""

from rlhf_gap.data import datasets
from rlhf_gap.data.builders import comparison_builder


class OpenaiSummarization(comparison_builder.ComparisonBuilder):
  """`openai_summarization`: splits train, valid1 and valid2, as published."""

  def dataset(self) -> datasets.Dataset:
    """Returns which dataset this builder reads, and how."""
    return datasets.SUMMARIZATION
