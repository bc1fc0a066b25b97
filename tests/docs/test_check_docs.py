"""tools/check_docs.py finds what is wrong with a page."""

import importlib
import shlex

import pytest

from rlhf_gap.cli import gin_sources

ROOT = gin_sources.ROOT
OFFLINE = (
  "rlhf-gap train --gin_file=gin_configs/runs/offline.gin --gin.MODEL_DIR=a"
  " --gin.INITIAL_CHECKPOINT_PATH=b"
)


@pytest.fixture
def check_docs(monkeypatch):
  monkeypatch.syspath_prepend(ROOT / "tools")
  return importlib.import_module("check_docs")


@pytest.fixture
def docs_commands(check_docs):
  return importlib.import_module("docs_commands")


def test_links_and_anchors(check_docs, tmp_path):
  (tmp_path / "other.md").write_text("# A page\n\n## The mesh: `FSDP`\n")
  text = (
    "[a](other.md) [b](other.md#the-mesh-fsdp) [c](https://example.org/x)\n"
    "[d](gone.md) [e](other.md#gone)\n"
    "```bash\necho [f](not_a_link.md)\n```\n"
  )
  assert list(check_docs.broken_links(tmp_path / "page.md", text)) == [
    "link to gone.md: no such file",
    "link to other.md#gone: no such heading",
  ]


def test_paths(check_docs):
  text = (
    "`tools/test`, `gin_configs/runs/parts/{large,xl,gone}_pod.gin`, `python\n"
    "tools/gone.py --check`, gin_configs/not_code"
  )
  assert list(check_docs.missing_paths(text)) == [
    "gin_configs/runs/parts/gone_pod.gin does not exist",
    "tools/gone.py does not exist",
  ]


def test_blocks_become_command_lines(docs_commands):
  text = (
    "```\nnot bash\n```\n<!-- run -->\n```bash\nDIR=runs/a\n"
    "for kind in sft pairs; do\n  rlhf-gap data x_$kind \\\n"
    "    --output=${DIR}/$kind\ndone\n# printed\n```\n"
    "```bash\ntools/test --quick  # why\n```\n"
  )
  marked, plain = docs_commands.blocks(text)
  assert (marked.is_run, plain.is_run) == (True, False)
  assert list(marked.commands()) == [
    ["rlhf-gap", "data", "x_sft", "--output=runs/a/sft"],
    ["rlhf-gap", "data", "x_pairs", "--output=runs/a/pairs"],
  ]
  assert marked.expected_lines() == ["printed"]
  assert list(plain.commands()) == [["tools/test", "--quick"]]


@pytest.mark.parametrize(
  ("line", "reason"),
  [
    ("rlhf-gap tarin", "no command"),
    ("rlhf-gap inspect a --gone", "gone"),
    ("rlhf-gap data mini_gone_pairs --output=a", "no task"),
    (OFFLINE, "PAIRS must be set"),
    (f"{OFFLINE} --gin.PAIRS=c --gin.GONE=1", "GONE"),
    (OFFLINE.replace("offline", "gone"), "gone.gin"),
    ("tools/gone", "no tools/gone"),
    ("python tools/check_store.py --gone=1", "no flag --gone"),
    ("tools/launch_slurm.sh --gin_file=gin_configs/runs/sft.gin", "must be"),
    ("rm -r a", "unknown command rm"),
  ],
)
def test_command_lines_that_would_fail(docs_commands, line, reason):
  with pytest.raises(docs_commands.MISTAKES, match=reason):
    docs_commands.check(shlex.split(line))


def test_a_block_is_run_and_must_print_what_it_says(docs_commands):
  """In a folder of its own, which has the repository's files."""
  text = "test -e setup.py; touch made; echo kept 3 rows, 1.25 s\n"
  docs_commands.run(docs_commands.Block(text + "# kept 3 rows, 0.5 s\n", True))
  assert not (ROOT / "made").exists()
  wrong = docs_commands.Block(text + "# kept 4 rows, 1.25 s\n", True)
  with pytest.raises(docs_commands.FlagError, match="kept 4 rows"):
    docs_commands.run(wrong)
  with pytest.raises(docs_commands.FlagError, match="exit code 3"):
    docs_commands.run(docs_commands.Block("exit 3\n", True))
