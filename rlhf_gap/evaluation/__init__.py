"""From a checkpoint to a record: what it is worth, and how sure that is."""
