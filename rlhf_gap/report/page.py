"""HTML that no text can break, in one file that needs no network."""

import base64
import html
import importlib.resources
from collections.abc import Iterable, Sequence


class Markup(str):
  """HTML; any other text is escaped before it becomes a part of it."""

  __slots__ = ()


def tag(name: str, *children: str, **attributes: str) -> Markup:
  """Returns an element.

  tag("p", "a < b", class_="note") is <p class="note">a &lt; b</p>.

  Args:
    name: of the element.
    *children: markup, and text to be escaped.
    **attributes: values to be escaped; an underscore at the end of a name is
      left out.
  """
  given = "".join(
    f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
    for key, value in attributes.items()
  )
  inner = "".join(map(_escaped, children))
  return Markup(f"<{name}{given}>{inner}</{name}>")


def join(parts: Iterable[str], between: str = "") -> Markup:
  """Returns parts in a row, text escaped."""
  return Markup(_escaped(between).join(map(_escaped, parts)))


def _escaped(child: str) -> str:
  return child if isinstance(child, Markup) else html.escape(child)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
  """Returns a table that scrolls by itself where the page is narrow.

  Args:
    header: titles of the columns.
    rows: cells; the first of each names the row.
  """
  head = tag("tr", *(tag("th", cell, scope="col") for cell in header))
  body = [
    tag("tr", tag("th", row[0], scope="row"), *(tag("td", c) for c in row[1:]))
    for row in rows
  ]
  whole = tag("table", tag("thead", head), tag("tbody", *body))
  # Reached by the keyboard, too.
  return tag("div", whole, class_="scrolls", tabindex="0")


def image(svg: bytes, description: str) -> Markup:
  """Returns a picture, held in the page itself.

  As an image rather than inline: names inside one picture then do not meet
  those inside another.

  Args:
    svg: the file.
    description: for those who do not see it.
  """
  data = base64.b64encode(svg).decode()
  return Markup(
    f'<img alt="{html.escape(description)}"'
    f' src="data:image/svg+xml;base64,{data}">'
  )


def download(content: bytes, file_name: str, label: str) -> Markup:
  """Returns a link to a file that is held in the page itself.

  Args:
    content: of the file, as CSV.
    file_name: to save it under.
    label: of the link.
  """
  data = base64.b64encode(content).decode()
  href = f"data:text/csv;base64,{data}"
  return tag("a", label, href=href, download=file_name)


def document(title: str, body: Markup) -> str:
  """Returns the whole page.

  Args:
    title: of the window.
    body: all that is shown.
  """
  style = importlib.resources.files(__package__).joinpath("report.css")
  css = Markup(style.read_text(encoding="utf-8"))
  head = join(
    [
      Markup('<meta charset="utf-8">'),
      Markup('<meta name="viewport" content="width=device-width">'),
      Markup(
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; img-src data:;"
        " style-src 'unsafe-inline'\">"
      ),
      tag("title", title),
      tag("style", css),
    ]
  )
  whole = tag("html", tag("head", head), tag("body", body), lang="en")
  return f"<!DOCTYPE html>\n{whole}\n"
