"""A study's own preference files, which take the place of a built-in task."""

import dataclasses

from rlhf_gap import errors


@dataclasses.dataclass(frozen=True)
class OwnFiles:
  """How the files of a study on one's own pairs are read.

  Attributes:
    files: files, folders or globs, joined by commas.
    columns: names of columns, such as "prompt=question,chosen=good"; None for
      the usual names.
    form: the rows' form; None tells it from the columns.
    template: how messages become text.
    prompt_ends_with: the text with which implicit prompts end.
    split_by: what is held out. The preference models are checked on it, so it
      must not be "none".
    score_pairs: which pairs several scored responses make.
    pair_unpaired: whether to pair single completions with a label.
    sft_responses: responses that SFT trains on, "chosen" or "all".
  """

  files: str
  columns: str | None = None
  form: str | None = None
  template: str = "markers"
  prompt_ends_with: str | None = None
  split_by: str = "hash:0.1"
  score_pairs: str = "all"
  pair_unpaired: bool = False
  sft_responses: str = "chosen"

  def __post_init__(self) -> None:
    if self.split_by == "none":
      raise errors.UserError(
        "split_by='none': expected file, column:NAME or hash:SHARE: the"
        " preference models are checked on held-out pairs"
      )

  def words(self, task: str, kind: str) -> tuple[str, ...]:
    """Returns the arguments of `rlhf-gap data own` that say what to read.

    Args:
      task: the data's name.
      kind: "sft", "pairs" or "prompts".
    """
    given = {
      "source": self.files,
      "name": task,
      "kind": kind,
      "columns": self.columns,
      "form": self.form,
      "template": self.template,
      "prompt_ends_with": self.prompt_ends_with,
      "split_by": self.split_by,
    }
    words = [f"--{k}={v}" for k, v in given.items() if v is not None]
    if self.score_pairs != "all" and kind == "pairs":
      words.append(f"--score_pairs={self.score_pairs}")
    if self.pair_unpaired and kind == "pairs":
      words.append("--pair_unpaired")
    if kind == "sft":
      words.append(f"--responses={self.sft_responses}")
    return ("own", *words)
