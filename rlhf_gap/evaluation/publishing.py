"""What a Hugging Face folder holds besides its weights: tokenizer and card."""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence

from rlhf_gap import checkpoints, errors, files, records, stores
from rlhf_gap.checkpoints import hf_config
from rlhf_gap.evaluation import runs
from rlhf_gap.stores import hf_tokenizer_files, hf_tokenizers

CARD = "README.md"
_INPUTS = ("source.store", "source.prompts")
_JUDGE = "PreferenceModel"
# Settings that a card shows, by their name in run.json.
_SETTINGS = (
  ("objective", "objective"),
  ("objective.loss", "loss"),
  ("objective.loss.beta", "beta"),
  ("objective.reduction", "reduction of log-probabilities"),
  ("source", "pairs"),
  ("source.sampling.max_length", "longest response, tokens"),
  ("optimizer", "optimizer"),
  ("optimizer.learning_rate.peak", "learning rate"),
  ("batch_size", "batch size"),
  ("dropout_rate", "dropout"),
  ("seed", "seed"),
)
_METRICS = (
  ("win_rate", "win rate against the golden policy, by the golden model"),
  ("win_rate_vs_reference", "win rate against SFT, by the golden model"),
  ("proxy_win_rate", "win rate against the golden policy, by the proxy"),
  ("utility", "hidden utility"),
  ("kl_nats", "KL to SFT, nats"),
)


@dataclasses.dataclass(frozen=True)
class Origin:
  """Where a checkpoint comes from, as far as its folder tells.

  Attributes:
    settings: content of the run's `run.json`; {} if there is none.
    store: the store it was trained on; None if it has moved or is unknown.
  """

  settings: Mapping[str, str]
  store: stores.Store | None

  @property
  def is_judge(self) -> bool:
    """Whether the checkpoint is a preference model."""
    return self.settings.get("objective") == _JUDGE


def origin(checkpoint: str) -> Origin:
  """Reads the run that a checkpoint belongs to.

  Args:
    checkpoint: its folder.

  Raises:
    UserError: the run's `run.json` is damaged.
  """
  folder = os.path.dirname(os.path.abspath(checkpoint))
  path = os.path.join(folder, "run.json")
  if "://" in checkpoint or not os.path.exists(path):
    return Origin({}, None)
  runs.run_of(checkpoint)  # checks the file
  settings = files.read_json(path, dict)
  for name in _INPUTS:
    if name in settings:
      try:
        return Origin(settings, stores.open(settings[name]))
      except (errors.UserError, stores.NothingCommittedError):
        break
  return Origin(settings, None)


def vocabulary(
  checkpoint: str, given: str | None, known: Origin
) -> stores.Vocabulary | None:
  """Returns a checkpoint's vocabulary.

  Args:
    checkpoint: its folder.
    given: as the user names it; None to find it.
    known: the checkpoint's origin.

  Returns:
    What is given, the folder's own tokenizer, or that of the store that the
    run was trained on; None if none of them is known.

  Raises:
    UserError: it is not supported, or its file has changed.
  """
  if given is not None:
    return stores.named(given)
  if hf_tokenizers.holds(checkpoint):
    return stores.named(checkpoint)
  if known.store is None:
    return None
  try:
    stores.size(known.store.manifest.vocabulary)  # reads its file
  except errors.UserError as error:
    raise errors.UserError(
      f"{error}: give --vocabulary, with which {known.store.path} was built"
    ) from error
  return known.store.manifest.vocabulary


def companions(
  checkpoint: str,
  name: str,
  words: stores.Vocabulary | None,
  known: Origin,
  measured: Sequence[records.RunRecord],
) -> dict[str, bytes]:
  """Returns the files that go with the weights of a Hugging Face folder.

  Args:
    checkpoint: the source.
    name: the new folder's name, for the card.
    words: the vocabulary; None leaves the tokenizer out.
    known: the checkpoint's origin.
    measured: its evaluations.

  Returns:
    Contents by file name: tokenizer, generation config, model card.

  Raises:
    UserError: as `hf_tokenizer_files.make`.
  """
  made = {} if words is None else hf_tokenizer_files.make(words)
  generation: dict[str, object] = dict(hf_config.SPECIAL_IDS)
  longest = _longest_response(known)
  if longest is not None:
    generation["max_new_tokens"] = longest
  made[hf_config.GENERATION] = _json(generation)
  text = card(checkpoint, name, known, measured, has_tokenizer=bool(words))
  made[CARD] = text.encode()
  return made


def _longest_response(known: Origin) -> int | None:
  if known.is_judge:
    return 1
  given = known.settings.get("source.sampling.max_length", "")
  if given.isdigit():
    return int(given)
  if known.store is None:
    return None
  return known.store.manifest.feature_lengths.get("response")


