"""One training that obeys a plan, on a model that stays resident between trainings."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from thawline.config import TrainConfig
from thawline.data.augment import Augmenter
from thawline.data.pixels import normalise
from thawline.errors import FrozenBlockMovedError, NonFiniteLossError, TooLittleMemoryError
from thawline.model.apply import AppliedPlan, load_trained_state, moved_tensors
from thawline.model.load import LoadedModel
from thawline.plan import Block, FineTunePlan
from thawline.records import EpochRecord
from thawline.training.balance import class_weights, draw_order
from thawline.training.evaluation import macro_f1
from thawline.training.gradients import relative_gradient_norms
from thawline.training.mixing import fresh_statistics, mixed
from thawline.training.penalties import StartingPoint

GRADIENT_BATCHES = 5
"""Minibatches behind relative gradient norms, as in the authors' code."""
EVALUATION_BATCH = 128
"""Images per forward pass without gradients, at most."""


@dataclass(frozen=True)
class LabelledRows:
    """Rows of the pixel array with their labels: one split, as far as whoever holds it may see."""

    rows: np.ndarray
    """[n], row numbers in the pixel array."""
    labels: Tensor
    """[n], int64 class indices."""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class TrainingData:
    """What a training may see: all pixels, but the labels of train and val only."""

    pixels: np.ndarray
    """[N, S, S, 3] uint8, usually a read-only memory map."""
    train: LabelledRows
    val: LabelledRows
    augmenter: Augmenter | None = None
    """Changes training images only; None = no augmentation."""


@dataclass(frozen=True)
class TrainedModel:
    """What a training leaves behind."""

    epochs: tuple[EpochRecord, ...]
    best_epoch: int
    state: dict[str, Tensor] = field(repr=False)
    """Parameters and buffers of the trained blocks at the best epoch, on the CPU."""
    image_passes: int
    seconds: float
    peak_memory_bytes: int


