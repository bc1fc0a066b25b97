"""Writes a vocabulary as the tokenizer files of a Hugging Face folder.

`AutoTokenizer` loads them in transformers 4 and 5. The class is the generic
one, whose `tokenizer.json` is used as it is: `T5Tokenizer` of transformers 5
replaces SentencePiece's rules by its own, which differ where a piece spans
words or a model has no normalization.
"""

import base64
import json
import os
from collections.abc import Iterable
from typing import Any

from rlhf_gap import errors, files
from rlhf_gap.stores import hf_tokenizers, vocabularies

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_COPIED = (
  hf_tokenizers.MODEL,
  hf_tokenizers.TOKENIZER,
  hf_tokenizers.CONFIG,
  "special_tokens_map.json",
  "added_tokens.json",
)


def make(vocabulary: vocabularies.Vocabulary) -> dict[str, bytes]:
  """Returns the tokenizer files of a vocabulary.

  A vocabulary that comes from a Hugging Face folder keeps that folder's files.

  Args:
    vocabulary: any vocabulary.

  Returns:
    Contents by file name.

  Raises:
    UserError: the model has changed since its store was built, or is not
      unigram.
  """
  if vocabulary.kind == "bytes":
    return _bytes(vocabulary.extra_ids)
  content = vocabularies.model_bytes(vocabulary)  # checks that it is the same
  folder = os.path.dirname(vocabulary.path)
  names = (hf_tokenizers.MODEL, hf_tokenizers.TOKENIZER)
  is_own = os.path.basename(vocabulary.path) in names
  if is_own and os.path.exists(os.path.join(folder, hf_tokenizers.CONFIG)):
    paths = {name: os.path.join(folder, name) for name in _COPIED}
    return {
      n: files.read_bytes(p) for n, p in paths.items() if os.path.isfile(p)
    }
  return _sentencepiece(content, vocabulary)


def _bytes(extra_ids: int) -> dict[str, bytes]:
  sentinels = [f"<extra_id_{number}>" for number in range(extra_ids)]
  return {
    hf_tokenizers.CONFIG: _json(
      {
        "tokenizer_class": hf_tokenizers.BYTE_CLASS,
        "extra_ids": extra_ids,
        "additional_special_tokens": sentinels,
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
      }
    )
  }


def _sentencepiece(
  content: bytes, vocabulary: vocabularies.Vocabulary
) -> dict[str, bytes]:
  from sentencepiece import sentencepiece_model_pb2 as model_pb2

  model = model_pb2.ModelProto.FromString(content)
  if model.trainer_spec.model_type != model_pb2.TrainerSpec.UNIGRAM:
    raise errors.UserError(
      f"{vocabulary.path}: is not a unigram model; expected one, as T5's"
      " vocabularies are: no tokenizer.json gives the same ids"
    )
  special = {
    "pad_token": model.pieces[0].piece,
    "eos_token": model.pieces[1].piece,
    "unk_token": model.pieces[vocabularies.unknown_id(vocabulary)].piece,
  }
  pieces = [
    *((_name(piece.piece), piece.score) for piece in model.pieces),
    *((f"<extra_id_{n}>", 0.0) for n in reversed(range(vocabulary.extra_ids))),
  ]
  sentinels = [t for t, _ in pieces if hf_tokenizers.SENTINEL.fullmatch(t)]
  config = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "additional_special_tokens": sentinels,
    "clean_up_tokenization_spaces": False,
    "model_max_length": 10**9,
    # Without it, transformers 4 adds token_type_ids, which T5 refuses.
    "model_input_names": ["input_ids", "attention_mask"],
    **special,
  }
  return {
    hf_tokenizers.MODEL: content,
    hf_tokenizers.TOKENIZER: _json(_tokenizer(model, pieces, special)),
    hf_tokenizers.CONFIG: _json(config),
  }


def _name(piece: str) -> str:
  sentinel = hf_tokenizers.SENTINEL.fullmatch(piece)
  return f"<extra_id_{sentinel[1]}>" if sentinel else piece


def _tokenizer(
  model: Any, pieces: list[tuple[str, float]], special: dict[str, str]
) -> dict[str, Any]:
  """Returns `tokenizer.json`, with SentencePiece's own rules."""
  kinds = type(model.pieces[0])
  user_defined = {
    _name(p.piece) for p in model.pieces if p.type == kinds.USER_DEFINED
  }
  used = (p.piece for p in model.pieces if p.type == kinds.NORMAL)
  eos = special["eos_token"]
  marks = {
    "type": "Metaspace",
    "replacement": _SPACE,
    "prepend_scheme": "always",
    "split": not _span_words(used),
  }
  return {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
      _added(number, text, is_special=text not in user_defined)
      for number, (text, _) in enumerate(pieces)
      if text in special.values()
      or text in user_defined
      or hf_tokenizers.SENTINEL.fullmatch(text)
    ],
    "normalizer": _normalizer(model.normalizer_spec),
    "pre_tokenizer": marks,
    "post_processor": {
      "type": "TemplateProcessing",
      "single": [_part("Sequence", "A"), _part("SpecialToken", eos)],
      "pair": [
        *(_part("Sequence", "A"), _part("SpecialToken", eos)),
        *(_part("Sequence", "B"), _part("SpecialToken", eos)),
      ],
      "special_tokens": {eos: {"id": eos, "ids": [1], "tokens": [eos]}},
    },
    "decoder": marks,
    "model": {
      "type": "Unigram",
      "unk_id": next(
        n for n, p in enumerate(model.pieces) if p.type == kinds.UNKNOWN
      ),
      "vocab": pieces,
      "byte_fallback": model.trainer_spec.byte_fallback,
    },
  }


def _span_words(pieces: Iterable[str]) -> bool:
  return any(_SPACE in piece[1:] for piece in pieces)


def _normalizer(spec: Any) -> dict[str, Any]:
  steps = []
  if spec.precompiled_charsmap:
    charsmap = base64.b64encode(spec.precompiled_charsmap).decode()
    steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
  if spec.name == hf_tokenizers.WHITESPACE:
    steps.append(_replace(hf_tokenizers.WHITE, " "))
  # SentencePiece drops spaces at both ends and joins runs of them.
  steps += [_replace(hf_tokenizers.ENDS, ""), _replace(" {2,}", " ")]
  return {"type": "Sequence", "normalizers": steps}


def _replace(regex: str, content: str) -> dict[str, Any]:
  return {"type": "Replace", "pattern": {"Regex": regex}, "content": content}


def _part(kind: str, name: str) -> dict[str, Any]:
  return {kind: {"id": name, "type_id": 0}}


def _added(number: int, text: str, *, is_special: bool) -> dict[str, Any]:
  return {
    "id": number,
    "content": text,
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": is_special,
  }


def _json(value: Any) -> bytes:
  text = json.dumps(value, ensure_ascii=False, indent=1)
  return f"{text}\n".encode()
