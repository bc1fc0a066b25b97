"""OpenAI's summarize-from-feedback comparisons of TL;DR summaries.

Stiennon et al. (2020), arXiv 2009.01325.
"""

from collections.abc import Mapping

from rlhf_gap.data.formats import rows

SPLITS = ("train", "valid1", "valid2")


def split(fields: Mapping[str, object]) -> str:
  """Returns the publisher's split of a row.

  Raises:
    MalformedError: it is absent or none of `SPLITS`.
  """
  name = rows.text(fields, "split")
  if name not in SPLITS:
    raise rows.MalformedError("unknown_split", repr(name))
  return name


def comparison(fields: Mapping[str, object]) -> rows.Comparison:
  """Reads one row.

  A post's id is missing in some batches, so `prompt_id` is a hash of the
  prompt's text. Some batches write "r/" before the subreddit and some do not,
  and most, but not all, start a summary with a space; neither is kept.

  Raises:
    MalformedError: the keys or types are wrong; there are not two summaries;
      `bad_choice` or `bad_confidence` is out of range.
    DroppedError: `not_tldr` (a CNN/DM article), `identical_responses`,
      `empty_response`.
  """
  info = rows.mapping(rows.field(fields, "info"), "info")
  if "article" in info:
    raise rows.DroppedError("not_tldr")
  subreddit = rows.text(info, "subreddit").removeprefix("r/")
  title, post = rows.text(info, "title"), rows.text(info, "post")
  summaries = [
    rows.mapping(summary, "summaries")
    for summary in rows.sequence(rows.field(fields, "summaries"), "summaries")
  ]
  if len(summaries) != 2:
    raise rows.MalformedError("not_two_summaries", f"{len(summaries)}")
  label = rows.integer(fields, "choice")
  if label not in (0, 1):
    raise rows.MalformedError("bad_choice", f"{label}")
  first, second = (rows.text(summary, "text").strip() for summary in summaries)
  rows.check_responses(first, second)
  head = f"SUBREDDIT: r/{subreddit}\n\nTITLE: {title.strip()}\n\nPOST: "
  tail = "\n\nTL;DR:"
  return rows.Comparison(
    prompt_head=head,
    prompt_body=post.strip(),
    prompt_tail=tail,
    response_a=first,
    response_b=second,
    label=label,
    prompt_id=rows.digest(head, post.strip()),
    published={
      "post_id": rows.optional_text(info, "id"),
      "subreddit": subreddit,
      "title": title,
      "policy_a": rows.optional_text(summaries[0], "policy"),
      "policy_b": rows.optional_text(summaries[1], "policy"),
      "worker": rows.optional_text(fields, "worker"),
      "batch": rows.optional_text(fields, "batch"),
      "confidence": _confidence(fields),
    },
  )


def _confidence(fields: Mapping[str, object]) -> int:
  """Returns the rater's confidence, 1 (first) to 9, or 0 if it is missing."""
  extra = fields.get("extra")
  if extra is None:
    return 0
  extra = rows.mapping(extra, "extra")
  if extra.get("confidence") is None:
    return 0
  confidence = rows.integer(extra, "confidence")
  if not 1 <= confidence <= 9:
    raise rows.MalformedError("bad_confidence", f"{confidence}")
  return confidence
