"""Two linear layers with a norm between them and a head: small enough to compute by hand, in double precision."""

from __future__ import annotations

import torch
from torch import nn

from thawline.plan import Block

BLOCKS = (
    Block("stem", ("0", "1"), ("0.weight", "0.bias", "1.weight", "1.bias"), (
        "1.running_mean", "1.running_var", "1.num_batches_tracked"), 12, 1, ("0", "1")),
    Block("body", ("2",), ("2.weight", "2.bias"), (), 6, 1, ("2",)),
    Block("head", ("3",), ("3.weight", "3.bias"), (), 6, 1, ("3",), True),
)  # fmt: skip
EVERYTHING = {"stem": 0.5, "body": 0.1, "head": 1.0}


def chain() -> nn.Sequential:
    """Weights drawn from 0."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2), nn.Linear(2, 2)).double()
