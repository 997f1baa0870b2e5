"""The least memory a training can take: interpreter and packages, weights, optimizer, one batch's activations."""

from __future__ import annotations

import argparse

import timm
import torch
import torch.nn.functional as F

# What `fit` imports.
from benchmarks.speed.settings import BATCH, RATE
from thawline.model.apply import AppliedPlan
from thawline.model.blocks import partition
from thawline.strategies.base import variants
from thawline.testing import PlainContext

CLASSES = 5


def main() -> None:
    """One step of the plan on random images."""
    options = _options()
    # LoadedModel would keep a second copy of the weights.
    network = timm.create_model(options.model, pretrained=options.model.startswith("local-dir:"), num_classes=CLASSES)
    blocks = partition(network, "stage", options.image_size)
    plan = variants(options.spec)[0].propose(PlainContext(blocks, learning_rate=RATE, epochs=1))
    applied = AppliedPlan(network.to(memory_format=torch.channels_last), blocks, plan)
    applied.start_epoch(0)
    images = torch.randn(BATCH, 3, options.image_size, options.image_size)
    logits = network(images.contiguous(memory_format=torch.channels_last))
    F.cross_entropy(logits, torch.arange(BATCH) % CLASSES).backward()  # type: ignore[no-untyped-call]
    applied.optimizer.step()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--spec", required=True)
    parser.add_argument("--image-size", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
