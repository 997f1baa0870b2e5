"""A network as other runtimes get it: from the pixels of a decoded image to class probabilities, in one graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thawline.config import Preprocessing

INPUT, OUTPUT = "images", "probabilities"
"""Names of the graph's input and output."""


class FromPixels(nn.Module):
    """Normalization, network, temperature and softmax: images [B, S, S, 3] uint8 to probabilities [B, classes].

    The operations of the normalization and their order are those of `data.pixels.normalize`. Resizing and cropping stay
    outside: runtimes interpolate differently, which moves logits by up to 0.5.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, temperature: float = 1.0) -> None:
        """`network` maps normalized images [B, 3, S, S] to logits [B, classes], which `temperature` divides."""
        super().__init__()
        self.network = network.eval()
        self.temperature = temperature
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities [B, classes] float32 of images [B, S, S, 3] uint8."""
        inputs = images.permute(0, 3, 1, 2).to(torch.float32).div(255).sub(self.mean).div(self.std)
        logits: Tensor = self.network(inputs).float()
        return torch.softmax(logits if self.temperature == 1 else logits / self.temperature, dim=1)
