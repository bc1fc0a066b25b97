"""Caches compiled programs between commands."""

import os

import jax

# A shorter compilation is cheaper than reading its file.
_LEAST_SECONDS = 0.3


def use_persistent_cache() -> None:
  """Caches compiled programs below the user's cache folder.

  JAX's environment variables take precedence. An empty
  `JAX_COMPILATION_CACHE_DIR` disables the cache, and so does a missing home
  folder.
  """
  if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(base):
      folder = os.path.join(base, "rlhf_gap", "compiled")
      jax.config.update("jax_compilation_cache_dir", folder)
  name = "jax_persistent_cache_min_compile_time_secs"
  if name.upper() not in os.environ:
    jax.config.update(name, _LEAST_SECONDS)
