"""Examples to the columns of a store, as the seqio tasks tokenize them.

Text has the ids that seqio gives. A response that fits ends with EOS, a cut one
does not. The prompt is cut to leave room for EOS, and, for a preference model,
to what its two responses leave of the window.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rlhf_gap import errors, stores
from rlhf_gap.data import preference_words, rows_to_columns
from rlhf_gap.data.own import examples
from rlhf_gap.token_ids import EOS_ID

Encode = Callable[[str], list[int]]

_RESPONSES = {
  "sft": (("targets", stores.Truncated.RESPONSE),),
  "pairs": (
    ("chosen", stores.Truncated.CHOSEN),
    ("rejected", stores.Truncated.REJECTED),
  ),
  "prompts": (),
}
_PARTS = {"targets": "response", "chosen": "chosen", "rejected": "rejected"}


@dataclasses.dataclass(frozen=True)
class TokenizedRow:
  """One row of a store.

  Attributes:
    tokens: token ids of each feature.
    lengths: length of each part in tokens, before truncation and without EOS.
    truncated: bits of `stores.Truncated`.
    example: the text.
  """

  tokens: Mapping[str, Sequence[int]]
  lengths: Mapping[str, int]
  truncated: int
  example: examples.Example


class Tokenizer:
  """Tokenizes the examples of one kind."""

  def __init__(
    self,
    vocabulary: stores.Vocabulary,
    kind: str,
    windows: Mapping[str, int],
    keep: str,
  ):
    """Checks the windows.

    Args:
      vocabulary: the vocabulary.
      kind: one of `catalog.KINDS`.
      windows: tokens for "inputs" and "targets", EOS included.
      keep: which end of a prompt to keep, "start" or "end".

    Raises:
      UserError: a preference model's text does not fit, or the vocabulary has
        no single id for A or B.
    """
    self._encode = stores.encoder(vocabulary)
    self._windows = windows
    self._keep_start = keep == "start"
    self._overhead = None
    if kind == "preference":
      self._overhead = _overhead(self._encode, windows)
    self._features = _RESPONSES[rows_to_columns.SCHEMAS[kind]]
    self._last_prompt: tuple[str, list[int]] = ("", [])

  def row(self, example: examples.Example) -> TokenizedRow | None:
    """Returns an example's ids, or None if a response has no token.

    Args:
      example: the text.
    """
    tokens: dict[str, Sequence[int]] = {}
    lengths: dict[str, int] = {}
    truncated = 0
    taken = 0
    window = self._windows["targets"]
    for (name, bit), text in zip(
      self._features, example.responses, strict=True
    ):
      ids = self._encode(text)
      if not ids:
        return None
      lengths[_PARTS[name]] = len(ids)
      truncated |= bit * (len(ids) + 1 > window)
      tokens[name] = [*ids, EOS_ID][:window]
      taken += min(len(ids), window)
    prompt = self._prompt(example.prompt)
    lengths["prompt"] = len(prompt)
    fitted = self._fitted(prompt, taken)
    truncated |= stores.Truncated.PROMPT * (len(fitted) < len(prompt))
    tokens["inputs"] = [*fitted, EOS_ID]
    return TokenizedRow(tokens, lengths, int(truncated), example)

  def _prompt(self, text: str) -> list[int]:
    if self._last_prompt[0] != text:  # Rows of one prompt often follow.
      self._last_prompt = (text, self._encode(text))
    return self._last_prompt[1]

  def _fitted(self, prompt: list[int], taken: int) -> list[int]:
    room = self._windows["inputs"] - 1
    if self._overhead is not None:
      room = max(room - self._overhead - taken, 0)
    if len(prompt) <= room:
      return prompt
    return prompt[:room] if self._keep_start else prompt[len(prompt) - room :]


def _overhead(encode: Encode, windows: Mapping[str, int]) -> int:
  labels = [encode(label) for label in preference_words.LABELS]
  if [len(label) for label in labels] != [1, 1]:
    raise errors.UserError(
      f"the vocabulary encodes the labels {preference_words.LABELS} as"
      f" {labels}; a preference model needs a vocabulary with one id for each"
    )
  markers = (preference_words.RESPONSE_A, preference_words.RESPONSE_B)
  overhead = sum(len(encode(f" {marker} ")) for marker in markers)
  needed = 2 * windows["targets"] + overhead + 1
  if windows["inputs"] <= needed:
    raise errors.UserError(
      f"a window of {windows['inputs']} tokens cannot hold two responses and"
      f" their markers ({needed} tokens); raise --inputs_length or lower"
      " --targets_length"
    )
  return overhead


def batch(
  rows: Sequence[TokenizedRow], windows: Mapping[str, int]
) -> dict[str, np.ndarray]:
  """Returns rows as arrays, as `reports.Tally` and `columns` read them.

  Args:
    rows: at least one.
    windows: tokens for "inputs" and "targets".

  Returns:
    By feature, int32 [rows, window]; by part, its lengths; what was truncated.
  """
  arrays: dict[str, np.ndarray] = {}
  for name in rows[0].tokens:
    width = windows["inputs" if name == "inputs" else "targets"]
    padded = np.zeros((len(rows), width), np.int32)
    for i, row in enumerate(rows):
      ids = row.tokens[name]
      padded[i, : len(ids)] = ids
    arrays[name] = padded
  for part in rows[0].lengths:
    arrays[f"{part}_length"] = np.array(
      [row.lengths[part] for row in rows], np.int32
    )
  arrays["truncated"] = np.array([row.truncated for row in rows], np.int32)
  return arrays


def columns(
  kind: str,
  rows: Sequence[TokenizedRow],
  arrays: Mapping[str, np.ndarray],
  origins: Sequence[tuple[int, int]],
) -> dict[str, np.ndarray]:
  """Returns a chunk for `stores.Writer.append`.

  Args:
    kind: one of `catalog.KINDS`.
    rows: the rows.
    arrays: they as `batch` returns them.
    origins: of each row, the index of its file and its line.
  """
  told = [row.example for row in rows]
  known = {
    "prompt_tokens": arrays["inputs"],
    "prompt_id": np.array([e.prompt_id for e in told], np.int64),
    "truncated": arrays["truncated"],
    "weight": np.array([e.weight for e in told], np.float32),
    "judge_r12": np.array([e.r12 for e in told], np.float32),
    "judge_r21": np.array([e.r21 for e in told], np.float32),
    "source_file": np.array([file for file, _ in origins], np.int32),
    "source_line": np.array([line for _, line in origins], np.int32),
  }
  known |= {
    f"{_PARTS[name]}_tokens": arrays[name] for name in _PARTS if name in arrays
  }
  unknown = {
    name: np.full(len(rows), value)
    for name, value in rows_to_columns.UNKNOWN.items()
  }
  names = [spec.name for spec in rows_to_columns.specs(kind)]
  return {name: (unknown | known)[name] for name in names}
