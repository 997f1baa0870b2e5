"""What the head starts from: the features that enter it, and the linear probe solved on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor, nn

from thawline.config import Metric
from thawline.model.head import captured_inputs
from thawline.training.activations import mapped
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.probe import Probe, knn_probabilities, pick_neighbors, solve_probe, solve_probe_at

IN_MEMORY = 256 << 20
"""Bytes of features that are kept in memory; larger ones are in a memory-mapped file."""


@dataclass
class Features:
    """Everything that is fitted to the features of the pretrained network, once for each set of training images."""

    head: nn.Linear
    run: Callable[[np.ndarray], object]
    """Forwards pixel rows [B] through the network in eval mode, in one or more padded batches."""
    data: TrainingData
    class_weights: Tensor | None
    """[classes]; None = all alike."""
    metric: Metric
    batch: int
    """Images that are forwarded at a time."""
    expect: Callable[[np.ndarray], None]
    """Is told of the rows that will be forwarded."""
    _probes: dict[object, Probe] = field(default_factory=dict)

    def probe(self, images: LabelledRows) -> Probe:
        """The linear probe of `images`; its L2 penalty is picked on the validation split."""
        key = sha256(images.rows.tobytes()).hexdigest()
        if key not in self._probes:
            self._probes[key] = solve_probe(
                self.of(images.rows),
                images.labels,
                self.of(self.data.val.rows),
                self.data.val.labels,
                self.head.out_features,
                class_weights=self.class_weights,
                balanced_validation=self.metric == "macro_f1",
            )
        return self._probes[key]

    def probe_at(self, strength: float, temperature: float) -> Probe:
        """The linear probe of all training images with an L2 penalty and a temperature that are known."""
        key, images = (strength, temperature), self.data.probed or self.data.train
        if key not in self._probes:
            self._probes[key] = solve_probe_at(
                self.of(images.rows),
                images.labels,
                self.head.out_features,
                strength=strength,
                temperature=temperature,
                class_weights=self.class_weights,
            )
        return self._probes[key]

    def neighbors(self, test: LabelledRows | None) -> dict[str, Tensor]:
        """Votes of the nearest training images, [n, classes] float32, for val, and for test if there is one."""
        images = self.data.probed or self.data.train
        train, labels, classes = self.of(images.rows), images.labels, self.head.out_features
        others = {"val": self.of(self.data.val.rows)} | ({} if test is None else {"test": self.of(test.rows)})
        number = pick_neighbors(train, labels, others["val"], self.data.val.labels, classes)
        votes = {name: knn_probabilities(train, labels, found, classes, number) for name, found in others.items()}
        return {name: torch.from_numpy(shares).float() for name, shares in votes.items()}

    def of(self, rows: np.ndarray) -> Tensor:
        """What enters the head, [n, d] float32 on the CPU."""
        features = _empty(len(rows), self.head.in_features)
        self.expect(rows)
        for start in range(0, len(rows), self.batch):
            part = rows[start : start + self.batch]
            with captured_inputs(self.head) as inputs:
                self.run(part)
            features[start : start + len(part)] = inputs[0][: len(part)]
        return features


def start_from(head: nn.Linear, probe: Probe) -> None:
    """Load the solved weights into the head."""
    with torch.no_grad():
        head.weight.copy_(probe.weight)
        head.bias.copy_(probe.bias)


def _empty(count: int, width: int) -> Tensor:
    """A tensor [count, width], in a file if it is large and there is room for one."""
    if 4 * count * width > IN_MEMORY:
        try:
            return mapped((count, width), torch.float32)
        except (OSError, RuntimeError):  # no room on the disk: memory, then
            pass
    return torch.empty(count, width)
