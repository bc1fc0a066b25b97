"""Runs docs/own_data.ipynb from top to bottom, in a temporary folder.

Usage: python tools/check_notebook.py [--write]

Fails if a cell fails, if the study ends without its report, or if the notebook
shows fewer than three pictures. --write saves the outputs in the notebook.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import nbclient
import nbformat

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "own_data.ipynb"
_CELL_SECONDS = 600
_PICTURES = 3


def execute(notebook: Any, folder: str) -> None:
  """Runs all cells with this interpreter and this package.

  Args:
    notebook: the notebook; its outputs are replaced.
    folder: the working directory.

  Raises:
    CellExecutionError: a cell fails.
  """
  # `rlhf-gap` of this environment, and the kernel that belongs to it.
  path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
  paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
  os.environ["PATH"] = path
  os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
  os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
  nbclient.NotebookClient(
    notebook,
    timeout=_CELL_SECONDS,
    kernel_name="python3",
    resources={"metadata": {"path": folder}},
  ).execute()


def faults_of(notebook: Any, folder: pathlib.Path) -> Iterator[str]:
  """Yields what an executed notebook lacks.

  Args:
    notebook: the executed notebook.
    folder: the folder that it ran in.
  """
  pictures = sum(
    "image/png" in output.get("data", {})
    for cell in notebook.cells
    for output in cell.get("outputs", ())
  )
  if pictures < _PICTURES:
    yield f"{pictures} pictures; expected {_PICTURES} or more"
  if not (folder / "study" / "report" / "index.html").is_file():
    yield "the study wrote no report"


def _tidy(notebook: Any, folder: str) -> None:
  """Joins each cell's printed pieces; drops progress and this machine's paths.

  Args:
    notebook: the executed notebook.
    folder: the folder that it ran in.
  """
  for cell in notebook.cells:
    cell.metadata.pop("execution", None)
    outputs = cell.get("outputs", [])
    texts = [o["text"] for o in outputs if o.get("name") == "stdout"]
    others = [o for o in outputs if o["output_type"] != "stream"]
    if texts:
      text = "".join(texts)
      for place in (folder, str(ROOT)):
        text = text.replace(f"{place}/", "")
      others.insert(0, nbformat.v4.new_output("stream", text=text))
    if "outputs" in cell:
      cell.outputs = others


def main() -> int:
  """Runs the notebook; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--write", action="store_true", help="save the outputs")
  arguments = parser.parse_args()
  start = time.monotonic()
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  with tempfile.TemporaryDirectory() as folder:
    try:
      execute(notebook, folder)
      faults = list(faults_of(notebook, pathlib.Path(folder)))
    except nbclient.exceptions.CellExecutionError as error:
      faults = [str(error)]
    _tidy(notebook, folder)
  for fault in faults:
    print(f"NOTEBOOK: {fault}", file=sys.stderr)
  if arguments.write and not faults:
    nbformat.write(notebook, NOTEBOOK)
  print(
    f"{NOTEBOOK.name}: {len(notebook.cells)} cells, {len(faults)} faults,"
    f" {time.monotonic() - start:.0f} s"
  )
  return int(bool(faults))


if __name__ == "__main__":
  sys.exit(main())
