"""A key-value board on which the processes of a run exchange small texts.

Process 0 holds the texts, in JAX's coordination service. Orbax uses the same
service; JAX has no public API for it.
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jax._src import distributed

_PREFIX = "rlhf_gap"
_POLL_SECONDS = 0.05
# The watch ends the process long before this.
_FOREVER_SECONDS = 10 * 24 * 3600


@runtime_checkable  # for run-time type checks in tests
class Board(Protocol):
  """A key-value store shared by all processes of a run."""

  def post(self, name: str, text: str) -> None:
    """Sets the text under a name, replacing any earlier one."""

  def wait_for(self, name: str) -> str:
    """Waits until there is a text under a name and returns it."""

  def under(self, folder: str) -> Mapping[str, str]:
    """Returns the texts named `folder/NAME`, by NAME."""


class ServiceBoard:
  """The board in JAX's coordination service; needs `jax.distributed`."""

  def __init__(self) -> None:
    self._client: Any = distributed.global_state.client

  def post(self, name: str, text: str) -> None:
    """Sets the text under a name, replacing any earlier one."""
    self._client.key_value_set(f"{_PREFIX}/{name}", text, allow_overwrite=True)

  def wait_for(self, name: str) -> str:
    """Waits until there is a text under a name and returns it."""
    return self._client.blocking_key_value_get(
      f"{_PREFIX}/{name}", 1000 * _FOREVER_SECONDS
    )

  def under(self, folder: str) -> dict[str, str]:
    """Returns the texts named `folder/NAME`, by NAME."""
    prefix = f"{_PREFIX}/{folder}/"
    return {
      key.removeprefix(prefix): text
      for key, text in self._client.key_value_dir_get(prefix)
    }


def meet(board: Board, name: str, process: int, count: int) -> None:
  """Waits until all processes have reached this barrier.

  Args:
    board: the board that the processes share.
    name: the barrier's name, used only once.
    process: this process's number.
    count: number of processes.
  """
  board.post(f"{name}/{process}", "here")
  while len(board.under(name)) < count:
    time.sleep(_POLL_SECONDS)
