"""Finds tests that cannot fail: no assertion, or a value compared with itself.

Usage: python tools/check_tests.py
"""

import ast
import pathlib
import sys

_CHECKERS = ("assert", "check", "raises")


def _calls_a_checker(node: ast.AST) -> bool:
  if not isinstance(node, ast.Call):
    return False
  function = node.func
  name = getattr(function, "attr", getattr(function, "id", ""))
  return name.lstrip("_").startswith(_CHECKERS)


def _compares_with_itself(node: ast.AST) -> bool:
  if isinstance(node, ast.Compare):
    return ast.dump(node.left) in map(ast.dump, node.comparators)
  if _calls_a_checker(node):
    positional = [ast.dump(argument) for argument in node.args[:2]]
    return len(positional) == 2 and positional[0] == positional[1]
  return False


def faults(path: pathlib.Path) -> list[str]:
  """Returns one line for each test in `path` that cannot fail."""
  found = []
  for node in ast.walk(ast.parse(path.read_text())):
    if not isinstance(node, ast.FunctionDef):
      continue
    inside = list(ast.walk(node))
    if node.name.startswith("test_") and not any(
      isinstance(n, ast.Assert) or _calls_a_checker(n) for n in inside
    ):
      found.append(f"{path}:{node.lineno}: {node.name} asserts nothing")
    if any(map(_compares_with_itself, inside)):
      found.append(f"{path}:{node.lineno}: {node.name} compares x with x")
  return found


def main() -> int:
  """Checks every test file below tests/ and prints what it finds."""
  root = pathlib.Path(__file__).parent.parent / "tests"
  found = [f for path in sorted(root.rglob("*.py")) for f in faults(path)]
  print("\n".join(found) or "every test can fail")
  return bool(found)


if __name__ == "__main__":
  sys.exit(main())
