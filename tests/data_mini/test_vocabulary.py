"""The committed SentencePiece model: one known piece a word."""

import pathlib
import subprocess
import sys

import pytest
import sentencepiece

from rlhf_gap.data import mini
from rlhf_gap.data.mini import vocabulary

pytestmark = pytest.mark.slow

TOOL = pathlib.Path(__file__).parents[2] / "tools/make_mini_vocabulary.py"


@pytest.fixture(scope="module")
def processor():
  return sentencepiece.SentencePieceProcessor(model_file=mini.VOCABULARY_PATH)


def test_the_tool_makes_the_committed_bytes_again():
  done = subprocess.run(
    [sys.executable, str(TOOL), "--check"], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert done.stdout == "mini.model is up to date\n"


def test_ids_follow_t5(processor):
  ids = (processor.pad_id(), processor.eos_id(), processor.unk_id())
  assert ids == (0, 1, 2)
  assert processor.bos_id() == -1


def test_it_is_small_and_leaves_room_for_the_extra_ids(processor):
  assert len(processor) + 100 <= 256
  assert pathlib.Path(mini.VOCABULARY_PATH).stat().st_size < 10_000


@pytest.mark.parametrize("name", mini.CORPORA)
def test_every_word_is_one_known_piece_and_comes_back(processor, name):
  for row in mini.pairs(name, seed=21, start=0, count=800):
    for text in (row["prompt"], row["response_a"], row["response_b"]):
      ids = processor.encode(text)
      assert len(ids) == len(text.split())
      assert processor.unk_id() not in ids
      assert processor.decode(ids) == text


@pytest.mark.parametrize("piece", vocabulary.FORMAT_PIECES)
def test_each_format_piece_is_one_id(processor, piece):
  (token,) = processor.encode(piece)
  assert processor.decode([token]) == piece
  around = processor.encode(f"tom lost {piece} a bike")
  assert around[2] == token
  assert len(around) == 5


def test_the_article_is_not_the_answer_a(processor):
  assert processor.encode("a") != processor.encode("A")


def test_an_unknown_word_is_unknown(processor):
  assert processor.unk_id() in processor.encode("zebra")