class Trainer:
    """Trains one network on one data set, any number of times.

    The network is moved to its device once and restored before each training, so that a training costs no set-up. The
    same plan, configuration and seed give the same weights, bit for bit, on the same device and number of threads.
    """

    def __init__(self, model: LoadedModel, data: TrainingData, config: TrainConfig) -> None:
        """`config.device` and `config.precision` must be resolved (not "auto")."""
        self.model = model
        self.data = data
        self.config = config
        self.device = torch.device(config.device)
        self.micro_batch = config.batch_size
        """Images in memory at a time; below the batch size, gradients are accumulated."""
        self.on_smaller_batch: Callable[[int], None] = _ignore
        """Told when `micro_batch` had to shrink."""
        weights = class_weights(data.train.labels, model.num_classes, config.balance)
        self._class_weights = None if weights is None else weights.to(self.device)
        self.network = model.module.to(self.device)
        if all(parameter.ndim <= 4 for parameter in self.network.parameters()):  # it knows no other layout for 5
            self.network = self.network.to(memory_format=torch.channels_last)

    def train(
        self,
        plan: FineTunePlan,
        blocks: Sequence[Block],
        *,
        seed: int,
        on_epoch: Callable[[EpochRecord], None] | None = None,
    ) -> TrainedModel:
        """Train from the pretrained weights and a head drawn from `seed`; the best epoch's weights are in the network.

        Best means the highest validation score, then the lowest validation loss. Raises `NonFiniteLossError` if the
        loss diverges and `FrozenBlockMovedError` if a frozen block did not stay bit-identical.
        """
        while True:
            try:
                return self._train(plan, blocks, seed, on_epoch or _ignore)
            except torch.OutOfMemoryError as error:
                self._halve_micro_batch(error)

    def _train(
        self, plan: FineTunePlan, blocks: Sequence[Block], seed: int, on_epoch: Callable[[EpochRecord], None]
    ) -> TrainedModel:
        started = time.perf_counter()
        self.model.restore(seed)
        applied = self._apply(plan, blocks, seed)
        try:
            kept = self._run_epochs(applied, seed, on_epoch)
        finally:
            applied.finish()
        load_trained_state(self.network, kept.state)
        if kept.start:
            kept = self._interpolate(kept, applied, seed)
        self.check_frozen(plan, blocks)
        return TrainedModel(
            tuple(kept.epochs),
            kept.best,
            {name: tensor.cpu() for name, tensor in kept.state.items()},
            image_passes=len(kept.epochs) * (len(self.data.train) + len(self.data.val)),
            seconds=time.perf_counter() - started,
            peak_memory_bytes=_peak_memory(self.device),
        )

    def _apply(self, plan: FineTunePlan, blocks: Sequence[Block], seed: int) -> AppliedPlan:
        return AppliedPlan(
            self.network,
            blocks,
            plan,
            optimizer=self.config.optimizer,
            weight_decay=self.config.weight_decay,
            seed=seed,
        )

    def _run_epochs(self, applied: AppliedPlan, seed: int, on_epoch: Callable[[EpochRecord], None]) -> _Kept:
        """Train until the epochs or the patience are used up."""
        kept = _Kept(applied.trained_state())
        pull = StartingPoint(applied.plan.penalty, applied) if applied.plan.penalty else None
        for epoch in range(self.config.epochs):
            if applied.plan.starts_last_phase(epoch):
                kept.start_last_phase(epoch, applied)
            applied.start_epoch(epoch)
            if applied.plan.rate_rule == "relative_gradient" and applied.plan.in_last_phase(epoch):
                applied.scale_tensors(self._relative_rates(applied, seed, epoch))
            train_loss = self._train_epoch(applied, pull, seed, epoch)
            record = self._validate(epoch, train_loss)
            if kept.improves(record):
                kept.keep(record, applied.trained_state())
            else:
                kept.epochs.append(record)
            on_epoch(record)
            waited = epoch - max(kept.best, kept.last_phase - 1)
            if 0 < self.config.patience <= waited and applied.plan.in_last_phase(epoch):
                break
        return kept

    def _relative_rates(self, applied: AppliedPlan, seed: int, epoch: int) -> dict[str, float]:
        """Shares of the rate by tensor, from the first few minibatches of the epoch; nothing moves."""
        order = draw_order(self.data.train.labels, self.config.balance, seed, epoch)
        self.network.eval()
        losses = (self._loss(rows, epoch) for rows in _batches(order, self.micro_batch)[:GRADIENT_BATCHES])
        shares = relative_gradient_norms(applied.parameters, losses)
        applied.start_epoch(epoch)
        return shares

    def _interpolate(self, kept: _Kept, applied: AppliedPlan, seed: int) -> _Kept:
        """Try weights between the start of the last phase and the best epoch on validation; keep the best of all."""
        trained = kept.state
        for share in applied.plan.interpolation:
            load_trained_state(self.network, mixed(kept.start, trained, share))
            if 0 < share < 1:
                self._settle_norms(applied, seed)
            record = self._validate(len(kept.epochs), kept.epochs[kept.best].train_loss)
            if kept.improves(record):
                kept.keep(record, {name: tensor.clone() for name, tensor in self._tensors(trained).items()})
        load_trained_state(self.network, kept.state)
        return kept

    def _settle_norms(self, applied: AppliedPlan, seed: int) -> None:
        """Recompute the statistics of trained batch norms for the weights as they are, from the training images."""
        # Shuffled: rows usually come class by class, and the spread within a batch would be that of one class.
        order = draw_order(self.data.train.labels, "none", seed, 0)
        with torch.no_grad(), fresh_statistics(applied, self.config.epochs - 1):
            for rows in _batches(order, self._evaluation_batch):
                with self._autocast():
                    self.network(self._images(self.data.train.rows[rows], epoch=None))

    def _tensors(self, names: Iterable[str]) -> dict[str, Tensor]:
        state = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        return {name: state[name].detach() for name in names}

    def load(self, state: dict[str, Tensor], *, seed: int) -> None:
        """Put a stored training back into the network."""
        self.model.restore(seed)
        load_trained_state(self.network, state)

    def check_frozen(self, plan: FineTunePlan, blocks: Sequence[Block]) -> None:
        """Raise `FrozenBlockMovedError` unless frozen blocks are bit-identical to the pretrained network."""
        if moved := moved_tensors(self.network, blocks, plan, self.model.pristine()):
            raise FrozenBlockMovedError(
                f"{len(moved)} tensors of frozen blocks changed during training, first {moved[0]!r}; "
                "this is a bug in thawline, please report it with the model's name."
            )

    def probabilities(self, rows: np.ndarray) -> Tensor:
        """Class probabilities of unaugmented images, [n, classes] float32 on the CPU."""
        return torch.softmax(self._logits(rows), dim=1).cpu()

    def try_steps(self, plan: FineTunePlan, blocks: Sequence[Block], steps: int) -> Iterator[AppliedPlan]:
        """Take real steps of `plan`, one per item, for whoever times or watches them; leaves no trace."""
        self.model.restore(0)
        applied = self._apply(plan, blocks, seed=0)
        rows = np.arange(min(self.config.batch_size, len(self.data.train)))
        try:
            for _ in range(steps):
                self._step_within_memory(applied, rows)
                yield applied
        finally:
            applied.finish()
            self.model.restore(0)

    def _step_within_memory(self, applied: AppliedPlan, rows: np.ndarray) -> None:
        while True:
            try:
                self._step(applied, None, rows, epoch=0).item()
                return
            except torch.OutOfMemoryError as error:
                self._halve_micro_batch(error)

    def _train_epoch(self, applied: AppliedPlan, pull: StartingPoint | None, seed: int, epoch: int) -> float:
        """Mean training loss of one epoch."""
        order = draw_order(self.data.train.labels, self.config.balance, seed, epoch)
        batches = _batches(order, self.config.batch_size)
        total = torch.zeros((), device=self.device)
        with _seeded(self.device, seed, epoch):
            for index, rows in enumerate(batches):
                step = epoch * len(batches) + index
                applied.scale_rates(_rate_factor(step, self.config.epochs * len(batches), self.config.warmup_share))
                total += self._step(applied, pull, rows, epoch) * len(rows)
        loss = total.item() / len(self.data.train)
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss became {loss} in epoch {epoch + 1}; lower the learning rate, or clip with --clip-norm 1."
            )
        return loss

    def _step(self, applied: AppliedPlan, pull: StartingPoint | None, rows: np.ndarray, epoch: int) -> Tensor:
        """One optimiser step on the given rows of the training split; returns the loss, still on the device.

        Where the batch does not fit into memory, gradients are accumulated over parts of it. Norm layers then see the
        parts, everything else the whole batch.
        """
        applied.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        # Never one image alone: norms need two.
        parts = max(1, min(math.ceil(len(rows) / self.micro_batch), len(rows) // 2))
        for part in np.array_split(rows, parts):
            loss = self._loss(part, epoch, of=rows)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if pull is not None:
            pull.loss().backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm is not None:
            parameters = [parameter for group in applied.optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_norm)
        applied.optimizer.step()
        if pull is not None:
            pull.after_step(applied.rates())
        return total

    def _loss(self, rows: np.ndarray, epoch: int, *, of: np.ndarray | None = None) -> Tensor:
        """Cross-entropy of rows of the training split; of a part of a batch, its share in the batch's mean."""
        labels = self.data.train.labels[rows].to(self.device)
        whole = labels if of is None else self.data.train.labels[of].to(self.device)
        weights = self._class_weights
        images = self._images(self.data.train.rows[rows], epoch)
        with self._autocast():
            logits = self.network(images)
        summed = F.cross_entropy(
            logits.float(), labels, weight=weights, label_smoothing=self.config.label_smoothing, reduction="sum"
        )
        return summed / (len(whole) if weights is None else weights[whole].sum())

    @property
    def _evaluation_batch(self) -> int:
        """Images per forward pass without gradients, which needs less memory than a step."""
        return min(EVALUATION_BATCH, 4 * self.micro_batch)

    def _halve_micro_batch(self, error: torch.OutOfMemoryError) -> None:
        """Go on with half the images at a time; `TooLittleMemoryError` if two at a time are too many already."""
        if self.micro_batch < 4:
            raise TooLittleMemoryError(
                f"out of memory on {self.device} with {self.micro_batch} images at a time; "
                "take a smaller model or --image-size."
            ) from error
        self.micro_batch //= 2
        self.on_smaller_batch(self.micro_batch)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _validate(self, epoch: int, train_loss: float) -> EpochRecord:
        logits = self._logits(self.data.val.rows)
        labels = self.data.val.labels.to(self.device)
        loss = F.cross_entropy(logits, labels).item()
        predicted = logits.argmax(dim=1)
        accuracy = (predicted == labels).double().mean().item()
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the validation loss became {loss} in epoch {epoch + 1}; lower the learning rate."
            )
        selecting = accuracy if self.config.metric == "accuracy" else macro_f1(predicted.cpu(), labels.cpu())
        return EpochRecord(epoch, train_loss, loss, accuracy, selecting)

    @torch.inference_mode()
    def _logits(self, rows: np.ndarray) -> Tensor:
        self.network.eval()
        parts = []
        size = self._evaluation_batch
        for start in range(0, len(rows), size):
            images = self._images(rows[start : start + size], epoch=None)
            with self._autocast():
                parts.append(self.network(images).float())
        return torch.cat(parts)

    def _images(self, rows: np.ndarray, epoch: int | None) -> Tensor:
        """Network input [B, 3, S, S] of the given pixel rows, augmented as in `epoch` unless that is None."""
        pixels = torch.from_numpy(np.ascontiguousarray(self.data.pixels[rows])).to(self.device)
        images = normalise(pixels, self.model.preprocessing)
        augmenter = self.data.augmenter
        if epoch is None or augmenter is None:
            return images
        return augmenter.apply(images, rows, augmenter.view_at(epoch))

    def _autocast(self) -> AbstractContextManager[object]:
        if self.config.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


@dataclass
class _Kept:
    """The best of a training so far."""

    state: dict[str, Tensor]
    """Parameters and buffers of the trained blocks at the best epoch."""
    epochs: list[EpochRecord] = field(default_factory=list)
    best: int = -1
    last_phase: int = 0
    """Its first epoch: patience does not count what came before, when less was trained."""
    start: dict[str, Tensor] = field(default_factory=dict)
    """The same tensors at the start of the last phase, if the plan interpolates from there."""

    def start_last_phase(self, epoch: int, applied: AppliedPlan) -> None:
        """Interpolation goes from here to the best epoch from here on, so it forgets what was best before."""
        self.last_phase = epoch
        if applied.plan.interpolation:
            self.start, self.best = applied.trained_state(), -1

    def improves(self, record: EpochRecord) -> bool:
        """Whether `record` is better than what is kept."""
        return self.best < 0 or record.score > self.epochs[self.best].score

    def keep(self, record: EpochRecord, state: dict[str, Tensor]) -> None:
        """Add the record as the best."""
        self.best, self.state = len(self.epochs), state
        self.epochs.append(record)


def _ignore(_: object) -> None:
    """Nobody wants to know."""


def _batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    """An epoch in batches. A last batch of one joins the one before: norms need two images."""
    starts = list(range(0, len(order), size))
    if len(order) % size == 1 and len(order) > 1:
        starts.pop()
    return np.split(order, starts[1:])


def _rate_factor(step: int, total: int, warmup_share: float) -> float:
    """Linear warm-up to 1, then a cosine to 0: one factor for all blocks, never 0 at a step that is taken."""
    warmup = round(total * warmup_share)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


@contextmanager
def _seeded(device: torch.device, seed: int, epoch: int) -> Iterator[None]:
    """Dropout drawn from (seed, epoch); the global generators are put back afterwards."""
    state = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(state)
        yield


def _peak_memory(device: torch.device) -> int:
    """Bytes: allocated on a GPU, resident in the process otherwise; 0 where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return 0
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
