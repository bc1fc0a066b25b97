"""Losses: one pure function per formula, one value per pair or row.

    loss = losses.Ipo(beta=0.1)
    loss.describe("sum")        # "... target rho = 5 nats"
    losses.with_label(loss, rho, probability)

All regimes use the same functions.
"""

from rlhf_gap.losses.contrastive import IPO_FORMS as IPO_FORMS
from rlhf_gap.losses.contrastive import dpo as dpo
from rlhf_gap.losses.contrastive import gpo as gpo
from rlhf_gap.losses.contrastive import hinge as hinge
from rlhf_gap.losses.contrastive import hinged as hinged
from rlhf_gap.losses.contrastive import ipo as ipo
from rlhf_gap.losses.contrastive import logistic as logistic
from rlhf_gap.losses.contrastive import slic as slic
from rlhf_gap.losses.contrastive import squared as squared
from rlhf_gap.losses.contrastive import with_label as with_label
from rlhf_gap.losses.pair_losses import Dpo as Dpo
from rlhf_gap.losses.pair_losses import Gpo as Gpo
from rlhf_gap.losses.pair_losses import Hinge as Hinge
from rlhf_gap.losses.pair_losses import Ipo as Ipo
from rlhf_gap.losses.pair_losses import PairLoss as PairLoss
from rlhf_gap.losses.pair_losses import Slic as Slic
from rlhf_gap.losses.preference import preference_model as preference_model
from rlhf_gap.losses.supervised import best_of_two as best_of_two
from rlhf_gap.losses.supervised import sft as sft
