"""seqio vocabularies from the vocabularies that stores name.

A vocabulary is named on the command line by the path of a SentencePiece model
(local or `gs://`), or by the word `bytes`, which is ByT5's.
"""

from typing import TYPE_CHECKING

from rlhf_gap.stores import vocabularies

if TYPE_CHECKING:
  import seqio

T5_MODEL = "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model"
T5_EXTRA_IDS = 100
BYTES = "bytes"
# ByT5's 259 ids and 125 extra ones make 384.
BYTE_EXTRA_IDS = 125
# T5X rounds its embeddings up to this multiple: 32,100 becomes 32,128.
SIZE_MULTIPLE = 128


def named(name: str) -> vocabularies.Vocabulary:
  """Returns the vocabulary that a `--vocabulary` flag names.

  Args:
    name: the path of a SentencePiece model, or `bytes`.

  Raises:
    UserError: there is no such file.
  """
  if name == BYTES:
    return vocabularies.byte(BYTE_EXTRA_IDS)
  return vocabularies.sentencepiece(name, T5_EXTRA_IDS)


def miniature() -> vocabularies.Vocabulary:
  """Returns the vocabulary of the miniatures."""
  from rlhf_gap.data import mini

  return named(mini.VOCABULARY_PATH)


def seqio_vocabulary(
  vocabulary: vocabularies.Vocabulary,
) -> "seqio.Vocabulary":
  """Returns what seqio tasks tokenize with."""
  import seqio

  if vocabulary.kind == "bytes":
    return seqio.ByteVocabulary(vocabulary.extra_ids)
  return seqio.SentencePieceVocabulary(vocabulary.path, vocabulary.extra_ids)


def t5_vocabulary() -> "seqio.Vocabulary":
  """Returns T5's own vocabulary; its file is read when it is first used."""
  import seqio

  return seqio.SentencePieceVocabulary(T5_MODEL, T5_EXTRA_IDS)


def embedding_rows(vocabulary: "seqio.Vocabulary") -> int:
  """Returns how many rows T5X gives the embedding of a vocabulary.

  Its size, extra ids included, rounded up: 32,128 for T5, 384 for ByT5.
  """
  return -(-vocabulary.vocab_size // SIZE_MULTIPLE) * SIZE_MULTIPLE
