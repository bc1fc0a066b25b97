"""The four public datasets: their files and how to read them.

Plain Python; `builders` turns each into a TensorFlow Datasets builder.
"""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import etils.epath

from rlhf_gap import errors
from rlhf_gap.data import published, surveys
from rlhf_gap.data.formats import anthropic, arena, summarization

_JSON_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
# Rows read to detect an arena release.
_PEEKED_ROWS = 100


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A public dataset.

  Attributes:
    name: its TFDS name.
    title: one line for `rlhf-gap data --list`.
    homepage: where its publisher describes it.
    license: its licence.
    citation: BibTeX.
    how: how to read its rows.
    splits: the names of its splits.
    columns: the published columns to keep, with their types.
    expected: description of its published file names.
    is_one: whether a file belongs to it, given its name below the folder.
    urls: URL of each file, if no sign-in is required.
  """

  name: str
  title: str
  homepage: str
  license: str
  citation: str
  how: surveys.Format
  splits: Sequence[str]
  columns: Mapping[str, type]
  expected: str
  is_one: Callable[[str, etils.epath.Path], bool]
  urls: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def find(self, folder: etils.epath.Path) -> dict[str, etils.epath.Path]:
    """Returns this dataset's files below `folder`, sorted by name.

    Names are relative to `folder`. A file directly in it is prefixed with the
    folder's name, because only `helpful-base` identifies `test.jsonl.gz`.

    Raises:
      UserError: the folder does not exist or has none of its files.
    """
    candidates = data_files(folder)
    own = {n: path for n, path in candidates.items() if self.is_one(n, path)}
    if not own:
      raise errors.UserError(
        f"{folder} holds none of the files of {self.name} ({self.expected})"
        f" among its {len(candidates)} data files; get them from"
        f" {self.homepage}"
      )
    return own


def data_files(folder: etils.epath.Path) -> dict[str, etils.epath.Path]:
  """Returns all files below `folder` that `published` can read.

  Raises:
    UserError: the folder does not exist.
  """
  if not folder.is_dir():
    raise errors.UserError(f"{folder} is not a folder of published files")
  return {
    _name(path, folder): path
    for path in sorted(_files_below(folder))
    if path.name.endswith(published.SUFFIXES)
  }


def _files_below(folder: etils.epath.Path) -> Iterator[etils.epath.Path]:
  for path in folder.iterdir():
    if path.is_dir():
      yield from _files_below(path)
    else:
      yield path


def _name(path: etils.epath.Path, folder: etils.epath.Path) -> str:
  """Returns a file's name below `folder`, with at least one parent folder."""
  name = str(path.relative_to(folder))
  return name if "/" in name else f"{path.resolve().parent.name}/{name}"


def _folder(name: str) -> str:
  return pathlib.PurePosixPath(name).parent.name


def _stem(name: str) -> str:
  return pathlib.PurePosixPath(name).name.split(".")[0]


def _hh_rlhf(name: str, title: str, subsets: Sequence[str]) -> Dataset:
  def is_one(file: str, path: etils.epath.Path) -> bool:
    del path
    return (
      _folder(file) in subsets
      and _stem(file) in anthropic.SPLITS
      and file.endswith(_JSON_SUFFIXES)
    )

  base = "https://huggingface.co/datasets/Anthropic/hh-rlhf/resolve/main"
  files = [
    f"{s}/{split}.jsonl.gz" for s in subsets for split in anthropic.SPLITS
  ]
  return Dataset(
    name=name,
    title=title,
    homepage="https://huggingface.co/datasets/Anthropic/hh-rlhf",
    license="MIT",
    citation=_BAI,
    how=surveys.Format(
      split=lambda fields, file: _stem(file),
      comparison=lambda fields, file: anthropic.comparison(
        fields, _folder(file)
      ),
    ),
    splits=anthropic.SPLITS,
    columns={"subset": str},
    expected="{" + ",".join(subsets) + "}/{train,test}.jsonl.gz",
    is_one=is_one,
    urls={file: f"{base}/{file}" for file in files},
  )


_TLDR_BATCH = re.compile(r"(batch\d+(_cnndm)?|cnndm\d+|edit_b2_eval_test)")
_TLDR_BATCHES = (
  "batch0_cnndm",
  *(f"batch{number}" for number in range(3, 21)),
  "batch22",
  "cnndm0",
  "cnndm2",
  "edit_b2_eval_test",
)


