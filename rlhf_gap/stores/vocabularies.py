"""The vocabulary of a store's token ids: encoding, decoding and checks.

A user names a vocabulary by the path of a SentencePiece model, by a Hugging
Face folder with its tokenizer, or as `bytes` for ByT5's. Data, models and
stores all use `named`, so they accept the same files.

SentencePiece models are read with the `sentencepiece` package, so that reading
a store does not need TensorFlow.
"""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from rlhf_gap import errors, files
from rlhf_gap.stores import hf_tokenizers, locations
from rlhf_gap.token_ids import BYTE_UNK_ID, EOS_ID, PAD_ID

BYTES = "bytes"
"""The name of ByT5's vocabulary."""

BYTE_EXTRA_IDS = 125
"""Number of ByT5's sentinels: with 3 special ids and 256 bytes, 384 ids."""

EXTRA_IDS = 100
"""Number of T5's sentinels. They follow a model's pieces if it has none."""

_BYTE_OFFSET = 3  # padding, EOS and unknown come first


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """Identifies a vocabulary by content, independent of its location.

  Attributes:
    kind: "sentencepiece", or "bytes" for ByT5's.
    path: the SentencePiece model, a local path or URL, or a `tokenizer.json`,
      which is read as one; "" for bytes. Not part of the identity.
    sha256: hash of the file, hexadecimal; "" for bytes.
    extra_ids: number of sentinel ids after the pieces.

  Raises:
    ValueError: `kind` is unknown, or `extra_ids` is negative.
  """

  kind: str
  path: str
  sha256: str
  extra_ids: int

  def __post_init__(self) -> None:
    if self.kind not in ("sentencepiece", "bytes"):
      raise ValueError(f"unknown kind of vocabulary: {self.kind!r}")
    if self.extra_ids < 0:
      raise ValueError(f"extra_ids={self.extra_ids}; expected 0 or more")

  @property
  def fingerprint(self) -> str:
    """Equal for two vocabularies if and only if they give the same ids."""
    return f"{self.kind}:{self.sha256}+{self.extra_ids}"


def named(name: str, extra_ids: int | None = None) -> Vocabulary:
  """Returns the vocabulary that a `--vocabulary` flag names.

  Args:
    name: the path or URL of a SentencePiece model, a Hugging Face folder, or
      `bytes`.
    extra_ids: number of sentinel ids after the pieces; None for the folder's,
      or the default of `sentencepiece`, or `BYTE_EXTRA_IDS`.

  Raises:
    UserError: as `sentencepiece` and `of_folder`.
  """
  if os.path.isdir(name):
    return of_folder(name, extra_ids)
  if name == BYTES:
    return byte(BYTE_EXTRA_IDS if extra_ids is None else extra_ids)
  return sentencepiece(name, extra_ids)


def of_folder(folder: str, extra_ids: int | None = None) -> Vocabulary:
  """Returns the vocabulary of a Hugging Face folder's own tokenizer.

  Args:
    folder: a local folder.
    extra_ids: number of sentinel ids after the pieces; None for the folder's.

  Raises:
    UserError: as `hf_tokenizers.find` and `sentencepiece`.
  """
  found = hf_tokenizers.find(folder)
  if extra_ids is None:
    extra_ids = found.extra_ids
  if not found.path:
    return byte(BYTE_EXTRA_IDS if extra_ids is None else extra_ids)
  vocabulary = sentencepiece(found.path, extra_ids)
  if os.path.basename(found.path) == hf_tokenizers.MODEL:
    ids = size(vocabulary)
    hf_tokenizers.check_added(folder, ids - vocabulary.extra_ids, ids)
  return vocabulary


