"""Arithmetic on logits and masks; knows arrays alone."""
