"""Compares what this project computes with the real transformers.

    python tools/check_transformers.py [--write_golden DIR]

Needs a Python that imports both `rlhf_gap` and `transformers` with PyTorch, or
`--python` of another environment that has the latter. Tiny models of every kind
are made with transformers; log-probabilities are compared after loading them
and, through transformers again, after every chain of conversions.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import transformers_tokenizers

TOLERANCE = 1e-4  # nats

# Enough for a test without transformers: every way to tie and to scale, every
# dtype, and what differs from T5 1.1.
GOLDEN = (
  "t5_1_0",
  "t5_1_1_silu",
  "byt5",
  "odd_sizes",
  "distance",
  "copies",
  "t5_tie_true_scale_true_head_none",
  "t5_tie_true_scale_false_head_none",
  "t5_tie_false_scale_true_head_own",
  "t5_tie_drop_scale_drop_head_own",
  "t5_tie_false_scale_false_head_copy",
  "mt5_tie_true_scale_drop_head_none",
  "mt5_tie_false_scale_drop_head_own",
  "bfloat16_scale_false_head_own",
)

_CHAINS = (
  ("hf",),
  ("t5x", "hf"),
  ("t5x_orbax", "hf"),
  ("t5x", "t5x_orbax", "hf"),
  ("hf", "t5x", "hf"),
)


@dataclasses.dataclass(frozen=True)
class Case:
  """A model to make, and what to do to the folder that transformers writes."""

  name: str
  model_type: str = "t5"
  config: tuple[tuple[str, object], ...] = ()
  head: str = "written"  # or "own", "copy", "none"
  keys: tuple[tuple[str, object], ...] = ()  # of config.json; "drop" removes
  dtype: str = "float32"
  copies: bool = False

  def to_json(self) -> str:
    """Returns the case as one line."""
    return json.dumps(dataclasses.asdict(self))


def cases() -> list[Case]:
  """Returns every kind of T5 that can be checkpoint."""
  found = [
    Case("t5_1_0", config=(("feed_forward_proj", "relu"),)),
    Case("t5_1_1_silu", config=(("feed_forward_proj", "gated-silu"),)),
    Case("byt5", config=(("vocab_size", 384), ("num_decoder_layers", 1))),
    Case("odd_sizes", config=(("d_model", 20), ("d_kv", 6), ("num_heads", 3))),
    Case("distance", config=(("relative_attention_max_distance", 24),)),
    Case("buckets", config=(("relative_attention_num_buckets", 8),)),
    Case("copies", head="copy", copies=True),
    Case("mt5_own", "mt5", head="own"),
  ]
  ties = itertools.product(
    ("t5", "mt5"),
    (True, False, "drop"),
    (True, False, "drop"),
    ("own", "copy", "none"),
  )
  for kind, tie, scale, head in ties:
    keys = (("tie_word_embeddings", tie), ("scale_decoder_outputs", scale))
    found.append(
      Case(
        f"{kind}_tie_{tie}_scale_{scale}_head_{head}".lower(),
        kind,
        head=head,
        keys=keys,
      )
    )
  for dtype, head in itertools.product(
    ("float16", "bfloat16"), ("own", "none")
  ):
    for scale in (True, False):
      keys = (("scale_decoder_outputs", scale),)
      found.append(
        Case(
          f"{dtype}_scale_{scale}_head_{head}".lower(),
          head=head,
          keys=keys,
          dtype=dtype,
        )
      )
  return found


# Runs where transformers is: makes the models, or computes their logits.
_ORACLE = r"""
import json, os, shutil, sys, warnings
warnings.filterwarnings("ignore")
import numpy as np, torch, transformers
from safetensors.torch import load_file, save_file
transformers.logging.set_verbosity_error()
Auto = transformers.AutoModelForSeq2SeqLM
BASE = dict(vocab_size=96, d_model=16, d_kv=4, d_ff=24, num_layers=2,
            num_heads=4, dropout_rate=0.0, feed_forward_proj="gated-gelu",
            decoder_start_token_id=0)

