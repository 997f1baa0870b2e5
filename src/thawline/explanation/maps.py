"""The spatial layout of a module's output: channels first, channels last, or a sequence of tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Layout = Literal["channels_first", "channels_last", "tokens"]


@dataclass(frozen=True)
class Grid:
    """A square grid of positions, since all images are square."""

    layout: Layout
    side: int
    """Positions along one edge."""
    prefix: int = 0
    """Tokens before the first position: class, distillation and register tokens."""


class Layouts:
    """Reads the outputs of one network's modules."""

    def __init__(self, network: nn.Module) -> None:
        prefix: object = getattr(network, "num_prefix_tokens", 0)
        self._prefix = prefix if isinstance(prefix, int) else 0
        # Only needed if the shape is ambiguous: as many channels as rows and columns.
        self._channels_last = str(getattr(network, "output_fmt", "NCHW")) == "NHWC"

    def grid(self, output: object, images: int) -> Grid | None:
        """The positions in an output for a number of images; None if it has none."""
        if not isinstance(output, Tensor) or output.ndim not in (3, 4) or len(output) != images:
            return None
        return self._of_tokens(output.shape[1]) if output.ndim == 3 else self._of_map(*output.shape[1:])

    def pooled(self, output: Tensor) -> Tensor:
        """[B, F]: the prefix tokens, then the mean over positions. Networks classify by either."""
        grid = self.grid(output, len(output))
        if grid is None:
            positions = {3: (1,), 4: (2, 3)}.get(output.ndim, ())
            return (output.mean(positions) if positions else output).flatten(1)
        mean = on_grid(output, grid).mean((2, 3))
        return torch.cat([output[:, : grid.prefix].flatten(1), mean], dim=1) if grid.prefix else mean

    def _of_map(self, first: int, second: int, third: int) -> Grid | None:
        if first == second and (second != third or self._channels_last):
            return Grid("channels_last", first)
        return Grid("channels_first", third) if second == third else None

    def _of_tokens(self, tokens: int) -> Grid | None:
        # Some networks add their class token late (CaiT), some do not declare how many they have (PiT).
        for prefix in dict.fromkeys((self._prefix, 0, 1, 2)):
            side = math.isqrt(max(tokens - prefix, 0))
            if side and side * side == tokens - prefix:
                return Grid("tokens", side, prefix)
        return None


def on_grid(output: Tensor, grid: Grid) -> Tensor:
    """[B, C, side, side]: an output, or its gradient, without the tokens that have no position."""
    if grid.layout == "channels_first":
        return output
    if grid.layout == "channels_last":
        return output.permute(0, 3, 1, 2)
    return output[:, grid.prefix :].transpose(1, 2).reshape(len(output), -1, grid.side, grid.side)
