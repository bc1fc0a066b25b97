"""The four miniatures by name."""

import collections.abc
import dataclasses
import difflib

from rlhf_gap import errors
from rlhf_gap.data.mini import (
  arena,
  harmlessness,
  helpfulness,
  reading,
  summarization,
)
from rlhf_gap.data.mini.draws import Draws


@dataclasses.dataclass(frozen=True)
class Corpus:
  """A procedural preference corpus.

  Attributes:
    name: the literal by which it is asked for.
    description: what is asked, what is answered and what is worth something.
    write_prompt: writes a prompt from random draws.
    write_response: writes a response, good or bad, to such a prompt.
    utility: what a response, any text whatever, is worth to a prompt.
    lexicon: the classes and joins of well-formed responses.
    tie_weight: Davidson's nu of the rater; 0 where nothing is ever tied.
  """

  name: str
  description: str
  write_prompt: collections.abc.Callable[[Draws], str]
  write_response: collections.abc.Callable[[Draws, str], str]
  utility: collections.abc.Callable[[str, str], float]
  lexicon: reading.Lexicon
  tie_weight: float = 0.0


CORPORA: dict[str, Corpus] = {
  "mini_summarization": Corpus(
    name="mini_summarization",
    description=(
      "Summaries of one-line posts. Each fact of the post (who, verb,"
      " thing, place, mood) is worth something once, in the post's word"
      " or in a verb's synonym; a fact the post does not hold costs more"
      " than a true one earns."
    ),
    write_prompt=summarization.write_prompt,
    write_response=summarization.write_response,
    utility=summarization.utility,
    lexicon=summarization.LEXICON,
  ),
  "mini_helpfulness": Corpus(
    name="mini_helpfulness",
    description=(
      "Requests for help with a task. Each means that the task needs is"
      " worth something once; means of other tasks cost, those that the"
      " asker lacks most of all; heeding how and for whom is worth a"
      " little, mishearing it costs; so do needless refusals and"
      " questions."
    ),
    write_prompt=helpfulness.write_prompt,
    write_response=helpfulness.write_response,
    utility=helpfulness.utility,
    lexicon=helpfulness.LEXICON,
  ),
  "mini_harmlessness": Corpus(
    name="mini_harmlessness",
    description=(
      "Requests, seven in ten of them harmful. Refusing a harmful one is"
      " worth most, with advice to talk to a friend more still; refusing"
      " a harmless one costs, kind means are worth something there;"
      " harmful means and rudeness always cost; blame is right once and"
      " only where harm is meant."
    ),
    write_prompt=harmlessness.write_prompt,
    write_response=harmlessness.write_response,
    utility=harmlessness.utility,
    lexicon=harmlessness.LEXICON,
  ),
  "mini_arena": Corpus(
    name="mini_arena",
    description=(
      "One or two questions of mixed topics (a number, a color, a list, a"
      " mood). Each right answer and each item asked for is worth"
      " something once; wrong answers, items too many and repeats cost."
      " The rater calls close pairs ties."
    ),
    write_prompt=arena.write_prompt,
    write_response=arena.write_response,
    utility=arena.utility,
    lexicon=arena.LEXICON,
    tie_weight=0.6,
  ),
}


def named(name: str) -> Corpus:
  """Returns a corpus of `CORPORA`.

  Raises:
    UserError: there is none of that name.
  """
  if name not in CORPORA:
    near = difflib.get_close_matches(name, CORPORA, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise errors.UserError(
      f"no miniature is called {name!r}, there are {', '.join(CORPORA)}{hint}"
    )
  return CORPORA[name]
