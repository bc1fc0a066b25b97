"""Didactic problems: a few actions, exact numbers, a figure in seconds.

Settings and estimands are in docs/didactic.md.
"""
