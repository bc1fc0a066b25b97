"""An in-memory board, for tests in which threads act as processes."""

import collections
import threading


class LocalBoard:
  """A key-value board in memory that also records every text posted."""

  def __init__(self):
    self._changed = threading.Condition()
    self.history = collections.defaultdict(list)

  def post(self, name, text):
    """Sets the text under a name."""
    with self._changed:
      self.history[name].append(text)
      self._changed.notify_all()

  def wait_for(self, name):
    """Waits until there is a text under a name and returns it."""
    with self._changed:
      assert self._changed.wait_for(lambda: name in self.history, timeout=60)
      return self.history[name][-1]

  def under(self, folder):
    """Returns the latest texts named `folder/NAME`, by NAME."""
    with self._changed:
      return {
        name.removeprefix(f"{folder}/"): texts[-1]
        for name, texts in self.history.items()
        if name.startswith(f"{folder}/")
      }
