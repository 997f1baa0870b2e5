"""Trains what it is told to, on one dataset and one network, and hands back what came of it.

It knows neither the run folder nor the ledger: whoever asks keeps what it returns. What it returns depends on the job
and the problem alone, so that it does not matter where a job is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from operator import mul

from safetensors.torch import save
from torch import Tensor

from thawline.errors import NonFiniteLossError, TooLittleMemoryError
from thawline.plan import FineTunePlan
from thawline.records import EpochRecord, ProbeRecord, TrainingRecord, fingerprint, pack_bits
from thawline.runs.problem import Problem
from thawline.training.images import LabelledRows
from thawline.training.pause import Paused
from thawline.training.probe import Probe
from thawline.training.refit import Refitted, RefitTrainer
from thawline.training.trainer import TrainedModel, Trainer

Together = Callable[[Callable[..., TrainedModel]], TrainedModel]
"""Has other processes take part in a training, which it is given as a function."""


@dataclass(frozen=True)
class Job:
    """One training, as plain data."""

    record: TrainingRecord
    """What to train, and up to which epoch; without results."""
    before: TrainingRecord | None = None
    """The record of the same training up to an earlier epoch."""
    start: Paused | None = None
    """Its state; without it the training starts over, with the same result at a higher cost."""
    images: LabelledRows | None = None
    """The part of the training split to use; None = all of it."""
    keep_weights: bool = False
    """Whether the weights are wanted."""
    parts: tuple[TrainingRecord, ...] = ()
    """The trainings that a mixture is made of."""
    states: tuple[Mapping[str, Tensor], ...] = ()
    """Their weights."""


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    record: TrainingRecord
    """With an error if the training failed."""
    paused: Paused | None = None
    """The state to go on from; None if the training has ended."""
    weights: bytes | None = None
    """The content of a safetensors file of the trained tensors, if they were wanted."""


class Worker:
    """Does jobs one after another on a network that stays on its device, with its cache of frozen blocks."""

    def __init__(
        self,
        problem: Problem,
        *,
        micro_batch: int | None = None,
        note: Callable[[str], None],
        on_smaller_batch: Callable[[int], None],
    ) -> None:
        """`micro_batch`, `note`, `on_smaller_batch`: as `Trainer` has them."""
        self.problem = problem
        self._note, self._on_smaller_batch = note, on_smaller_batch
        # Blocks and FLOPs are determined before the trainer moves the network to its device.
        problem.work(problem.request.granularity)
        request = problem.request
        self.trainer = Trainer(problem.model, problem.data, request.train, request.cache, note, micro_batch=micro_batch)
        self.trainer.on_smaller_batch = on_smaller_batch

    @property
    def in_network(self) -> str | None:
        """Key of the training whose weights the network has, which another worker may share; None = unknown."""
        return self.problem.model.trained

    @in_network.setter
    def in_network(self, key: str | None) -> None:
        self.problem.model.trained = key

    def perform(
        self, job: Job, on_epoch: Callable[[EpochRecord], None] | None = None, shared: Together | None = None
    ) -> Outcome:
        """Do a job. A training that diverges, or does not fit into memory, is a record with an error.

        `shared` has other processes take part in it.
        """
        plan, self.in_network = FineTunePlan.from_dict(job.record.plan), None
        try:
            if job.record.purpose == "refit":
                outcome = self._refit(job, plan)
            elif plan.mixture:
                outcome = self._mix(job, plan, on_epoch)
            else:
                outcome = self._train(job, plan, on_epoch, shared)
        except (NonFiniteLossError, TooLittleMemoryError) as error:
            return Outcome(replace(job.record, error=str(error)))
        self.in_network = job.record.key if outcome.weights is not None else None
        return outcome

    def _train(
        self,
        job: Job,
        plan: FineTunePlan,
        on_epoch: Callable[[EpochRecord], None] | None,
        shared: Together | None,
    ) -> Outcome:
        train = partial(
            self.trainer.train,
            plan,
            self.problem.blocks(plan.granularity),
            seed=job.record.seed,
            images=job.images,
            until=job.record.until,
            start=job.start,
            on_epoch=on_epoch,
        )
        trained = train() if shared is None else shared(train)
        record, weights = job.record, None
        if job.keep_weights:
            record, weights = _with_weights(record, trained.state)
        share = 1.0 if job.images is None else len(job.images) / len(self.problem.data.train)
        if job.start is not None:
            trained = replace(trained, epochs_run=job.start.epoch + trained.epochs_run)
        record = self._completed(record, plan, trained, share)
        return Outcome(_plus(record, job.before, anew=job.start is None), trained.paused, weights)

    def _mix(self, job: Job, plan: FineTunePlan, on_epoch: Callable[[EpochRecord], None] | None) -> Outcome:
        """Put together what a mixture describes; its costs are without those of its parts."""
        record, weights = job.record, None
        blocks, seed = self.problem.blocks(plan.granularity), record.seed
        train_loss = _mean_of([part.best.train_loss for part in job.parts if part.best], plan)
        if plan.is_ensemble:
            mixed = self.trainer.mean_output(plan, job.states, seed=seed, train_loss=train_loss)
            record = replace(record, checkpoint=fingerprint([part.checkpoint for part in job.parts]))
        else:
            if plan.is_distilled:
                mixed = self.trainer.distil(plan, blocks, job.states, seed=seed, on_epoch=on_epoch)
            else:
                mixed = self.trainer.average(plan, blocks, job.states, seed=seed, train_loss=train_loss)
            record, weights = _with_weights(record, mixed.state)
        record = replace(self._completed(record, plan, mixed, 1.0), probe=job.parts[0].probe)
        return Outcome(record, weights=weights)

    @cached_property
    def _refit_trainer(self) -> RefitTrainer:
        """Made for the first refit; the caches of both trainers together would be larger than was asked for."""
        self.trainer.empty_cache()
        problem, size = self.problem, self.trainer.micro_batch
        data = replace(problem.data, train=problem.refit_images)
        trainer = RefitTrainer(
            problem.model, data, problem.request.train, problem.request.cache, self._note, micro_batch=size
        )
        trainer.on_smaller_batch = self._on_smaller_batch
        return trainer

    def _refit(self, job: Job, plan: FineTunePlan) -> Outcome:
        """Refit: `until` epochs, and `probe` as it was found."""
        refitted = self._refitted(job, plan)
        record, weights = _with_weights(job.record, refitted.state)
        solved = refitted.probe
        losses = refitted.losses or (_mean_of([part.losses[-1] for part in job.parts], plan),)
        work = self.problem.training_work(
            plan,
            record.until or 0,
            self.problem.refit_share,
            refitted.image_passes if job.parts and not plan.is_distilled else 0,
            0 if solved is None else solved.iterations,
            validated_images=0,
        )
        record = replace(
            record,
            losses=losses,
            work=work + self.problem.teaching_work(plan, refitted.teaching_passes),
            image_passes=refitted.image_passes,
            cache_hits=refitted.cache_hits,
            seconds=refitted.seconds,
            peak_memory_bytes=refitted.peak_memory_bytes,
            probe=None if solved is None else _probe_record(solved),
        )
        return Outcome(record, weights=weights)

    def _refitted(self, job: Job, plan: FineTunePlan) -> Refitted:
        trainer, blocks, record = self._refit_trainer, self.problem.blocks(plan.granularity), job.record
        seed, epochs, probe = record.seed, record.until or 0, record.probe
        if not job.parts:
            return trainer.refit(plan, blocks, seed=seed, epochs=epochs, probe=probe)
        if plan.is_distilled:
            return trainer.refit_distilled(plan, blocks, job.states, seed=seed, epochs=epochs)
        return trainer.refit_average(plan, blocks, job.states, seed=seed, probe=probe)

    def _completed(
        self, record: TrainingRecord, plan: FineTunePlan, trained: TrainedModel, share: float
    ) -> TrainingRecord:
        solved = trained.probe
        iterations = 0 if solved is None else solved.iterations
        work = self.problem.training_work(plan, trained.epochs_run, share, trained.mixing_passes, iterations)
        work += self.problem.teaching_work(plan, trained.teaching_passes)
        return replace(
            record,
            epochs=trained.epochs,
            best_epoch=trained.best_epoch,
            right="" if trained.right is None else pack_bits(trained.right.tolist()),
            work=work,
            image_passes=trained.image_passes,
            cache_hits=trained.cache_hits,
            seconds=trained.seconds,
            peak_memory_bytes=trained.peak_memory_bytes,
            probe=None if solved is None else _probe_record(solved),
            processes=trained.processes,
        )


def _mean_of(losses: Sequence[float], plan: FineTunePlan) -> float:
    """The mean of the members of a mixture in their shares."""
    total: float = sum(map(mul, plan.shares, losses))
    return total / sum(plan.shares)


def _probe_record(probe: Probe) -> ProbeRecord:
    return ProbeRecord(probe.strength, probe.temperature, probe.iterations, probe.train_loss)


def _plus(record: TrainingRecord, before: TrainingRecord | None, *, anew: bool) -> TrainingRecord:
    """Add the costs of the earlier part, except its work, and its images if the training started over."""
    if before is None:
        return record
    names = ("seconds", "cache_hits") if anew else ("seconds", "cache_hits", "image_passes")
    return replace(record, **{name: getattr(record, name) + getattr(before, name) for name in names})


def _with_weights(record: TrainingRecord, state: Mapping[str, Tensor]) -> tuple[TrainingRecord, bytes]:
    """The record with the digest of the file that holds the tensors, and its content."""
    # Contiguous tensors, because safetensors rejects channels_last.
    content = save({name: tensor.contiguous() for name, tensor in state.items()})
    return replace(record, checkpoint=sha256(content).hexdigest()), content
