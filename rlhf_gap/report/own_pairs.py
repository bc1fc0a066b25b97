"""What a report on one's own pairs says of its judge."""

from rlhf_gap.analysis import summary, wording

_TRAINED = "its golden labels are those of a model trained on the same pairs"
_GIVEN = "its golden labels are those of the preference model that was given"
_MEANING = (
  "win rates say what this model prefers, and people's preferences only as far"
  " as it agrees with them on what the policies write, where nothing checks it;"
  " no hidden utility stands behind it, so a policy that exploits the model"
  " looks better here. Before you choose a policy, have people compare its"
  " samples with SFT's"
)
_SHARED = (
  "the proxy learned from the golden model and repeats its errors: that the two"
  " agree is no evidence"
)


def notes(task: summary.TaskSummary) -> list[str]:
  """Returns what the golden labels of a task mean; nothing if it is built in.

  Args:
    task: one task of a study.
  """
  if not task.own_golden:
    return []
  agreement = ""
  for judge in task.judges:
    human = judge.accuracy.get("human")
    if judge.name == "golden" and human is not None:
      agreement = (
        f" and agree with {wording.plain(human)} of {human.n:,} held-out pairs"
      )
  origin = _TRAINED if task.own_golden == "trained" else _GIVEN
  return [f"{task.name}: {origin}{agreement}: {_MEANING}; {_SHARED}"]
