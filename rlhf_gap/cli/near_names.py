"""Suggestions for mistyped names."""

import difflib
from collections.abc import Iterable


def hint(word: str, known: Iterable[str]) -> str:
  """Returns "; did you mean ...?", or "" if nothing in `known` is similar."""
  matches = difflib.get_close_matches(word, sorted(set(known)), n=1)
  return f"; did you mean {matches[0]}?" if matches else ""
