"""The report: whole, self-contained, the same again, and plain about holes."""

import dataclasses
import html
import html.parser
import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import jinja2
import pytest

from rlhf_gap import records
from rlhf_gap.analysis import statistics, summary
from rlhf_gap.cli import main
from rlhf_gap.paper import departures, registry
from rlhf_gap.report import build, page
from tests.analysis import exact, made_up

pytestmark = pytest.mark.slow

OPTIONS = build.Options(statistics.BootstrapSettings(replicates=100))
SMALL = {"num_prompts": 60, "kl_prompts": 20, "num_checkpoints": 4}
NAMES = ("mini_helpfulness", "mini_summarization")
VOID = {"meta", "img", "br"}


class _Page(html.parser.HTMLParser):
  """Collects what a test asks for, and notes tags that do not match."""

  def __init__(self, text):
    super().__init__()
    self.open, self.wrong, self.text, self.sources = [], [], [], []
    self.tags = []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.sources += [v for k, v in attrs if k in ("src", "href")]
    if tag not in VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    if not self.open or self.open.pop() != tag:
      self.wrong.append(tag)

  def handle_data(self, data):
    self.text.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  folder = tmp_path_factory.mktemp("study")
  made_up.workdir(folder, NAMES, failed=True, **SMALL)
  return build.make(str(folder), OPTIONS)


@pytest.fixture(scope="module")
def seen(made):
  return _Page(pathlib.Path(made.path).read_text(encoding="utf-8"))


def test_the_page_is_well_formed_and_asks_for_nothing(seen):
  assert seen.wrong == []
  assert seen.open == []
  assert seen.sources
  assert all(source.startswith("data:") for source in seen.sources)
  assert not {"script", "link", "iframe"} & set(seen.tags)


def test_everything_is_on_the_page(made, seen):
  text = " ".join(seen.text)
  for name in NAMES:
    assert f"{name}: Yes." in text or f"{name}: Not decided." in text
  for answered in made.answered:
    assert answered.claim.statement in text
    assert answered.answer.numbers in text
  for stage in made_up.study(NAMES, failed=True).stages:
    assert stage.command in text
  for needed in ("Arms", "Samples side by side", "Preference models", "2 min"):
    assert needed in text
  # What a prompt says is text, not markup.
  assert "<b>now</b>" in text


def test_every_figure_is_kept_as_svg_png_and_csv(made, seen):
  folder = pathlib.Path(made.path).parent / "figures"
  for name in NAMES:
    endings = {}
    for path in (folder / name).iterdir():
      endings.setdefault(path.stem, set()).add(path.suffix)
    assert {"gap", "goodhart_online", "calibration", "gao_fits"} <= set(endings)
    assert all(e == {".svg", ".png", ".csv"} for e in endings.values())
  drawn = len(list(folder.rglob("*.svg")))
  assert seen.tags.count("img") == drawn


def test_holes_are_shown_plainly(made, seen):
  text = " ".join(seen.text)
  assert made.holes == (
    "stage mini_helpfulness/tandem failed: the store <pairs> ends at step 31;"
    " expected 400",
    "stages not done (1): mini_helpfulness/evaluation/tandem",
  )
  for hole in made.holes:
    assert hole in text


def test_the_last_line_is_the_answer(made):
  lines = made.lines()
  assert lines[0].startswith("hole: ")
  assert lines[-7] == f"report: {made.path}"
  by = ("", ", by the proxy", ", by the hidden utility")
  heads = [f"{n}: {registry.MAIN_CLAIM.name}{b}: " for n in NAMES for b in by]
  for head, line in zip(heads, lines[-6:], strict=True):
    assert line.startswith(head)
    assert re.search(r"[+-]0\.\d{3} \[[+-]\d\.\d{3}, [+-]\d\.\d{3}\]", line)


def test_missing_arms_leave_holes_not_errors(tmp_path):
  only = {"online": made_up.ARMS["online"]}
  made_up.workdir(tmp_path, arms=only, **SMALL)
  text = _text(build.make(str(tmp_path), OPTIONS))
  assert "Not decided. There are no records of the arm offline." in text
  sft = made_up.World(**SMALL).records({})
  records.write(tmp_path / "mini_helpfulness" / "records.jsonl", sft)
  text = _text(build.make(str(tmp_path), OPTIONS))
  assert "Win rate against KL cannot be plotted: no arm has two" in text


def _text(made):
  seen = _Page(pathlib.Path(made.path).read_text(encoding="utf-8"))
  return re.sub(r"\s+", " ", " ".join(seen.text))