def _is_tldr(file: str, path: etils.epath.Path) -> bool:
  del path
  return file.endswith(_JSON_SUFFIXES) and (
    _TLDR_BATCH.fullmatch(_stem(file)) is not None
  )


def _is_arena(file: str, path: etils.epath.Path) -> bool:
  """Inspects a file's rows, because arena releases have no fixed file names.

  A file without a readable row in the first `_PEEKED_ROWS` counts as arena, so
  that its faults are reported rather than skipped.
  """
  if _is_tldr(file, path) or _folder(file) in (
    *anthropic.HELPFUL_SUBSETS,
    *anthropic.HARMLESS_SUBSETS,
  ):
    return False
  for count, row in enumerate(published.rows(file, path)):
    if row.fields is not None:
      return arena.is_battle(row.fields)
    if count == _PEEKED_ROWS:
      break
  return True


_BAI = """@article{bai2022training,
  title={Training a Helpful and Harmless Assistant with Reinforcement Learning
    from Human Feedback},
  author={Bai, Yuntao and others},
  journal={arXiv preprint arXiv:2204.05862},
  year={2022}
}"""

_STIENNON = """@inproceedings{stiennon2020learning,
  title={Learning to summarize with human feedback},
  author={Stiennon, Nisan and others},
  booktitle={Advances in Neural Information Processing Systems},
  volume={33},
  year={2020}
}"""

_ZHENG = """@inproceedings{zheng2023judging,
  title={Judging {LLM}-as-a-Judge with {MT}-Bench and {C}hatbot {A}rena},
  author={Zheng, Lianmin and others},
  booktitle={Advances in Neural Information Processing Systems},
  volume={36},
  year={2023}
}"""

HELPFULNESS = _hh_rlhf(
  "anthropic_helpfulness",
  "Anthropic hh-rlhf, which of two answers helps more",
  anthropic.HELPFUL_SUBSETS,
)

HARMLESSNESS = _hh_rlhf(
  "anthropic_harmlessness",
  "Anthropic hh-rlhf, which of two answers does less harm",
  anthropic.HARMLESS_SUBSETS,
)

SUMMARIZATION = Dataset(
  name="openai_summarization",
  title="OpenAI comparisons of summaries of Reddit posts (TL;DR)",
  homepage="https://github.com/openai/summarize-from-feedback",
  license="Modified MIT (OpenAI); posts: TL;DR corpus, CC BY 4.0",
  citation=_STIENNON,
  how=surveys.Format(
    split=lambda fields, file: summarization.split(fields),
    comparison=lambda fields, file: summarization.comparison(fields),
    split_by_prompt=True,
  ),
  splits=summarization.SPLITS,
  columns={
    "post_id": str,
    "subreddit": str,
    "title": str,
    "policy_a": str,
    "policy_b": str,
    "worker": str,
    "batch": str,
    "confidence": int,
  },
  expected="comparisons/batch3.json ... edit_b2_eval_test.json",
  is_one=_is_tldr,
  urls={
    f"comparisons/{batch}.json": (
      "https://openaipublic.blob.core.windows.net/"
      f"summarize-from-feedback/dataset/comparisons/{batch}.json"
    )
    for batch in _TLDR_BATCHES
  },
)


def chat_arena(*, cut_to_shared_prefix: bool) -> Dataset:
  """Returns the arena dataset, with one of two readings of later turns.

  Args:
    cut_to_shared_prefix: see `arena.comparison`.
  """
  return Dataset(
    name="chat_arena",
    title="Chatbot Arena battles, side by side"
    + (", cut to the shared prefix" if cut_to_shared_prefix else ""),
    homepage=(
      "https://huggingface.co/datasets/lmsys/chatbot_arena_conversations"
    ),
    license=(
      "prompts CC BY 4.0, outputs CC BY-NC 4.0 (arena_33k); CC BY 4.0"
      " (mt_bench); Apache-2.0 (arena_55k)"
    ),
    citation=_ZHENG,
    how=surveys.Format(
      split=lambda fields, file: arena.split(fields),
      comparison=lambda fields, file: arena.comparison(
        fields, cut_to_shared_prefix=cut_to_shared_prefix
      ),
      drop_copies=True,
    ),
    splits=arena.SPLITS,
    columns={
      "release": str,
      "question_id": str,
      "model_a": str,
      "model_b": str,
      "judge": str,
      "language": str,
      "turn": int,
    },
    expected="a *.parquet, *.csv or *.jsonl of an arena release",
    is_one=_is_arena,
  )
