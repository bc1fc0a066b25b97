"""`rlhf-gap didactic`."""

import pytest

from rlhf_gap.cli import main


def test_counterexample_writes_its_figure_twice_the_same(tmp_path, capsys):
  contents = []
  for name in ("first", "second"):
    folder = tmp_path / name
    arguments = ["didactic", "counterexample", f"--output={folder}"]
    assert main.main([*arguments, "--seeds=3"]) == 0
    contents.append((folder / "counterexample.csv").read_bytes())
    assert (folder / "counterexample.png").stat().st_size > 0
  assert contents[0] == contents[1]
  assert "IPO leaves it too: " in capsys.readouterr().out


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["bandits", "--output=x"], "bandit"),
    (["bandit", "--output=x", "--seeds=0"], "--seeds=0; expected"),
    (["bandit", "--output=x", "--seed=3"], "did you mean --seeds?"),
    (["bandit"], "--output"),
  ],
)
def test_mistakes_are_one_line(flags, message, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  try:
    status = main.main(["didactic", *flags])
  except SystemExit as end:
    status = end.code
  error = capsys.readouterr().err
  assert status == 2
  assert message in error
  assert error.count("\n") == 1
  assert not list(tmp_path.iterdir())


def test_output_must_not_be_a_file(tmp_path, capsys):
  file = tmp_path / "file"
  file.write_text("kept")
  assert main.main(["didactic", "bandit", f"--output={file}"]) == 2
  assert "expected a folder, found a file" in capsys.readouterr().err
  assert file.read_text() == "kept"
