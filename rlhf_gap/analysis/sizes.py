"""Arms of policies of several sizes."""

from rlhf_gap.analysis import arms, baselines
from rlhf_gap.analysis.evidence import Evidence
from rlhf_gap.analysis.resampling import UndefinedError

_TUNED = ("objective", "optimizer")


def tuned_alike(evidence: Evidence, method: str, size: str) -> arms.Arm:
  """Returns an arm's configurations that were trained at every size.

  The study's own size has a whole sweep. A sweep with poorer settings has a
  lower quantile, however good its policies are, so only shared settings are
  compared.

  Args:
    evidence: one task's evidence, with its records.
    method: one of `arm_names.METHODS`.
    size: the policy's size; "" is the study's own.

  Returns:
    The arm. At the study's own size it has only the configurations whose loss,
    optimizer and length other sizes share.

  Raises:
    UndefinedError: there is no such arm, or no configuration is left.
  """
  own = evidence.arm(at_size(method, size))
  names = [at_size(method, s) for s in sizes_of(evidence)]
  others = [
    evidence.arms[name]
    for name in names
    if name != method and name in evidence.arms
  ]
  if size or not others:
    return own
  known = {
    record.run.name: baselines.settings_of(record, _TUNED)
    for record in evidence.records
  }
  shared = {known[run.name] for other in others for run in other.runs}
  longest = max(int(run.steps[-1]) for other in others for run in other.runs)
  kept = tuple(
    configuration
    for configuration in own.configurations
    if all(
      known[run.name] in shared and int(run.steps[-1]) <= longest
      for run in configuration.runs
    )
  )
  if not kept:
    raise UndefinedError(f"no run of {method} is tuned as other sizes' are")
  return arms.Arm(own.name, kept)


def check_known(evidence: Evidence) -> None:
  """Raises `UndefinedError` if the parameters of a size were not counted."""
  unknown = [
    size or "own" for size in sizes_of(evidence) if size not in evidence.sizes
  ]
  if unknown:
    raise UndefinedError(
      f"the number of parameters is unknown for sizes {', '.join(unknown)}"
    )


def sizes_of(evidence: Evidence) -> list[str]:
  """Returns the policy's sizes by number of parameters.

  "" is the study's own size. Planned sizes without records are included.
  """
  names = {arms.size_of(name) for name in evidence.names}
  return sorted(names, key=lambda size: (evidence.sizes.get(size, 0), size))


def at_size(name: str, size: str) -> str:
  """Returns the name of an arm at a size, such as "online@xl"."""
  return f"{name}@{size}" if size else name


def size_title(evidence: Evidence, size: str) -> str:
  """Returns a size's name for readers, such as "xl, 2,850,000 parameters"."""
  name = size or "this study's"
  count = evidence.sizes.get(size)
  return f"{name}, {count:,} parameters" if count else name
