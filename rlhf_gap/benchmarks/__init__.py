"""Benchmarks of the expensive operations, relative to the machine's limits."""
