"""The command line, `rlhf-gap`: the one place that imports gin."""
