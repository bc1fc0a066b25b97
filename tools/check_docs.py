"""Checks README.md and docs/: links, paths and commands.

Usage: python tools/check_docs.py [--parse_only]

- Every relative link leads to a file, and its anchor to a heading.
- Every path of the repository that a page names in `code` exists.
- Every command line in a bash block parses: its flags are known, its gin files
  and macros exist, and every required flag and macro is set.
- Blocks after the comment `<!-- run -->` run in a temporary folder. They must
  print the lines that their comments promise; seconds may differ.
"""

import argparse
import concurrent.futures
import itertools
import pathlib
import re
import sys
import time
from collections.abc import Iterator

import docs_commands

ROOT = docs_commands.ROOT
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_PATH = re.compile(
  r"(?<![\w/.-])(?:rlhf_gap|gin_configs|tests|tools|docs|\.ci)/[\w./{},*-]+"
)


def pages() -> list[pathlib.Path]:
  """Returns the pages to check."""
  return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def broken_links(page: pathlib.Path, text: str) -> Iterator[str]:
  """Yields a line for each relative link that leads nowhere.

  Args:
    page: where the text is, or would be.
    text: of the page.
  """
  for target in _LINK.findall(_FENCED.sub("", text)):
    if re.match(r"\w+:", target):
      continue
    name, _, anchor = target.partition("#")
    file = page if not name else page.parent / name
    if not file.exists():
      yield f"link to {target}: no such file"
    elif anchor and anchor not in _anchors(file):
      yield f"link to {target}: no such heading"


def _anchors(file: pathlib.Path) -> set[str]:
  text = _FENCED.sub("", file.read_text(encoding="utf-8"))
  return {
    re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
    for heading in _HEADING.findall(text)
  }


def missing_paths(text: str) -> Iterator[str]:
  """Yields a line for each path in `code` that the repository does not have.

  Args:
    text: of a page.
  """
  for code in _INLINE.findall(_FENCED.sub("", text)):
    for named in _PATH.findall(code):
      for path in _expanded(named.rstrip(".,")):
        if not path.startswith("runs/") and not any(ROOT.glob(path)):
          yield f"{path} does not exist"


def _expanded(path: str) -> list[str]:
  """Expands braces: a/{b,c} becomes a/b and a/c."""
  pieces = re.split(r"\{([^}]*)\}", path)
  choices = [
    piece.split(",") if index % 2 else [piece]
    for index, piece in enumerate(pieces)
  ]
  return ["".join(choice) for choice in itertools.product(*choices)]


def inline_commands(text: str) -> list[list[str]]:
  """Returns commands in `code` that name a gin file, as words.

  Other code may be abbreviated or have placeholders.

  Args:
    text: of a page.
  """
  found = [" ".join(c.split()) for c in _INLINE.findall(_FENCED.sub("", text))]
  return [
    code.split()
    for code in found
    if code.startswith("rlhf-gap ") and "=gin_configs" in code
    if "..." not in code
  ]


def _command_faults(where: str, commands: list[list[str]]) -> Iterator[str]:
  for words in commands:
    try:
      docs_commands.check(words)
    except docs_commands.MISTAKES as error:
      yield f"{where}: {' '.join(words)}: {error}"


def _run_faults(blocks: dict[docs_commands.Block, str]) -> Iterator[str]:
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    running = {
      pool.submit(docs_commands.run, block): where
      for block, where in blocks.items()
    }
    for future in concurrent.futures.as_completed(running):
      error = future.exception()
      if isinstance(error, docs_commands.MISTAKES):
        yield f"{running[future]}: {error}"
      elif error is not None:
        raise error


def main() -> int:
  """Checks every page; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--parse_only", action="store_true", help="run no block")
  arguments = parser.parse_args()
  start = time.monotonic()
  faults: list[str] = []
  parsed = ran = 0
  to_run: dict[docs_commands.Block, str] = {}
  for page in pages():
    text = page.read_text(encoding="utf-8")
    where = str(page.relative_to(ROOT))
    faults += [f"{where}: {fault}" for fault in broken_links(page, text)]
    faults += [f"{where}: {fault}" for fault in missing_paths(text)]
    commands = inline_commands(text)
    for block in docs_commands.blocks(text):
      commands += block.commands()
      if block.is_run:
        to_run.setdefault(block, where)
    faults += _command_faults(where, commands)
    parsed += len(commands)
  if not arguments.parse_only:
    ran = sum(len(list(block.commands())) for block in to_run)
    faults += _run_faults(to_run)
  for fault in faults:
    print(f"DOCS: {fault}", file=sys.stderr)
  print(
    f"{len(pages())} pages, {parsed} command lines parsed, {ran} of them run in"
    f" {len(to_run)} blocks, {len(faults)} faults,"
    f" {time.monotonic() - start:.0f} s"
  )
  return int(bool(faults))


if __name__ == "__main__":
  sys.exit(main())
