"""Weights & Biases, MLflow and Trackio, behind one small interface.

Each library is an extra and is imported only when a run starts to log. Servers,
keys and folders are configured as the library documents it, by its own
environment variables.
"""

import dataclasses
import math
import netrc
import os
import secrets
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

_PROJECT = "rlhf_gap"
# Seconds that Weights & Biases waits for uploads when a run ends.
_UPLOAD_SECONDS = 60
# MLflow's limits: parameters of a request and characters of a value.
_MLFLOW_PARAMS, _MLFLOW_VALUE = 100, 6000


@dataclasses.dataclass(frozen=True)
class About:
  """What a tracker shows of a run besides its metrics.

  Attributes:
    project: the project or experiment; None for the library's environment
      variable, else "rlhf_gap".
    name: the run's display name.
    folder: the run's folder.
    settings: the run's settings, by name.
  """

  project: str | None
  name: str
  folder: str
  settings: Mapping[str, int | float | str]

  def project_or(self, variable: str) -> str:
    """Returns the project, else that of an environment variable."""
    return self.project or os.environ.get(variable) or _PROJECT


@runtime_checkable  # for checks of types while testing
class Tracker(Protocol):
  """A run in a tracking library. All calls come from one thread."""

  def start(self, run_id: str | None) -> str:
    """Starts or continues a tracked run.

    Args:
      run_id: the id that an earlier process got; None starts a new run.

    Returns:
      The id with which a later process continues this run.
    """

  def log(self, step: int, values: Mapping[str, float]) -> None:
    """Logs the values of a step; steps never decrease."""

  def finish(self, *, failed: bool) -> None:
    """Ends the run.

    Args:
      failed: whether training ended with an error.
    """


class WeightsAndBiases:
  """A run of Weights & Biases; offline if no key is configured.

  An offline run is written to the run's folder, or to WANDB_DIR, for
  `wandb sync`.
  """

  def __init__(self, about: About):
    self._about = about
    self._run: Any = None

  def start(self, run_id: str | None) -> str:
    """Starts or continues a run."""
    import wandb

    about = self._about
    run_id = run_id or secrets.token_hex(8)
    limits = {"finish_timeout": _UPLOAD_SECONDS}
    known = getattr(wandb.Settings, "model_fields", {})
    self._run = wandb.init(
      project=about.project_or("WANDB_PROJECT"),
      id=run_id,
      name=about.name,
      config=dict(about.settings),
      resume="allow",
      dir=os.environ.get("WANDB_DIR") or about.folder,
      mode=os.environ.get("WANDB_MODE") or _default_mode(),
      # A study trains many runs in one process.
      reinit="create_new",
      settings=wandb.Settings(
        # Its wrapper of stdout and stderr would break the progress bar.
        console="off",
        **{k: v for k, v in limits.items() if k in known},
      ),
    )
    return run_id

  def log(self, step: int, values: Mapping[str, float]) -> None:
    """Logs the values of a step."""
    self._run.log(dict(values), step=step)

  def finish(self, *, failed: bool) -> None:
    """Uploads what is left and ends the run."""
    self._run.finish(exit_code=int(failed))


def _default_mode() -> str:
  """Returns "online" if a key is configured; wandb would ask for one."""
  variables = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
  if any(map(os.environ.get, variables)):
    return "online"
  url = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
  host = urllib.parse.urlparse(url).hostname or ""
  path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
  try:
    has_key = netrc.netrc(path).authenticators(host) is not None
  except (OSError, netrc.NetrcParseError):
    has_key = False
  return "online" if has_key else "offline"


class MLflow:
  """A run of MLflow, in the store that MLFLOW_TRACKING_URI names.

  Without that variable MLflow uses the database mlflow.db in the working
  directory, which needs no network.
  """

  def __init__(self, about: About):
    self._about = about
    self._client: Any = None
    self._run_id = ""

  def start(self, run_id: str | None) -> str:
    """Starts or continues a run."""
    import mlflow

    about = self._about
    self._client = mlflow.MlflowClient()
    if run_id is not None:
      self._client.update_run(run_id, status="RUNNING")
      self._run_id = run_id
      return run_id
    project = about.project_or("MLFLOW_EXPERIMENT_NAME")
    experiment = self._client.get_experiment_by_name(project)
    experiment_id = (
      self._client.create_experiment(project)
      if experiment is None
      else experiment.experiment_id
    )
    run = self._client.create_run(
      experiment_id,
      run_name=about.name,
      tags={"model_dir": os.path.abspath(about.folder)},
    )
    self._run_id = run.info.run_id
    params = [
      mlflow.entities.Param(name, str(value)[:_MLFLOW_VALUE])
      for name, value in about.settings.items()
    ]
    for first in range(0, len(params), _MLFLOW_PARAMS):
      some = params[first : first + _MLFLOW_PARAMS]
      self._client.log_batch(self._run_id, params=some)
    return self._run_id

  def log(self, step: int, values: Mapping[str, float]) -> None:
    """Logs the values of a step, in one request."""
    from mlflow import entities

    now = int(time.time() * 1000)
    metrics = [entities.Metric(n, v, now, step) for n, v in values.items()]
    self._client.log_batch(self._run_id, metrics=metrics)

  def finish(self, *, failed: bool) -> None:
    """Sets the run's status."""
    status = "FAILED" if failed else "FINISHED"
    self._client.set_terminated(self._run_id, status)


class Trackio:
  """A run of Trackio: a local database, or the Space of TRACKIO_SPACE_ID."""

  def __init__(self, about: About):
    self._about = about
    self._run: Any = None

  def start(self, run_id: str | None) -> str:
    """Starts or continues a run. Trackio finds a run by its name."""
    import trackio

    about = self._about
    run_id = run_id or f"{about.name}-{secrets.token_hex(4)}"
    self._run = trackio.init(
      project=about.project_or("TRACKIO_PROJECT"),
      name=run_id,
      config=dict(about.settings),
      resume="allow",
      embed=False,
    )
    return run_id

  def log(self, step: int, values: Mapping[str, float]) -> None:
    """Logs the values of a step."""
    self._run.log(dict(values), step=step)

  def finish(self, *, failed: bool) -> None:
    """Writes what is left; Trackio has no status of failed runs."""
    del failed
    self._run.finish()


LIBRARIES: Mapping[str, Callable[[About], Tracker]] = {
  "wandb": WeightsAndBiases,
  "mlflow": MLflow,
  "trackio": Trackio,
}
"""Trackers by name, which is the name of the library and of its extra."""


def number_or_text(text: str) -> int | float | str:
  """Converts a number's text, because trackers plot and compare numbers.

  >>> number_or_text("1e-05"), number_or_text("4"), number_or_text("float32")
  (1e-05, 4, 'float32')

  Args:
    text: a setting's text.

  Returns:
    The number; `text` itself if it is none, or not finite.
  """
  for kind in (int, float):
    try:
      number = kind(text)
    except ValueError:
      continue
    return number if math.isfinite(number) else text
  return text
