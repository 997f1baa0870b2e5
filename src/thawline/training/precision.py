"""Half precision where a run is faster with it: a few steps in each, timed once per network and machine.

A step is a training step and a pass without gradients over the same images, as validation and frozen blocks have it.

What was found is kept beside the decoded pixels, so that the same run on the same machine is settled alike; a run
stores what it was settled on and never asks again.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thawline.config import Precision
from thawline.data import cache as cache_folder
from thawline.model.fusion import Fusion
from thawline.model.generator import generator_restored
from thawline.model.layout import in_channels_last, structure
from thawline.model.trace import FAULTS
from thawline.records import fingerprint
from thawline.workers.machine import Machine

GAIN = 1.2
"""How many times as fast a step must be: a smaller gain is not worth the rounding, nor sure to be measured again."""
PAIRS = 3
IMAGES = 8
SECONDS = 2.0
"""No further pair after this time: one pair of long steps says enough."""
PRODUCT = 256
"""Rows and columns of the matrices that are multiplied first: a processor without the instructions may need minutes
for a step."""
HOPELESS = 4
"""How many times as long such a product takes in bf16 where no step is tried: about 40 times without the instructions.
Less than twice as long proves nothing, since the matrices are small and the machine may be busy."""
_TIMINGS, _VERSION, _LIMIT_BYTES = "precision.json", 4, 2**24


def faster_precision(
    network: nn.Module, image_size: int, threads: int, note: cache_folder.Note = cache_folder.silent
) -> Precision:
    """bf16 if a step of `network` is at least `GAIN` times as fast with it on this CPU, else fp32.

    Looked up in the cache, or timed. Raises `DataError` if the cache is not writable.
    """
    shapes = [(name, str(tensor.dtype), *tensor.shape) for name, tensor in network.state_dict().items()]
    key = fingerprint(_VERSION, structure(network), shapes, image_size, threads, asdict(Machine.here("cpu")))
    cache = cache_folder.user_cache() / "precision"
    known = cache_folder.read(cache, key, _read, note)
    if known is None:
        if (found := time_steps(network, image_size)) is None:
            return "fp32"  # and asked again next time: what went wrong may have been the machine's
        with cache_folder.building(cache) as folder:
            (folder / _TIMINGS).write_text(json.dumps(found), encoding="utf-8")
            # If another process was faster, what it found holds for both.
            entry = cache_folder.publish(folder, cache, key)
        cache_folder.prune(cache, _LIMIT_BYTES, keep=entry)
        known = _read(entry)
    return "bf16" if known["fp32"] > GAIN * known["bf16"] else "fp32"


def time_steps(network: nn.Module, image_size: int) -> dict[str, float] | None:
    """Seconds of the fastest step (or product of matrices) by precision; `network` is left as it is.

    None where the network cannot be trained at all: whoever trains it will see why.
    """
    products = _fastest(_product)
    if products["bf16"] > HOPELESS * products["fp32"]:
        return products
    try:
        with generator_restored(), torch.enable_grad():
            return _fastest(_step(network, image_size))
    except (MemoryError, *FAULTS):
        return None


def _fastest(action: Callable[[], object]) -> dict[str, float]:
    """Both precisions in turn; the first pair finds memory and chooses kernels, and counts where it is long."""
    pairs: list[tuple[float, float]] = []
    started = time.perf_counter()
    while len(pairs) <= PAIRS and (not pairs or time.perf_counter() - started < SECONDS):
        pairs.append((_seconds(action, bf16=False), _seconds(action, bf16=True)))
    fp32, bf16 = zip(*(pairs[1:] or pairs), strict=True)
    return {"fp32": min(fp32), "bf16": min(bf16)}


def _seconds(action: Callable[[], object], *, bf16: bool) -> float:
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        action()
    return time.perf_counter() - started


def _product() -> Tensor:
    matrix = torch.ones(PRODUCT, PRODUCT)
    return matrix @ matrix


def _step(network: nn.Module, image_size: int) -> Callable[[], object]:
    """Forward and backward pass of a copy of the network on noise, then a pass in eval mode."""
    copied = copy.deepcopy(network)
    fusion = Fusion(copied, image_size, trains=True)
    in_channels_last(copied)
    images = torch.randn(IMAGES, 3, image_size, image_size).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        copied.train()
        with fusion.on():
            loss = F.cross_entropy(copied(images).float(), torch.zeros(IMAGES, dtype=torch.long))
            loss.backward()  # type: ignore[no-untyped-call]
        copied.zero_grad(set_to_none=True)
        copied.eval()
        with torch.no_grad(), fusion.on():
            copied(images)

    return step


def _read(entry: Path) -> dict[str, float]:
    found = json.loads((entry / _TIMINGS).read_text(encoding="utf-8"))
    return {name: float(found[name]) for name in ("fp32", "bf16")}
