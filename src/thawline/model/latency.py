"""How long a network takes for an image on this machine."""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import Tensor, nn

from thawline.model.fusion import Fusion

LEAST_REPEATS = 3
MOST_REPEATS = 50


def milliseconds_per_image(network: nn.Module, batch: int, image_size: int, seconds: float) -> float:
    """Median milliseconds an image in batches [batch, 3, S, S] with S = `image_size`, where the network lies.

    In the form and the memory layout in which `predict` runs it (`Fusion`). Repeats for about `seconds`, at least
    `LEAST_REPEATS` times and at most `MOST_REPEATS`, after a first pass that does not count. The network must be in
    eval mode.
    """
    tensor = next(network.parameters())
    blank = torch.zeros(batch, 3, image_size, image_size, device=tensor.device)
    images = blank.contiguous(memory_format=torch.channels_last)
    fusion = Fusion(network, image_size)
    with torch.inference_mode(), fusion.on():
        _timed(network, images)
        end, times = time.perf_counter() + seconds, list[float]()
        while len(times) < LEAST_REPEATS or (time.perf_counter() < end and len(times) < MOST_REPEATS):
            times.append(_timed(network, images))
    return 1000 * median(times) / batch


def _timed(network: nn.Module, images: Tensor) -> float:
    start = time.perf_counter()
    logits: Tensor = network(images)
    if images.device.type != "cpu":
        logits.cpu()  # waits for the device
    return time.perf_counter() - start
