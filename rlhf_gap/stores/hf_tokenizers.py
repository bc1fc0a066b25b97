"""The tokenizer of a Hugging Face folder, read as a SentencePiece model.

  spiece.model     is one
  tokenizer.json   a unigram model is rewritten as one; others are refused
  neither          ByT5's bytes, where a configuration names its tokenizer

transformers 5 writes only `tokenizer.json`. Rewritten, it gives the same ids,
except that text such as `</s>` is text and not a special token.
"""

import base64
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from rlhf_gap import errors, files

MODEL = "spiece.model"
TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
MODEL_CONFIG = "config.json"
BYTE_CLASS = "ByT5Tokenizer"

WHITESPACE = "whitespace_split"
"""Name of a normalizer after which all white space splits (`white_space`)."""

SENTINEL = re.compile("\N{LOWER ONE EIGHTH BLOCK}?<extra_id_([0-9]+)>")
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
# Unicode's property White_Space, at which tokenizers' WhitespaceSplit splits.
WHITE = "[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
# What `hf_tokenizer_files` writes to drop spaces at both ends.
ENDS = r"\A +| +\z"
_RUNS = (" {2,}",)


class Tokenizer(NamedTuple):
  """A folder's tokenizer.

  Attributes:
    path: `spiece.model` or `tokenizer.json`; "" for bytes.
    extra_ids: number of sentinels after the pieces; None for the default.
  """

  path: str
  extra_ids: int | None


class _Config(msgspec.Struct):
  """The fields that are read of `tokenizer_config.json` and `config.json`."""

  tokenizer_class: str | None = None
  model_type: str | None = None
  extra_ids: int | None = None
  pad_token: Any = None
  eos_token: Any = None
  added_tokens_decoder: dict[str, Any] = {}


class _Added(msgspec.Struct):
  id: int
  content: str


class _AnyModel(msgspec.Struct):
  type: str | None = None
  vocab: Any = None


class _AnyTokenizer(msgspec.Struct):
  model: _AnyModel


class _Unigram(msgspec.Struct):
  vocab: list[tuple[str, float]]
  unk_id: int | None = None
  byte_fallback: bool = False


class _Json(msgspec.Struct):
  """The fields of `tokenizer.json` that decide ids."""

  model: _Unigram
  added_tokens: list[_Added] = []
  normalizer: dict[str, Any] | None = None
  pre_tokenizer: dict[str, Any] | None = None


def find(folder: str) -> Tokenizer:
  """Finds the tokenizer of a Hugging Face folder.

  Args:
    folder: a local folder.

  Raises:
    UserError: there is none, it is not a unigram or byte tokenizer, or it has
      tokens beyond its model's.
  """
  config = _config(folder, CONFIG)
  path = os.path.join(folder, MODEL)
  if os.path.exists(path):
    return Tokenizer(path, config.extra_ids)
  path = os.path.join(folder, TOKENIZER)
  if os.path.exists(path):
    return Tokenizer(path, _extra_ids(_read(path), path))
  declared = config.tokenizer_class or (
    _config(folder, MODEL_CONFIG).tokenizer_class
  )
  if declared == BYTE_CLASS:
    return Tokenizer("", config.extra_ids)
  names = ", ".join(sorted(os.listdir(folder))[:6]) or "nothing"
  raise errors.UserError(
    f"{folder}: has no tokenizer that is supported (found {names}"
    f"{f', tokenizer_class={declared}' if declared else ''}); expected a"
    f" {MODEL}, a unigram {TOKENIZER}, or tokenizer_class={BYTE_CLASS}"
  )


def holds(folder: str) -> bool:
  """Returns whether a local folder has a tokenizer, supported or not."""
  if not os.path.isdir(folder):
    return False
  names = (MODEL, TOKENIZER)
  if any(os.path.exists(os.path.join(folder, name)) for name in names):
    return True
  return BYTE_CLASS in (
    _config(folder, CONFIG).tokenizer_class,
    _config(folder, MODEL_CONFIG).tokenizer_class,
  )


def check_added(folder: str, num_pieces: int, size: int) -> None:
  """Checks that a folder adds no token to its `spiece.model`.

  Args:
    folder: the folder.
    num_pieces: number of the model's pieces.
    size: the same with the sentinels.

  Raises:
    UserError: `tokenizer_config.json` or `tokenizer.json` has another token
      after the pieces, or `tokenizer.json` has other pieces.
  """
  added = {
    int(number): _text(token)
    for number, token in _config(folder, CONFIG).added_tokens_decoder.items()
    if number.isdigit()
  }
  path = os.path.join(folder, TOKENIZER)
  if os.path.exists(path):
    added |= {token.id: token.content for token in _read(path).added_tokens}
  for number, text in sorted(added.items()):
    if number >= num_pieces and text != f"<extra_id_{size - 1 - number}>":
      raise errors.UserError(
        f"{folder}: its tokenizer adds {text!r} as id {number}, which {MODEL}"
        " does not have; added tokens are not supported"
      )


