"""MkDocs hook: an API page for each package of rlhf_gap, from docstrings.

Pages are generated while the site is built, so that moved and new modules need
no change here or under docs/.
"""

import ast
import pathlib
from collections.abc import Iterator
from typing import Any

from mkdocs.structure import files as mkdocs_files

_ROOT = pathlib.Path(__file__).parents[1]
_PACKAGE = _ROOT / "rlhf_gap"
_NAV = "API"


def on_config(config: Any) -> Any:
  """Adds the API pages to the navigation."""
  pages = [
    {_title(folder): f"api/{_title(folder)}.md"} for folder in packages()
  ]
  for entry in config.nav:
    if _NAV in entry:
      entry[_NAV] = [{"Overview": "api/index.md"}, *pages]
  return config


def on_files(files: Any, config: Any) -> Any:
  """Adds the pages themselves."""
  texts = {"api/index.md": overview()}
  texts |= {f"api/{_title(folder)}.md": page(folder) for folder in packages()}
  for path, text in texts.items():
    generated = mkdocs_files.File.generated(config, path, content=text)
    files.append(generated)
  return files


def packages() -> list[pathlib.Path]:
  """Returns the package and its folders that hold modules, sorted."""
  folders = {path.parent for path in _PACKAGE.rglob("*.py")}
  return sorted(folders)


def overview() -> str:
  """Returns the page that lists the packages."""
  lines = [
    "# API",
    "",
    "Made from the docstrings. Each page documents the public names of one",
    "package; [Finding your way](../finding_your_way.md) says where to start.",
    "",
    "| package | what it holds |",
    "|---|---|",
  ]
  for folder in packages():
    title = _title(folder)
    summary = _summary(folder / "__init__.py")
    lines.append(f"| [`{title}`]({title}.md) | {summary} |")
  return "\n".join(lines) + "\n"


def page(folder: pathlib.Path) -> str:
  """Returns the page of one package.

  Args:
    folder: the package's.
  """
  names = "\n\n".join(f"::: {name}" for name in _modules(folder))
  return f"# {_title(folder)}\n\n{names}\n"


def _modules(folder: pathlib.Path) -> Iterator[str]:
  for path in sorted(folder.glob("*.py")):
    has_text = path.stat().st_size > 0
    if path.name == "__init__.py" and has_text:
      yield _title(folder)
    elif not path.name.startswith("_"):
      yield f"{_title(folder)}.{path.stem}"


def _title(folder: pathlib.Path) -> str:
  return ".".join(folder.relative_to(_ROOT).parts)


def _summary(path: pathlib.Path) -> str:
  """Returns the first sentence of a module's docstring."""
  if not path.exists():
    return ""
  text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
  return (text or "").partition("\n")[0]
