"""Makes the miniatures' SentencePiece model, with one piece per word.

Usage: python tools/make_mini_vocabulary.py [--check]

--check writes nothing and fails unless the committed model is up to date.
"""

import collections
import math
import pathlib
import sys

from sentencepiece import sentencepiece_model_pb2

from rlhf_gap.data import mini
from rlhf_gap.data.mini import vocabulary

_ROWS_PER_CORPUS = 20_000
# SentencePiece writes a space as this character.
_SPACE = "\u2581"


def _word_counts() -> collections.Counter[str]:
  counts: collections.Counter[str] = collections.Counter()
  for name in mini.CORPORA:
    for row in mini.pairs(name, seed=0, start=0, count=_ROWS_PER_CORPUS):
      for text in (row["prompt"], row["response_a"], row["response_b"]):
        counts.update(text.split())
  return counts


def model() -> bytes:
  """Returns the serialized model, deterministically.

  The pieces are given instead of learned by SentencePiece's trainer: a unigram
  model whose pieces are whole words (and "[RESPONSE A]", including the space)
  segments a text at its spaces.
  """
  proto = sentencepiece_model_pb2.ModelProto()
  kind = sentencepiece_model_pb2.ModelProto.SentencePiece
  proto.pieces.add(piece="<pad>", score=0.0, type=kind.CONTROL)
  proto.pieces.add(piece="</s>", score=0.0, type=kind.CONTROL)
  proto.pieces.add(piece="<unk>", score=0.0, type=kind.UNKNOWN)
  counts = _word_counts()
  total = counts.total()
  ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
  for text, count in [*((t, 1) for t in vocabulary.FORMAT_PIECES), *ranked]:
    piece = _SPACE + text.replace(" ", _SPACE)
    proto.pieces.add(piece=piece, score=math.log(count / total))
  spec = proto.trainer_spec
  spec.model_type = sentencepiece_model_pb2.TrainerSpec.UNIGRAM
  spec.vocab_size = len(proto.pieces)
  spec.pad_id, spec.eos_id, spec.unk_id, spec.bos_id = 0, 1, 2, -1
  spec.pad_piece, spec.eos_piece, spec.unk_piece = "<pad>", "</s>", "<unk>"
  proto.normalizer_spec.name = "identity"
  proto.normalizer_spec.add_dummy_prefix = True
  proto.normalizer_spec.remove_extra_whitespaces = True
  proto.normalizer_spec.escape_whitespaces = True
  return proto.SerializeToString(deterministic=True)


def main(arguments: list[str]) -> int:
  """Writes or checks the committed model."""
  path = pathlib.Path(vocabulary.VOCABULARY_PATH)
  made = model()
  if arguments == ["--check"]:
    same = path.exists() and path.read_bytes() == made
    print(f"{path.name} is {'up to date' if same else 'stale: make it again'}")
    return not same
  if arguments:
    print(__doc__, file=sys.stderr)
    return 2
  path.write_bytes(made)
  print(f"{path}: {len(made):,} bytes")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