def _config(folder: str, name: str) -> _Config:
  path = os.path.join(folder, name)
  if not os.path.exists(path):
    return _Config()
  return files.decode_json(files.read_bytes(path), _Config, path)


def _read(path: str) -> _Json:
  return _decode(files.read_bytes(path), path)


def _decode(content: bytes, path: str) -> _Json:
  try:
    model = files.decode_json(content, _AnyTokenizer, path).model
  except errors.UserError as error:
    raise errors.UserError(
      f"{path}: not a SentencePiece model, and not a tokenizer.json"
      f" ({files.without_place(error, path)})"
    ) from error
  kind = model.type or ("Unigram" if isinstance(model.vocab, list) else "BPE")
  if kind != "Unigram":
    raise errors.UserError(
      f"{path}: its model is {kind}; expected Unigram, as T5, Flan-T5 and mT5"
      " have"
    )
  return files.decode_json(content, _Json, path)


def _text(token: Any) -> str:
  return str(token.get("content", token) if isinstance(token, dict) else token)


def _extra_ids(tokenizer: _Json, path: str) -> int:
  """Returns how many sentinels follow the pieces; refuses other tokens."""
  pieces = len(tokenizer.model.vocab)
  added = {
    token.id: token.content
    for token in tokenizer.added_tokens
    if token.id >= pieces
  }
  size = pieces + len(added)
  for number, text in sorted(added.items()):
    if text != f"<extra_id_{size - 1 - number}>":
      raise errors.UserError(
        f"{path}: adds {text!r} as id {number} to its {pieces:,} pieces; of"
        f" added tokens, only the sentinels <extra_id_{len(added) - 1}> to"
        " <extra_id_0> are supported, in this order"
      )
  return len(added)


class _Rules(NamedTuple):
  charsmap: bytes = b""
  collapses: bool = False
  splits_white: bool = False  # at every white-space character
  splits: bool = False  # at every ▁, so that no piece spans words
  is_marked: bool = False  # has Metaspace, so that words begin with ▁


def to_sentencepiece(content: bytes, path: str) -> bytes:
  """Rewrites a unigram `tokenizer.json` as a SentencePiece model.

  Args:
    content: the bytes of `tokenizer.json`.
    path: the file, for messages.

  Returns:
    A serialized `ModelProto`. Pieces that span words, which tokenizers never
    uses if it splits at spaces first, are unused there too.

  Raises:
    UserError: the file is damaged, its model is not unigram, it normalizes or
      splits text otherwise than T5's tokenizers, or padding and EOS are not 0
      and 1.
  """
  from sentencepiece import sentencepiece_model_pb2 as model_pb2

  tokenizer = _decode(content, path)
  _check_special(tokenizer, path)
  rules = _rules(tokenizer, path)
  model = tokenizer.model
  proto = model_pb2.ModelProto()
  trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
  trainer.model_type = model_pb2.TrainerSpec.UNIGRAM
  trainer.vocab_size = len(model.vocab)
  trainer.byte_fallback = model.byte_fallback
  trainer.pad_id, trainer.pad_piece = 0, model.vocab[0][0]
  trainer.eos_id, trainer.eos_piece = 1, model.vocab[1][0]
  trainer.unk_id = int(model.unk_id or 0)
  trainer.unk_piece = model.vocab[trainer.unk_id][0]
  trainer.bos_id = -1
  normalizer.name = WHITESPACE if rules.splits_white else "other"
  normalizer.precompiled_charsmap = rules.charsmap
  normalizer.add_dummy_prefix = True
  normalizer.remove_extra_whitespaces = True
  normalizer.escape_whitespaces = True
  kinds = model_pb2.ModelProto.SentencePiece
  for number, (text, score) in enumerate(model.vocab):
    piece = proto.pieces.add()
    sentinel = SENTINEL.fullmatch(text)
    piece.piece = f"{_SPACE}<extra_id_{sentinel[1]}>" if sentinel else text
    piece.score = score
    if number == trainer.unk_id:
      piece.type = kinds.UNKNOWN
    elif number < 2:
      piece.type = kinds.CONTROL
    elif sentinel:
      piece.type = kinds.USER_DEFINED
    elif model.byte_fallback and re.fullmatch("<0x[0-9A-F]{2}>", text):
      piece.type = kinds.BYTE
    elif rules.splits and _SPACE in text[1:]:
      piece.type = kinds.UNUSED
  return proto.SerializeToString(deterministic=True)


