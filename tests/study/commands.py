"""Stands in for the command line: small commands that are quick to run."""

import os
import pathlib
import signal
import time


def execute(argv):
  """`write FILE TEXT`, `copy FROM TO`, `fail`, `die`, `sleep SECONDS FILE`."""
  command, *words = argv
  if command == "write":
    path = pathlib.Path(words[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(words[1])
  elif command == "copy":
    text = pathlib.Path(words[0]).read_text()
    execute(["write", words[1], text])
  elif command == "fail":
    print("first line\nwhat went wrong")
    return 2
  elif command == "die":
    os.kill(os.getpid(), signal.SIGKILL)
  elif command == "sleep":
    time.sleep(float(words[0]))
    execute(["write", words[1], str(len(os.sched_getaffinity(0)))])
  return 0
