"""gin files are checked before gin sees them: text, includes, imports."""

import sys

import pytest

from rlhf_gap import errors
from rlhf_gap.cli import gin_files, gin_sources
from rlhf_gap.training import description

_HEAD = "from __gin__ import dynamic_registration\n"


def _write(path, text):
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return str(path)


def _refused(paths, *more):
  with pytest.raises(errors.UserError) as raised:
    gin_sources.lines_of(paths, *more)
  message = str(raised.value)
  assert "\n" not in message
  return message


def test_lines_have_places_and_includes_are_inserted(tmp_path):
  inner = _write(tmp_path / "inner.gin", "A = 1\nB = 2")
  outer = _write(tmp_path / "outer.gin", f"include '{inner}'\nC = 3")
  lines = gin_sources.lines_of([outer], ["D = 4"])
  assert [line[:2] for line in lines] == [
    (f"{outer}:1", f"include '{inner}'"),
    (f"{inner}:1", "A = 1"),
    (f"{inner}:2", "B = 2"),
    (f"{outer}:2", "C = 3"),
    ("--gin.D", "D = 4"),
  ]


def test_windows_line_ends_and_marks_change_no_line(tmp_path):
  unix = _write(tmp_path / "unix.gin", "A = 1\nB = 2\n")
  windows = _write(tmp_path / "windows.gin", b"\xef\xbb\xbfA = 1\r\nB = 2\r\n")
  texts = [
    [line.text for line in gin_sources.lines_of([path])]
    for path in (unix, windows)
  ]
  assert texts[0] == texts[1] == ["A = 1", "B = 2", ""]


def test_a_search_path_comes_before_the_repository(tmp_path):
  name = "gin_configs/models/mini_policy.gin"
  assert gin_sources.find(name, []) in (name, str(gin_sources.ROOT / name))
  folder = tmp_path / "gin_configs" / "models"
  folder.mkdir(parents=True)
  mine = _write(folder / "own.gin", "A = 1")
  found = gin_sources.find("gin_configs/models/own.gin", [str(tmp_path)])
  assert found == mine


@pytest.mark.parametrize(
  ("content", "expected"),
  [
    (b"A = 1\0", "contains NUL bytes"),
    (b"A = '\xff'", "not UTF-8 (byte 5"),
    ("A = 1".encode("utf-16"), "UTF-16"),
  ],
)
def test_files_that_are_not_text(tmp_path, content, expected):
  path = _write(tmp_path / "a.gin", content)
  message = _refused([path])
  assert path in message
  assert expected in message


@pytest.mark.parametrize("length", [1, 2, 3])
def test_includes_in_a_circle_end(tmp_path, length):
  paths = [tmp_path / f"{number}.gin" for number in range(length)]
  for number, path in enumerate(paths):
    _write(path, f"A = 1\ninclude '{paths[(number + 1) % length]}'\n")
  message = _refused([str(paths[0])])
  assert message.startswith(f"{paths[-1]}:2: ")
  assert "includes itself" in message


def test_the_same_file_may_be_included_twice(tmp_path):
  inner = _write(tmp_path / "inner.gin", "A = 1")
  outer = _write(tmp_path / "outer.gin", f"include '{inner}'\n" * 2)
  places = [line.place for line in gin_sources.lines_of([outer])]
  assert places.count(f"{inner}:1") == 2


def test_a_missing_include_names_the_line(tmp_path):
  outer = _write(tmp_path / "outer.gin", "A = 1\ninclude 'no/such.gin'\n")
  message = _refused([outer])
  assert message.startswith(f"{outer}:2: no/such.gin: no such gin file")


@pytest.mark.parametrize(
  "statement",
  [
    "import {name}",
    "import {name} as x",
    "from {name} import thing",
    "import {name}.inner",
  ],
)
def test_imports_run_no_code_before_they_are_allowed(
  tmp_path, monkeypatch, statement
):
  name = "made_up_module_of_gin_sources"
  (tmp_path / f"{name}.py").write_text("raise RuntimeError('it ran')\n")
  monkeypatch.syspath_prepend(str(tmp_path))
  text = f"{_HEAD}{statement.format(name=name)}\n"
  path = _write(tmp_path / "a.gin", text)
  with pytest.raises(errors.UserError, match=f"--allow_module={name}") as e:
    gin_files.parse([path])
  assert str(e.value).startswith(f"{path}:2: imports {name}")
  assert name not in sys.modules


def test_an_import_in_an_included_file_is_checked_too(tmp_path):
  inner = _write(tmp_path / "inner.gin", "import os\n")
  outer = _write(tmp_path / "outer.gin", f"include '{inner}'\n")
  assert _refused([outer]).startswith(f"{inner}:1: imports os")
  gin_sources.lines_of([outer], (), (), ["os"])


@pytest.mark.parametrize(
  ("module", "expected"),
  [
    ("optax", True),
    ("optax.contrib", True),
    ("optaxes", False),
    ("os", False),
    ("rlhf_gap.models.t5", True),
  ],
)
def test_trusted_modules(module, expected):
  trusted = gin_sources.TRUSTED_MODULES
  assert gin_sources.is_allowed(module, trusted) == expected


@pytest.mark.parametrize("inside", [True, False])
def test_a_checkouts_files_are_ours_for_an_installed_copy(
  tmp_path, monkeypatch, inside
):
  """A copy in site-packages has no gin files: includes come from the checkout.

  Its files bind alternatives, such as AdamW's rate, which a run does not use.
  """
  root = gin_sources.ROOT
  monkeypatch.setattr(gin_sources, "ROOT", tmp_path)
  monkeypatch.chdir(root if inside else tmp_path)
  file = "gin_configs/runs/offline.gin"
  files = [file if inside else str(root / file)]
  given = [
    f"{name} = x" for name in ("MODEL_DIR", "PAIRS", "INITIAL_CHECKPOINT_PATH")
  ]
  gin_files.parse(files, given)
  gin_files.construct(description.Run, files, given)
  misspelt = [*given, "BETTA = 3"]
  gin_files.parse(files, misspelt)
  with pytest.raises(
    errors.UserError, match="nothing uses BETTA; did you mean"
  ):
    gin_files.construct(description.Run, files, misspelt)
