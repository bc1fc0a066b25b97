"""Preference data: published files to seqio tasks to pair stores.

`formats` and `published` read what the publishers released and are plain
Python; `builders` and `tasks` need TensorFlow Datasets and seqio, and nothing
outside this package imports them except the `data` command, when it runs. `own`
reads a user's own files, without TensorFlow.
"""
