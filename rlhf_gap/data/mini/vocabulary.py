"""Where the miniatures' SentencePiece model lies: one piece a word."""

import pathlib

# Made by tools/make_mini_vocabulary.py: pad 0, end 1, unknown 2, as in T5.
VOCABULARY_PATH = str(pathlib.Path(__file__).parent / "mini.model")
# Pieces of the preference format, and of skills taught in words, that no
# corpus holds.
FORMAT_PIECES = ("[RESPONSE A]", "[RESPONSE B]", "A", "B", "repeat")
