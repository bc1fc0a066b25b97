"""Compiled programs are kept between commands."""

import os

import jax

# Shorter compilations cost less than their file.
_LEAST_SECONDS = 0.3


def use_persistent_cache() -> None:
  """Keeps compiled programs in a folder of the user's, unless one is set.

  JAX's own variables take precedence; an empty `JAX_COMPILATION_CACHE_DIR`
  turns the cache off. A user without a home folder has no cache.
  """
  if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(base):
      folder = os.path.join(base, "rlhf_gap", "compiled")
      jax.config.update("jax_compilation_cache_dir", folder)
  name = "jax_persistent_cache_min_compile_time_secs"
  if name.upper() not in os.environ:
    jax.config.update(name, _LEAST_SECONDS)
