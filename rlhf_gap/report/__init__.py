"""The report of a study: one HTML page, made from records alone."""
