"""Requests for help with a task: name the right means, heed what was asked."""

import functools
import itertools

from rlhf_gap.data.mini import reading, writing
from rlhf_gap.data.mini.draws import Draws

# What each task needs. Means are shared between tasks: none is right alone.
TASKS = {
  "cook rice": ("water", "pot", "heat"),
  "bake bread": ("flour", "heat", "time"),
  "grow beans": ("soil", "water", "sun"),
  "wash shirts": ("soap", "water", "brush"),
  "paint walls": ("brush", "cloth", "time"),
  "fix bikes": ("tool", "oil", "cloth"),
  "train dogs": ("treats", "time", "voice"),
  "catch fish": ("hook", "rope", "bait"),
}
MEANS = tuple(sorted({item for needs in TASKS.values() for item in needs}))
MANNERS = ("fast", "cheap", "safe")
WHO = ("mom", "dad", "anna", "ben")

_MEANS_WORTH = 1.0
_WRONG_MEANS_COST = 1.2
_MISSING_MEANS_COST = 1.5
_REPEAT_COST = 0.5
_HEEDED = {"manner": 0.6, "who": 0.5}
_MISHEARD_COST = 0.8
_REFUSAL_COST = 1.3
_QUESTION_COST = 0.8

LEXICON = reading.Lexicon(
  reading.classes(
    means=MEANS,
    manner=MANNERS,
    who=WHO,
    use=("use",),
    conjunction=("and",),
    preposition=("for",),
    tone=("sure",),
    short=reading.SHORT_ANSWERS,
    sorry=("sorry",),
    i=("i",),
    can=("can",),
    refusal=("not",),
    what=("what",),
    do=("do",),
    you=("you",),
    question=("mean",),
  ),
  reading.joins(
    "^ tone|use|short|sorry|what",
    "tone tone|use",
    "use means conjunction|manner|preposition|$",
    "conjunction means",
    "manner preposition|$",
    "preposition who $",
    "sorry i can refusal $",
    "what do you question $",
    "short $",
  ),
)

_OPENERS = ("how do i", "help me", "can i")
_CONDITIONS = (
  (("manner",), 1),
  (("who",), 1),
  (("missing",), 1),
  (("manner", "who"), 3),
  (("manner", "missing"), 5),
  (("who", "missing"), 5),
)
_KINDS = (
  ("help", 38),
  ("invent", 20),
  ("repeat", 9),
  ("ramble", 9),
  ("garble", 4),
  ("ask", 4),
  ("refuse", 5),
  ("short", 11),
)


def write_prompt(draws: Draws) -> str:
  """Writes a request: "how do i cook rice fast with no pot"."""
  task = draws.one_of(tuple(TASKS))
  missing = draws.one_of(TASKS[task] if draws.chance(0.6) else MEANS)
  ends = {
    "manner": draws.one_of(MANNERS),
    "who": "for " + draws.one_of(WHO),
    "missing": "with no " + missing,
  }
  conditions = [ends[name] for name in draws.weighted(_CONDITIONS)]
  return " ".join([draws.one_of(_OPENERS), task, *conditions])


@functools.lru_cache(maxsize=1 << 16)
def _request(prompt: str) -> dict[str, tuple[str, ...]]:
  """Returns the means that serve, those that lack, and what to heed."""
  words = prompt.split()
  known = [TASKS.get(" ".join(pair), ()) for pair in itertools.pairwise(words)]
  lacking = tuple(w for w in words if LEXICON.classes.get(w) == "means")
  return {
    "lacking": lacking,
    "means": tuple(w for needs in known for w in needs if w not in lacking),
    "manner": tuple(w for w in words if w in MANNERS),
    "who": tuple(w for w in words if w in WHO),
  }


def write_response(draws: Draws, prompt: str) -> str:
  """Writes help of varied quality for a request of `write_prompt`."""
  kind = draws.weighted(_KINDS)
  if kind == "short":
    return draws.one_of((*reading.SHORT_ANSWERS, "use", *MANNERS))
  if kind == "refuse":
    return "sorry i can not"
  if kind == "ask":
    return "what do you mean"
  request = _request(prompt)
  means, manner, who = (request[name] for name in ("means", "manner", "who"))
  if kind == "invent":
    wrong = draws.shuffled(MEANS)[: 1 + draws.below(2)]
    means, manner, who = (*wrong, means[0]), MANNERS, WHO
  elif draws.chance(0.15):
    means += request["lacking"]
  words = _help(draws, draws.shuffled(means), manner, who)
  if draws.chance(0.22):
    words = ["sure"] * (2 if draws.chance(0.12) else 1) + words
  return writing.finish(draws, kind, words)


def _help(
  draws: Draws,
  means: list[str],
  manner: tuple[str, ...],
  who: tuple[str, ...],
) -> list[str]:
  """Says to use one to three of the means, and perhaps how and for whom."""
  count = draws.weighted(((1, 4), (2, 4), (3, 2)))
  words = ["use", *" and ".join(means[:count]).split()]
  if manner and draws.chance(0.35):
    words.append(draws.one_of(manner))
  if who and draws.chance(0.35):
    words += ["for", draws.one_of(who)]
  return words


def utility(prompt: str, response: str) -> float:
  """Returns what a response to a request is worth; see `CORPORA`."""
  seen = LEXICON.read(response)
  request = _request(prompt)
  value = (
    seen.manner
    - _REFUSAL_COST * seen.classes.count("refusal")
    - _QUESTION_COST * seen.classes.count("question")
  )
  named = seen.of_class("means")
  distinct = dict.fromkeys(named)  # a set would sum in a random order
  for item in distinct:
    if item in request["means"]:
      value += _MEANS_WORTH
    elif item in request["lacking"]:
      value -= _MISSING_MEANS_COST
    else:
      value -= _WRONG_MEANS_COST
  value -= _REPEAT_COST * (len(named) - len(distinct))
  for name, worth in _HEEDED.items():
    said = seen.of_class(name)
    right = sum(word in request[name] for word in said)
    value += worth * bool(right) - _REPEAT_COST * max(right - 1, 0)
    value -= _MISHEARD_COST * (len(said) - right)
  return max(value, reading.FLOOR)
