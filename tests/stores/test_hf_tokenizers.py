"""Tokenizers of Hugging Face folders, against the ids that transformers gave.

`tools/check_transformers.py --write_golden` made the folders.
"""

import json
import pathlib
import shutil

import pytest
import sentencepiece

from rlhf_gap import errors, stores
from rlhf_gap.stores import hf_tokenizer_files

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "hf_tokenizers"
READ = sorted(p.parent for p in GOLDEN.glob("*/expected.json"))


def _rows(folder):
  """Yields (text, ids); ByT5's sentinels in text are bytes here."""
  expected = json.loads((folder / "expected.json").read_text())
  for text, ids in zip(expected["texts"], expected["ids"], strict=True):
    if folder.name != "byt5" or "<extra_id_" not in text:
      yield text, ids


@pytest.mark.parametrize("folder", READ, ids=lambda path: path.name)
def test_ids_are_those_of_transformers(folder):
  encode = stores.encoder(stores.named(str(folder)))
  rows = list(_rows(folder))
  assert len(rows) >= 12
  for text, ids in rows:
    assert [*encode(text), 1] == ids, repr(text)


def test_a_rewritten_tokenizer_is_the_same_vocabulary(tmp_path):
  json_only = stores.named(str(GOLDEN / "rules"))
  model = tmp_path / "spiece.model"
  model.write_bytes(stores.model_bytes(json_only))
  stores.check_vocabulary(json_only, stores.named(str(model), 0), "store")
  other = stores.named(str(GOLDEN / "identity"))
  with pytest.raises(errors.UserError, match="holds token ids of"):
    stores.check_vocabulary(json_only, other, "store")


@pytest.mark.parametrize(
  ("kind", "message"),
  [
    ("bpe", "its model is BPE; expected Unigram"),
    ("added", r"adds '\\n' as id"),
    ("lowercase", "its normalizer is {'type': 'Lowercase'}"),
  ],
)
def test_other_tokenizers_are_refused_by_name(kind, message):
  with pytest.raises(errors.UserError, match=message):
    stores.named(str(GOLDEN / kind))


@pytest.fixture
def tokenizer(tmp_path):
  """A copy of a folder, and a function that changes its tokenizer.json."""
  folder = tmp_path / "copy"
  shutil.copytree(GOLDEN / "rules", folder)
  content = json.loads((folder / "tokenizer.json").read_text())

  def write():
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return str(folder)

  return content, write


def test_ids_of_padding_and_eos_must_be_t5s(tokenizer):
  content, write = tokenizer
  vocab = content["model"]["vocab"]
  vocab[0], vocab[1] = vocab[1], vocab[0]
  with pytest.raises(errors.UserError, match=r"pad \(<pad>\) is 1; expected 0"):
    stores.named(write())


def test_runs_of_spaces_must_be_joined(tokenizer):
  content, write = tokenizer
  content["pre_tokenizer"] = content["pre_tokenizer"]["pretokenizers"][1]
  with pytest.raises(errors.UserError, match="keeps runs of spaces"):
    stores.named(write())


def test_a_damaged_charsmap_is_named(tokenizer):
  content, write = tokenizer
  content["normalizer"]["precompiled_charsmap"] = "?"
  with pytest.raises(errors.UserError, match="not base64"):
    stores.named(write())


def test_a_folder_without_a_tokenizer_says_what_it_holds(tmp_path):
  (tmp_path / "config.json").write_text('{"model_type": "t5"}')
  with pytest.raises(errors.UserError, match=r"found config\.json"):
    stores.named(str(tmp_path))


def test_tokens_added_to_a_sentencepiece_model_are_refused(tmp_path):
  vocabulary = stores.named(str(GOLDEN / "identity"))
  folder = tmp_path / "added"
  folder.mkdir()
  (folder / "spiece.model").write_bytes(stores.model_bytes(vocabulary))
  config = {"added_tokens_decoder": {"900": {"content": "{"}}}
  (folder / "tokenizer_config.json").write_text(json.dumps(config))
  with pytest.raises(errors.UserError, match="adds '{' as id 900"):
    stores.named(str(folder))


def test_written_files_of_a_model_hold_its_pieces_and_sentinels():
  vocabulary = stores.named(str(GOLDEN / "identity"))
  folder = GOLDEN / "identity"
  made = hf_tokenizer_files.make(vocabulary)
  # A folder's own files are kept as they are.
  for name in ("tokenizer.json", "tokenizer_config.json"):
    assert made[name] == (folder / name).read_bytes()


@pytest.mark.parametrize("extra_ids", [0, 7])
def test_written_files_give_the_same_ids(extra_ids, tmp_path):
  model = tmp_path / "own.model"
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(["the cat sat on the mat", "A dog ran"] * 20),
    model_prefix=str(model.with_suffix("")),
    vocab_size=40,
    hard_vocab_limit=False,
    minloglevel=2,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
  )
  vocabulary = stores.named(str(model), extra_ids)
  made = hf_tokenizer_files.make(vocabulary)
  folder = tmp_path / "written"
  folder.mkdir()
  (folder / "tokenizer.json").write_bytes(made["tokenizer.json"])
  again = stores.named(str(folder))
  assert stores.size(again) == stores.size(vocabulary)
  before, after = stores.encoder(vocabulary), stores.encoder(again)
  for text, _ in _rows(GOLDEN / "rules"):
    assert after(text) == before(text), repr(text)


def test_bytes_get_byt5s_tokenizer():
  made = hf_tokenizer_files.make(stores.named("bytes"))
  config = json.loads(made["tokenizer_config.json"])
  assert config["tokenizer_class"] == "ByT5Tokenizer"
  assert config["extra_ids"] == 125
