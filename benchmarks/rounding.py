"""What keeping the outputs of frozen blocks changes, on many networks, batch sizes and kernels.

    python benchmarks/rounding.py --out benchmarks/results/rounding

trains the last block and the head of every network three times: with the outputs kept in memory, kept in mapped files
after another training, and not kept at all. One JSON per network and set of kernels, so that it can be interrupted and
run again; each set of kernels runs in a process of its own. `--tables` prints what came of it; `--passes` times the
alternative that would make all three equal, one image at a time through the frozen blocks.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from thawline.config import CacheConfig, Optimizer, TrainConfig
from thawline.model.blocks import partition
from thawline.model.load import load_model
from thawline.plan import FineTunePlan
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.trainer import Trainer

NETWORKS = (
    "test_byobnet", "test_convnext", "test_convnext2", "test_efficientnet", "test_efficientnet_gn",
    "test_efficientnet_ln", "test_mambaout", "test_nfnet", "test_resnet", "test_vit", "test_vit2", "test_vit3",
    "mobilenetv2_050", "mobilenetv3_small_050", "mobilenetv3_large_100", "mobilenetv4_conv_small_050", "lcnet_050",
    "mnasnet_small", "tinynet_e", "resnet10t", "resnet18", "regnetx_002", "regnety_002", "ghostnet_050",
    "semnasnet_075", "repghostnet_050", "densenet121", "convnext_atto", "edgenext_xx_small", "tf_efficientnet_lite0",
)  # fmt: skip
BATCHES = (8, 16, 32)
OPTIMIZERS: tuple[Optimizer, ...] = ("sgd", "adamw")
SIZE, IMAGES, TRAIN, EPOCHS = 64, 80, 54, 2
KERNELS = {
    "own": {},
    "default": {"ATEN_CPU_CAPABILITY": "default"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512"},
    "avx2-onednn": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "avx512-onednn": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
}
PASSES = (("mobilenetv2_050", 96), ("mobilenetv2_050", 160), ("tf_efficientnet_lite0", 96), ("resnet18", 128),
          ("resnet50", 128), ("mobilenetv3_large_100", 224), ("vit_tiny_patch16_224", 224))  # fmt: skip
ROUNDS = 7


def cell(name: str, batch: int, optimizer: Optimizer) -> dict[str, object]:
    """Differences between the three trainings of a network."""
    model = load_model(name, 3, weights="random", image_size=SIZE)
    blocks = partition(model.module, "stage", SIZE)
    plan = FineTunePlan.constant(blocks, {block.name: 1e-2 for block in blocks[-2:]})
    config = TrainConfig(
        epochs=EPOCHS, batch_size=batch, optimizer=optimizer, patience=0, device="cpu", precision="fp32", threads=1
    )

    def train(cache: CacheConfig, *, before: int | None = None) -> tuple[dict[str, Tensor], float, int]:
        trainer = Trainer(model, data(), config, cache)
        if before is not None:
            trainer.train(FineTunePlan.constant(blocks, {blocks[-1].name: 1e-2}), blocks, seed=before)
        trained = trainer.train(plan, blocks, seed=0)
        return trained.state, -trained.epochs[-1].score[1], trained.cache_hits

    memory, loss, hits = train(CacheConfig(1 << 30, 0))
    disk, _, _ = train(CacheConfig(0, 1 << 30), before=1)
    plain, plain_loss, _ = train(CacheConfig(0, 0))
    return {
        "network": name,
        "batch": batch,
        "optimizer": optimizer,
        "kept": hits > 0,
        "memory_equals_disk": largest(memory, disk) == 0,
        "equals_plain": largest(memory, plain) == 0,
        "largest_difference": largest(memory, plain),
        "loss_difference": abs(loss - plain_loss),
    }


def data() -> TrainingData:
    """Noise in three tints."""
    pixels = np.random.default_rng(0).integers(0, 200, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
    labels = torch.arange(IMAGES) % 3
    for label in range(3):
        pixels[label::3, ..., label] += 50
    rows = np.random.default_rng(1).permutation(IMAGES)
    train, val = rows[:TRAIN], rows[TRAIN:]
    return TrainingData(pixels, LabelledRows(train, labels[train]), LabelledRows(val, labels[val]), None)


def largest(mine: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Largest absolute difference between two sets of weights and buffers."""
    return max(float((tensor.double() - other[name].double()).abs().max()) for name, tensor in mine.items())


def run_cells(out: Path, kernels: str) -> None:
    """Every network that is missing, in this process."""
    for name in NETWORKS:
        path = out / kernels / f"{name}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            cells = [cell(name, batch, optimizer) for batch in BATCHES for optimizer in OPTIMIZERS]
            path.write_text(json.dumps({"torch": torch.__version__, "cells": cells}, indent=1) + "\n", encoding="utf-8")


def tables(out: Path) -> str:
    """One row per set of kernels and optimizer."""
    lines = [
        "| kernels | optimizer | trainings | prefix kept | memory = files, bit for bit | kept = not kept, bit for bit "
        "| largest difference of a weight | of a validation loss |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kernels in KERNELS:
        files = sorted((out / kernels).glob("*.json"))
        every = [found for path in files for found in json.loads(path.read_text(encoding="utf-8"))["cells"]]
        for optimizer in OPTIMIZERS:
            cells = [found for found in every if found["optimizer"] == optimizer]
            if cells:
                counts = [sum(found[key] for found in cells) for key in ("kept", "memory_equals_disk", "equals_plain")]
                worst = [max(found[key] for found in cells) for key in ("largest_difference", "loss_difference")]
                shown = [str(len(cells)), *map(str, counts), *(f"{value:.1e}" for value in worst)]
                lines.append("| " + " | ".join([kernels, optimizer, *shown]) + " |")
    return "\n".join(lines)


@torch.no_grad()
def passes() -> str:
    """Forward passes of 32 images: one batch against image by image; medians with their range."""
    lines = [f"| network | batch of 32, ms (n = {ROUNDS}) | image by image, ms | ratio |", "|---|---|---|---|"]
    for name, size in PASSES:
        model = load_model(name, 10, weights="random", image_size=size)
        network = model.module.eval().to(memory_format=torch.channels_last)
        images = torch.randn(32, 3, size, size).to(memory_format=torch.channels_last)
        batch = seconds(partial(network, images))
        single = seconds(partial(singly, network, images))
        shown = [f"{1e3 * statistics.median(times):.0f} ({1e3 * min(times):.0f} to {1e3 * max(times):.0f})"
                 for times in (batch, single)]  # fmt: skip
        ratio = statistics.median(single) / statistics.median(batch)
        lines.append(f"| {name}, {size} px | {shown[0]} | {shown[1]} | {ratio:.2f} |")
    return "\n".join(lines)


def singly(network: nn.Module, images: Tensor) -> None:
    """One image after another."""
    for image in images:
        network(image[None])


def seconds(action: Callable[[], object]) -> Sequence[float]:
    """How long each round took, after a warm-up."""
    action()
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return times


def main() -> None:
    """All kernels, one process each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rounding"))
    parser.add_argument("--kernels", choices=KERNELS, help="only these, in this process")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--passes", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.tables:
        print(tables(options.out))
    elif options.passes:
        print(passes())
    elif options.kernels:
        run_cells(options.out, options.kernels)
    else:
        for kernels, settings in KERNELS.items():
            command = [sys.executable, __file__, "--out", str(options.out), "--kernels", kernels]
            subprocess.run(command, env=os.environ | settings, check=True)


if __name__ == "__main__":
    main()
