"""Array operations on logits, masks and attention scores."""
