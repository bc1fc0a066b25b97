"""T5 with T5X's parameter names and logical axes."""
