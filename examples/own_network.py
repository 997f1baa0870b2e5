"""A network of your own: `model="FILE:FUNCTION"` names the function that builds it for a number of classes.

A name, and not an object, so that a run can be resumed, and its model opened, by another process.
"""

import torch
from torch import nn

import thawline


class SmallNetwork(nn.Module):
    """Three convolutions and a linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.top = nn.Sequential(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU())
        self.fc = nn.Linear(64, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores [B, classes] of images [B, 3, S, S]."""
        return self.fc(self.top(self.middle(self.stem(images))).mean(dim=(2, 3)))


def small_network(num_classes: int) -> nn.Module:
    """Load your pretrained weights here: blocks without any are not worth freezing."""
    return SmallNetwork(num_classes)


if __name__ == "__main__":
    own = f"{__file__}:small_network"
    results = thawline.fit("photos", "run", model=own, image_size=32, strategy="full:norm=moving", epochs=4)
    print(results.plan)
    print(results.predict("new.jpg"))
