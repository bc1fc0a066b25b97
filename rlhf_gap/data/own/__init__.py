"""A user's own preference data: files of many forms to pair stores.

  sources       --source to files, each with its format
  reading       files to rows (`json_lines`, `json_documents`, `delimited`,
                `arrow_files`, `hub`)
  columns       --columns, and what each column is for
  forms         which of the known forms the columns have
  interpreting  a row to a prompt, its responses and their comparisons
  splits        which split a row belongs to
  outcomes      what becomes of every row
  survey        a first pass, which counts and refuses
  build         a second pass, which tokenizes and writes the store
  look          what `--look` prints
  tasks         the same rows as seqio tasks; the one module that needs seqio

Nothing here but `tasks` imports TensorFlow, directly or indirectly.
"""
