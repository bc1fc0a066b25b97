"""The part of tools/check_transformers.py about tokenizers.

It makes small tokenizers with transformers, and compares its token ids of
awkward texts with ours: of its folders as we read them, and of our files for
the same vocabulary as it reads them.
"""

import json
import pathlib
from typing import Any

TEXTS = (
  "",
  " ",
  "the cat sat",
  "  the   cat  ",
  "a\nb\tc \n",
  "[HUMAN] a cat? [ASSISTANT]",
  "[RESPONSE A] the dog [RESPONSE B] the cat",
  "caf\u00e9 cafe\u0301 \ufb01ne",
  "\u65e5\u672c\u8a9e \U0001f600 \U0001f468\u200d\U0001f469",
  "x\u00a0y\u2003z\u3000w",
  "a\u2028b\u2029c\x0bd\x0ce\x1cf",
  "<extra_id_0> the <extra_id_1>",
  "A",
  "B",
)
MODELS = ("rules", "identity", "byt5")
"""Tokenizers that are read."""
REFUSED = ("bpe", "added", "lowercase")

SOURCE = r"""
import json, os
from transformers import AutoTokenizer, ByT5Tokenizer, T5Tokenizer
import sentencepiece, tokenizers

WORDS = ["the cat sat on the mat [HUMAN] A", "a dog ran to the red house B",
         "[RESPONSE A] [RESPONSE B] [ASSISTANT] fine cafe"]

def spiece(kind, folder):
  os.makedirs(folder, exist_ok=True)
  rules = {}
  if kind == "rules":  # a charsmap as T5's, of five rules
    tsv = os.path.join(folder, "rules.tsv")
    open(tsv, "w").write("FB01\t66 69\nA\t20\n9\t20\nA0\t20\n65 301\tE9\n")
    rules = {"normalization_rule_tsv": tsv}
  if kind == "identity":
    rules = {"normalization_rule_name": "identity"}
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(WORDS * 20), vocab_size=60, hard_vocab_limit=False,
    model_prefix=os.path.join(folder, "spiece"), minloglevel=2,
    pad_id=0, eos_id=1, unk_id=2, bos_id=-1, **rules)
  for name in ("spiece.vocab", "rules.tsv"):
    if os.path.exists(os.path.join(folder, name)):
      os.remove(os.path.join(folder, name))

def make_tokenizer(kind, folder):
  os.makedirs(folder, exist_ok=True)
  if kind == "byt5":
    ByT5Tokenizer().save_pretrained(folder)
  elif kind == "bpe":
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1}, []))
    bpe.save(os.path.join(folder, "tokenizer.json"))
  else:
    source = folder + "_source"
    spiece("identity" if kind in ("added", "lowercase") else kind, source)
    made = T5Tokenizer.from_pretrained(source, extra_ids=4)
    if kind == "added":
      made.add_tokens(["\n"])
    if kind == "lowercase":
      made._tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    made.save_pretrained(folder)

def tokenize(folder, texts):
  config = os.path.join(folder, "config.json")
  if not os.path.exists(config):
    json.dump({"model_type": "t5"}, open(config, "w"))
  tokenizer = AutoTokenizer.from_pretrained(folder)
  ids = [tokenizer(text).input_ids for text in texts]
  return {"ids": ids, "decoded": [
    tokenizer.decode(row, skip_special_tokens=True) for row in ids]}
"""


def ours(folder: pathlib.Path) -> list[list[int]]:
  """Returns our ids of the texts, EOS included."""
  from rlhf_gap import stores

  encode = stores.encoder(stores.named(str(folder)))
  return [[*encode(text), 1] for text in TEXTS]


def check(oracle: Any, folder: pathlib.Path) -> list[str]:
  """Returns the tokenizers and texts whose ids differ.

  Args:
    oracle: transformers.
    folder: an empty folder to write to.
  """
  from rlhf_gap import stores
  from rlhf_gap.stores import hf_tokenizer_files

  differing = []
  for kind in MODELS:
    theirs = folder / kind
    oracle.ask(tokenizer=kind, folder=str(theirs))
    expected = oracle.ask(tokenize=str(theirs), texts=TEXTS)["ids"]
    vocabulary = stores.named(str(theirs))
    if kind != "byt5":  # anew, not as copies of theirs
      path = folder / f"{kind}.model"
      path.write_bytes(stores.model_bytes(vocabulary))
      vocabulary = stores.named(str(path), vocabulary.extra_ids)
    written = folder / f"{kind}_written"
    written.mkdir()
    for name, content in hf_tokenizer_files.make(vocabulary).items():
      (written / name).write_bytes(content)
    again = oracle.ask(tokenize=str(written), texts=TEXTS)["ids"]
    for how, found in (("read", ours(theirs)), ("written", again)):
      differing += [
        f"{kind} {how}: {text!r}"
        for text, want, got in zip(TEXTS, expected, found, strict=True)
        if want != got and not (kind == "byt5" and "<extra_id_" in text)
      ]
  return differing


def write_golden(oracle: Any, folder: pathlib.Path) -> None:
  """Writes a folder a tokenizer, with the ids that transformers gives."""
  for kind in (*MODELS, *REFUSED):
    place = folder / kind
    oracle.ask(tokenizer=kind, folder=str(place))
    if kind in REFUSED:
      continue
    expected = oracle.ask(tokenize=str(place), texts=TEXTS)
    expected = {key: expected[key] for key in ("ids", "decoded")}
    text = json.dumps({"texts": TEXTS, **expected}, indent=1)
    (place / "expected.json").write_text(f"{text}\n")
