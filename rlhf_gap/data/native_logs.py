"""Keeps TensorFlow's native start-up messages off the terminal.

Its libraries write to file descriptor 2 before any setting of theirs is read:
missing CUDA drivers, instruction sets, normalizers. None of it is the user's
business unless something fails, and then all of it is printed.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def held_back() -> Iterator[None]:
  """Holds back what native code writes to descriptor 2.

  Python's own `sys.stderr` goes on as before, progress bars included. What was
  held back is printed if an exception leaves the block.
  """
  sys.stderr.flush()
  terminal = os.dup(2)
  python_stderr = sys.stderr
  with tempfile.TemporaryFile() as held:
    os.dup2(held.fileno(), 2)
    sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1)
    try:
      yield
    except Exception:
      held.seek(0)
      sys.stderr.write(held.read().decode(errors="replace"))
      raise
    finally:
      sys.stderr.close()
      sys.stderr = python_stderr
      os.dup2(terminal, 2)
      os.close(terminal)


def start_tensorflow() -> None:
  """Imports TensorFlow without its messages and without the accelerator.

  Tokenizing needs none, and TensorFlow would take all of a GPU's memory.
  """
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  with held_back():
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.set_visible_devices([], "TPU")
    tf.constant(0)  # Looks for devices now rather than later.
