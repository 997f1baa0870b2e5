"""Does bf16 pay on this CPU? python benchmarks/precision.py benchmarks/results/precision.json.

Median time of a training step (16 random images, AdamW, channels_last) in fp32, under bf16 autocast, and with depthwise
convolutions left in fp32, as thawline trains; interleaved in one run, the memory allocator as thawline sets it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F

from thawline.memory import keep_freed_memory
from thawline.model.fusion import Fusion
from thawline.records import environment

NETWORKS = (
    ("resnet18", 128),
    ("resnet50", 128),
    ("densenet121", 128),
    ("vit_tiny_patch16_224", 224),
    ("convnext_atto", 128),
    ("convnext_tiny", 96),
    ("efficientnet_lite0", 128),
    ("efficientnet_b0", 128),
    ("mobilenetv3_large_100", 128),
    ("mobilenetv2_050", 96),
)
IMAGES = 16
STEPS = 7
FP32, EVERYWHERE, MIXED = "fp32", "bf16", "bf16, depthwise convolutions in fp32"


def stepper(name: str, size: int) -> Callable[[str], float]:
    """A function that takes one training step and returns its seconds."""
    model = timm.create_model(name, num_classes=10).to(memory_format=torch.channels_last).train()
    fusion = Fusion(model, size)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    images = torch.randn(IMAGES, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(IMAGES) % 10

    def step(way: str) -> float:
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=way != FP32), fusion.on() if way == MIXED else nullcontext():
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - started

    return step


def measure(name: str, size: int) -> dict[str, Any]:
    """Milliseconds of each step after one to warm up, and how many times as fast as fp32 by the medians."""
    step = stepper(name, size)
    turns = [[1000 * step(way) for way in (FP32, EVERYWHERE, MIXED)] for _ in range(STEPS + 1)][1:]
    fp32, everywhere, mixed = map(list, zip(*turns, strict=True))
    faster = {
        way: statistics.median(fp32) / statistics.median(ms) for way, ms in ((EVERYWHERE, everywhere), (MIXED, mixed))
    }
    return {"network": name, "pixels": size, "ms": {FP32: fp32, EVERYWHERE: everywhere, MIXED: mixed}, "faster": faster}


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = []
    for network, pixels in NETWORKS:
        rows.append(measure(network, pixels))
        faster = ", ".join(f"{way} {times:.2f}" for way, times in rows[-1]["faster"].items())
        print(f"{network} at {pixels} px, times as fast as in fp32: {faster}", flush=True)
    facts = environment(device="cpu", threads=1, command="python benchmarks/precision.py").to_dict()
    facts["platform"] = "Linux"
    Path(sys.argv[1]).write_text(json.dumps({"environment": facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")
