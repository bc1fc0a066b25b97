"""Pair stores: fixed-shape token ids on disk or object storage.

A store is a directory with one zarr array per column and a `manifest.json` that
describes the columns, the origin of the rows and how many are committed.

  manifest = stores.Manifest(
      task="openai_summarization_pairs", schema="pairs", columns=stores.PAIRS,
      feature_lengths={"prompt": 1024, "response": 128},
      vocabulary=stores.sentencepiece(path), label=stores.Label("human"))
  writer = stores.create(directory, manifest)
  for chunk in range(writer.num_chunks, num_chunks):
    writer.append(chunk, {"prompt_tokens": ..., ...})  # numpy arrays
    writer.commit()                                    # readable from here on
  writer.finish(dropped={"tie": 12})

  store = stores.open(directory)
  store.read([3, 10])["chosen_tokens"]                 # int32 [2, 128]
  for batch in store.batches(stores.Epochs(), seed=0, batch_size=32):
    ...

Importing this package imports NumPy and TensorStore, but neither TensorFlow nor
JAX.
"""

from rlhf_gap.stores.columns import NO_POLICY as NO_POLICY
from rlhf_gap.stores.columns import PAIRS as PAIRS
from rlhf_gap.stores.columns import PROMPTS as PROMPTS
from rlhf_gap.stores.columns import SCHEMAS as SCHEMAS
from rlhf_gap.stores.columns import SFT as SFT
from rlhf_gap.stores.columns import ColumnSpec as ColumnSpec
from rlhf_gap.stores.columns import Truncated as Truncated
from rlhf_gap.stores.columns import prompt_id as prompt_id
from rlhf_gap.stores.fingerprints import fingerprint as fingerprint
from rlhf_gap.stores.manifest import CheckpointIdentity as CheckpointIdentity
from rlhf_gap.stores.manifest import Label as Label
from rlhf_gap.stores.manifest import Manifest as Manifest
from rlhf_gap.stores.manifest import differences as differences
from rlhf_gap.stores.orders import Blocks as Blocks
from rlhf_gap.stores.orders import Epochs as Epochs
from rlhf_gap.stores.orders import Exact as Exact
from rlhf_gap.stores.orders import Order as Order
from rlhf_gap.stores.orders import num_batches as num_batches
from rlhf_gap.stores.orders import rows as rows
from rlhf_gap.stores.reader import (
  NothingCommittedError as NothingCommittedError,
)
from rlhf_gap.stores.reader import Store as Store
from rlhf_gap.stores.reader import open_store as open  # noqa: F401
from rlhf_gap.stores.vocabularies import Vocabulary as Vocabulary
from rlhf_gap.stores.vocabularies import byte as byte
from rlhf_gap.stores.vocabularies import (
  check_own_vocabulary as check_own_vocabulary,
)
from rlhf_gap.stores.vocabularies import check_vocabulary as check_vocabulary
from rlhf_gap.stores.vocabularies import decoder as decoder
from rlhf_gap.stores.vocabularies import encoder as encoder
from rlhf_gap.stores.vocabularies import model_bytes as model_bytes
from rlhf_gap.stores.vocabularies import named as named
from rlhf_gap.stores.vocabularies import sentencepiece as sentencepiece
from rlhf_gap.stores.vocabularies import size as size
from rlhf_gap.stores.vocabularies import unknown_id as unknown_id
from rlhf_gap.stores.writer import Writer as Writer
from rlhf_gap.stores.writer import create as create
