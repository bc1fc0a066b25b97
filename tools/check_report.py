"""Checks a report in a browser, at widths of 1280 and 390 pixels.

Fails if the page is wider than the window or requests anything outside itself.
Saves a screenshot of each width. If no Chromium is installed, only requests are
checked, and the output says so.

Usage: python tools/check_report.py [REPORT.html] [--output=DIR]

Without REPORT.html, a report is made from synthetic records (tests/analysis).
"""

import argparse
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_WIDTHS = (1280, 390)
_MOST_PIXELS_HIGH = 16_000  # Chromium truncates taller screenshots.

# A frame lays a page out at any width, also below a window's least.
_FRAME = """<!DOCTYPE html><style>body{{margin:0}}
iframe{{border:0;width:{width}px;height:{height}px}}</style>
<iframe src="{page}"></iframe><pre hidden>-</pre><script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  const root = page.documentElement;
  const wide = [...page.querySelectorAll("body *")].filter(
    (e) => !e.closest(".scrolls") &&
      e.getBoundingClientRect().right > root.clientWidth + 0.5);
  const broken = [...page.images].filter((i) => !i.naturalWidth);
  document.querySelector("pre").textContent = JSON.stringify({{
    width: root.scrollWidth, height: root.scrollHeight,
    images: page.images.length, broken: broken.length,
    wide: wide.slice(0, 5).map((e) => e.tagName + "." + e.className)}});
}};
</script>
"""


def _browse(browser: str, folder: pathlib.Path, *flags: str) -> str:
  words = [
    browser,
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--allow-file-access-from-files",
    "--virtual-time-budget=20000",
    f"--user-data-dir={folder / 'profile'}",
    *flags,
  ]
  done = subprocess.run(
    words, capture_output=True, text=True, timeout=300, check=False
  )
  if done.returncode:
    sys.exit(f"{browser} failed:\n{done.stderr[-2000:]}")
  return done.stdout


def _look(
  browser: str, page: pathlib.Path, width: int, output: pathlib.Path
) -> list[str]:
  """Returns what is wrong at a width, and keeps a picture of it."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    frame = folder / "frame.html"

    def show(height: int) -> str:
      source = html.escape(page.resolve().as_uri())
      frame.write_text(_FRAME.format(width=width, height=height, page=source))
      return frame.as_uri()

    dumped = _browse(browser, folder, "--dump-dom", show(900))
    found = re.search(r'<pre hidden="">(\{.*?\})</pre>', dumped)
    if found is None:
      sys.exit(f"{page}: {browser} did not show it:\n{dumped[-500:]}")
    seen = json.loads(html.unescape(found[1]))
    height = min(seen["height"], _MOST_PIXELS_HIGH)
    picture = output / f"report_{width}.png"
    _browse(
      browser,
      folder,
      f"--screenshot={picture}",
      f"--window-size={width},{height}",
      show(height),
    )
  print(f"{width} pixels: {seen['height']} high, {picture}")
  wrong = []
  if seen["width"] > width:
    wrong.append(f"{width} pixels: reaches to {seen['width']}: {seen['wide']}")
  if seen["broken"] or not seen["images"]:
    wrong.append(
      f"{width} pixels: {seen['broken']} of {seen['images']} pictures are not"
      " shown"
    )
  return wrong


def browser() -> str | None:
  """Returns a Chromium that is installed here, if any."""
  return next(filter(None, map(shutil.which, _BROWSERS)), None)


def faults(page: pathlib.Path, browser: str, output: pathlib.Path) -> list[str]:
  """Returns what is wrong with how a page looks; keeps its pictures.

  Args:
    page: the report.
    browser: a Chromium.
    output: the folder for the pictures.
  """
  return [
    fault for width in _WIDTHS for fault in _look(browser, page, width, output)
  ]


def reaches_outside(page: pathlib.Path) -> list[str]:
  """Returns all that a page asks for beyond itself, and any program in it.

  Args:
    page: the report.
  """
  text = page.read_text(encoding="utf-8")
  used = re.findall(r'(?:src|href|action)="(?!data:|#)([^"]*)"', text)
  styled = re.findall(r"url\((?!['\"]?data:)[^)]*\)|@import[^;]*", text)
  scripts = re.findall(r"<script", text)
  return [f"asks for {what}" for what in (*used, *styled, *scripts)]


def _made_up(folder: pathlib.Path) -> pathlib.Path:
  sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
  from rlhf_gap.report import build
  from tests.analysis import made_up

  names = ("mini_helpfulness", "mini_summarization")
  workdir = made_up.workdir(folder / "study", names, failed=True)
  return pathlib.Path(build.make(str(workdir), build.Options()).path)


def main() -> int:
  """Checks one report; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("report", nargs="?", type=pathlib.Path)
  parser.add_argument("--output", type=pathlib.Path, help="for the pictures")
  given = parser.parse_args()
  output = given.output or pathlib.Path(tempfile.mkdtemp(prefix="report-"))
  output.mkdir(parents=True, exist_ok=True)
  page = given.report or _made_up(output)
  wrong = reaches_outside(page)
  found = browser()
  if found is None:
    print("no Chromium is installed: how the page looks was not checked")
  else:
    wrong += faults(page, found, output)
  for line in wrong:
    print(f"{page}: {line}")
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main())
