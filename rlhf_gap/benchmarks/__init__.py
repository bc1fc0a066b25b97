"""Timing of the expensive parts, beside what the machine could do."""
