"""A dataset of the Hugging Face hub, through the `datasets` library."""

from collections.abc import Iterator
from typing import Any

from rlhf_gap import errors
from rlhf_gap.data.published import Row


def rows(name: str, split: str | None) -> Iterator[Row]:
  """Yields the rows of a hub dataset, streamed.

  Args:
    name: `owner/name`, `owner/name@REVISION`, or either with `:CONFIG`.
    split: the split to read.

  Raises:
    UserError: the `datasets` library is not installed, or the hub has no such
      dataset, split or network.
  """
  dataset = _open(name, split)
  try:
    for number, fields in enumerate(dataset, start=1):
      yield Row(number, fields)
  except (OSError, ValueError) as error:
    raise _failed(name, error) from error


def _open(name: str, split: str | None) -> Any:
  try:
    import datasets
  except ModuleNotFoundError as error:
    raise errors.UserError(
      f"hub:{name} needs the `datasets` library: pip install -e '.[hub]'; or"
      " download the dataset's files and give their folder"
    ) from error
  repository, _, config = name.partition(":")
  path, _, revision = repository.partition("@")
  try:
    return datasets.load_dataset(
      path,
      config or None,
      split=split or "train",
      revision=revision or None,
      streaming=True,
    )
  except (OSError, ValueError) as error:
    raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> errors.UserError:
  reason = (str(error) or type(error).__name__).splitlines()[0][:200]
  return errors.UserError(f"hub:{name} cannot be read: {reason}")
