"""The best of a training so far: which epoch, and its weights."""

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
    """The best one; -1 = none yet."""
    last_phase: int = 0
    """Its first epoch: patience does not count what came before, when less was trained."""
    right: Tensor | None = None
    """[n] bool, which validation images the best epoch got right; None = there is none yet."""
    start: dict[str, Tensor] = field(default_factory=dict)
    """The same tensors at the start of the last phase, if the plan interpolates from there."""

    def start_last_phase(self, epoch: int, applied: AppliedPlan) -> None:
        """Interpolation goes from here to the best epoch from here on, so it forgets what was best before."""
        self.last_phase = epoch
        if applied.plan.interpolation:
            self.start, self.epoch = applied.trained_state(), -1

    def improves(self, record: EpochRecord) -> bool:
        """Whether `record` is better than what is kept."""
        return self.epoch < 0 or record.score > self.epochs[self.epoch].score

    def keep(self, record: EpochRecord, state: dict[str, Tensor], right: Tensor) -> None:
        """Add the record as the best."""
        self.epoch, self.state, self.right = len(self.epochs), state, right
        self.epochs.append(record)

    def out_of_patience(self, epoch: int, patience: int) -> bool:
        """Whether `patience` epochs of the last phase went by without a better one; 0 = never."""
        return 0 < patience <= epoch - max(self.epoch, self.last_phase - 1)
