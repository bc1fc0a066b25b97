"""Anthropic hh-rlhf, the helpfulness comparisons."""

from rlhf_gap.data import datasets
from rlhf_gap.data.builders import comparison_builder


class AnthropicHelpfulness(comparison_builder.ComparisonBuilder):
  """`anthropic_helpfulness`: splits train and test, as published."""

  def dataset(self) -> datasets.Dataset:
    """Returns which dataset this builder reads, and how."""
    return datasets.HELPFULNESS
