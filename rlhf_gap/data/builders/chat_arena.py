"""Chatbot Arena side by side, and its relatives."""

import dataclasses

import tensorflow_datasets as tfds

from rlhf_gap.data import datasets
from rlhf_gap.data.builders import comparison_builder


@dataclasses.dataclass
class ChatArenaConfig(tfds.core.BuilderConfig):
  """Configures how to read battles in which the models' histories differ.

  Attributes:
    cut_to_shared_prefix: False drops them; True keeps the first answers that
      differ, with the vote of the whole conversation.
  """

  cut_to_shared_prefix: bool = False


class ChatArena(comparison_builder.ComparisonBuilder):
  """`chat_arena`: published as one split; a tenth of the questions validates.

  The publisher of the 33,000 conversations asks users to sign in, so there is
  no URL: name a folder with the files.
  """

  BUILDER_CONFIGS = [
    ChatArenaConfig(
      name="shared_context",
      description="Battles whose last answers reply to one context.",
    ),
    ChatArenaConfig(
      name="shared_prefix",
      description="Battles cut to the first answers that differ.",
      cut_to_shared_prefix=True,
    ),
  ]

  def dataset(self) -> datasets.Dataset:
    """Returns which dataset this builder reads, and how."""
    return datasets.chat_arena(
      cut_to_shared_prefix=self.builder_config.cut_to_shared_prefix
    )