def _check_special(tokenizer: _Json, path: str) -> None:
  config = _config(os.path.dirname(path), CONFIG)
  vocab = [text for text, _ in tokenizer.model.vocab]
  for number, name, given, default in (
    (0, "pad", config.pad_token, "<pad>"),
    (1, "EOS", config.eos_token, "</s>"),
  ):
    expected = _text(given) if given else default
    if vocab[number : number + 1] != [expected]:
      found = vocab.index(expected) if expected in vocab else "none"
      raise errors.UserError(
        f"{path}: the id of {name} ({expected}) is {found}; expected {number},"
        " as in T5's vocabularies"
      )
  unknown = tokenizer.model.unk_id
  if unknown is None or not 2 <= unknown < len(vocab):
    raise errors.UserError(
      f"{path}: unk_id={unknown}; expected the id of the unknown piece, 2 in"
      " T5's vocabularies"
    )


def _rules(tokenizer: _Json, path: str) -> _Rules:
  rules = _Rules()
  for step in _steps(tokenizer.normalizer, "normalizers"):
    kind = step.get("type")
    if kind == "Precompiled":
      charsmap = step.get("precompiled_charsmap") or ""
      try:
        rules = rules._replace(
          charsmap=base64.b64decode(charsmap, validate=True)
        )
      except (ValueError, TypeError) as error:
        raise errors.UserError(
          f"{path}: its precompiled_charsmap is not base64; it is damaged"
        ) from error
    elif kind == "Replace" and _collapses(step):
      rules = rules._replace(collapses=True)
    elif kind == "Replace" and _replaced(step) == (WHITE, " "):
      rules = rules._replace(splits_white=True)
    elif kind == "Replace" and _replaced(step) == (ENDS, ""):
      pass  # SentencePiece does so whenever it joins runs of spaces
    elif kind != "Strip":
      raise _unsupported("normalizer", step, path)
  for step in _steps(tokenizer.pre_tokenizer, "pretokenizers"):
    kind = step.get("type")
    if kind == "WhitespaceSplit":
      rules = rules._replace(collapses=True, splits_white=True, splits=True)
    elif kind == "Metaspace" and _marks(step):
      splits = rules.splits or step.get("split", True)
      rules = rules._replace(is_marked=True, splits=splits)
    else:
      raise _unsupported("pre_tokenizer", step, path)
  if not rules.is_marked or not rules.collapses:
    raise errors.UserError(
      f"{path}: keeps runs of spaces; expected T5's rules: Metaspace behind"
      " WhitespaceSplit, or behind a Replace of ' {2,}'"
    )
  return rules


def _steps(rule: dict[str, Any] | None, below: str) -> list[dict[str, Any]]:
  if rule is None:
    return []
  if rule.get("type") != "Sequence":
    return [rule]
  return [s for each in rule.get(below, []) for s in _steps(each, below)]


def _collapses(step: dict[str, Any]) -> bool:
  regex, content = _replaced(step)
  return regex in _RUNS and content in (" ", _SPACE)


def _replaced(step: dict[str, Any]) -> tuple[Any, Any]:
  pattern = step.get("pattern")
  regex = pattern.get("Regex") if isinstance(pattern, dict) else None
  return regex, step.get("content")


def _marks(step: dict[str, Any]) -> bool:
  default = "always" if step.get("add_prefix_space", True) else "never"
  scheme = step.get("prepend_scheme", default)
  return step.get("replacement") == _SPACE and scheme in ("always", "first")


def _unsupported(
  what: str, step: dict[str, Any], path: str
) -> errors.UserError:
  shown = {k: v for k, v in step.items() if k != "precompiled_charsmap"}
  return errors.UserError(
    f"{path}: its {what} is {str(shown)[:160]}; expected those of T5's"
    " tokenizers: Precompiled, Replace of ' {2,}', Strip; WhitespaceSplit,"
    " Metaspace with a prefix"
  )


def white_space(normalize: Callable[[str], str]) -> re.Pattern[str]:
  """Returns the white space at which a tokenizer splits after normalizing.

  Args:
    normalize: the model's normalizer, which may map some of it itself.

  Returns:
    A pattern of what it leaves; to be replaced by spaces before encoding.
  """
  every = filter(re.compile(WHITE).fullmatch, map(chr, range(0x3001)))
  left = [c for c in every if c in normalize(f"a{c}b")]
  return re.compile(f"[{''.join(left)} ]")