def test_a_study_whose_evaluation_failed_still_has_a_page(tmp_path):
  stage = summary.StageSummary(
    "sft", "rlhf-gap train", "failed", 2.0, "disk full"
  )
  whole = summary.Summary("laptop", (stage,), (summary.TaskSummary("mini"),))
  summary.write(tmp_path, whole)
  made = build.make(str(tmp_path), OPTIONS)
  assert made.holes == (
    "stage sft failed: disk full",
    "mini: no records in records.jsonl",
  )
  assert "disk full" in _text(made)


def test_text_cannot_become_markup():
  nasty = "<script>&\"'"
  text = page.render("departures.html.j2", **_departure(nasty))
  assert "<script>" not in text
  assert text.count("&lt;script&gt;&amp;&#34;&#39;") == 4
  seen = _Page(text)
  assert "script" not in seen.tags
  assert " ".join(seen.text).count(nasty) == 4


def _departure(text):
  return {
    "miniature": True,
    "departures": [departures.Departure(text, text, text, text)],
  }


def test_a_name_that_a_template_lacks_is_an_error():
  with pytest.raises(jinja2.UndefinedError, match="miniature"):
    page.render("departures.html.j2", departures=[])


@pytest.mark.parametrize(
  ("seconds", "text"),
  [
    (None, "-"),
    (41.52, "41.5 s"),
    (130.2, "2 min 10 s"),
    (7325.0, "2 h 02 min"),
  ],
)
def test_times_are_easy_to_read(seconds, text):
  assert page.duration(seconds) == text


def _mistake(capsys, *words):
  assert main.main(["report", *map(str, words)]) == 2
  out, err = capsys.readouterr()
  assert out == ""
  assert err.count("\n") == 1
  return err


def test_mistakes_are_one_line(capsys, tmp_path):
  assert "no such folder" in _mistake(capsys, tmp_path / "absent")
  assert "neither study.json nor records" in _mistake(capsys, tmp_path)
  path = tmp_path / "records.jsonl"
  made = made_up.World(**SMALL).records()
  records.write(path, made)
  newer = path.read_text().replace('"schema_version": 1', '"schema_version": 7')
  path.write_text(newer)
  assert "records.jsonl:1: a record of version 7" in _mistake(capsys, tmp_path)
  records.write(path, made)
  taken = tmp_path / "taken"
  taken.write_text("")
  wrong = _mistake(capsys, tmp_path, f"--output={taken}")
  assert "is a file; expected a folder" in wrong
  for flag in ("--replicates=5", "--log_base=1", "--log_base=nan", "--seed=-1"):
    assert f"{flag.split('=')[0]}=" in _mistake(capsys, tmp_path, flag)
  assert not (tmp_path / "report").exists()


def test_a_folder_that_may_not_be_written_is_named(
  capsys, tmp_path, monkeypatch
):
  records.write(tmp_path / "records.jsonl", made_up.World(**SMALL).records())

  def refuse(path, *args, **kwargs):
    raise PermissionError(13, "Permission denied", path)

  monkeypatch.setattr("os.makedirs", refuse)
  assert "report: no permission" in _mistake(capsys, tmp_path)