def make(case, folder):
  torch.manual_seed(1)
  kind = case["model_type"].upper()
  config = getattr(transformers, kind + "Config")(
    **{**BASE, **dict(case["config"])})
  model = getattr(transformers, kind + "ForConditionalGeneration")(config)
  for parameter in model.parameters():
    parameter.data = torch.randn(parameter.shape) * (
      0.3 if parameter.ndim > 1 else 0.1) + (parameter.ndim == 1)
  dtype = getattr(torch, case["dtype"])
  model.to(dtype).save_pretrained(folder)
  file = os.path.join(folder, "model.safetensors")
  tensors = load_file(file)
  shared = tensors["shared.weight"]
  if case["head"] == "own":
    tensors["lm_head.weight"] = (torch.randn(shared.shape) * 0.3).to(dtype)
  if case["head"] == "copy":
    tensors["lm_head.weight"] = shared.clone()
  if case["head"] == "none":
    tensors.pop("lm_head.weight", None)
  if case["copies"]:
    for stack in ("encoder", "decoder"):
      tensors[stack + ".embed_tokens.weight"] = shared.clone()
  save_file(tensors, file, {"format": "pt"})
  place = os.path.join(folder, "config.json")
  config = json.load(open(place))
  for key, value in case["keys"]:
    config.pop(key, None)
    if value != "drop":
      config[key] = value
  json.dump(config, open(place, "w"), indent=1, sort_keys=True)

def expected(folder, out):
  model = Auto.from_pretrained(folder, dtype=torch.float32).eval()
  rng = np.random.default_rng(5)
  size = model.config.vocab_size
  prompts = rng.integers(2, size, (2, 40))
  targets = rng.integers(2, size, (2, 6))
  prompts[1, 25:] = 0
  targets[:, 0] = 0
  with torch.no_grad():
    logits = model(input_ids=torch.tensor(prompts),
                   attention_mask=torch.tensor(prompts != 0),
                   decoder_input_ids=torch.tensor(targets)).logits
  np.savez_compressed(out, prompts=prompts, targets=targets,
                      log_probs=logits.log_softmax(-1).numpy())

def whole(folder, texts, max_length, preferences):
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  model = Auto.from_pretrained(folder, dtype=torch.float32).eval()
  answer = {"ids": [tokenizer(text).input_ids for text in texts]}
  inputs = [tokenizer(text, return_tensors="pt") for text in texts]
  made = [model.generate(**each, do_sample=False, num_beams=1,
                         max_new_tokens=max_length)[0] for each in inputs]
  answer["greedy_ids"] = [ids.tolist() for ids in made]
  answer["greedy"] = [tokenizer.decode(ids, skip_special_tokens=True)
                      for ids in made]
  if preferences:  # runs the card's own example
    card = open(os.path.join(folder, "README.md")).read()
    code = card.split("```python")[1].split("```")[0]
    names = {}
    exec(code.replace('"."', repr(folder)), names)
    with torch.no_grad():
      answer["preferences"] = [names["preference"](*p) for p in preferences]
  return answer

def tiny(folder, spiece):
  torch.manual_seed(0)
  source = folder + "_source"
  os.makedirs(source)
  shutil.copy(spiece, os.path.join(source, "spiece.model"))
  transformers.T5Tokenizer.from_pretrained(source).save_pretrained(folder)
  config = transformers.T5Config(**{
    **BASE, "vocab_size": 256, "d_model": 32, "d_kv": 8, "d_ff": 64})
  transformers.T5ForConditionalGeneration(config).save_pretrained(folder)

def pipe(folder, texts, max_length):
  from transformers.pipelines import PIPELINE_REGISTRY
  tasks = PIPELINE_REGISTRY.get_supported_tasks()
  if "text2text-generation" not in tasks:
    return {"pipeline": None}  # transformers 5 has none for encoder-decoders
  run = transformers.pipeline("text2text-generation", model=folder)
  made = run(texts, do_sample=False, num_beams=1, max_new_tokens=max_length)
  return {"pipeline": [each["generated_text"] for each in made]}

print(json.dumps({"transformers": transformers.__version__}), flush=True)
for line in sys.stdin:
  task = json.loads(line)
  try:
    if "tokenizer" in task:
      make_tokenizer(task["tokenizer"], task["folder"])
      print(json.dumps({"ok": True}), flush=True)
      continue
    if "tokenize" in task:
      print(json.dumps({"ok": True} | tokenize(
        task["tokenize"], task["texts"])), flush=True)
      continue
    if "tiny" in task:
      tiny(task["tiny"], task["spiece"])
      print(json.dumps({"ok": True}), flush=True)
      continue
    if "whole" in task:
      answer = whole(task["whole"], task["texts"], task["max_length"],
                     task["preferences"])
      answer |= pipe(task["whole"], task["texts"], task["max_length"])
      print(json.dumps({"ok": True} | answer), flush=True)
      continue
    if "case" in task:
      make(task["case"], task["folder"])
    expected(task["folder"], task["out"])
    print(json.dumps({"ok": True}), flush=True)
  except Exception as error:
    print(json.dumps({"error": repr(error)[:300]}), flush=True)
