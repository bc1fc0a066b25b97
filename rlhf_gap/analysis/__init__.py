"""Statistics: records in, estimates and verdicts out."""