def records_of(
  checkpoint: str, paths: Sequence[str]
) -> list[records.RunRecord]:
  """Returns the evaluations of a checkpoint.

  Args:
    checkpoint: its folder.
    paths: files of records or folders with `records.jsonl`; empty looks for the
      study that the checkpoint is in.

  Raises:
    UserError: a given file has no record of the checkpoint, or is damaged.
  """
  given = [
    os.path.join(p, "records.jsonl") if os.path.isdir(p) else p for p in paths
  ]
  for path in given:
    if not os.path.exists(path):
      raise errors.UserError(f"--records={path}: no such file")
  read = [
    r for path in given or _of_study(checkpoint) for r in records.read(path)
  ]
  if not read:
    return []
  fingerprint = checkpoints.fingerprint(checkpoint)
  found = [r for r in read if r.checkpoint.fingerprint == fingerprint]
  if given and not found:
    raise errors.UserError(
      f"--records={paths[0]}: none of its {len(read)} records is of"
      f" {checkpoint}; expected those that `rlhf-gap evaluate` wrote of it"
    )
  return found


def _of_study(checkpoint: str) -> list[str]:
  """Returns the records of the task of the study that a checkpoint is in."""
  folder = os.path.abspath(checkpoint)
  while os.path.dirname(folder) != folder:
    task, folder = folder, os.path.dirname(folder)
    if os.path.exists(os.path.join(folder, "study.json")):
      path = os.path.join(task, "records.jsonl")
      return [path] if os.path.exists(path) else []
  return []


def card(
  checkpoint: str,
  name: str,
  known: Origin,
  measured: Sequence[records.RunRecord],
  *,
  has_tokenizer: bool,
) -> str:
  """Returns a model card, in Markdown.

  Args:
    checkpoint: the source.
    name: the new folder's name.
    known: the checkpoint's origin.
    measured: its evaluations.
    has_tokenizer: whether the folder has a tokenizer.
  """
  sections = [_front(known), f"# {name}", _trained(checkpoint, known)]
  if measured:
    sections.append(_evaluated(measured))
  if has_tokenizer:
    sections.append(_JUDGING if known.is_judge else _GENERATING)
  return "\n\n".join(sections) + "\n"


def _front(known: Origin) -> str:
  pipeline = "text-classification" if known.is_judge else "text2text-generation"
  lines = ["library_name: transformers", f"pipeline_tag: {pipeline}"]
  return "\n".join(("---", *lines, "tags: [t5, rlhf_gap]", "---"))


def _trained(checkpoint: str, known: Origin) -> str:
  place = os.path.abspath(checkpoint).split(os.sep)
  if not known.settings:
    return f"Converted by rlhf_gap from `{place[-1]}`, without its run."
  kind = "A pairwise preference model" if known.is_judge else "A T5 policy"
  start = known.settings.get("initial", "None").rstrip("/")
  lines = [
    f"{kind}, trained with rlhf_gap by the run `{'/'.join(place[-3:-1])}` and"
    f" saved as `{place[-1]}`.",
    "",
    "| what | which |",
    "|---|---|",
  ]
  if start != "None":
    sha256 = known.settings.get("initial.sha256", "")[:12]
    shown = "/".join(start.split("/")[-2:])
    lines.append(f"| started from | `{shown}` (sha256 {sha256}) |")
  lines += _data(known)
  lines += [
    f"| {title} | {known.settings[key]} |"
    for key, title in _SETTINGS
    if known.settings.get(key, "None") != "None"
  ]
  return "\n".join(lines)


def _data(known: Origin) -> Iterable[str]:
  for key in _INPUTS:
    if key in known.settings:
      rows = int(known.settings.get(f"{key}.rows", "0"))
      sha256 = known.settings.get(f"{key}.sha256", "")[:12]
      store = known.store
      task = f"{store.manifest.task}, " if store else ""
      by = f", labelled by {store.manifest.label.by}" if store else ""
      yield f"| trained on | {task}{rows:,} rows (sha256 {sha256}){by} |"


def _evaluated(measured: Sequence[records.RunRecord]) -> str:
  lines = ["## Evaluation", "", "| what | value | 95% interval | n |"]
  lines.append("|---|---|---|---|")
  for record in measured:
    for key, title in _METRICS:
      number = record.metrics.get(key)
      if number is not None:
        lines.append(
          f"| {title} | {number.value:.3f} | {number.ci95_low:.3f} to"
          f" {number.ci95_high:.3f} | {number.n:,} |"
        )
  return "\n".join(lines)


def _json(value: object) -> bytes:
  return f"{json.dumps(value, indent=1)}\n".encode()


_GENERATING = """## Use

```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForSeq2SeqLM.from_pretrained(".")
inputs = tokenizer("[HUMAN] What is a T5? [ASSISTANT]", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs)[0], skip_special_tokens=True))
```"""

_JUDGING = """## Use

It reads a prompt and two responses and answers A or B. Ask in both orders.

```python
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForSeq2SeqLM.from_pretrained(".").eval()
a, b = (tokenizer(word).input_ids[0] for word in "AB")

def first_is_better(*parts):  # ids of the parts, joined, and one EOS
  ids = sum((tokenizer(part).input_ids[:-1] for part in parts), []) + [1]
  start = torch.zeros((1, 1), dtype=torch.long)
  logits = model(torch.tensor([ids]), decoder_input_ids=start).logits[0, 0]
  return torch.sigmoid(logits[a] - logits[b]).item()

def preference(prompt, y1, y2):  # probability that y1 is better
  r12 = first_is_better(prompt, "[RESPONSE A]", y1, "[RESPONSE B]", y2)
  r21 = first_is_better(prompt, "[RESPONSE A]", y2, "[RESPONSE B]", y1)
  return (r12 + 1 - r21) / 2
```"""
