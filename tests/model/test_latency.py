from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from thawline.model.latency import LEAST_REPEATS, MOST_REPEATS, milliseconds_per_image


class Slow(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds, self.passes = seconds, 0

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape == (4, 3, 8, 8)
        self.passes += 1
        time.sleep(self.seconds)
        return images.mean((2, 3))


def test_milliseconds_are_of_one_image_and_repeats_are_bounded() -> None:
    slow, fast = Slow(0.02), Slow(0.0)
    assert milliseconds_per_image(slow, 4, 8, 0.0) >= 5
    assert slow.passes == LEAST_REPEATS + 1
    milliseconds_per_image(fast, 4, 8, 60)
    assert fast.passes == MOST_REPEATS + 1


def test_it_is_measured_in_the_form_that_predicts() -> None:
    """The batch norm is folded into the convolution."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)).eval()
    forms = list[bool]()
    network[2].register_forward_hook(lambda *_: forms.append("forward" in vars(network[1])))
    milliseconds_per_image(network, 2, 8, 0.0)
    assert forms[-LEAST_REPEATS - 1 :] == [True] * (LEAST_REPEATS + 1)
    assert "forward" not in vars(network[1])
