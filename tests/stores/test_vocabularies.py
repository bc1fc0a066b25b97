"""Vocabularies: told apart by content, and text from ids without TensorFlow."""

import io
import pathlib

import pytest
import sentencepiece

from rlhf_gap import errors, stores


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A SentencePiece model with T5's special ids, of a few words."""
  content = io.BytesIO()
  words = [
    "the cat sat on the mat",
    "a dog ran to the red house",
    "cat and dog",
  ]
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(words * 20),
    model_writer=content,
    vocab_size=40,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    hard_vocab_limit=False,
    minloglevel=2,
  )
  path = tmp_path_factory.mktemp("vocabulary") / "sentencepiece.model"
  path.write_bytes(content.getvalue())
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
  other.write_bytes(model.read_bytes() + b"\x00")
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
