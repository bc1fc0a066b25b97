"""T5's special token ids, which every vocabulary of this project shares.

Stores, models and samplers rely on them, so a vocabulary with other ids for
padding or EOS is refused (`stores.vocabularies`).
"""

PAD_ID = 0
"""Padding, and the token that the decoder starts from."""

EOS_ID = 1
"""End of sequence."""

BYTE_UNK_ID = 2
"""Unknown, in the byte vocabulary. A SentencePiece model has its own."""
