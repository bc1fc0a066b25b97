"""Responses, their log-probabilities, and which of two is better."""
