"""TensorFlow Datasets builders; importing this registers all four."""

from rlhf_gap.data.builders.anthropic_harmlessness import AnthropicHarmlessness
from rlhf_gap.data.builders.anthropic_helpfulness import AnthropicHelpfulness
from rlhf_gap.data.builders.chat_arena import ChatArena
from rlhf_gap.data.builders.comparison_builder import ComparisonBuilder
from rlhf_gap.data.builders.openai_summarization import OpenaiSummarization

__all__ = [
  "AnthropicHarmlessness",
  "AnthropicHelpfulness",
  "ChatArena",
  "ComparisonBuilder",
  "OpenaiSummarization",
]
