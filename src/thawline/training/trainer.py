"""Trains plans one after another on a network that stays on its device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from thawline.config import CacheConfig, TrainConfig
from thawline.errors import FrozenBlockMovedError, NonFiniteLossError, PlanError, TooLittleMemoryError
from thawline.memory import is_out_of_memory
from thawline.model.apply import (
    AppliedPlan,
    batch_norms,
    load_trained_state,
    moved_tensors,
    set_modes,
    trains_statistics,
)
from thawline.model.boundary import Boundary, remove_stubs
from thawline.model.fusion import Fusion
from thawline.model.head import head_modules, linear_head
from thawline.model.layout import in_channels_last
from thawline.model.load import LoadedModel
from thawline.plan import Block, FineTunePlan
from thawline.records import EpochRecord
from thawline.training.activations import Activations
from thawline.training.balance import class_weights, draw_order, image_weights, solver_weights
from thawline.training.best import Best
from thawline.training.device import peak_memory
from thawline.training.distillation import Lesson, softened, spans
from thawline.training.evaluation import macro_f1
from thawline.training.forward import Forward
from thawline.training.head_start import Features, start_from
from thawline.training.images import Images, LabelledRows, TrainingData
from thawline.training.mixing import fresh_statistics, mean_state, mixed, to_logits, weighted_mean
from thawline.training.pause import Paused
from thawline.training.probe import Probe
from thawline.training.processes import Group
from thawline.training.schedule import batches
from thawline.training.steps import Steps
from thawline.training.temperature import scaled_log_loss

Found = TypeVar("Found")

NO_KEPT_HEAD = (
    "plan: head_start 'kept' needs a `model` that is the folder of a run, or a timm folder with label names, which "
    "share a class with these images (and `head` must not be new)."
)
LEAST_CUT = 32
"""A batch is cut to the number of images, but not below the default batch size, so that such runs keep their bits."""


@dataclass(frozen=True)
class TrainedModel:
    """Result of a training."""

    epochs: tuple[EpochRecord, ...]
    best_epoch: int
    state: dict[str, Tensor] = field(repr=False)
    """Parameters and buffers of the trained blocks at the best epoch, on the CPU."""
    right: Tensor | None = field(repr=False)
    """Which validation images the best epoch classified correctly, [n] bool."""
    epochs_run: int
    """Number of training epochs; `epochs` may also contain interpolated weights."""
    mixing_passes: int
    """Images forwarded to evaluate interpolated weights and to recompute their batch-norm statistics."""
    image_passes: int
    """Images forwarded in total, including those with cached prefix outputs."""
    cache_hits: int
    """Those of them with cached prefix outputs."""
    seconds: float
    peak_memory_bytes: int
    probe: Probe | None = None
    """What the head started from; None = random weights."""
    paused: Paused | None = None
    """Set if the training was paused before its end."""
    teaching_passes: int = 0
    """Images forwarded through the networks that it learned from."""
    processes: int = 1
    """Number of processes that trained it together."""


class Trainer:
    """Trains one network on one dataset, any number of times.

    The network is moved to its device once and restored before each training, and the outputs of frozen blocks are
    computed once for all trainings that freeze them. The same plan, configuration and seed give bit-identical weights
    on the same device and number of threads.
    """

    def __init__(
        self,
        model: LoadedModel,
        data: TrainingData,
        config: TrainConfig,
        cache: CacheConfig | None = None,
        note: Callable[[str], None] | None = None,
        micro_batch: int | None = None,
    ) -> None:
        """`config.device` and `config.precision` must be resolved (not "auto"); `note` gets messages for the user."""
        self.model = model
        self.data = data
        self.config = config
        self.device = torch.device(config.device)
        self.micro_batch = micro_batch or min(config.batch_size, max(len(data.pixels), LEAST_CUT))
        """Images processed at a time; if less than the batch size, gradients are accumulated."""
        self.on_smaller_batch: Callable[[int], None] = _ignore
        """Called with the new `micro_batch` after it was reduced."""
        self.images = Images(data, model.preprocessing, self.device)
        self._group: Group | None = None
        self._note = note or _ignore
        self._cache = cache or CacheConfig()
        weights = class_weights(data.train.labels, model.num_classes, config.balance)
        self._known_features: Features | None = None
        self._validation_weights = image_weights(data.val.labels) if config.metric == "macro_f1" else None
        self._class_weights = None if weights is None else weights.to(self.device)
        self.network = model.module.to(self.device)
        in_channels_last(self.network)
        self._fusion = Fusion(self.network, model.preprocessing.image_size, trains=True)
        self._start_afresh()

    def train(
        self,
        plan: FineTunePlan,
        blocks: Sequence[Block],
        *,
        seed: int,
        images: LabelledRows | None = None,
        until: int | None = None,
        start: Paused | None = None,
        on_epoch: Callable[[EpochRecord], None] | None = None,
        group: Group | None = None,
    ) -> TrainedModel:
        """Train from the pretrained weights and the head's start in the plan; loads the best epoch's weights.

        `seed` draws a random head, and the order of the batches. A plan that trains nothing is validated once, as its
        only epoch.

        `images` is the part of the training split to use; None = all of it. The training pauses before epoch `until`
        and resumes from `start`, with bit-identical results; costs are those of this part only. The best epoch has the
        highest validation score, then the lowest validation loss; weights are kept of validated epochs alone. Raises
        `NonFiniteLossError` if the loss diverges and `FrozenBlockMovedError` if a frozen block did not stay
        bit-identical.

        In a `group` of processes all call this with the same arguments and `micro_batch`, and get the same. One that
        runs out of memory then raises PyTorch's error, because all would have to take smaller batches.
        """
        self._group = group
        chosen = images or self.data.train
        attempt = partial(self._train, plan, blocks, seed, chosen, until, start, on_epoch or _ignore)
        try:
            return self._retried(attempt) if group is None else attempt()
        finally:
            self._group = None

    def average(
        self,
        plan: FineTunePlan,
        blocks: Sequence[Block],
        states: Sequence[Mapping[str, Tensor]],
        *,
        seed: int,
        train_loss: float,
    ) -> TrainedModel:
        """The average of weights that `plan.mixture` describes, validated and loaded into the network.

        `states` are those of `plan.members`, in their order, from trainings that started as `plan` does with `seed`;
        `train_loss` is recorded. Batch-norm statistics that were trained are recomputed from the training images.
        Raises `FrozenBlockMovedError` if a block that no member trains did not stay bit-identical.
        """
        return self._retried(lambda: self._average(plan, blocks, states, seed, train_loss))

    def mean_output(
        self, plan: FineTunePlan, states: Sequence[Mapping[str, Tensor]], *, seed: int, train_loss: float
    ) -> TrainedModel:
        """The mean output that `plan.mixture` describes, validated; it has no weights of its own.

        `states` are those of `plan.members`, in their order; `train_loss` is recorded.
        """
        started, hits = time.perf_counter(), self.forward.hits
        outputs = (self.probabilities_with(state, self.data.val.rows, seed=seed) for state in states)
        mean = weighted_mean(outputs, plan.shares)
        record, right = self._judged(0, train_loss, to_logits(mean).to(self.device))
        return self._put_together(record, {}, right, len(states) * len(self.data.val), started, hits)

    def distil(
        self,
        plan: FineTunePlan,
        blocks: Sequence[Block],
        states: Sequence[Mapping[str, Tensor]],
        *,
        seed: int,
        on_epoch: Callable[[EpochRecord], None] | None = None,
    ) -> TrainedModel:
        """Train once more from the first of `states`, on labels and on the mean output that `plan.mixture` describes.

        `states` are those of `plan.members`, in their order. Their outputs are of the views of the training images that
        each epoch sees, in eval mode. The rest as in `train`.
        """
        return self._retried(lambda: self._distil(plan, blocks, states, seed, on_epoch or _ignore))

    @cached_property
    def linear_head(self) -> nn.Linear | None:
        """The head if a linear probe of it can be solved, else None; found by one blank image at its first use."""
        return linear_head(self.network, self.model.preprocessing.image_size)

    def load(self, state: Mapping[str, Tensor], *, seed: int) -> None:
        """Load the weights of an earlier training into the network."""
        self.model.restore(seed)
        self.forward.boundary = self._boundary_before({name.rpartition(".")[0] for name in state})
        load_trained_state(self.network, state)

    def use_micro_batch(self, size: int) -> None:
        """Process `size` images at a time from now on."""
        if size != self.micro_batch:
            self.micro_batch = size
            self._start_afresh()

    def empty_cache(self) -> None:
        """Free what the outputs of frozen blocks take; they are computed again when they are needed."""
        self._start_afresh()

    def check_frozen(self, plan: FineTunePlan, blocks: Sequence[Block]) -> None:
        """Raise `FrozenBlockMovedError` unless frozen blocks are bit-identical to the pretrained network."""
        if moved := moved_tensors(self.network, blocks, plan, self.model.pristine()):
            raise FrozenBlockMovedError(
                f"{len(moved)} tensors of frozen blocks changed during training, e.g. {moved[0]!r}; "
                "this is a bug in thawline, please report it with the name of the model."
            )

    def probabilities_with(self, state: Mapping[str, Tensor], rows: np.ndarray, *, seed: int) -> Tensor:
        """`probabilities` with the weights of an earlier training."""
        self.load(state, seed=seed)
        return self.probabilities(rows)

    def probabilities(self, rows: np.ndarray) -> Tensor:
        """Class probabilities of unaugmented images, [n, classes] float32 on the CPU."""
        return self._retried(lambda: self._softmax(rows))

    def _softmax(self, rows: np.ndarray) -> Tensor:
        self.forward.keep_group(rows)
        return torch.softmax(self._logits(rows), dim=1).cpu()

    def head_inputs(self, rows: np.ndarray) -> Tensor:
        """What enters the linear head for unaugmented images, [n, d] float32 on the CPU.

        The network must have its pretrained weights below the head.
        """
        return self._retried(lambda: self.features().of(rows))

    def nearest_neighbors(self, test: LabelledRows | None) -> dict[str, Tensor]:
        """Votes of the nearest training images in the features of the pretrained network, [n, classes] float32.

        For val, and for test if there is one. The network must have its pretrained weights below the head.
        """
        return self._retried(lambda: self.features().neighbors(test))

    def try_steps(
        self, plan: FineTunePlan, blocks: Sequence[Block], steps: int, images: int | None = None
    ) -> Generator[AppliedPlan]:
        """Take real training steps of `plan` through the whole network, one per item, for measurements.

        Each is on so many images; None = a whole batch.
        The network is restored afterwards, and so is the micro-batch: what does not fit into memory here may never be
        trained.
        """
        self.model.restore(0)
        self.forward.boundary = None
        applied = self._apply(plan, blocks, seed=0)
        rows = np.arange(min(images or self.config.batch_size, len(self.data.train)))
        micro_batch, on_smaller_batch = self.micro_batch, self.on_smaller_batch
        self.on_smaller_batch = _ignore
        try:
            for _ in range(steps):
                self._retried(lambda: self._step_once(applied, rows))
                yield applied
        finally:
            applied.finish()
            self.model.restore(0)
            self.on_smaller_batch = on_smaller_batch
            self.use_micro_batch(micro_batch)

    def _train(
        self,
        plan: FineTunePlan,
        blocks: Sequence[Block],
        seed: int,
        images: LabelledRows,
        until: int | None,
        start: Paused | None,
        on_epoch: Callable[[EpochRecord], None],
        lesson: Lesson | None = None,
    ) -> TrainedModel:
        started, hits = time.perf_counter(), self.forward.hits
        remove_stubs(self.network)
        self.model.restore(seed)
        probe = self._start_head(plan, images) if lesson is None else None
        boundaries = self._boundaries(plan, blocks)
        recomputed = 0
        if lesson is not None:  # after the boundaries, which are found with the initial weights
            load_trained_state(self.network, lesson.start)
        else:
            recomputed = self._start_statistics(plan, images, seed)
        applied = self._apply(plan, blocks, seed)
        try:
            # Before any step: a penalty pulls towards the current weights.
            steps = self._steps(applied, images, lesson)
            best, first = (Best(applied.trained_state()), 0) if start is None else start.restore(applied)
            paused = None
            if plan.is_untrained:
                self._validate_untrained(probe, images, applied, boundaries[0], best, on_epoch)
            else:
                paused = self._run_epochs(
                    steps, boundaries, best, range(first, until or self.config.epochs), seed, on_epoch
                )
        finally:
            applied.finish()
        load_trained_state(self.network, best.state)
        epochs_run = 0 if plan.is_untrained else len(best.epochs) - first
        validations = 0 if plan.is_untrained else sum(record.is_validated for record in best.epochs[first:])
        image_passes = epochs_run * len(images) + validations * len(self.data.val)
        if start is None:
            passes = probe is not None or plan.is_untrained
            image_passes += passes * (len(images) + len(self.data.val)) + recomputed
        mixing_passes = self._interpolate(best, applied, seed) if best.start and paused is None else 0
        self.check_frozen(plan, blocks)
        return TrainedModel(
            tuple(best.epochs),
            best.epoch,
            {name: tensor.cpu() for name, tensor in best.state.items()},
            right=best.right,
            epochs_run=epochs_run,
            mixing_passes=mixing_passes,
            image_passes=image_passes + mixing_passes,
            cache_hits=self.forward.hits - hits,
            seconds=time.perf_counter() - started,
            peak_memory_bytes=peak_memory(self.device),
            probe=probe,
            paused=paused,
            processes=self._group.count if self._group else 1,
        )

    def _distil(
        self,
        plan: FineTunePlan,
        blocks: Sequence[Block],
        states: Sequence[Mapping[str, Tensor]],
        seed: int,
        on_epoch: Callable[[EpochRecord], None],
    ) -> TrainedModel:
        started, hits, images = time.perf_counter(), self.forward.hits, self.data.train
        parts: list[TrainedModel] = []
        taught = 0
        for epochs, lesson in self._lessons(plan, states, seed, self.config.epochs):
            taught += len(states) * len(lesson.outputs) * len(images)
            before = parts[-1].paused if parts else None
            parts.append(self._train(plan, blocks, seed, images, epochs.stop, before, on_epoch, lesson))
            if parts[-1].paused is None:
                break
        return replace(
            parts[-1],
            epochs_run=sum(part.epochs_run for part in parts),
            image_passes=sum(part.image_passes for part in parts) + taught,
            teaching_passes=taught,
            cache_hits=self.forward.hits - hits,
            seconds=time.perf_counter() - started,
        )

    def _lessons(
        self, plan: FineTunePlan, states: Sequence[Mapping[str, Tensor]], seed: int, epochs: int
    ) -> Iterator[tuple[range, Lesson]]:
        """What `plan.mixture` makes of the networks with these weights, for as many epochs at a time as memory allows.

        It is computed when it is asked for, with other weights in the network, so training has to be paused.
        """
        assert plan.mixture is not None, "it describes the mean"
        views = [self.images.view(epoch) for epoch in range(epochs)]
        temperature = plan.mixture.temperature
        for span in spans(views, 4 * len(self.data.train) * self.model.num_classes):
            seen = {str(views[epoch]): views[epoch] for epoch in span}
            mean = mean_state((self._outputs(state, seen, seed) for state in states), plan.shares)
            soft = {view: softened(mean[name], temperature) for name, view in seen.items()}
            yield span, Lesson(states[0], soft, plan.mixture.output_share, temperature)

    def _outputs(self, state: Mapping[str, Tensor], views: Mapping[str, int | None], seed: int) -> dict[str, Tensor]:
        """Class probabilities of the training images in each of the views, [n, classes] float32 on the device."""
        remove_stubs(self.network)
        self.load(state, seed=seed)
        return {name: torch.softmax(self._logits(self.data.train.rows, view), dim=1) for name, view in views.items()}

    def _average(
        self,
        plan: FineTunePlan,
        blocks: Sequence[Block],
        states: Sequence[Mapping[str, Tensor]],
        seed: int,
        train_loss: float,
    ) -> TrainedModel:
        started, hits = time.perf_counter(), self.forward.hits
        remove_stubs(self.network)
        self.model.restore(seed)
        self._start_head(plan, self.data.train)
        state, passes = self._load_average(plan, blocks, states, seed)
        record, right = self._validate(0, train_loss)
        return self._put_together(record, state, right, passes + len(self.data.val), started, hits)

    def _load_average(
        self, plan: FineTunePlan, blocks: Sequence[Block], states: Sequence[Mapping[str, Tensor]], seed: int
    ) -> tuple[dict[str, Tensor], int]:
        """Load the average of `states` into the network, which must be as these trainings found it.

        Returns the tensors that they trained, on the CPU, and the number of images forwarded for their statistics.
        """
        united = plan.united
        boundary = self._boundaries(united, blocks)[0]
        applied = self._apply(united, blocks, seed)
        start = applied.trained_state()
        # What a member did not train has the value that training started from.
        whole = ({**start, **{name: tensor.to(self.device) for name, tensor in state.items()}} for state in states)
        averaged = mixed(start, mean_state(whole, plan.shares), 1 - plan.start_share)
        load_trained_state(self.network, averaged)
        self.forward.boundary, passes = boundary, 0
        if plan.norm == "train" and trains_statistics(self.network, blocks, united):
            passes = self._settle_norms(applied, seed)
        self.check_frozen(united, blocks)
        return {name: tensor.cpu() for name, tensor in applied.trained_state().items()}, passes

    def _put_together(
        self, record: EpochRecord, state: dict[str, Tensor], right: Tensor, passes: int, started: float, hits: int
    ) -> TrainedModel:
        """The result of a mixture, for which `passes` images were forwarded."""
        return TrainedModel(
            (record,),
            0,
            state,
            right=right,
            epochs_run=0,
            mixing_passes=passes,
            image_passes=passes,
            cache_hits=self.forward.hits - hits,
            seconds=time.perf_counter() - started,
            peak_memory_bytes=peak_memory(self.device),
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

    def _steps(self, applied: AppliedPlan, images: LabelledRows, lesson: Lesson | None = None) -> Steps:
        return Steps(
            self.forward,
            applied,
            images,
            self.config,
            class_weights=self._class_weights,
            micro_batch=self.micro_batch,
            lesson=lesson,
            group=self._group,
        )

    def _start_head(self, plan: FineTunePlan, images: LabelledRows) -> Probe | None:
        """Load what the plan's head starts from, where that is not random: a probe of `images`, or the kept head."""
        if plan.head_start == "kept":
            self._start_from_kept()
        return self._start_from_probe(images) if plan.head_start == "probe" else None

    def _start_from_kept(self) -> None:
        """Copy the kept rows into the head; `PlanError` if the model has none."""
        kept, head = self.model.kept_head, self.linear_head
        if kept is None or head is None:
            raise PlanError(NO_KEPT_HEAD)
        kept.put_into(head)

    def _start_statistics(self, plan: FineTunePlan, images: LabelledRows, seed: int) -> int:
        """Recompute the statistics of all batch norms, if the plan says so; returns the number of images forwarded."""
        if plan.statistics == "stored":
            return 0
        self.forward.boundary = None
        self._recompute(batch_norms(self.network).values(), images, seed)
        return len(images)

    def _start_from_probe(self, images: LabelledRows) -> Probe:
        """Solve the linear probe of `images` and load it into the head; `PlanError` if the head is not linear."""
        features = self.features()
        probe = features.probe(self.data.probed or images)
        start_from(features.head, probe)
        return probe

    def features(self) -> Features:
        """The features of the pretrained network, which must have its initial weights below the head."""
        if self._known_features is None:
            if self.linear_head is None:
                raise PlanError(
                    f"plan: head_start 'probe' needs a head that is a single linear layer, and that of "
                    f"{self.model.architecture} is not; use head_start 'random' (linear_probe:solver=sgd)."
                )
            weights = solver_weights(self.data.train.labels, self.model.num_classes, self.config.balance)
            self._known_features = Features(
                self.linear_head,
                self._logits,
                self.data,
                weights,
                self.config.metric,
                self.micro_batch,
                self.images.expect,
            )
        self.forward.boundary = self._boundary_before(set(head_modules(self.network)))
        return self._known_features

    def _boundaries(self, plan: FineTunePlan, blocks: Sequence[Block]) -> list[Boundary | None]:
        """For each phase, where the network can be cut: before everything trained by the end of the phase."""
        if plan.statistics == "recomputed":  # then the frozen blocks compute something else than the cache holds
            return [None] * len(plan.phases)
        thawed = set() if plan.head_start == "random" else set(plan.blocks[-1:])
        boundaries = []
        for phase in plan.phases:
            thawed |= set(phase.trained)
            modules = {name for block in blocks if block.name in thawed for name in block.modules}
            boundary = self._boundary_before(modules)
            set_modes(self.network, blocks, phase, plan.norm)
            boundaries.append(boundary if self.forward.is_steady(boundary, phase.trained) else None)
        return boundaries

    def _boundary_before(self, modules: set[str]) -> Boundary | None:
        return self.forward.boundary_before(modules, self.data.train.rows[: self.micro_batch])

    def _run_epochs(
        self,
        steps: Steps,
        boundaries: Sequence[Boundary | None],
        best: Best,
        epochs: range,
        seed: int,
        on_epoch: Callable[[EpochRecord], None],
    ) -> Paused | None:
        """Train until the last epoch, until patience runs out, or until a pause."""
        applied, plan = steps.applied, steps.applied.plan
        for epoch in epochs:
            self.forward.boundary = boundaries[position(plan, epoch)]
            if plan.starts_last_phase(epoch):
                best.start_last_phase(epoch, applied)
            train_loss = steps.epoch(seed, epoch)
            if not plan.is_validated(epoch, self.config.epochs):
                best.epochs.append(EpochRecord(epoch, train_loss))
                on_epoch(best.epochs[-1])
                continue
            record, right = self._validate(epoch, train_loss)
            if plan.kept_epoch == "last" or best.improves(record):
                best.keep(record, applied.trained_state(), right)
            else:
                best.epochs.append(record)
            on_epoch(record)
            # A training that keeps its last epoch always gets there: its best one is the last so far.
            if plan.in_last_phase(epoch) and best.out_of_patience(epoch, self.config.patience):
                return None
        return None if epochs.stop >= self.config.epochs else Paused.at(epochs.stop, applied, best)

    def _validate_untrained(
        self,
        probe: Probe | None,
        images: LabelledRows,
        applied: AppliedPlan,
        boundary: Boundary | None,
        best: Best,
        on_epoch: Callable[[EpochRecord], None],
    ) -> None:
        """Validate a plan that trains nothing, as its only epoch."""
        self.forward.boundary = boundary
        record, right = self._validate(0, self._untrained_loss(images) if probe is None else probe.train_loss)
        best.keep(record, applied.trained_state(), right)
        on_epoch(record)

    def _untrained_loss(self, images: LabelledRows) -> float:
        """Mean loss of training images in the network as it is."""
        return F.cross_entropy(self._logits(images.rows), images.labels.to(self.device)).item()

    def _interpolate(self, best: Best, applied: AppliedPlan, seed: int) -> int:
        """Validate interpolations between the start of the last phase and the best epoch; keep the best.

        Returns the number of images forwarded.
        """
        trained, passes = best.state, 0
        for share in applied.plan.interpolation:
            load_trained_state(self.network, mixed(best.start, trained, share))
            if 0 < share < 1:
                passes += self._settle_norms(applied, seed)
            passes += len(self.data.val)
            record, right = self._validate(len(best.epochs), best.epochs[best.epoch].train_loss)
            if best.improves(record):
                best.keep(record, {name: tensor.clone() for name, tensor in self._tensors(trained).items()}, right)
        load_trained_state(self.network, best.state)
        return passes

    def _settle_norms(self, applied: AppliedPlan, seed: int) -> int:
        """Recompute batch-norm statistics that move for the current weights, from the training images.

        Returns the number of images forwarded: none where no statistics move.
        """
        applied.start_epoch(self.config.epochs - 1)
        norms = [norm for norm in batch_norms(self.network).values() if norm.training]
        if not norms:
            return 0
        self._recompute(norms, self.data.train, seed)
        return len(self.data.train)

    def _recompute(self, norms: Collection[_BatchNorm], images: LabelledRows, seed: int) -> None:
        """Recompute the statistics of some batch norms from images, without their labels."""
        # Shuffled, because rows are usually sorted by class, and a batch would have the variance of a single class.
        order = draw_order(images.labels, "none", seed, 0)
        self.images.expect(images.rows[order])
        with torch.no_grad(), fresh_statistics(self.network, norms):
            for rows in batches(order, self.micro_batch):
                self.forward.logits(images.rows[rows], None)

    def _tensors(self, names: Iterable[str]) -> dict[str, Tensor]:
        state = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        return {name: state[name].detach() for name in names}

    def _step_once(self, applied: AppliedPlan, rows: np.ndarray) -> None:
        if applied.plan.is_untrained:
            self._logits(rows)
        else:
            self._steps(applied, self.data.train).step(rows, epoch=0).item()

    def _retried(self, attempt: Callable[[], Found]) -> Found:
        """What `attempt` returns; where memory runs out in it, it is made again with half the micro-batch."""
        while True:
            try:
                return attempt()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve_micro_batch(error)

    def _halve_micro_batch(self, error: Exception) -> None:
        """Halve the micro-batch; raises `TooLittleMemoryError` if it would fall below two images."""
        if self.micro_batch < 4:
            raise TooLittleMemoryError(
                f"out of memory on {self.device} with {self.micro_batch} images at a time; "
                "use a smaller model or `image_size`."
            ) from error
        self.micro_batch //= 2
        self.on_smaller_batch(self.micro_batch)
        self._start_afresh()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _start_afresh(self) -> None:
        """Start an empty cache: rounding may depend on the batch size."""
        kept = None
        self._known_features = None
        if not self._cache.off:
            kept = Activations(self.images, self.device, self._cache, self.micro_batch, self._note)
        self.forward = Forward(self.network, self.images, self.device, self.config.precision, kept, self._fusion)
        self.forward.keep_group(self.data.train.rows)
        self.forward.keep_group(self.data.val.rows)

    def _validate(self, epoch: int, train_loss: float) -> tuple[EpochRecord, Tensor]:
        """Validate: the record of an epoch, and which validation images are correct, [n] bool on the CPU."""
        rows = self.data.val.rows
        return self._judged(epoch, train_loss, self._logits_of_group(rows) if self._group else self._logits(rows))

    def _judged(self, epoch: int, train_loss: float, logits: Tensor) -> tuple[EpochRecord, Tensor]:
        """The record of an epoch from the logits [n, classes] of the validation images, and which are correct."""
        labels = self.data.val.labels.to(self.device)
        loss = F.cross_entropy(logits, labels).item()
        predicted = logits.argmax(dim=1)
        right = predicted == labels
        accuracy = right.sum().item() / len(right)  # not in double precision, which Apple's GPUs lack
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the validation loss became {loss} in epoch {epoch + 1}; lower the learning rate."
            )
        selecting = accuracy if self.config.metric == "accuracy" else macro_f1(predicted.cpu(), labels.cpu())
        scaled = self.scaled_loss(logits.cpu())
        return EpochRecord(epoch, train_loss, loss, accuracy, selecting, scaled), right.cpu()

    def scaled_loss(self, logits: Tensor) -> float:
        """The loss of logits [n, classes] of the validation images, on the CPU, after temperature scaling."""
        return scaled_log_loss(logits, self.data.val.labels, self._validation_weights)[0]

    def image_losses(self, logits: Tensor) -> Tensor:
        """The same for every image, [n]; images are weighted as the metric weights them, and their mean is the loss."""
        labels, weights = self.data.val.labels, self._validation_weights
        _, temperature = scaled_log_loss(logits, labels, weights)
        losses = F.cross_entropy(logits.double() / temperature, labels, reduction="none")
        return losses if weights is None else losses * weights / weights.mean()

    def _logits_of_group(self, rows: np.ndarray) -> Tensor:
        """`_logits`, of which each process of the group computes a part."""
        assert self._group is not None, "it divides the rows"
        starts = range(0, len(rows), self.micro_batch)
        mine = self._group.part(np.asarray(starts))
        own = self._logits(rows[mine[0] : mine[-1] + self.micro_batch] if len(mine) else rows[:1])
        return self._group.gathered(own[: len(rows) if len(mine) else 0], starts, len(rows))

    @torch.no_grad()
    def _logits(self, rows: np.ndarray, view: int | None = None) -> Tensor:
        self.network.eval()
        # Every batch is padded: rounding may depend on the batch size, and activations are cached for this one.
        size = self.micro_batch
        self.images.expect(rows)
        starts = range(0, len(rows), size)
        parts = [self.forward.logits(np.resize(rows[start : start + size], size), view).float() for start in starts]
        return torch.cat(parts)[: len(rows)]


def position(plan: FineTunePlan, epoch: int) -> int:
    """Index of the phase at `epoch`; compared by identity, because phases may be equal."""
    phase = plan.phase_at(epoch)
    return next(number for number, candidate in enumerate(plan.phases) if candidate is phase)


def _ignore(_: object) -> None:
    """Default callback: do nothing."""
