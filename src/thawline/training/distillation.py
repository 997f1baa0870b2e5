"""Learning from the outputs of networks (Hinton et al. 2015), among them one's own (Furlanello et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from thawline.training.mixing import to_logits

MOST_BYTES = 2**28
"""Of outputs kept at a time; where every epoch has a view of its own, they are computed for as many epochs as fit."""


@dataclass(frozen=True)
class Lesson:
    """What a training starts from, and what it learns from besides the labels."""

    start: Mapping[str, Tensor] = field(repr=False)
    """The weights that it starts from, in place of the pretrained ones and the start of the head."""
    outputs: Mapping[int | None, Tensor] = field(repr=False)
    """Softened class probabilities of the training images, [n, C] float32 on the device, by view."""
    share: float
    """Of the loss; the labels have the rest."""
    temperature: float
    """What logits are divided by before they are compared with `outputs`."""

    def with_outputs(
        self, on_labels: Tensor, logits: Tensor, rows: np.ndarray, view: int | None, weights: Tensor | None
    ) -> Tensor:
        """The summed loss of images [B] from that on their labels and their logits [B, C].

        `weights` [B] are those of the images; None = 1. The square of the temperature keeps the gradients of both parts
        alike in size (Hinton et al. 2015, section 2).
        """
        targets = self.outputs[view][torch.from_numpy(rows)]
        losses = F.cross_entropy(logits / self.temperature, targets, reduction="none")
        on_outputs = (losses if weights is None else losses * weights).sum()
        return (1 - self.share) * on_labels + self.share * self.temperature**2 * on_outputs


def softened(probabilities: Tensor, temperature: float) -> Tensor:
    """Class probabilities [n, C] whose logits are divided by the temperature."""
    return torch.softmax(to_logits(probabilities) / temperature, dim=1)


def spans(views: list[int | None], bytes_per_view: int) -> Iterator[range]:
    """Consecutive epochs for which outputs are computed together; `views` are those of all epochs.

    A single span if all different views fit into `MOST_BYTES`.
    """
    epochs, most = len(views), max(1, MOST_BYTES // bytes_per_view)
    length = epochs if len(set(views)) <= most else most
    return (range(first, min(first + length, epochs)) for first in range(0, epochs, length))
