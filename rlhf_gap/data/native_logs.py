"""Keeps TensorFlow's native start-up messages off the terminal.

Its libraries write to file descriptor 2 before any of their settings are read:
missing CUDA drivers, instruction sets, normalizers. None of it matters to the
user unless something fails; in that case all of it is printed.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def held_back() -> Iterator[None]:
  """Holds back what native code writes to descriptor 2.

  Python's own `sys.stderr` still works, progress bars included. The captured
  output is printed if the block raises an exception.
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
  """Imports TensorFlow quietly and hides accelerators from it.

  Tokenizing needs no accelerator, and TensorFlow would reserve all GPU memory.
  """
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  with held_back():
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.set_visible_devices([], "TPU")
    tf.constant(0)  # Forces device discovery inside the block.
