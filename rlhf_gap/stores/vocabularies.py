"""The vocabulary that a store's token ids belong to, and text from ids.

Reads SentencePiece models with the `sentencepiece` package, so that looking at
a store needs no TensorFlow.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from rlhf_gap import errors
from rlhf_gap.stores import locations

_BYTE_OFFSET = 3  # ids 0, 1 and 2 are padding, EOS and unknown


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """Names a vocabulary by what it does to text.

  Attributes:
    kind: "sentencepiece", or "bytes" for ByT5's.
    path: the SentencePiece model, a local path or URL; "" for bytes. Where the
      model lies is not part of what the vocabulary is.
    sha256: of the model file, hexadecimal; "" for bytes.
    extra_ids: how many sentinel ids follow the pieces.
  """

  kind: str
  path: str
  sha256: str
  extra_ids: int

  @property
  def fingerprint(self) -> str:
    """Equal for two vocabularies exactly when they give the same ids."""
    return f"{self.kind}:{self.sha256}+{self.extra_ids}"


def sentencepiece(path: str, extra_ids: int = 100) -> Vocabulary:
  """Returns the vocabulary of a SentencePiece model.

  Args:
    path: the model file, a local path or a URL such as `gs://...`.
    extra_ids: how many sentinel ids follow the pieces.

  Raises:
    UserError: there is no such file.
  """
  content = locations.read_file(path)
  return Vocabulary(
    "sentencepiece", path, hashlib.sha256(content).hexdigest(), extra_ids
  )


def byte(extra_ids: int = 0) -> Vocabulary:
  """Returns ByT5's vocabulary: an id a byte, three apart."""
  return Vocabulary("bytes", "", "", extra_ids)


def check_vocabulary(stored: Vocabulary, used: Vocabulary, store: str) -> None:
  """Raises if `used` would give the stored ids another meaning.

  Args:
    stored: the store's vocabulary, from its manifest.
    used: the one that a model or a command works with.
    store: the store's path, for the message.

  Raises:
    UserError: the fingerprints differ.
  """
  if stored.fingerprint != used.fingerprint:
    raise errors.UserError(
      f"{store} holds token ids of {_describe(stored)}, but {_describe(used)}"
      " was given; use the store's vocabulary or build the store again"
    )


def _describe(vocabulary: Vocabulary) -> str:
  if vocabulary.kind == "bytes":
    return f"the byte vocabulary with {vocabulary.extra_ids} extra ids"
  return (
    f"{vocabulary.path} (sha256 {vocabulary.sha256[:12]}...,"
    f" {vocabulary.extra_ids} extra ids)"
  )


def decoder(vocabulary: Vocabulary) -> Callable[[Sequence[int]], str]:
  """Returns a function from token ids to text.

  It drops padding, stops at EOS, and writes sentinels as `<extra_id_0>` and ids
  that the vocabulary lacks (models round its size up) as `<id 32101>`.

  Args:
    vocabulary: what the ids belong to.

  Raises:
    UserError: the SentencePiece model is gone, or is another file by now.
  """
  if vocabulary.kind == "bytes":
    return functools.partial(_decode_bytes, extra_ids=vocabulary.extra_ids)
  return _sentencepiece_decoder(vocabulary)


def encoder(vocabulary: Vocabulary) -> Callable[[str], list[int]]:
  """Returns a function from text to token ids, without EOS.

  Args:
    vocabulary: what the ids belong to.

  Raises:
    UserError: the SentencePiece model is gone, or is another file by now.
  """
  if vocabulary.kind == "bytes":
    return lambda text: [byte + _BYTE_OFFSET for byte in text.encode("utf-8")]
  processor = _processor(vocabulary)
  return lambda text: list(processor.EncodeAsIds(text))


def _content(tokens: Sequence[int]) -> list[int]:
  """Returns the ids before EOS (1), without padding (0)."""
  ids = [int(token) for token in tokens]
  if 1 in ids:
    ids = ids[: ids.index(1)]
  return [token for token in ids if token != 0]


def _decode_bytes(tokens: Sequence[int], extra_ids: int) -> str:
  text, run = "", bytearray()
  size = _BYTE_OFFSET + 256 + extra_ids
  for token in _content(tokens):
    if _BYTE_OFFSET <= token < _BYTE_OFFSET + 256:
      run.append(token - _BYTE_OFFSET)
      continue
    text += run.decode("utf-8", errors="replace") + _special(token, 259, size)
    run.clear()
  return text + run.decode("utf-8", errors="replace")


def _special(token: int, num_pieces: int, size: int) -> str:
  # Sentinels are numbered from the end: <extra_id_0> is the last id.
  if num_pieces <= token < size:
    return f"<extra_id_{size - 1 - token}>"
  return f"<id {token}>"


def _processor(vocabulary: Vocabulary) -> Any:
  import sentencepiece as spm  # here: stores are read without it

  content = locations.read_file(vocabulary.path)
  if hashlib.sha256(content).hexdigest() != vocabulary.sha256:
    raise errors.UserError(
      f"{vocabulary.path} is not the vocabulary that the store was made with"
      f" (sha256 {vocabulary.sha256[:12]}...); give that one"
    )
  processor = spm.SentencePieceProcessor()
  processor.LoadFromSerializedProto(content)
  return processor


def _sentencepiece_decoder(
  vocabulary: Vocabulary,
) -> Callable[[Sequence[int]], str]:
  processor = _processor(vocabulary)
  num_pieces = processor.GetPieceSize()

  def decode(tokens: Sequence[int]) -> str:
    parts: list[str] = []
    run: list[int] = []
    for token in _content(tokens):
      if token < num_pieces:
        run.append(token)
        continue
      parts += [processor.DecodeIds(run)] if run else []
      parts.append(_special(token, num_pieces, num_pieces + size_extra))
      run = []
    parts += [processor.DecodeIds(run)] if run else []
    return " ".join(parts)

  size_extra = vocabulary.extra_ids
  return decode
