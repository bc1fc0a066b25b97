"""The vocabulary that a store's token ids belong to: ids from text, and back.

A user names a vocabulary by the path of a SentencePiece model or by the word
`bytes`, ByT5's. `named` is the one door: data, models and stores all take their
vocabularies through it, so each refuses the same files.

Reads SentencePiece models with the `sentencepiece` package, so that looking at
a store needs no TensorFlow.
"""

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from rlhf_gap import errors, files
from rlhf_gap.stores import locations
from rlhf_gap.token_ids import BYTE_UNK_ID, EOS_ID, PAD_ID

BYTES = "bytes"
"""The name of ByT5's vocabulary."""

BYTE_EXTRA_IDS = 125
"""ByT5's sentinels: 3 special ids, 256 bytes and these make 384."""

EXTRA_IDS = 100
"""T5's sentinels. They follow the pieces of a model that holds none itself."""

_BYTE_OFFSET = 3  # padding, EOS and unknown come first
_SENTINEL = re.compile("\N{LOWER ONE EIGHTH BLOCK}?<extra_id_[0-9]+>")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """Names a vocabulary by what it does to text.

  Attributes:
    kind: "sentencepiece", or "bytes" for ByT5's.
    path: the SentencePiece model, a local path or URL; "" for bytes. Where the
      model lies is not part of what the vocabulary is.
    sha256: of the model file, hexadecimal; "" for bytes.
    extra_ids: how many sentinel ids follow the pieces.

  Raises:
    ValueError: `kind` is neither, or `extra_ids` is negative.
  """

  kind: str
  path: str
  sha256: str
  extra_ids: int

  def __post_init__(self) -> None:
    if self.kind not in ("sentencepiece", "bytes"):
      raise ValueError(f"{self.kind!r} names no kind of vocabulary")
    if self.extra_ids < 0:
      raise ValueError(f"extra_ids={self.extra_ids}; expected 0 or more")

  @property
  def fingerprint(self) -> str:
    """Equal for two vocabularies exactly when they give the same ids."""
    return f"{self.kind}:{self.sha256}+{self.extra_ids}"


def named(name: str, extra_ids: int | None = None) -> Vocabulary:
  """Returns the vocabulary that a `--vocabulary` flag names.

  Args:
    name: the path of a SentencePiece model, local or a URL, or `bytes`.
    extra_ids: how many sentinel ids follow the pieces; by default see
      `sentencepiece` and `BYTE_EXTRA_IDS`.

  Raises:
    UserError: see `sentencepiece`.
  """
  if name == BYTES:
    return byte(BYTE_EXTRA_IDS if extra_ids is None else extra_ids)
  return sentencepiece(name, extra_ids)


def sentencepiece(path: str, extra_ids: int | None = None) -> Vocabulary:
  """Returns the vocabulary of a SentencePiece model.

  Args:
    path: the model file, a local path or a URL such as `gs://...`.
    extra_ids: how many sentinel ids follow the pieces. By default none if the
      model holds pieces called `<extra_id_0>`, as mT5's does, else T5's 100.

  Raises:
    UserError: the file is missing, is no SentencePiece model, or has other ids
      for padding and EOS than T5.
  """
  content = _read(path)
  processor = _load(content, path)
  if extra_ids is None:
    extra_ids = 0 if _holds_sentinels(processor) else EXTRA_IDS
  sha256 = hashlib.sha256(content).hexdigest()
  return Vocabulary("sentencepiece", path, sha256, extra_ids)


def byte(extra_ids: int = 0) -> Vocabulary:
  """Returns ByT5's vocabulary: the id of a byte is its value plus 3."""
  return Vocabulary("bytes", "", "", extra_ids)


def size(vocabulary: Vocabulary) -> int:
  """Returns the number of ids, sentinels included: 32,100 for T5's.

  A model's embedding has at least as many rows; T5X rounds them up.

  Args:
    vocabulary: what to count.

  Raises:
    UserError: the SentencePiece model is gone or has changed.
  """
  if vocabulary.kind == "bytes":
    return _BYTE_OFFSET + 256 + vocabulary.extra_ids
  return _processor(vocabulary).GetPieceSize() + vocabulary.extra_ids


def unknown_id(vocabulary: Vocabulary) -> int:
  """Returns the id of what the vocabulary cannot write.

  Args:
    vocabulary: T5's is 2; a SentencePiece model may have another.

  Raises:
    UserError: the SentencePiece model is gone or has changed.
  """
  if vocabulary.kind == "bytes":
    return BYTE_UNK_ID
  return _processor(vocabulary).unk_id()


