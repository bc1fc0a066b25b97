"""Vocabularies: identified by content, and decoded without TensorFlow."""

import hashlib
import io
import os
import pathlib
from typing import Any

import pytest
import sentencepiece
import seqio

from rlhf_gap import errors, stores

T5_IDS = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}


def _trained(**settings: Any) -> bytes:
  """Returns a SentencePiece model of a few words, by default with T5's ids."""
  content = io.BytesIO()
  words = [
    "the cat sat on the mat",
    "a dog ran to the red house",
    "cat and dog",
  ]
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(words * 20),
    model_writer=content,
    hard_vocab_limit=False,
    minloglevel=2,
    **{"vocab_size": 40, **T5_IDS, **settings},
  )
  return content.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A model such as T5's."""
  path = tmp_path_factory.mktemp("vocabulary") / "sentencepiece.model"
  path.write_bytes(_trained())
  return path


def _ids(model: pathlib.Path, text: str) -> list[int]:
  processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
  return processor.EncodeAsIds(text)


def test_decodes_pieces(model: pathlib.Path):
  decode = stores.decoder(stores.sentencepiece(str(model)))
  ids = _ids(model, "the cat sat")
  assert decode(ids) == "the cat sat"
  assert decode([*ids, 1, 0, 0]) == "the cat sat"
  assert decode([*ids, 1, *ids]) == "the cat sat"  # nothing after EOS
  assert decode([0, 0]) == ""


def test_decodes_sentinels_and_ids_beyond_the_vocabulary(model: pathlib.Path):
  decode = stores.decoder(stores.sentencepiece(str(model), extra_ids=100))
  size = sentencepiece.SentencePieceProcessor(
    model_file=str(model)
  ).vocab_size()
  ids = _ids(model, "the cat")
  # seqio numbers sentinels from the end: <extra_id_0> is the last id.
  assert decode([*ids, size + 99, *ids]) == "the cat <extra_id_0> the cat"
  assert decode([size, size + 100]) == f"<extra_id_99> <id {size + 100}>"


def test_decodes_bytes():
  decode = stores.decoder(stores.byte(extra_ids=125))
  ids = [b + 3 for b in "né".encode()]
  assert decode([*ids, 1, 0, 0]) == "né"
  assert decode([ids[0], 383, *ids, 2, 384]) == "n<extra_id_0>né<id 2><id 384>"
  assert decode([0xC3 + 3]) == "\N{REPLACEMENT CHARACTER}"


def test_fingerprints_tell_vocabularies_apart(
  model: pathlib.Path, tmp_path: pathlib.Path
):
  copy = tmp_path / "copy.model"
  copy.write_bytes(model.read_bytes())
  other = tmp_path / "other.model"
  other.write_bytes(_trained(unk_id=3, bos_id=2))
  fingerprint = stores.sentencepiece(str(model)).fingerprint
  assert stores.sentencepiece(str(copy)).fingerprint == fingerprint
  assert stores.sentencepiece(str(other)).fingerprint != fingerprint
  assert stores.sentencepiece(str(copy), 0).fingerprint != fingerprint


def test_missing_model(tmp_path: pathlib.Path):
  with pytest.raises(errors.UserError, match="does not exist; check the path"):
    stores.sentencepiece(str(tmp_path / "none.model"))


def test_a_model_that_changed_since(
  model: pathlib.Path, tmp_path: pathlib.Path
):
  path = tmp_path / "sentencepiece.model"
  path.write_bytes(model.read_bytes())
  vocabulary = stores.sentencepiece(str(path))
  path.write_bytes(b"another")
  with pytest.raises(errors.UserError, match="not the vocabulary that the"):
    stores.decoder(vocabulary)


