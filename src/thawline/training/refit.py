"""Trains on train and val together, for a number of epochs that is known: nothing is validated, nothing is selected."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from thawline.errors import NonFiniteLossError
from thawline.model.apply import load_trained_state
from thawline.model.boundary import remove_stubs
from thawline.plan import Block, FineTunePlan
from thawline.records import ProbeRecord
from thawline.training.best import Best
from thawline.training.device import peak_memory
from thawline.training.distillation import Lesson
from thawline.training.head_start import start_from
from thawline.training.pause import Paused
from thawline.training.probe import Probe
from thawline.training.trainer import Trainer, position


@dataclass(frozen=True)
class Refitted:
    """Result of a refit."""

    losses: tuple[float, ...]
    """Training loss of every epoch; of a solved probe its own, of an average none."""
    state: dict[str, Tensor] = field(repr=False)
    """Parameters and buffers of the trained blocks after the last epoch, on the CPU."""
    image_passes: int
    """Images forwarded in total; of an average, for its statistics."""
    cache_hits: int
    seconds: float
    peak_memory_bytes: int
    probe: Probe | None
    """What the head started from; None = random weights."""
    teaching_passes: int = 0
    """Images forwarded through the networks that it learned from."""


class RefitTrainer(Trainer):
    """A `Trainer` whose training split is train and val together."""

    def refit(
        self, plan: FineTunePlan, blocks: Sequence[Block], *, seed: int, epochs: int, probe: ProbeRecord | None
    ) -> Refitted:
        """Train the first `epochs` epochs of `plan`, at the rates of the whole training, and load their weights.

        Rates follow the schedule of the nominal number of epochs, so that the path is as long in epochs as the one that
        was validated; it has more steps, since an epoch has more images. `probe` is the one that the head started from
        there: it is solved again with its penalty, and its temperature is kept. Raises as `train` does.
        """
        return self._retried(lambda: self._refit(plan, blocks, seed, epochs, probe))

    def refit_average(
        self,
        plan: FineTunePlan,
        blocks: Sequence[Block],
        states: Sequence[Mapping[str, Tensor]],
        *,
        seed: int,
        probe: ProbeRecord | None,
    ) -> Refitted:
        """The average of the weights of refits, loaded into the network; the rest as in `average` and `refit`."""
        return self._retried(lambda: self._refit_average(plan, blocks, states, seed, probe))

    def refit_distilled(
        self,
        plan: FineTunePlan,
        blocks: Sequence[Block],
        states: Sequence[Mapping[str, Tensor]],
        *,
        seed: int,
        epochs: int,
    ) -> Refitted:
        """The same as `refit` from the first of `states`, those of refits, on their mean output; see `distil`."""
        return self._retried(lambda: self._refit_distilled(plan, blocks, states, seed, epochs))

    def _refit(
        self, plan: FineTunePlan, blocks: Sequence[Block], seed: int, epochs: int, known: ProbeRecord | None
    ) -> Refitted:
        started, hits = time.perf_counter(), self.forward.hits
        probe = self._start_over(plan, seed, known)
        losses, state, _ = self._run(plan, blocks, seed, range(epochs))
        passes = (epochs + (probe is not None or plan.is_untrained)) * len(self.data.train)
        passes += len(self.data.train) if plan.statistics == "recomputed" else 0
        losses = [probe.train_loss] if probe is not None and plan.is_solved else losses
        return self._refitted(losses, state, passes, probe, started, hits)

    def _refit_distilled(
        self,
        plan: FineTunePlan,
        blocks: Sequence[Block],
        states: Sequence[Mapping[str, Tensor]],
        seed: int,
        epochs: int,
    ) -> Refitted:
        started, hits, images = time.perf_counter(), self.forward.hits, len(self.data.train)
        losses, state, paused, taught = list[float](), dict[str, Tensor](), None, 0
        for span, lesson in self._lessons(plan, states, seed, epochs):
            taught += len(states) * len(lesson.outputs) * images
            self._start_over(plan, seed, None)
            found, state, paused = self._run(plan, blocks, seed, span, lesson, paused)
            losses += found
        refitted = self._refitted(losses, state, epochs * images + taught, None, started, hits)
        return replace(refitted, teaching_passes=taught)

    def _run(
        self,
        plan: FineTunePlan,
        blocks: Sequence[Block],
        seed: int,
        epochs: range,
        lesson: Lesson | None = None,
        start: Paused | None = None,
    ) -> tuple[list[float], dict[str, Tensor], Paused | None]:
        """Train some epochs in the network, which must be as training finds it, and load the weights after them.

        Returns the losses, these weights, and with a lesson what to go on from with the next.
        """
        boundaries = self._boundaries(plan, blocks)
        if lesson is not None:
            load_trained_state(self.network, lesson.start)
        else:
            self._start_statistics(plan, self.data.train, seed)
        applied = self._apply(plan, blocks, seed)
        try:
            steps, losses = self._steps(applied, self.data.train, lesson), []
            if start is not None:
                start.restore(applied)
            for epoch in epochs:
                self.forward.boundary = boundaries[position(plan, epoch)]
                losses.append(steps.epoch(seed, epoch))
            if plan.is_untrained:
                self.forward.boundary = boundaries[0]
                losses = [self._untrained_loss(self.data.train)]
            state = applied.trained_state()
            paused = None if lesson is None else Paused.at(epochs.stop, applied, Best(state))
        finally:
            applied.finish()
        load_trained_state(self.network, state)
        self.check_frozen(plan, blocks)
        return losses, state, paused

    def _refit_average(
        self,
        plan: FineTunePlan,
        blocks: Sequence[Block],
        states: Sequence[Mapping[str, Tensor]],
        seed: int,
        known: ProbeRecord | None,
    ) -> Refitted:
        started, hits = time.perf_counter(), self.forward.hits
        probe = self._start_over(plan, seed, known)
        state, passes = self._load_average(plan, blocks, states, seed)
        return self._refitted([], state, passes, probe, started, hits)

    def _start_over(self, plan: FineTunePlan, seed: int, known: ProbeRecord | None) -> Probe | None:
        """The network as it was before any training, its head random, kept, or solved again on all images."""
        remove_stubs(self.network)
        self.model.restore(seed)
        if plan.head_start == "kept":
            self._start_from_kept()
        if known is None:
            return None
        features = self.features()
        probe = features.probe_at(known.strength, known.temperature)
        start_from(features.head, probe)
        return probe

    def _refitted(
        self,
        losses: Sequence[float],
        state: Mapping[str, Tensor],
        passes: int,
        probe: Probe | None,
        started: float,
        hits: int,
    ) -> Refitted:
        """Raises `NonFiniteLossError` for weights that are not finite: no validation would notice them."""
        if broken := next(_not_finite(state), None):
            raise NonFiniteLossError(f"the refit made {broken} NaN or infinite; lower the learning rate.")
        return Refitted(
            tuple(losses),
            {name: tensor.cpu() for name, tensor in state.items()},
            image_passes=passes,
            cache_hits=self.forward.hits - hits,
            seconds=time.perf_counter() - started,
            peak_memory_bytes=peak_memory(self.device),
            probe=probe,
        )


def _not_finite(state: Mapping[str, Tensor]) -> Iterator[str]:
    return (name for name, tensor in state.items() if not torch.isfinite(tensor).all())
