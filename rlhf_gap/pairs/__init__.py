"""Sources of training batches: online and offline differ only here.

A source is described by a frozen dataclass (`Offline`, `Online`, `Replay`,
`Generated`, `Mixture`; `Responses` for supervised fine-tuning), which gin
binds. Opened with a run's `Context`, it returns the batch of each step by
`fetch(step, params)`.
"""

from rlhf_gap.pairs.generating import generate as generate
from rlhf_gap.pairs.mixture import Mixture as Mixture
from rlhf_gap.pairs.online import Generated as Generated
from rlhf_gap.pairs.online import Online as Online
from rlhf_gap.pairs.recording import Recorder as Recorder
from rlhf_gap.pairs.recording import record as record
from rlhf_gap.pairs.recording import recordable as recordable
from rlhf_gap.pairs.reference import Reference as Reference
from rlhf_gap.pairs.sampling import Sampling as Sampling
from rlhf_gap.pairs.sources import CHECKPOINT as CHECKPOINT
from rlhf_gap.pairs.sources import STORE as STORE
from rlhf_gap.pairs.sources import Context as Context
from rlhf_gap.pairs.sources import FetchedBatch as FetchedBatch
from rlhf_gap.pairs.sources import Provenance as Provenance
from rlhf_gap.pairs.sources import Source as Source
from rlhf_gap.pairs.sources import SourceSpec as SourceSpec
from rlhf_gap.pairs.sources import (
  checkpoint_fingerprint as checkpoint_fingerprint,
)
from rlhf_gap.pairs.stored import Offline as Offline
from rlhf_gap.pairs.stored import Replay as Replay
from rlhf_gap.pairs.stored import Responses as Responses
