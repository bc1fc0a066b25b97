"""One published row to one comparison: prompt, two responses, a label.

Pure Python: a format knows nothing of files, TensorFlow or token ids.
"""
