"""The gap between online and offline alignment of T5 (Tang et al. 2024)."""

__version__ = "0.1.0"
