"""The ids that every vocabulary of this project reserves: T5's.

Stores, models and samplers compute with these numbers, so a vocabulary that
puts padding or EOS elsewhere is refused (`stores.vocabularies`).
"""

PAD_ID = 0
"""Padding. Also the token that the decoder starts from."""

EOS_ID = 1
"""End of sequence."""

BYTE_UNK_ID = 2
"""Unknown, in the byte vocabulary; a SentencePiece model names its own."""
