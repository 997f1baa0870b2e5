"""Forward passes: from pixels through the whole network, or from cached activations through its suffix."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from thawline.config import Precision
from thawline.model.boundary import Boundary
from thawline.model.cut import Gradients, cut
from thawline.model.fusion import Fusion
from thawline.model.trace import Trace
from thawline.training.activations import Activations
from thawline.training.images import Images

_FEWEST = 3
"""Images needed to find the batch dimension of a network's outputs."""


class Forward:
    """Runs a network on images of a dataset, skipping its frozen prefix if `boundary` is set."""

    def __init__(
        self,
        network: nn.Module,
        images: Images,
        device: torch.device,
        precision: Precision,
        kept: Activations | None,
        fusion: Fusion,
    ) -> None:
        """Without a cache (`kept`), every call runs the whole network."""
        self.network = network
        self.images = images
        self.fusion = fusion
        self.boundary: Boundary | None = None
        self._device = device
        self._precision = precision
        self._kept = kept
        self._trace: Trace | None = None
        self._boundaries: dict[str, Boundary | None] = {}
        self._steady: dict[tuple[str, ...], bool] = {}

    def logits(self, rows: np.ndarray, view: int | None) -> Tensor:
        """Logits [B, classes] of pixel rows [B] in a view (None = unaugmented), in the network's current modes."""
        with self.running():
            if self.boundary is not None and self._kept is not None:
                outputs = self._kept.read(self.boundary, rows, view)
                if outputs is not None:
                    return self.boundary.suffix(outputs, self.images.blank(len(rows)))
            with self.autocast():
                logits: Tensor = self.network(self.images.batch(rows, view))
                return logits

    def running(self) -> AbstractContextManager[object]:
        """The form in which the network runs; the backward pass may run parts of it again (gradient checkpointing)."""
        return self.fusion.on(self.boundary.stubs if self.boundary else ())

    @property
    def hits(self) -> int:
        """Number of images whose prefix outputs were read from the cache so far."""
        return 0 if self._kept is None else self._kept.hits

    def keep_group(self, rows: np.ndarray) -> None:
        """Cache the activations of these images together, as a group."""
        if self._kept is not None:
            self._kept.add_group(rows)

    def boundary_before(self, modules: Collection[str], probe: np.ndarray) -> Boundary | None:
        """Where to cut the network so that none of `modules` is in the prefix; None if no cut is useful.

        `probe` are rows of images to verify the cut with. The network must have its initial weights, without adapters.
        """
        if self._kept is None or len(probe) < _FEWEST or "" in modules:
            return None
        self.network.eval()
        if self._trace is None:
            with self.fusion.on():
                self._trace = Trace.record(self.network, self.images.batch(probe[:_FEWEST], None), self.autocast)
        first = self._trace.first(modules)
        if first is None or not (stubs := self._trace.stubs(first)):
            return None
        if first not in self._boundaries:
            images = self.images.batch(probe, None)
            # On other devices kernels may sum gradients in a different order each time.
            repeatable = self._device.type == "cpu" and self._precision == "fp32"
            how: Gradients = "exactly" if repeatable else "roughly"
            with self.fusion.on(stubs):
                self._boundaries[first] = cut(self._trace, first, images, self.autocast, gradients=how)
        return self._boundaries[first]

    def is_steady(self, boundary: Boundary | None, trained: Sequence[str]) -> bool:
        """Whether the prefix computes the same in the current modes as in eval mode.

        It may not, because modules that contain trained modules are in train mode and may apply dropout themselves.
        `trained` are the blocks that the modes are set for.
        """
        if boundary is None:
            return False
        key = (boundary.name, *trained)
        if key not in self._steady:
            images = self.images.batch(np.arange(_FEWEST), None)
            with self.fusion.on(boundary.stubs):
                in_training = boundary.prefix(images)
                self.network.eval()
                pairs = zip(boundary.prefix(images), in_training, strict=True)
                self._steady[key] = all(torch.equal(output, other) for output, other in pairs)
        return self._steady[key]

    def autocast(self) -> AbstractContextManager[object]:
        """Autocast context for the configured precision."""
        if self._precision == "bf16":
            return torch.autocast(self._device.type, dtype=torch.bfloat16)
        return nullcontext()