"""


class Oracle:
  """A process that runs transformers."""

  def __init__(self, python: str):
    """Starts it; exits with a line where transformers cannot be imported."""
    self._process = subprocess.Popen(
      [python, "-c", transformers_tokenizers.SOURCE + _ORACLE],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    assert self._process.stdout
    line = self._process.stdout.readline()
    if not line:
      sys.exit(f"{python} cannot run transformers")
    self.version = json.loads(line)["transformers"]

  def ask(self, **task: object) -> dict:
    """Returns its answer to a task.

    Args:
      **task: `folder` and `out` compute log-probabilities, of a model that is
        made first if there is a `case`; `whole` tokenizes and decodes texts
        with a folder's own tokenizer and model.
    """
    assert self._process.stdin
    assert self._process.stdout
    self._process.stdin.write(json.dumps(task) + "\n")
    self._process.stdin.flush()
    answer = json.loads(self._process.stdout.readline())
    if "error" in answer:
      raise RuntimeError(answer["error"])
    return answer


def ours(folder: pathlib.Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
  """Returns our log-probabilities of a folder's model."""
  import jax
  import jax.numpy as jnp

  from rlhf_gap import checkpoints
  from rlhf_gap.models import t5

  checkpoint = checkpoints.load(folder, dtype="float32")
  tokens = (jnp.asarray(arrays[name]) for name in ("prompts", "targets"))
  logits = jax.jit(t5.logits, static_argnums=0)(
    checkpoint.config, checkpoint.params, *tokens
  )
  return np.asarray(jax.nn.log_softmax(logits))


def check(case: Case, oracle: Oracle, folder: pathlib.Path) -> dict[str, float]:
  """Returns the largest differences of log-probabilities, by chain."""
  from rlhf_gap import checkpoints

  source = folder / "source"
  oracle.ask(
    case=dataclasses.asdict(case), folder=str(source), out=str(source) + ".npz"
  )
  expected = dict(np.load(str(source) + ".npz"))
  worst = {"load": _difference(ours(source, expected), expected["log_probs"])}
  written: dict[tuple[str, ...], pathlib.Path] = {(): source}
  for chain in _CHAINS:
    for length in range(1, len(chain) + 1):
      start = chain[:length]
      if start not in written:
        written[start] = folder / "-".join(start)
        checkpoints.convert(
          written[start[:-1]], written[start], format=start[-1]
        )
    out = folder / ("-".join(chain) + ".npz")
    oracle.ask(folder=str(written[chain]), out=str(out))
    theirs = np.load(out)["log_probs"]
    worst["->".join(("hf", *chain))] = _difference(
      theirs, expected["log_probs"]
    )
  return worst


def _difference(left: np.ndarray, right: np.ndarray) -> float:
  return float(np.max(np.abs(left - right)))


def write_golden(oracle: Oracle, folder: pathlib.Path) -> None:
  """Writes a folder a case: the model, and transformers' log-probabilities.

  The tokenizers go to the folder `hf_tokenizers` beside it.
  """
  with tempfile.TemporaryDirectory() as scratch:
    made = pathlib.Path(scratch) / "made"
    transformers_tokenizers.write_golden(oracle, made)
    for place in made.glob("*_source"):
      shutil.rmtree(place)
    shutil.copytree(made, folder.parent / "hf_tokenizers", dirs_exist_ok=True)
  for case in cases():
    if case.name not in GOLDEN:
      continue
    place = folder / case.name
    out = place / "expected.npz"
    oracle.ask(case=dataclasses.asdict(case), folder=str(place), out=str(out))


def main() -> int:
  """Checks all cases; returns how many differ."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--python", default=sys.executable)
  parser.add_argument("--write_golden", type=pathlib.Path)
  arguments = parser.parse_args()
  oracle = Oracle(arguments.python)
  if arguments.write_golden:
    write_golden(oracle, arguments.write_golden)
    return 0
  with tempfile.TemporaryDirectory() as scratch:
    differing = transformers_tokenizers.check(oracle, pathlib.Path(scratch))
  print("\n".join(differing) or "token ids of every tokenizer: equal")
  worst, failures, count = 0.0, len(differing), 0
  for case in cases():
    with tempfile.TemporaryDirectory() as folder:
      differences = check(case, oracle, pathlib.Path(folder))
    largest = max(differences.values())
    worst, count = max(worst, largest), count + len(differences)
    failures += not largest < TOLERANCE
    print(f"{case.name:44} {largest:.1e}", flush=True)
  print(
    f"{len(cases())} models, {count} comparisons with transformers"
    f" {oracle.version}: largest difference {worst:.1e} nats, {failures} models"
    f" beyond {TOLERANCE:g}"
  )
  return min(failures, 1)


if __name__ == "__main__":
  sys.exit(main())
