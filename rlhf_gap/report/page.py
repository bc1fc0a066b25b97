"""Renders the report's templates: HTML in one file that needs no network."""

import functools

import jinja2

from rlhf_gap.analysis import judges


def render(template: str, **values: object) -> str:
  """Renders a template of this package's folder `templates`.

  Every value is escaped, so no text of a record can become markup.

  Args:
    template: the template's file name.
    **values: what the template shows; a name that it does not find is an error.
  """
  return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> jinja2.Environment:
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("rlhf_gap.report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  environment.filters["duration"] = duration
  environment.globals["judge_titles"] = judges.TITLES
  return environment


def duration(seconds: float | None) -> str:
  """Returns a time as text, such as "2 min 10 s"; "-" if it is unknown."""
  if seconds is None:
    return "-"
  if seconds < 60:
    return f"{seconds:.1f} s"
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest} s"
