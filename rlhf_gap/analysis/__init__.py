"""What the numbers mean: records in, estimates and verdicts out."""