def test_records_alone_give_the_same_report_twice(capsys, tmp_path):
  made = made_up.World(**SMALL).records({"online": made_up.ARMS["online"]})
  records.write(tmp_path / "records.jsonl", made)
  assert main.main(["report", str(tmp_path), "--replicates=100"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith("hole: no study.json")
  assert lines[-4] == f"report: {tmp_path}/report/index.html"
  assert lines[-3].startswith("online beats offline: underpowered; ")
  assert (tmp_path / "report" / "figures" / "gap.csv").exists()
  again = build.make(str(tmp_path), OPTIONS, output=str(tmp_path / "again"))
  first = (tmp_path / "report" / "index.html").read_bytes()
  assert pathlib.Path(again.path).read_bytes() == first


def test_a_report_needs_neither_jax_nor_models():
  program = (
    "import json, sys; from rlhf_gap.report import build;"
    "print(json.dumps(sorted(sys.modules)))"
  )
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  loaded = set(json.loads(done.stdout))
  assert "rlhf_gap.report.build" in loaded
  heavy = {"jax", "flax", "tensorflow", "tensorstore", "rlhf_gap.evaluation"}
  assert not heavy & loaded


@pytest.fixture(scope="module")
def check():
  """The tool that looks at a report."""
  path = pathlib.Path(__file__).parents[2] / "tools" / "check_report.py"
  spec = importlib.util.spec_from_file_location("check_report", path)
  check = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(check)
  return check


@pytest.mark.slow
def test_in_a_browser_it_fits_both_widths(check, made, tmp_path):
  browser = check.browser()
  if browser is None:
    pytest.skip("no Chromium is installed")
  shown = pathlib.Path(made.path)
  assert check.faults(shown, browser, tmp_path) == []
  wide = tmp_path / "wide.html"
  text = shown.read_text(encoding="utf-8")
  wide.write_text(text.replace("</h1>", '</h1><p style="width:900px">x</p>'))
  (fault,) = check.faults(wide, browser, tmp_path)
  assert fault.startswith("390 pixels: reaches to 9")


def test_a_report_that_asks_for_more_is_refused(check, made):
  outside = pathlib.Path(made.path).with_name("outside.html")
  outside.write_text('<img src="https://a.b/c.png"><script>1</script>')
  assert check.reaches_outside(outside) == [
    "asks for https://a.b/c.png",
    "asks for <script",
  ]


@pytest.fixture(scope="module")
def of_paper(tmp_path_factory):
  """A study with ablations, one arm of which has no records."""
  folder = tmp_path_factory.mktemp("paper")
  task = NAMES[0]
  metrics = {
    "pair_accuracy_sum": 0.6,
    "own_pair_accuracy_sum": 0.5,
    "chosen_log_ratio_nats": -1.0,
  }
  arms = ("online", "offline", "tandem", "final_final", "online@small")
  paths = {name: exact.flat(0.3, **metrics) for name in arms}
  paths["sft"] = [(0.0, 0.1, {})]
  (folder / task).mkdir()
  records.write(folder / task / "records.jsonl", exact.found(paths))
  records.write(
    folder / task / "online_data.jsonl",
    exact.classifier("proxy", {10: 0.8, 20: 0.7}),
  )
  told = summary.TaskSummary(
    task,
    f"{task}/records.jsonl",
    arms=(*arms[:-1], "online_bo2", "offline_bo2"),
    online_data=f"{task}/online_data.jsonl",
    sizes={"": 400, "small": 100},
  )
  summary.write(folder, summary.Summary("paper_mini", (), (told,)))
  return build.make(str(folder), OPTIONS)


def test_a_study_of_the_paper_has_a_section_a_figure(of_paper):
  seen = _Page(pathlib.Path(of_paper.path).read_text(encoding="utf-8"))
  assert (seen.wrong, seen.open) == ([], [])
  text = " ".join(seen.text)
  asked = {*("online", "offline", "tandem", "final_final", "online_bo2")}
  for section in registry.SECTIONS:
    wanted = section.is_wanted(asked | {"online@small", "online_data"})
    assert (section.title in text) == wanted, section.title
    assert (section.paper_shows in text) == wanted
  # Planned, and not there: said at its figure, and by the claim.
  assert "offline, Best-of-2: there are no records of the arm" in text
  by_name = {one.claim.name: one.answer for one in of_paper.answered}
  needed = by_name["the gap needs no contrast"]
  assert needed.reason == "there are no records of the arm online_bo2"
  assert "no mixture of data closes the gap" in by_name
  assert "the sampler must be refreshed" not in by_name


def test_a_figure_s_own_arms_are_not_in_the_first_picture(of_paper):
  folder = pathlib.Path(of_paper.path).parent / "figures" / NAMES[0]
  first = (folder / "gap.csv").read_text()
  assert "online" in first
  assert "final_final" not in first
  assert "@small" not in first
  assert "final_final" in (folder / "fig_5.csv").read_text()


def test_departures_are_listed_with_those_of_miniatures(of_paper):
  text = pathlib.Path(of_paper.path).read_text(encoding="utf-8")
  for one in departures.ALL:
    assert f"<b>{html.escape(one.topic)}" in text.replace("&#39;", "&#x27;")


@pytest.mark.parametrize(
  ("noted", "says"),
  [
    (registry.fingerprint(), "were fixed before the study began"),
    ("0" * 64, "have been changed since the study began"),
  ],
)
def test_whether_claims_changed_after_the_runs(tmp_path, noted, says):
  folder = made_up.workdir(tmp_path / "study", **SMALL)
  described = summary.read(folder)
  noted_study = dataclasses.replace(
    described, claims_sha256=noted, num_seeds=3, earlier_looks=(2,)
  )
  summary.write(folder, noted_study)
  text = pathlib.Path(build.make(str(folder), OPTIONS).path).read_text()
  assert says in text
  assert "after this study had been reported with 2" in text


def test_a_golden_model_that_misjudges_samples_is_said_first(tmp_path):
  """In the made-up records golden and utility agree by chance alone."""
  online = {"online": made_up.ARMS["online"]}
  large = {**SMALL, "num_prompts": 600}
  folder = made_up.workdir(tmp_path / "study", arms=online, **large)
  made = build.make(str(folder), OPTIONS)
  (warning,) = made.warnings
  assert warning.startswith(f"{NAMES[0]}: golden win rates do not measure")
  assert f"warning: {warning}" in made.lines()
  text = " ".join(_Page(pathlib.Path(made.path).read_text()).text)
  assert warning in text
  assert text.index(warning) < text.index("The paper, figure by figure")
