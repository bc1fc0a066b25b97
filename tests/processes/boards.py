"""A board within one process, for threads that stand for processes."""

import collections
import threading


class LocalBoard:
  """Texts under names, in memory, with all that were ever posted."""

  def __init__(self):
    self._changed = threading.Condition()
    self.history = collections.defaultdict(list)

  def post(self, name, text):
    """Puts a text under a name."""
    with self._changed:
      self.history[name].append(text)
      self._changed.notify_all()

  def wait_for(self, name):
    """Returns the text under a name, once there is one."""
    with self._changed:
      assert self._changed.wait_for(lambda: name in self.history, timeout=60)
      return self.history[name][-1]

  def under(self, folder):
    """Returns the latest texts of a folder."""
    with self._changed:
      return {
        name.removeprefix(f"{folder}/"): texts[-1]
        for name, texts in self.history.items()
        if name.startswith(f"{folder}/")
      }