@pytest.mark.parametrize(
  ("ids", "ids_in_words"),
  [
    # The trainer's defaults, which Llama's model has.
    (
      {"pad_id": -1, "unk_id": 0, "bos_id": 1, "eos_id": 2},
      "no pad id and EOS 2",
    ),
    ({"pad_id": 3, "eos_id": 1, "unk_id": 0, "bos_id": 2}, "pad 3 and EOS 1"),
    ({"pad_id": 0, "eos_id": -1, "unk_id": 1}, "pad 0 and no EOS id"),
  ],
)
def test_other_special_ids_are_refused(
  tmp_path: pathlib.Path, ids: dict[str, int], ids_in_words: str
):
  path = tmp_path / "llama.model"
  path.write_bytes(_trained(**ids))
  with pytest.raises(errors.UserError, match=f"model: has {ids_in_words};"):
    stores.named(str(path))
  # A manifest may name it all the same.
  sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
  vocabulary = stores.Vocabulary("sentencepiece", str(path), sha256, 100)
  for use in (stores.decoder, stores.encoder, stores.size):
    with pytest.raises(errors.UserError, match=ids_in_words):
      use(vocabulary)


def test_another_unknown_id_is_accepted(tmp_path: pathlib.Path):
  path = tmp_path / "unknown.model"
  path.write_bytes(_trained(unk_id=3, bos_id=2))
  vocabulary = stores.named(str(path))
  assert stores.unknown_id(vocabulary) == 3
  assert 3 in stores.encoder(vocabulary)("Q")


@pytest.mark.parametrize("space", ["", "\N{LOWER ONE EIGHTH BLOCK}"])
def test_sentinels_that_a_model_holds_are_not_added_again(
  tmp_path: pathlib.Path, space: str
):
  """As in mT5's model, whose last pieces are <extra_id_99> to <extra_id_0>."""
  names = [f"{space}<extra_id_{n}>" for n in reversed(range(100))]
  path = tmp_path / "mt5.model"
  path.write_bytes(_trained(vocab_size=140, user_defined_symbols=names))
  pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
  vocabulary = stores.named(str(path))
  assert vocabulary.extra_ids == 0
  assert stores.size(vocabulary) == pieces.vocab_size()
  ids = stores.encoder(vocabulary)("the <extra_id_7> sat")
  assert pieces.PieceToId(f"{space}<extra_id_7>") in ids
  assert "<extra_id_7>" in stores.decoder(vocabulary)(ids)
  assert stores.named(str(path), 100).extra_ids == 100


def test_t5s_sentinels_follow_the_pieces(model: pathlib.Path):
  pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
  vocabulary = stores.named(str(model))
  assert stores.size(vocabulary) == pieces.vocab_size() + 100
  last = stores.encoder(vocabulary)("<extra_id_0>")
  assert last == [stores.size(vocabulary) - 1]


@pytest.mark.parametrize(
  "text",
  [
    "the <extra_id_0> sat on <extra_id_99>",
    "mid<extra_id_1>dle <extra_id_100>",
    "a\u2028b\r\nthe cat",
    "</s> <pad> cat",
  ],
)
def test_text_has_the_ids_that_seqio_writes(model: pathlib.Path, text: str):
  vocabulary = stores.named(str(model))
  expected = seqio.SentencePieceVocabulary(str(model), 100).encode(text)
  assert stores.encoder(vocabulary)(text) == list(expected)


def test_bytes_are_those_of_byt5():
  """The ids are those of transformers' ByT5Tokenizer 5.24.0, without EOS."""
  vocabulary = stores.named("bytes")
  assert stores.encoder(vocabulary)("n\u00e9") == [113, 198, 172]
  assert stores.size(vocabulary) == 384
  assert vocabulary == stores.byte(125)


@pytest.mark.parametrize("content", [b"", b"junk"])
def test_a_file_that_is_no_model(tmp_path: pathlib.Path, content: bytes):
  path = tmp_path / "junk.model"
  path.write_bytes(content)
  with pytest.raises(errors.UserError, match="not a SentencePiece model"):
    stores.named(str(path))


def test_a_model_must_be_a_regular_file(tmp_path: pathlib.Path):
  os.mkfifo(tmp_path / "fifo")
  for path in (tmp_path, tmp_path / "fifo", "/dev/zero"):
    with pytest.raises(errors.UserError, match="expected a"):
      stores.named(str(path))


@pytest.mark.parametrize(
  ("kind", "extra_ids"), [("wordpiece", 0), ("bytes", -1)]
)
def test_a_manifests_vocabulary_is_checked(kind: str, extra_ids: int):
  with pytest.raises(ValueError, match=f"{kind}|{extra_ids}"):
    stores.Vocabulary(kind, "", "", extra_ids)
