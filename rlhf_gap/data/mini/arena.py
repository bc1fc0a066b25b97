"""A miniature of chat arena prompts: one or two short questions each."""

import functools
import itertools
from typing import NamedTuple

from rlhf_gap.data.mini import reading, writing
from rlhf_gap.data.mini.random_stream import RandomStream

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
COLORS = {
  "grass": "green",
  "sky": "blue",
  "roses": "red",
  "snow": "white",
  "coal": "black",
}
LISTS = {
  "animals": ("cat", "dog", "cow", "fish"),
  "foods": ("rice", "bread", "cake", "beans"),
}
ITEMS = tuple(item for items in LISTS.values() for item in items)
# The appropriate reply to each mood.
REPLIES = {
  "sad": "cheer up",
  "mad": "cheer up",
  "glad": "good for you",
  "calm": "good for you",
}

_RIGHT_WORTH = 1.4
_WRONG_COST = 1.3
_ITEM_WORTH = 0.6
_EXCESS_COST = 0.5
_REPEAT_COST = 0.5
_REFUSAL_COST = 0.9

LEXICON = reading.Lexicon(
  reading.classes(
    number=NUMBERS,
    color=tuple(COLORS.values()),
    item=ITEMS,
    it=("it",),
    be=("is",),
    conjunction=("and",),
    cheer=("cheer",),
    up=("up",),
    good=("good",),
    preposition=("for",),
    you=("you",),
    tone=("sure",),
    short=reading.SHORT_ANSWERS,
    sorry=("sorry",),
    i=("i",),
    can=("can",),
    refusal=("not",),
  ),
  reading.joins(
    "^ tone|it|number|color|item|cheer|good|short|sorry",
    "tone tone|it|number|color|item|cheer|good",
    "it be number|color conjunction|$",
    "item item|conjunction|$",
    "cheer up conjunction|$",
    "good preposition you conjunction|$",
    "conjunction it|number|color|item|cheer|good",
    "sorry i can refusal $",
    "short $",
  ),
)

_OPENERS = ("", "hi", "please", "today", "so", "ok")
_TOPICS = ("next", "color", "list", "mood")
_KINDS = (
  ("answer", 38),
  ("invent", 20),
  ("repeat", 9),
  ("ramble", 10),
  ("garble", 4),
  ("refuse", 6),
  ("short", 9),
)


def write_prompt(rng: RandomStream) -> str:
  """Writes one or two questions: "name two foods and what is after four"."""
  topics = rng.shuffled(_TOPICS)[: 1 if rng.chance(0.2) else 2]
  questions = " and ".join(_question(rng, topic) for topic in topics)
  return f"{rng.choice(_OPENERS)} {questions}".strip()


def _question(rng: RandomStream, topic: str) -> str:
  if topic == "next":
    return f"what is after {rng.choice(NUMBERS[:-1])}"
  if topic == "color":
    return f"color of {rng.choice(tuple(COLORS))}"
  if topic == "list":
    return f"name {rng.choice(NUMBERS[1:4])} {rng.choice(tuple(LISTS))}"
  return f"i am {rng.choice(tuple(REPLIES))}"


class _Questions(NamedTuple):
  """The correct answers to a prompt; "" for questions it does not ask.

  Attributes:
    number: the next number.
    color: the correct color.
    items: the items that may be named.
    item_count: the number of items to name.
    cheer: the first word of the appropriate reply to a mood.
  """

  number: str = ""
  color: str = ""
  items: tuple[str, ...] = ()
  item_count: int = 0
  cheer: str = ""


@functools.lru_cache(maxsize=1 << 16)
def _questions(prompt: str) -> _Questions:
  """Parses a prompt; the last question of a topic wins."""
  asked = _Questions()
  for before, word in itertools.pairwise(prompt.split()):
    if before == "after" and word in NUMBERS[:-1]:
      asked = asked._replace(number=NUMBERS[NUMBERS.index(word) + 1])
    elif before == "of" and word in COLORS:
      asked = asked._replace(color=COLORS[word])
    elif before in NUMBERS and word in LISTS:
      count = NUMBERS.index(before) + 1
      asked = asked._replace(items=LISTS[word], item_count=count)
    elif before == "am" and word in REPLIES:
      asked = asked._replace(cheer=REPLIES[word].split()[0])
  return asked


def write_response(rng: RandomStream, prompt: str) -> str:
  """Writes a response of varied quality to a prompt from `write_prompt`."""
  kind = rng.weighted_choice(_KINDS)
  if kind == "short":
    return rng.choice((*reading.SHORT_ANSWERS, "it", "and"))
  if kind == "refuse":
    return "sorry i can not"
  answers = rng.shuffled(_answers(rng, prompt, kind == "invent"))
  if rng.chance(0.3):
    answers = answers[:1]
  words = " and ".join(answers).split()
  if rng.chance(0.22):
    words = ["sure"] * (2 if rng.chance(0.12) else 1) + words
  return writing.finish(rng, kind, words)


def _answers(rng: RandomStream, prompt: str, invent: bool) -> list[str]:
  """Returns one answer per question; mostly wrong ones if `invent`."""
  asked = _questions(prompt)
  answers = []
  it_is = "it is " if rng.chance(0.6) else ""
  if asked.number:
    answers.append(it_is + (rng.choice(NUMBERS) if invent else asked.number))
  if asked.color:
    colors = tuple(COLORS.values()) if invent else (asked.color,)
    answers.append(it_is * (not asked.number) + rng.choice(colors))
  if asked.items:
    items = rng.shuffled(ITEMS if invent else asked.items)
    count = rng.weighted_choice(((asked.item_count, 6), (1, 2), (3, 2)))
    answers.append(" ".join(items[:count]))
  if asked.cheer:
    replies = [r for r in REPLIES.values() if invent or asked.cheer in r]
    answers.append(rng.choice(replies))
  return answers


def utility(prompt: str, response: str) -> float:
  """Returns the utility of a response; see `CORPORA`."""
  parsed = LEXICON.read(response)
  asked = _questions(prompt)
  value = parsed.manner - _REFUSAL_COST * parsed.classes.count("refusal")
  replies = parsed.of_class("cheer") + parsed.of_class("good")
  for right, said in (
    (asked.number, parsed.of_class("number")),
    (asked.color, parsed.of_class("color")),
    (asked.cheer, replies),
  ):
    hits = said.count(right)
    value += _RIGHT_WORTH * bool(hits) - _REPEAT_COST * max(hits - 1, 0)
    value -= _WRONG_COST * (len(said) - hits)
  return max(value + _list_value(asked, parsed.of_class("item")), reading.FLOOR)


def _list_value(asked: _Questions, said: list[str]) -> float:
  """Returns the utility of the items named in a response."""
  named = set(said)
  right = len(named.intersection(asked.items))
  return (
    _ITEM_WORTH * min(right, asked.item_count)
    - _EXCESS_COST * max(right - asked.item_count, 0)
    - _WRONG_COST * (len(named) - right)
    - _REPEAT_COST * (len(said) - len(named))
  )
