"""The best epoch of a training so far, and its weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from thawline.model.apply import AppliedPlan
from thawline.records import EpochRecord


@dataclass
class Best:
    """All epochs, and the weights of the one with the highest validation score, then the lowest validation loss."""

    state: dict[str, Tensor]
    """Parameters and buffers of the trained blocks at the best epoch."""
    epochs: list[EpochRecord] = field(default_factory=list)
    epoch: int = -1
    """The best epoch; -1 = none yet."""
    last_phase: int = 0
    """First epoch of the last phase; patience does not count earlier epochs, when fewer blocks were trained."""
    right: Tensor | None = None
    """Which validation images the best epoch classified correctly, [n] bool; None = no epoch yet."""
    start: dict[str, Tensor] = field(default_factory=dict)
    """The same tensors at the start of the last phase, if the plan interpolates weights."""

    def start_last_phase(self, epoch: int, applied: AppliedPlan) -> None:
        """If the plan interpolates, forget earlier epochs: it does so between here and the best epoch from here on."""
        self.last_phase = epoch
        if applied.plan.interpolation:
            self.start, self.epoch = applied.trained_state(), -1

    def improves(self, record: EpochRecord) -> bool:
        """Whether `record` is better than the best epoch."""
        return self.epoch < 0 or record.score > self.epochs[self.epoch].score

    def keep(self, record: EpochRecord, state: dict[str, Tensor], right: Tensor) -> None:
        """Add the record as the best."""
        self.epoch, self.state, self.right = len(self.epochs), state, right
        self.epochs.append(record)

    def out_of_patience(self, epoch: int, patience: int) -> bool:
        """Whether the last phase had `patience` epochs without improvement; 0 = never stop."""
        return 0 < patience <= epoch - max(self.epoch, self.last_phase - 1)