def model_bytes(vocabulary: Vocabulary) -> bytes:
  """Returns the content of the SentencePiece model.

  Args:
    vocabulary: not the byte vocabulary, which has no file.

  Raises:
    UserError: the SentencePiece model is gone or has changed.
  """
  content = _read(vocabulary.path)
  if hashlib.sha256(content).hexdigest() != vocabulary.sha256:
    raise errors.UserError(
      f"{vocabulary.path} is not the vocabulary that the store was made with"
      f" (sha256 {vocabulary.sha256[:12]}...); give that one"
    )
  return content


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
    UserError: the SentencePiece model is gone or has changed.
  """
  if vocabulary.kind == "bytes":
    return functools.partial(_decode_bytes, extra_ids=vocabulary.extra_ids)
  return _sentencepiece_decoder(vocabulary)


def encoder(vocabulary: Vocabulary) -> Callable[[str], list[int]]:
  """Returns a function from text to token ids, without EOS.

  It gives the ids that `rlhf-gap data` writes. Like seqio and transformers, it
  reads `<extra_id_0>` in a text as the sentinel, except in bytes, where every
  text is its bytes.

  Args:
    vocabulary: what the ids belong to.

  Raises:
    UserError: the SentencePiece model is gone or has changed.
  """
  if vocabulary.kind == "bytes":
    return lambda text: [byte + _BYTE_OFFSET for byte in text.encode("utf-8")]
  content = model_bytes(vocabulary)
  extended = content + _sentinel_pieces(vocabulary.extra_ids)
  processor = _load(extended, vocabulary.path)
  return lambda text: list(processor.EncodeAsIds(text))


def _content(tokens: Sequence[int]) -> list[int]:
  """Returns the ids before EOS, without padding."""
  ids = [int(token) for token in tokens]
  if EOS_ID in ids:
    ids = ids[: ids.index(EOS_ID)]
  return [token for token in ids if token != PAD_ID]


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


def _read(path: str) -> bytes:
  """Returns a model file's bytes; a local one must be a regular file."""
  if os.path.exists(path):
    return files.read_bytes(path)
  return locations.read_file(path)


def _processor(vocabulary: Vocabulary) -> Any:
  return _load(model_bytes(vocabulary), vocabulary.path)


@functools.lru_cache(maxsize=4)
def _load(content: bytes, path: str) -> Any:
  """Returns the SentencePiece processor of a model with T5's special ids.

  Every vocabulary passes here before anything is encoded, decoded or written.

  Raises:
    UserError: the bytes are no SentencePiece model, or padding is not 0 or EOS
      not 1.
  """
  import sentencepiece as spm  # here: stores are read without it

  processor = spm.SentencePieceProcessor()
  try:
    processor.LoadFromSerializedProto(content)
  except RuntimeError as error:
    reason = " ".join(str(error).split())[:80]
    raise errors.UserError(
      f"{path}: not a SentencePiece model ({reason})"
    ) from error
  if (processor.pad_id(), processor.eos_id()) != (PAD_ID, EOS_ID):
    raise errors.UserError(
      f"{path}: has {_id('pad', processor.pad_id())} and"
      f" {_id('EOS', processor.eos_id())}; expected pad {PAD_ID} and EOS"
      f" {EOS_ID}: this is not the vocabulary of a T5 model (Llama's and the"
      " SentencePiece trainer's defaults are others)"
    )
  try:
    _pieces(processor)
  except UnicodeDecodeError as error:
    raise errors.UserError(
      f"{path}: a piece is not UTF-8; the file is damaged"
    ) from error
  return processor


def _pieces(processor: Any) -> list[str]:
  return [processor.IdToPiece(i) for i in range(processor.GetPieceSize())]


def _id(name: str, value: int) -> str:
  return f"no {name} id" if value < 0 else f"{name} {value}"


def _holds_sentinels(processor: Any) -> bool:
  return any(map(_SENTINEL.fullmatch, _pieces(processor)))


def _sentinel_pieces(extra_ids: int) -> bytes:
  """Returns serialized pieces that name the sentinels, as seqio adds them.

  Protocol buffers merge where they are joined: these, put behind a model's
  bytes, become its last pieces.
  """
  from sentencepiece import sentencepiece_model_pb2 as model_pb2

  model = model_pb2.ModelProto()
  for number in reversed(range(extra_ids)):
    piece = model.pieces.add()
    piece.piece = f"\N{LOWER ONE EIGHTH BLOCK}<extra_id_{number}>"
    piece.score = 0.0
    piece.type = model_pb2.ModelProto.SentencePiece.USER_DEFINED
  return model.SerializePartialToString()


def _sentencepiece_decoder(
  vocabulary: Vocabulary,
) -> Callable[[Sequence[int]], str]:
  processor = _processor(vocabulary)
  num_pieces = processor.GetPieceSize()

  def decode(tokens: Sequence[int]) -> str:
    texts: list[str] = []
    run: list[int] = []
    for token in _content(tokens):
      if token < num_pieces:
        run.append(token)
        continue
      texts += [processor.DecodeIds(run)] if run else []
      texts.append(
        _special(token, num_pieces, num_pieces + vocabulary.extra_ids)
      )
      run = []
    texts += [processor.DecodeIds(run)] if run else []
    return " ".join(texts)

  return decode