def sentencepiece(path: str, extra_ids: int | None = None) -> Vocabulary:
  """Returns the vocabulary of a SentencePiece model.

  Args:
    path: the model file, a local path or a URL such as `gs://...`; or a
      `tokenizer.json`.
    extra_ids: number of sentinel ids after the pieces. The default is 0 if the
      model has pieces such as `<extra_id_0>`, as mT5's does, else T5's 100.

  Raises:
    UserError: the file is missing, is not a SentencePiece model, or has other
      ids for padding and EOS than T5.
  """
  content = _read(path)
  processor = _load(_as_model(content, path), path)
  if extra_ids is None:
    extra_ids = 0 if _holds_sentinels(processor) else EXTRA_IDS
  sha256 = hashlib.sha256(content).hexdigest()
  return Vocabulary("sentencepiece", path, sha256, extra_ids)


def byte(extra_ids: int = 0) -> Vocabulary:
  """Returns ByT5's vocabulary, in which a byte's id is its value plus 3."""
  return Vocabulary("bytes", "", "", extra_ids)


def size(vocabulary: Vocabulary) -> int:
  """Returns the number of ids, including sentinels: 32,100 for T5's.

  A model's embedding has at least this many rows; T5X rounds them up.

  Args:
    vocabulary: the vocabulary.

  Raises:
    UserError: the SentencePiece model is missing or has changed.
  """
  if vocabulary.kind == "bytes":
    return _BYTE_OFFSET + 256 + vocabulary.extra_ids
  return _processor(vocabulary).GetPieceSize() + vocabulary.extra_ids


def unknown_id(vocabulary: Vocabulary) -> int:
  """Returns the id of unknown text: 2 for T5's vocabulary.

  Args:
    vocabulary: the vocabulary.

  Raises:
    UserError: the SentencePiece model is missing or has changed.
  """
  if vocabulary.kind == "bytes":
    return BYTE_UNK_ID
  return _processor(vocabulary).unk_id()


def model_bytes(vocabulary: Vocabulary) -> bytes:
  """Returns the content of the SentencePiece model.

  Args:
    vocabulary: any but the byte vocabulary, which has no file.

  Raises:
    UserError: the SentencePiece model is missing or has changed.
  """
  content = _read(vocabulary.path)
  if hashlib.sha256(content).hexdigest() != vocabulary.sha256:
    raise errors.UserError(
      f"{vocabulary.path} is not the vocabulary that the store was built with;"
      f" expected the file with sha256 {vocabulary.sha256[:12]}..."
    )
  return _as_model(content, vocabulary.path)


def _as_model(content: bytes, path: str) -> bytes:
  """Returns a vocabulary file as a SentencePiece model."""
  if path.endswith(".json"):
    return hf_tokenizers.to_sentencepiece(content, path)
  return content


def check_vocabulary(stored: Vocabulary, used: Vocabulary, store: str) -> None:
  """Checks that a vocabulary gives the same ids as a store's.

  Args:
    stored: the store's vocabulary, from its manifest.
    used: the vocabulary of a model or a command.
    store: the store's path, for the message.

  Raises:
    UserError: the fingerprints differ.
  """
  if not _give_same_ids(stored, used):
    raise errors.UserError(
      f"{store} holds token ids of {_describe(stored)}, but {_describe(used)}"
      " was given; use the store's vocabulary or rebuild the store"
    )


def check_own_vocabulary(folder: str, stored: Vocabulary, store: str) -> None:
  """Checks that a model's own tokenizer, if it has one, fits a store.

  Args:
    folder: the model's folder; only a local Hugging Face one has a tokenizer.
    stored: the store's vocabulary.
    store: the store's path, for the message.

  Raises:
    UserError: the tokenizer gives other ids, or is not supported.
  """
  if hf_tokenizers.holds(folder):
    check_vocabulary(stored, named(folder), store)


def _give_same_ids(left: Vocabulary, right: Vocabulary) -> bool:
  if left.fingerprint == right.fingerprint:
    return True
  if "bytes" in (left.kind, right.kind):
    return False
  try:
    return size(left) == size(right) and _meaning(left) == _meaning(right)
  except errors.UserError:  # a file has moved, and its content is unknown
    return False


