"""Flags: their types, the shared ones, and those without effect."""

import argparse

import pytest

from rlhf_gap import checks, errors
from rlhf_gap.cli import (
  applying,
  flag_types,
  gin_files,
  gin_flags,
  main,
  shared_flags,
)

_HUGE = "9" * 31


@pytest.mark.parametrize(
  ("parse", "text", "value"),
  [
    (flag_types.count, "1", 1),
    (flag_types.count, "+12", 12),
    (flag_types.count, str(checks.LARGEST), checks.LARGEST),
    (flag_types.seed, "0", 0),
    (flag_types.seed, str(2**32 - 1), 2**32 - 1),
    (flag_types.tokens, "65536", 65536),
    (flag_types.positive, "1e-3", 1e-3),
    (flag_types.real(0), "0", 0.0),
    (flag_types.real(0, 1, above=True), "1", 1.0),
    (flag_types.words("relu", "silu"), "silu,relu", ("silu", "relu")),
    (flag_types.name, "~x", "~x"),
    (flag_types.storage, "gs://b/x", "gs://b/x"),
    (flag_types.storage, "memory://x", "memory://x"),
    (flag_types.local, "a/b", "a/b"),
  ],
)
def test_values_within_their_limits(parse, text, value):
  assert parse(text) == value


@pytest.mark.parametrize(
  ("parse", "text", "expected"),
  [
    (flag_types.count, "0", "a whole number, 1 or more"),
    (flag_types.count, "1.5", "a whole number, 1 or more"),
    (flag_types.count, "1_000", "a whole number, 1 or more"),
    (flag_types.count, _HUGE, "a whole number, 1 or more"),
    (flag_types.count, str(2**31), "at most 2,147,483,647"),
    (flag_types.seed, str(2**32), "at most 4,294,967,295"),
    (flag_types.tokens, "65537", "at most 65,536"),
    (flag_types.positive, "0", "a finite number above 0"),
    (flag_types.positive, "inf", "a finite number above 0"),
    (flag_types.real(0, 1, above=True), "1.01", "above 0 and at most 1"),
    (flag_types.real(1), "nan", "of at least 1"),
    (flag_types.words("relu", "silu"), "relu,", "one or more of relu, silu"),
    (flag_types.name, "", "a non-empty string"),
    (flag_types.storage, "ftp://x", "a local path or a URL such as gs://"),
    (flag_types.local, "gs://b/x", "a local path, not a URL"),
    (flag_types.path, "a\0", "without NUL"),
  ],
)
def test_values_outside_their_limits(parse, text, expected):
  with pytest.raises(argparse.ArgumentTypeError) as raised:
    parse(text)
  assert str(raised.value).startswith(f"={text}; expected ")
  assert expected in str(raised.value)


def test_bindings_are_separated_from_flags():
  argv = ["--gin.A=1", "x", "--json", "--gin.b.C.d=e=f", "--gin.G"]
  bindings, others = gin_flags.split(argv)
  assert bindings == ["A = 1", "b.C.d = e=f", "G"]
  assert others == ["x", "--json"]


def test_search_paths_are_separated_by_commas(monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  arguments = argparse.Namespace(gin_search_paths="a,,~/b,")
  assert gin_flags.search_paths(arguments) == ["a", "/home/me/b"]


def test_gin_flags_of_a_command_reach_the_files(tmp_path):
  """The search path finds the file; the binding overrides it."""
  (tmp_path / "mine.gin").write_text("MODEL = 3\n")
  parser = argparse.ArgumentParser()
  gin_flags.add_arguments(parser)
  flags = ["--gin_file=mine.gin", f"--gin_search_paths={tmp_path}"]
  arguments = parser.parse_args(flags)
  arguments.gin_bindings = []
  gin_flags.parse(arguments)
  assert gin_files.macro("MODEL") == 3
  arguments.gin_bindings = ["MODEL = 4"]
  gin_flags.parse(arguments)
  assert gin_files.macro("MODEL") == 4
  gin_flags.parse(arguments, ["MODEL = 5"])
  assert gin_files.macro("MODEL") == 5


def test_flags_without_effect_are_refused():
  arguments = argparse.Namespace(top_k=0, top_p=0.9, names=[])
  applying.only_if(True, arguments, "when sampling", "top_k", top_p=1.0)
  applying.only_if(False, arguments, "when sampling", "top_k", "names")
  with pytest.raises(
    errors.UserError, match="--top_p only applies when sampling"
  ):
    applying.only_if(False, arguments, "when sampling", "top_k", top_p=1.0)


@pytest.mark.parametrize(
  ("argv", "expected"),
  [
    (
      ["evaluate", "x", "--poll_seconds=1"],
      "--poll_seconds only applies with --follow",
    ),
    (
      ["evaluate", "x", "--num_pairs=3"],
      "--num_pairs only applies with --pairs",
    ),
    (
      ["evaluate", "x/checkpoint_1", "y/checkpoint_1", "--run_name=a"],
      "--run_name only applies with a single run",
    ),
  ],
)
def test_evaluate_refuses_flags_without_effect(capsys, argv, expected):
  required = ("golden", "reference", "prompts", "output")
  argv += [f"--{name}=nowhere" for name in required]
  assert main.main(argv) == 2
  assert expected in capsys.readouterr().err


def test_shared_flags_state_their_defaults():
  parser = argparse.ArgumentParser(prog="x")
  shared_flags.add_keep(parser)
  shared_flags.add_dtype(parser, "the parameters")
  shared_flags.add_storage(parser, [("--pairs", "STORE", "the pairs")])
  arguments = parser.parse_args(["--pairs=a"])
  assert (arguments.keep, arguments.dtype, arguments.pairs) == (
    "end",
    None,
    "a",
  )
  text = " ".join(parser.format_help().split())
  assert "type of the parameters (default: the checkpoint's)" in text
  with pytest.raises(SystemExit):
    parser.parse_args([])


def test_a_suggestion_ends_the_sentence(capsys):
  with pytest.raises(SystemExit):
    main.main(["inspect", "x", "--jsn"])
  assert capsys.readouterr().err == (
    "rlhf-gap inspect: unknown flag --jsn; did you mean --json? See rlhf-gap"
    " inspect --help\n"
  )
  with pytest.raises(SystemExit):
    main.main(["inspect", "x", "--quite_different"])
  assert "--quite_different; see rlhf-gap" in capsys.readouterr().err


def test_similar_names_are_suggested():
  assert errors.did_you_mean("trian", ["train", "plan"]) == (
    "; did you mean train?"
  )
  assert errors.did_you_mean("zzz", ["train", "plan"]) == ""
