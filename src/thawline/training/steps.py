"""Training steps: batches, losses, gradients."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from thawline.config import TrainConfig
from thawline.errors import NonFiniteLossError
from thawline.model.apply import AppliedPlan
from thawline.model.generator import generator_restored
from thawline.training.balance import draw_order, draw_order_in_shards
from thawline.training.distillation import Lesson
from thawline.training.forward import Forward
from thawline.training.gradients import relative_gradient_norms
from thawline.training.images import LabelledRows
from thawline.training.penalties import StartingPoint
from thawline.training.processes import Group, synchronized
from thawline.training.schedule import batches, rate_factor

GRADIENT_BATCHES = 5
"""Minibatches for relative gradient norms, as in the authors' code."""


class Steps:
    """Trains an applied plan on a set of images."""

    def __init__(
        self,
        forward: Forward,
        applied: AppliedPlan,
        images: LabelledRows,
        config: TrainConfig,
        *,
        class_weights: Tensor | None = None,
        micro_batch: int | None = None,
        lesson: Lesson | None = None,
        group: Group | None = None,
    ) -> None:
        """`micro_batch` images are processed at a time; None = the whole batch. With a `lesson`, labels are not all.

        A `group` of processes takes each step together.
        """
        self.applied = applied
        self._forward = forward
        self._images = images
        self._config = config
        self._device = torch.device(config.device)
        self._labels = images.labels.to(self._device)
        self._weights = class_weights
        self._micro_batch = micro_batch or config.batch_size
        self._lesson = lesson
        self._group = group
        self._last_pass: Callable[[np.ndarray, int | None], Tensor] = forward.logits
        """The forward pass before a step, after whose backward pass the gradients are complete."""
        self._pull = StartingPoint(applied.plan.penalty, applied) if applied.plan.penalty else None

    def epoch(self, seed: int, epoch: int) -> float:
        """Train one epoch (from 0), with order and dropout determined by the seed; returns the mean loss.

        Raises `NonFiniteLossError` if it diverges.
        """
        self.applied.start_epoch(epoch)
        if self.applied.plan.rate_rule == "relative_gradient" and self.applied.plan.in_last_phase(epoch):
            self.applied.scale_tensors(self._relative_rates(seed, epoch))
        parts = batches(self._order(seed, epoch), self._config.batch_size)
        mine = [self._group.part(rows) for rows in parts] if self._group else parts
        self._forward.images.expect(self._images.rows[np.concatenate(mine)])
        total = torch.zeros((), device=self._device)
        rank = self._group.rank if self._group else 0
        with self._spread(), _seeded(self._device, seed, epoch, rank):
            for index, rows in enumerate(parts):
                step, steps = epoch * len(parts) + index, self._horizon * len(parts)
                self.applied.scale_rates(rate_factor(step, steps, self._config.warmup_share))
                total += self.step(rows, epoch) * len(rows)
        loss = (self._group.total(total) if self._group else total).item() / len(self._images)
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss became {loss} in epoch {epoch + 1}; lower the learning rate, or clip with `clip_norm=1`."
            )
        return loss

    def step(self, rows: np.ndarray, epoch: int) -> Tensor:
        """One optimizer step on images [B] of the set; returns the loss, on the device.

        Of a group, the loss is the part of this process; parts add up to the whole.
        If the batch does not fit into memory, gradients are accumulated over parts of it; only batch norms then see
        smaller batches.
        """
        optimizer = self.applied.optimizer
        optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device)
        *parts, last = self._parts(rows)
        for part in (*parts, last):
            forward = self._last_pass if part is last else self._forward.logits
            with self._forward.running():
                loss = self._loss(part, epoch, of=rows, forward=forward)
                # A group divides the sum of its gradients by the number of processes; they are parts of one mean.
                (loss * self._processes if self._group else loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if self._pull is not None:
            self._pull.loss().backward()  # type: ignore[no-untyped-call]
        if self._config.clip_norm is not None:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self._config.clip_norm)
        optimizer.step()
        if self._pull is not None:
            self._pull.after_step(self.applied.rates())
        return total

    def _relative_rates(self, seed: int, epoch: int) -> dict[str, float]:
        """Learning-rate factors by tensor, from the first minibatches of the epoch; weights are left unchanged."""
        parts = batches(self._order(seed, epoch), self._micro_batch)[:GRADIENT_BATCHES]
        self._forward.network.eval()
        with self._forward.running():
            shares = relative_gradient_norms(self.applied.parameters, (self._loss(rows, epoch) for rows in parts))
        self.applied.start_epoch(epoch)
        return shares

    def _parts(self, rows: np.ndarray) -> list[np.ndarray]:
        """What is forwarded here of images [B] of the set, in parts that fit into memory, as many in every process."""
        mine = self._group.part(rows) if self._group else rows
        most, least = math.ceil(len(rows) / self._processes), len(rows) // self._processes
        # Never a single image: batch norms need two.
        return np.array_split(mine, max(1, min(math.ceil(most / self._micro_batch), least // 2)))

    @contextmanager
    def _spread(self) -> Iterator[None]:
        """Within the context, a group takes its steps together; `start_epoch` has said what trains."""
        if self._group is None:
            yield
            return
        self._last_pass = self._group.wrapped(self.applied.model, self._forward)
        try:
            with synchronized(self.applied.model):
                yield
        finally:
            self._last_pass = self._forward.logits

    def _loss(
        self,
        rows: np.ndarray,
        epoch: int,
        *,
        of: np.ndarray | None = None,
        forward: Callable[[np.ndarray, int | None], Tensor] | None = None,
    ) -> Tensor:
        """Mean loss of images [B] of the set; for a part of the batch `of`, its contribution to the mean."""
        labels, view = self._labels[torch.from_numpy(rows)], self._forward.images.view(epoch)
        logits = (forward or self._forward.logits)(self._images.rows[rows], view).float()
        summed = F.cross_entropy(
            logits,
            labels,
            weight=self._weights,
            label_smoothing=self._config.label_smoothing,
            reduction="sum",
        )
        if self._lesson is not None:
            weights = None if self._weights is None else self._weights[labels]
            summed = self._lesson.with_outputs(summed, logits, rows, view, weights)
        whole = labels if of is None else self._labels[torch.from_numpy(of)]
        return summed / (len(whole) if self._weights is None else self._weights[whole].sum())

    @property
    def _processes(self) -> int:
        return self._group.count if self._group else 1

    @property
    def _horizon(self) -> int:
        """Epochs until the cosine reaches zero."""
        return self._config.schedule_epochs or self._config.epochs

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        draw = draw_order_in_shards if self._forward.images.streamed else draw_order
        return draw(self._images.labels, self._config.balance, seed, epoch)


@contextmanager
def _seeded(device: torch.device, seed: int, epoch: int, rank: int = 0) -> Iterator[None]:
    """Within the context, dropout is drawn from (seed, epoch), in every process of a group differently.

    A network of one's own may draw from NumPy's or Python's generator instead. All are restored afterwards.
    """
    entropy = [seed, epoch, rank] if rank else [seed, epoch]
    state = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    with generator_restored(device):
        torch.manual_seed(state)
        np.random.seed(state)
        random.seed(state)
        yield
