"""The classifier of a model that is fitted again: rows of classes of the same name stay."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class KeptHead:
    """Rows of an old linear classifier, in the order of the new classes."""

    weight: Tensor
    """[old classes, d], on the CPU."""
    bias: Tensor
    """[old classes]."""
    rows: tuple[int | None, ...]
    """For every new class its row in the old head; None = the old model did not know the class."""

    @classmethod
    def mapped(cls, head: nn.Linear, old: Sequence[str], new: Sequence[str]) -> KeptHead:
        """The rows of `head`, whose classes are `old`, for the classes `new`, by name."""
        place = {name: number for number, name in enumerate(old)}
        weight, bias = head.weight.detach().cpu().clone(), head.bias.detach().cpu().clone()
        return cls(weight, bias, tuple(place.get(name) for name in new))

    @property
    def is_complete(self) -> bool:
        """Whether every class has a row, so that the head need not train."""
        return None not in self.rows

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the old head and of which row goes where."""
        digest = hashlib.sha256(repr(self.rows).encode())
        for tensor in (self.weight, self.bias):
            digest.update(tensor.reshape(-1).contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def put_into(self, head: nn.Linear) -> None:
        """Copy the rows into a head; the rows of new classes stay as they are."""
        new = [number for number, row in enumerate(self.rows) if row is not None]
        old = [row for row in self.rows if row is not None]
        with torch.no_grad():
            head.weight[new] = self.weight[old].to(head.weight)
            head.bias[new] = self.bias[old].to(head.bias)
