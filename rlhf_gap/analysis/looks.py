"""Repeated looks at a study whose seeds are added until it decides.

Looking again whenever a study is undecided finds something sooner or later. The
5% of error are therefore spent over the planned looks: by look k, with n_k of
at most n_K seeds,

  f(t) = 0.05 log(1 + (e - 1) t),  t = n_k / n_K

has been spent (Lan and DeMets 1983, the function that resembles Pocock's
boundaries). The interval of look k has confidence 1 - (f(t_k) - f(t_{k-1})). By
the union bound, the intervals of all looks together hold with 95%, whatever the
dependence between looks and whenever a study stops. The price is that each is
wider than one at 95%.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from rlhf_gap.analysis.claims import Answer, AnsweredClaim
from rlhf_gap.analysis.summary import Decision
from rlhf_gap.analysis.verdicts import MIN_SEEDS, Verdict
from rlhf_gap.analysis.wording import count_seeds

_ERROR = 0.05
_FINAL = (Verdict.SUPPORTED, Verdict.CONTRADICTED)
_GOLDEN = "golden"


def planned(first: int, most: int) -> tuple[int, ...]:
  """Returns the numbers of seeds at which to look: doubling, then the most.

  Args:
    first: seeds of the first look; raised to the fewest that decide anything.
    most: seeds of the last look.
  """
  seeds = [max(first, MIN_SEEDS)]
  while 2 * seeds[-1] < most:
    seeds.append(2 * seeds[-1])
  return (*seeds, most) if seeds[-1] < most else (*seeds,)


def confidences(seeds: Sequence[int]) -> tuple[float, ...]:
  """Returns the confidence of the intervals of each look.

  Args:
    seeds: number of seeds at each look, in ascending order.

  Returns:
    Confidences whose errors add up to 5%.
  """
  most = seeds[-1]
  spent = [
    _ERROR * math.log1p((math.e - 1) * count / most) for count in (0, *seeds)
  ]
  return tuple(
    1 - (now - before) for before, now in zip(spent, spent[1:], strict=False)
  )


def decisions(
  answered: Iterable[AnsweredClaim],
  earlier: Sequence[Decision],
  num_seeds: int,
) -> tuple[Decision, ...]:
  """Returns the decisions after another look.

  Args:
    answered: the claims, answered with this look's intervals.
    earlier: decisions of earlier looks; they stay.
    num_seeds: seeds at this look.
  """
  known = {(d.task, d.claim, d.judge): d for d in earlier}
  for each in answered:
    for judge, answer in _answers(each).items():
      key = each.task, each.claim.name, judge
      if answer.verdict in _FINAL and key not in known:
        known[key] = Decision(
          *key, str(answer.verdict), answer.numbers, num_seeds
        )
  return tuple(known.values())


def final(
  answered: AnsweredClaim, decided: Iterable[Decision]
) -> AnsweredClaim:
  """Returns a claim with the answers of the looks that decided it.

  Args:
    answered: the claim, answered with the last look's intervals.
    decided: all decisions.
  """
  known = {(d.task, d.claim, d.judge): d for d in decided}

  def settled(judge: str, answer: Answer) -> Answer:
    made = known.get((answered.task, answered.claim.name, judge))
    if made is None:
      return answer
    when = f"decided at {count_seeds(made.num_seeds)}"
    return Answer(Verdict(made.verdict), made.numbers, when)

  return dataclasses.replace(
    answered,
    answer=settled(_GOLDEN, answered.answer),
    by_judge={
      judge: settled(judge, answer)
      for judge, answer in answered.by_judge.items()
    },
  )


def undecided(answered: Iterable[AnsweredClaim]) -> list[AnsweredClaim]:
  """Returns the claims that more seeds may decide.

  By the golden model or by the hidden utility; the proxy's opinion is shown and
  decides nothing.
  """
  return [
    each
    for each in answered
    if any(
      answer.verdict is Verdict.UNDERPOWERED
      for judge, answer in _answers(each).items()
      if judge != "proxy"
    )
  ]


def _answers(answered: AnsweredClaim) -> dict[str, Answer]:
  return {_GOLDEN: answered.answer, **answered.by_judge}
