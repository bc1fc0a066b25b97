"""Summaries of one-line posts: cover the facts, invent nothing, be brief."""

import functools

from rlhf_gap.data.mini import reading, writing
from rlhf_gap.data.mini.draws import Draws

WHO = ("tom", "anna", "ben", "mia", "dad", "mom")
# Each verb with the word a summary may use instead.
VERBS = {
  "lost": "misplaced",
  "found": "spotted",
  "sold": "traded",
  "broke": "smashed",
}
THINGS = ("bike", "phone", "hat", "book", "cake")
PLACES = ("home", "school", "work", "camp")
MOODS = ("sad", "glad", "mad", "calm")

_VALUES = {
  "who": WHO,
  "verb": tuple(VERBS),
  "thing": THINGS,
  "place": PLACES,
  "mood": MOODS,
}
_PLAIN_VERB = {other: verb for verb, other in VERBS.items()}
_WORTH = {"who": 0.9, "verb": 0.6, "thing": 0.9, "place": 0.5, "mood": 0.4}
_INVENTION_COST = 1.1
_REPEAT_COST = 0.5
_REFUSAL_COST = 0.9

LEXICON = reading.Lexicon(
  reading.classes(
    who=WHO,
    verb=(*VERBS, *_PLAIN_VERB),
    thing=THINGS,
    place=PLACES,
    mood=MOODS,
    article=("a",),
    at=("at",),
    was=("was",),
    tone=("really",),
    short=reading.SHORT_ANSWERS,
    sorry=("sorry",),
    i=("i",),
    can=("can",),
    refusal=("not",),
  ),
  reading.joins(
    "^ who|article|short|sorry|mood|tone",
    "tone tone|mood who verb|was|tone",
    "tone verb|was",
    "verb article thing at|$",
    "was at|mood|tone",
    "at place|mood $",
    "mood|short $",
    "sorry i can refusal $",
  ),
)

_PROMPTS = (
  "{mood} {who} {verb} a {thing} at {place}",
  "at {place} {mood} {who} {verb} a {thing}",
  "today {mood} {who} {verb} a {thing} at {place}",
)
_SUMMARIES = (
  ("{who} {verb} a {thing}", 6),
  ("{mood} {who} {verb} a {thing}", 4),
  ("{who} {verb} a {thing} at {place}", 5),
  ("{mood} {who} {verb} a {thing} at {place}", 2),
  ("{who} was at {place}", 3),
  ("{who} was {mood}", 3),
  ("{mood} {who} was at {place}", 2),
  ("a {thing} at {place}", 2),
)
_KINDS = (
  ("cover", 36),
  ("invent", 20),
  ("repeat", 9),
  ("ramble", 10),
  ("telegraph", 5),
  ("garble", 4),
  ("refuse", 5),
  ("short", 11),
)


def write_prompt(draws: Draws) -> str:
  """Writes a post: "sad tom lost a bike at school"."""
  facts = {slot: draws.one_of(values) for slot, values in _VALUES.items()}
  return draws.one_of(_PROMPTS).format(**facts)


@functools.lru_cache(maxsize=1 << 16)
def _facts(prompt: str) -> dict[str, str]:
  """Returns slot to the post's first word of that slot."""
  facts: dict[str, str] = {}
  for word in prompt.split():
    name = LEXICON.classes.get(word, reading.UNKNOWN)
    if name in _VALUES:
      facts.setdefault(name, _PLAIN_VERB.get(word, word))
  return facts


def write_response(draws: Draws, prompt: str) -> str:
  """Writes a summary of varied quality for a post of `write_prompt`."""
  kind = draws.weighted(_KINDS)
  if kind == "short":
    return draws.one_of((*reading.SHORT_ANSWERS, *WHO))
  if kind == "refuse":
    return "sorry i can not"
  told = dict(_facts(prompt))
  if kind == "invent":
    for slot in draws.shuffled(told)[: 2 + draws.below(3)]:
      told[slot] = draws.one_of(_VALUES[slot])
  if draws.chance(0.4):
    told["verb"] = VERBS[told["verb"]]
  words = draws.weighted(_SUMMARIES).format(**told).split()
  if draws.chance(0.22):
    words = _emphasised(words, 2 if draws.chance(0.12) else 1)
  if kind == "telegraph":
    words = [w for w in words if LEXICON.classes[w] in _VALUES]
  return writing.finish(draws, kind, words)


def _emphasised(words: list[str], count: int) -> list[str]:
  """Puts "really" before the first word that can bear it, if there is one."""
  for place, word in enumerate(words):
    if LEXICON.classes[word] in ("mood", "verb", "was"):
      return [*words[:place], *["really"] * count, *words[place:]]
  return words


def utility(prompt: str, response: str) -> float:
  """Returns what a response to a post is worth; see `CORPORA`."""
  seen = LEXICON.read(response)
  facts = _facts(prompt)
  value = seen.manner - _REFUSAL_COST * seen.classes.count("refusal")
  for slot, worth in _WORTH.items():
    told = [_PLAIN_VERB.get(word, word) for word in seen.of_class(slot)]
    right = told.count(facts.get(slot, ""))
    value += worth * bool(right) - _REPEAT_COST * max(right - 1, 0)
    value -= _INVENTION_COST * (len(told) - right)
  return max(value, reading.FLOOR)
