"""Settings that every test runs under."""

import os
import pathlib
import signal

# Before JAX is imported: eight virtual devices, so that sharding is tested.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_FLAG = "--xla_force_host_platform_device_count"
if _FLAG not in os.environ.get("XLA_FLAGS", ""):
  flags = os.environ.get("XLA_FLAGS", "")
  os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}=8".strip()

import jax  # noqa: E402

_CACHE = pathlib.Path(__file__).parent.parent / ".jax_cache"
jax.config.update("jax_compilation_cache_dir", str(_CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
# [3] + [4, 3] is a mistake here more often than an intention.
jax.config.update("jax_numpy_rank_promotion", "raise")

# A shell's background job ignores Ctrl-C, and so would what is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
