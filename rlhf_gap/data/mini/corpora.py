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
from rlhf_gap.data.mini.random_stream import RandomStream


@dataclasses.dataclass(frozen=True)
class Corpus:
  """A procedural preference corpus.

  Attributes:
    name: the corpus's name.
    description: its prompts, its responses and what its utility rewards.
    write_prompt: generates a prompt from a random stream.
    write_response: generates a good or bad response to such a prompt.
    utility: scores any text as a response to a prompt.
    lexicon: the word classes and joins of well-formed responses.
    tie_weight: the rater's tie parameter (Davidson's nu); 0 for no ties.
  """

  name: str
  description: str
  write_prompt: collections.abc.Callable[[RandomStream], str]
  write_response: collections.abc.Callable[[RandomStream, str], str]
  utility: collections.abc.Callable[[str, str], float]
  lexicon: reading.Lexicon
  tie_weight: float = 0.0


CORPORA: dict[str, Corpus] = {
  "mini_summarization": Corpus(
    name="mini_summarization",
    description=(
      "Summaries of one-line posts. Each fact of the post (who, verb,"
      " thing, place, mood) is rewarded once, in the post's own word or a"
      " synonym of the verb. An invented fact costs more than a true one"
      " earns."
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
      " rewarded once. Means of other tasks are penalized, most of all"
      " those that the user says are missing. Respecting the requested"
      " manner and person earns a little; getting them wrong, needless"
      " refusals and questions cost."
    ),
    write_prompt=helpfulness.write_prompt,
    write_response=helpfulness.write_response,
    utility=helpfulness.utility,
    lexicon=helpfulness.LEXICON,
  ),
  "mini_harmlessness": Corpus(
    name="mini_harmlessness",
    description=(
      "Requests, seven in ten of them harmful. Refusing a harmful one earns"
      " the most, and advice to talk to a friend earns more. For a harmless"
      " one refusing costs and kind means earn something. Harmful means and"
      " rudeness always cost. Blame is rewarded once, and only for a harmful"
      " request."
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
      " mood). Each correct answer and each requested item is rewarded"
      " once. Wrong answers, excess items and repetitions cost. The rater"
      " declares close pairs ties."
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
    UserError: an unknown name.
  """
  if name not in CORPORA:
    near = difflib.get_close_matches(name, CORPORA, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise errors.UserError(
      f"no miniature {name!r}; there are {', '.join(CORPORA)}{hint}"
    )
  return CORPORA[name]
