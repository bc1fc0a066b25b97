"""The words of a preference model's text, shared by all who build it."""

RESPONSE_A = "[RESPONSE A]"
RESPONSE_B = "[RESPONSE B]"
LABELS = ("A", "B")