def _meaning(vocabulary: Vocabulary) -> object:
  """Returns what decides ids, which two files of one tokenizer share."""
  from sentencepiece import sentencepiece_model_pb2 as model_pb2

  content = model_bytes(vocabulary) + _sentinel_pieces(vocabulary.extra_ids)
  model = model_pb2.ModelProto.FromString(content)
  pieces = [(p.piece, p.score, p.type) for p in model.pieces]
  return pieces, model.normalizer_spec.precompiled_charsmap


def _describe(vocabulary: Vocabulary) -> str:
  if vocabulary.kind == "bytes":
    return f"the byte vocabulary with {vocabulary.extra_ids} extra ids"
  return (
    f"{vocabulary.path} (sha256 {vocabulary.sha256[:12]}...,"
    f" {vocabulary.extra_ids} extra ids)"
  )


def decoder(vocabulary: Vocabulary) -> Callable[[Sequence[int]], str]:
  """Returns a function from token ids to text.

  It drops padding and stops at EOS. Sentinels become `<extra_id_0>` and so on;
  ids beyond the vocabulary, whose size models round up, become `<id 32101>`.

  Args:
    vocabulary: the vocabulary of the ids.

  Raises:
    UserError: the SentencePiece model is missing or has changed.
  """
  if vocabulary.kind == "bytes":
    return functools.partial(_decode_bytes, extra_ids=vocabulary.extra_ids)
  return _sentencepiece_decoder(vocabulary)


def encoder(vocabulary: Vocabulary) -> Callable[[str], list[int]]:
  """Returns a function from text to token ids, without EOS.

  It gives the ids that `rlhf-gap data` writes. Like seqio and transformers, it
  encodes the text `<extra_id_0>` as the sentinel. The byte vocabulary encodes
  it byte by byte.

  Args:
    vocabulary: the vocabulary of the ids.

  Raises:
    UserError: the SentencePiece model is missing or has changed.
  """
  if vocabulary.kind == "bytes":
    return lambda text: [byte + _BYTE_OFFSET for byte in text.encode("utf-8")]
  content = model_bytes(vocabulary)
  extended = content + _sentinel_pieces(vocabulary.extra_ids)
  processor = _load(extended, vocabulary.path)
  if _splits_at_white_space(content):
    white = hf_tokenizers.white_space(processor.Normalize)
    return lambda text: list(processor.EncodeAsIds(white.sub(" ", text)))
  return lambda text: list(processor.EncodeAsIds(text))


def _splits_at_white_space(content: bytes) -> bool:
  from sentencepiece import sentencepiece_model_pb2 as model_pb2

  model = model_pb2.ModelProto.FromString(content)
  return model.normalizer_spec.name == hf_tokenizers.WHITESPACE


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
  # Sentinels are numbered backwards: <extra_id_0> is the last id.
  if num_pieces <= token < size:
    return f"<extra_id_{size - 1 - token}>"
  return f"<id {token}>"


def _read(path: str) -> bytes:
  """Returns a file's bytes; a local one must be a regular file."""
  if os.path.exists(path):
    return files.read_bytes(path)
  return locations.read_file(path)


def _processor(vocabulary: Vocabulary) -> Any:
  return _load(model_bytes(vocabulary), vocabulary.path)


@functools.lru_cache(maxsize=4)
def _load(content: bytes, path: str) -> Any:
  """Returns the SentencePiece processor of a model with T5's special ids.

  Every vocabulary is checked here before anything is encoded, decoded or
  written.

  Raises:
    UserError: the bytes are not a SentencePiece model, or padding is not 0 or
      EOS not 1.
  """
  import sentencepiece as spm  # only here: reading a store does not need it

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
      f" {EOS_ID}: this is not the vocabulary of a T5 model (Llama's ids and"
      " the defaults of the SentencePiece trainer differ)"
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
  return any(map(hf_tokenizers.SENTINEL.fullmatch, _pieces(processor)))


def _sentinel_pieces(extra_ids: int) -> bytes:
  """Returns serialized pieces that name the sentinels, as seqio adds them.

  Concatenated protocol buffers merge: appended to a model's bytes, these become
  its last pieces.
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
