"""Compiled programs are kept between commands."""

import os

import jax

# Shorter compilations cost less than their file.
_LEAST_SECONDS = 0.3


def use_persistent_cache() -> None:
  """Keeps compiled programs in a folder of the user's, unless one is set.

  JAX's own variable `JAX_COMPILATION_CACHE_DIR` goes before; set to the empty
  string it turns the cache off.
  """
  if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(base, "rlhf_gap", "compiled")
    jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update(
    "jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS
  )
