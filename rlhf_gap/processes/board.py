"""What the processes of a run tell one another: small texts under names.

The texts lie with process 0, in JAX's coordination service. It is the one that
Orbax uses too, and JAX has no public door to it.
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jax._src import distributed

_PREFIX = "rlhf_gap"
_POLL_SECONDS = 0.05
# Whoever waits longer is ended by the watch.
_FOREVER_SECONDS = 10 * 24 * 3600


@runtime_checkable  # for checks of types while testing
class Board(Protocol):
  """Texts under names, seen by every process of a run."""

  def post(self, name: str, text: str) -> None:
    """Puts a text under a name, in place of any before it."""

  def wait_for(self, name: str) -> str:
    """Returns the text under a name, once there is one."""

  def under(self, folder: str) -> Mapping[str, str]:
    """Returns the texts whose names begin with `folder/`, without that."""


class ServiceBoard:
  """The board in JAX's coordination service; `jax.distributed` must run."""

  def __init__(self) -> None:
    self._client: Any = distributed.global_state.client

  def post(self, name: str, text: str) -> None:
    """Puts a text under a name, in place of any before it."""
    self._client.key_value_set(f"{_PREFIX}/{name}", text, allow_overwrite=True)

  def wait_for(self, name: str) -> str:
    """Returns the text under a name, once there is one."""
    return self._client.blocking_key_value_get(
      f"{_PREFIX}/{name}", 1000 * _FOREVER_SECONDS
    )

  def under(self, folder: str) -> dict[str, str]:
    """Returns the texts whose names begin with `folder/`, without that."""
    whole = f"{_PREFIX}/{folder}/"
    return {
      key.removeprefix(whole): text
      for key, text in self._client.key_value_dir_get(whole)
    }


def meet(board: Board, name: str, process: int, count: int) -> None:
  """Returns once all processes have come here.

  Args:
    board: what they share.
    name: of the meeting; never used twice.
    process: this one's number.
    count: how many there are.
  """
  board.post(f"{name}/{process}", "here")
  while len(board.under(name)) < count:
    time.sleep(_POLL_SECONDS)
