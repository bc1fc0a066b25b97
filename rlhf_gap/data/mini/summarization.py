"""A miniature of summarization: one-line posts and their summaries."""

import functools

from rlhf_gap.data.mini import reading, writing
from rlhf_gap.data.mini.random_stream import RandomStream

WHO = ("tom", "anna", "ben", "mia", "dad", "mom")
# Each verb's synonym, which a summary may use instead.
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


def write_prompt(rng: RandomStream) -> str:
  """Writes a post: "sad tom lost a bike at school"."""
  facts = {slot: rng.choice(values) for slot, values in _VALUES.items()}
  return rng.choice(_PROMPTS).format(**facts)


@functools.lru_cache(maxsize=1 << 16)
def _facts(prompt: str) -> dict[str, str]:
  """Returns a post's facts: the first word for each slot."""
  facts: dict[str, str] = {}
  for word in prompt.split():
    name = LEXICON.classes.get(word, reading.UNKNOWN)
    if name in _VALUES:
      facts.setdefault(name, _PLAIN_VERB.get(word, word))
  return facts


def write_response(rng: RandomStream, prompt: str) -> str:
  """Writes a summary of varied quality for a post from `write_prompt`."""
  kind = rng.weighted_choice(_KINDS)
  if kind == "short":
    return rng.choice((*reading.SHORT_ANSWERS, *WHO))
  if kind == "refuse":
    return "sorry i can not"
  facts = dict(_facts(prompt))
  if kind == "invent":
    for slot in rng.shuffled(facts)[: 2 + rng.below(3)]:
      facts[slot] = rng.choice(_VALUES[slot])
  if rng.chance(0.4):
    facts["verb"] = VERBS[facts["verb"]]
  words = rng.weighted_choice(_SUMMARIES).format(**facts).split()
  if rng.chance(0.22):
    words = _emphasised(words, 2 if rng.chance(0.12) else 1)
  if kind == "telegraph":
    words = [w for w in words if LEXICON.classes[w] in _VALUES]
  return writing.finish(rng, kind, words)


def _emphasised(words: list[str], count: int) -> list[str]:
  """Inserts "really" before the first word that it can modify, if any."""
  for place, word in enumerate(words):
    if LEXICON.classes[word] in ("mood", "verb", "was"):
      return [*words[:place], *["really"] * count, *words[place:]]
  return words


def utility(prompt: str, response: str) -> float:
  """Returns the utility of a summary; see `CORPORA`."""
  parsed = LEXICON.read(response)
  facts = _facts(prompt)
  value = parsed.manner - _REFUSAL_COST * parsed.classes.count("refusal")
  for slot, worth in _WORTH.items():
    stated = [_PLAIN_VERB.get(word, word) for word in parsed.of_class(slot)]
    right = stated.count(facts.get(slot, ""))
    value += worth * bool(right) - _REPEAT_COST * max(right - 1, 0)
    value -= _INVENTION_COST * (len(stated) - right)
  return max(value, reading.FLOOR)
