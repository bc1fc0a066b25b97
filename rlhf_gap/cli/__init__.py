"""The command line, `rlhf-gap`. Only this package imports gin."""
