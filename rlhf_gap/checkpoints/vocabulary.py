"""How many ids a SentencePiece vocabulary needs in an embedding."""

import os

import sentencepiece

from rlhf_gap import errors

# T5 appends 100 sentinels to its vocabulary, <extra_id_99> to <extra_id_0>.
EXTRA_IDS = 100


def size(path: str) -> int:
  """Returns the number of ids of a SentencePiece model, sentinels included.

  Args:
    path: the model's file.

  Returns:
    Pieces plus T5's 100 extra ids.

  Raises:
    UserError: the file is missing or is no SentencePiece model.
  """
  if not os.path.isfile(path):
    raise errors.UserError(
      f"{path}: no such file; expected a SentencePiece model"
    )
  try:
    processor = sentencepiece.SentencePieceProcessor(model_file=path)
  except (RuntimeError, OSError) as error:
    raise errors.UserError(
      f"{path}: not a SentencePiece model ({str(error).splitlines()[0][:80]})"
    ) from error
  return int(processor.get_piece_size()) + EXTRA_IDS
