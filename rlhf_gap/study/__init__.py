"""A study: its stages, its statistics, its claims and its report."""
