"""Training: the optimizers and the one train step."""
