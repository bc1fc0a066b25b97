"""seqio vocabularies from the vocabularies that stores name."""

from typing import TYPE_CHECKING

from rlhf_gap import errors
from rlhf_gap.stores import vocabularies

if TYPE_CHECKING:
  import seqio

T5_MODEL = "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model"
# T5X rounds its embeddings up to this multiple: 32,100 becomes 32,128.
SIZE_MULTIPLE = 128


def named(name: str, extra_ids: int | None = None) -> vocabularies.Vocabulary:
  """Returns `stores.named(name, extra_ids)`; gin files bind it by this name."""
  return vocabularies.named(name, extra_ids)


def miniature() -> vocabularies.Vocabulary:
  """Returns the vocabulary of the miniatures."""
  from rlhf_gap.data import mini

  return named(mini.VOCABULARY_PATH)


def seqio_vocabulary(
  vocabulary: vocabularies.Vocabulary,
) -> "seqio.Vocabulary":
  """Returns the vocabulary with which seqio tasks tokenize.

  Raises:
    UserError: it is a `tokenizer.json`, which seqio does not read.
  """
  import seqio

  if vocabulary.kind == "bytes":
    return seqio.ByteVocabulary(vocabulary.extra_ids)
  if vocabulary.path.endswith(".json"):
    raise errors.UserError(
      f"{vocabulary.path}: seqio's tasks read only SentencePiece models; build"
      " the store with `rlhf-gap data own`, or give the model's spiece.model"
    )
  return seqio.SentencePieceVocabulary(vocabulary.path, vocabulary.extra_ids)


def t5_vocabulary() -> "seqio.Vocabulary":
  """Returns T5's own vocabulary; its file is read when it is first used."""
  import seqio

  return seqio.SentencePieceVocabulary(T5_MODEL, vocabularies.EXTRA_IDS)


def embedding_rows(vocabulary: "seqio.Vocabulary") -> int:
  """Returns how many rows T5X gives the embedding of a vocabulary.

  Its size, extra ids included, rounded up: 32,128 for T5, 384 for ByT5.
  """
  return -(-vocabulary.vocab_size // SIZE_MULTIPLE) * SIZE_MULTIPLE
