"""The miniatures' SentencePiece model, with one piece per word."""

import pathlib

# Made by tools/make_mini_vocabulary.py: pad 0, end 1, unknown 2, as in T5.
VOCABULARY_PATH = str(pathlib.Path(__file__).parent / "mini.model")
# Pieces that no corpus contains: those of the preference format and of the
# pretraining instructions.
FORMAT_PIECES = ("[RESPONSE A]", "[RESPONSE B]", "A", "B", "repeat")
