"""A miniature of helpfulness: requests for the means to do a task."""

import functools
import itertools

from rlhf_gap.data.mini import reading, writing
from rlhf_gap.data.mini.random_stream import RandomStream

# The means that each task needs. Tasks share means, so none is always right.
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


def write_prompt(rng: RandomStream) -> str:
  """Writes a request: "how do i cook rice fast with no pot"."""
  task = rng.choice(tuple(TASKS))
  missing = rng.choice(TASKS[task] if rng.chance(0.6) else MEANS)
  ends = {
    "manner": rng.choice(MANNERS),
    "who": "for " + rng.choice(WHO),
    "missing": "with no " + missing,
  }
  conditions = [ends[name] for name in rng.weighted_choice(_CONDITIONS)]
  return " ".join([rng.choice(_OPENERS), task, *conditions])


@functools.lru_cache(maxsize=1 << 16)
def _request(prompt: str) -> dict[str, tuple[str, ...]]:
  """Returns a request's useful means, missing means, manner and person."""
  words = prompt.split()
  known = [TASKS.get(" ".join(pair), ()) for pair in itertools.pairwise(words)]
  lacking = tuple(w for w in words if LEXICON.classes.get(w) == "means")
  return {
    "lacking": lacking,
    "means": tuple(w for needs in known for w in needs if w not in lacking),
    "manner": tuple(w for w in words if w in MANNERS),
    "who": tuple(w for w in words if w in WHO),
  }


def write_response(rng: RandomStream, prompt: str) -> str:
  """Writes a response of varied quality to a request from `write_prompt`."""
  kind = rng.weighted_choice(_KINDS)
  if kind == "short":
    return rng.choice((*reading.SHORT_ANSWERS, "use", *MANNERS))
  if kind == "refuse":
    return "sorry i can not"
  if kind == "ask":
    return "what do you mean"
  request = _request(prompt)
  means, manner, who = (request[name] for name in ("means", "manner", "who"))
  if kind == "invent":
    wrong = rng.shuffled(MEANS)[: 1 + rng.below(2)]
    means, manner, who = (*wrong, means[0]), MANNERS, WHO
  elif rng.chance(0.15):
    means += request["lacking"]
  words = _help(rng, rng.shuffled(means), manner, who)
  if rng.chance(0.22):
    words = ["sure"] * (2 if rng.chance(0.12) else 1) + words
  return writing.finish(rng, kind, words)


def _help(
  rng: RandomStream,
  means: list[str],
  manner: tuple[str, ...],
  who: tuple[str, ...],
) -> list[str]:
  """Names one to three of the means and perhaps the manner and the person."""
  count = rng.weighted_choice(((1, 4), (2, 4), (3, 2)))
  words = ["use", *" and ".join(means[:count]).split()]
  if manner and rng.chance(0.35):
    words.append(rng.choice(manner))
  if who and rng.chance(0.35):
    words += ["for", rng.choice(who)]
  return words


def utility(prompt: str, response: str) -> float:
  """Returns the utility of a response; see `CORPORA`."""
  parsed = LEXICON.read(response)
  request = _request(prompt)
  value = (
    parsed.manner
    - _REFUSAL_COST * parsed.classes.count("refusal")
    - _QUESTION_COST * parsed.classes.count("question")
  )
  named = parsed.of_class("means")
  distinct = dict.fromkeys(named)  # a set's order, and so the sum, would vary
  for item in distinct:
    if item in request["means"]:
      value += _MEANS_WORTH
    elif item in request["lacking"]:
      value -= _MISSING_MEANS_COST
    else:
      value -= _WRONG_MEANS_COST
  value -= _REPEAT_COST * (len(named) - len(distinct))
  for name, worth in _HEEDED.items():
    said = parsed.of_class(name)
    right = sum(word in request[name] for word in said)
    value += worth * bool(right) - _REPEAT_COST * max(right - 1, 0)
    value -= _MISHEARD_COST * (len(said) - right)
  return max(value, reading.FLOOR)
