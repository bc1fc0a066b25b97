"""Anthropic hh-rlhf, the harmlessness comparisons."""

from rlhf_gap.data import datasets
from rlhf_gap.data.builders import comparison_builder


class AnthropicHarmlessness(comparison_builder.ComparisonBuilder):
  """`anthropic_harmlessness`: splits train and test, as published."""

  def dataset(self) -> datasets.Dataset:
    """Returns which dataset this builder reads, and how."""
    return datasets.HARMLESSNESS
