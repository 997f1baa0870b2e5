"""Networks small enough to count by hand."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


class ThreeLayers(nn.Module):
    """Two 3x3 convolutions (3 -> 4 -> 8 channels, no padding loss), a global mean, a linear layer to 5 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(3, 4, 3, padding=1, bias=False), norm=nn.BatchNorm2d(4), act=nn.ReLU())
        )
        self.pool = nn.MaxPool2d(2)
        self.two = nn.Sequential(OrderedDict(conv=nn.Conv2d(4, 8, 3, padding=1, bias=False), act=nn.ReLU()))
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.two(self.pool(self.one(image)))
        logits: Tensor = self.fc(self.drop(features.mean((2, 3))))
        return logits


class Tied(nn.Module):
    """The second linear layer uses the first one's weight; the layer that runs first was defined last."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Linear(3, 3, bias=False)
        self.early = nn.Linear(3, 3, bias=False)
        self.late.weight = self.early.weight
        self.middle = nn.Linear(3, 3)
        self.fc = nn.Linear(3, 2)

    def forward(self, image: Tensor) -> Tensor:
        return torch.as_tensor(self.fc(self.late(self.middle(self.early(image.mean((2, 3)))))))


class Interleaved(nn.Module):
    """Two branches whose parts run in turns: no cut divides them."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.right = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.fc = nn.Linear(3, 2)

    def forward(self, image: Tensor) -> Tensor:
        x = image.mean((2, 3))
        for left, right in zip(self.left, self.right, strict=True):
            x = right(left(x))
        return torch.as_tensor(self.fc(x))
