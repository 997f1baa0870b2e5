"""Does bf16 pay on this CPU? python benchmarks/precision.py benchmarks/results/precision.json.

Median time of a training step (16 random images, AdamW, channels_last) in fp32 and under bf16 autocast, interleaved in
one run, for networks with dense and with depthwise convolutions.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F

from thawline.records import environment

NETWORKS = (
    ("resnet18", 128),
    ("resnet50", 128),
    ("densenet121", 128),
    ("vit_tiny_patch16_224", 224),
    ("convnext_atto", 128),
    ("efficientnet_b0", 128),
    ("mobilenetv3_large_100", 128),
    ("mobilenetv2_050", 96),
)
IMAGES = 16
STEPS = 7


def stepper(name: str, size: int) -> Callable[[bool], float]:
    """A function that takes one training step and returns its seconds."""
    model = timm.create_model(name, num_classes=10).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    images = torch.randn(IMAGES, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(IMAGES) % 10

    def step(bf16: bool) -> float:
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - started

    return step


def measure(name: str, size: int) -> dict[str, Any]:
    """Milliseconds of each step after one to warm up, and the ratio of the medians."""
    step = stepper(name, size)
    pairs = [(step(False), step(True)) for _ in range(STEPS + 1)][1:]
    fp32, bf16 = ([1000 * pair[index] for pair in pairs] for index in (0, 1))
    ratio = statistics.median(fp32) / statistics.median(bf16)
    return {"network": name, "pixels": size, "fp32_ms": fp32, "bf16_ms": bf16, "fp32_over_bf16": ratio}


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = []
    for network, pixels in NETWORKS:
        rows.append(measure(network, pixels))
        print(f"{network} at {pixels} px: bf16 {rows[-1]['fp32_over_bf16']:.2f} times as fast", flush=True)
    facts = environment(device="cpu", threads=1, command="python benchmarks/precision.py").to_dict()
    facts["platform"] = "Linux"
    Path(sys.argv[1]).write_text(json.dumps({"environment": facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")
