"""An experiment: one dataset and one model; trains plans on demand and records everything in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from hashlib import sha256
from operator import mul
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from thawline.callback import Callback
from thawline.config import Request
from thawline.errors import NonFiniteLossError, RunFolderError, TooLittleMemoryError
from thawline.formatting import percent, shortened
from thawline.memory import raise_if_out_of_memory
from thawline.model.adapters import left_out
from thawline.model.apply import has_statistics, trainable_size, trains_statistics
from thawline.model.blocks import partition
from thawline.model.load import LoadedModel
from thawline.model.work import WorkTable
from thawline.plan import Block, FineTunePlan, Granularity, Ingredient
from thawline.reading import damage
from thawline.records import ProbeRecord, Purpose, TrainingRecord, fingerprint, pack_bits, write_bytes
from thawline.runs.files import CHECKPOINTS, EVALUATIONS, PLAN, write_plan
from thawline.runs.folder import RunFolder
from thawline.runs.ledger import Ledger
from thawline.training import evaluation
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.mixing import to_logits, weighted_mean
from thawline.training.pause import Paused
from thawline.training.probe import Probe
from thawline.training.refit import Refitted, RefitTrainer
from thawline.training.trainer import TrainedModel, Trainer

TUNING_SEED_OFFSET = 1_000_000
_NEIGHBORS = "neighbors_"
"""Prefix of the names of votes in the file of an evaluation."""
_ONCE_WITHOUT_CHOICE = (("head_start", "random"), ("statistics", "stored"), ("kept_epoch", "best"))
"""Fields of plans with the value that they had before there was a choice; keys leave them out."""
_REFIT = "train and val"
"""The part of the images that a refit trains on, in its key."""
_NEW_RUN = "start a new run with another `out`"


@dataclass(frozen=True)
class Evaluation:
    """Class probabilities of a final training on every split, each [n, C] float32."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray | None
    """None without a test split."""
    neighbors: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The votes of the nearest training images, by split (val, test), beside a solved probe; else empty."""


@dataclass(frozen=True)
class Part:
    """A part of the training split."""

    images: LabelledRows
    fingerprint: str
    """Depends on its rows."""


@dataclass
class Experiment:
    """Trains plans on one dataset with one model, each training at most once."""

    request: Request
    """The request, with device, precision and threads resolved."""
    folder: RunFolder
    model: LoadedModel
    data: TrainingData
    test: LabelledRows | None
    """Used by `evaluate` only, never for selection."""
    classes: tuple[str, ...]
    data_fingerprint: str
    """Depends on every pixel, label and split."""
    ledger: Ledger
    callback: Callback
    shared: Callable[[Experiment, TrainingRecord, Callable[..., TrainedModel]], TrainedModel] | None = None
    """Has other processes take part in a final training; None = this one trains alone."""
    sample: Experiment | None = None
    """The same on a subset of the images in a pixel cache, for search and tuning; None = these images are in one."""
    _blocks: dict[Granularity, tuple[Block, ...]] = field(default_factory=dict)
    _work: dict[Granularity, WorkTable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Blocks and FLOPs are determined before the trainer moves the network to its device.
        self.work(self.request.granularity)
        self.trainer = Trainer(
            self.model,
            self.data,
            self.request.train,
            self.request.cache,
            self.callback.note,
            micro_batch=self.ledger.micro_batch,
        )
        self.trainer.on_smaller_batch = self._smaller_batch
        self._adapters_explained = False

    @property
    def searching(self) -> Experiment:
        """The experiment in which strategies are tuned and plans are searched."""
        return self.sample or self

    @property
    def scored_train(self) -> LabelledRows:
        """Training images whose scores stand beside those of val and test; all of them if there is no sample."""
        return self.data.probed or self.data.train

    @property
    def _in_network(self) -> str | None:
        """Key of the training whose weights the network has; a sample has the same network."""
        return self.model.trained

    @_in_network.setter
    def _in_network(self, key: str | None) -> None:
        self.model.trained = key

    def blocks(self, granularity: Granularity) -> tuple[Block, ...]:
        """The model's blocks at a granularity."""
        if granularity not in self._blocks:
            self._blocks[granularity] = partition(self.model.module, granularity, self.model.preprocessing.image_size)
        return self._blocks[granularity]

    def work(self, granularity: Granularity) -> WorkTable:
        """The work table: costs of trainings from the FLOPs of every block."""
        if granularity not in self._work:
            blocks = self.blocks(granularity)
            self._work[granularity] = WorkTable.measure(self.model.module, blocks, self.model.preprocessing.image_size)
        return self._work[granularity]

    def boundary(self, plan: FineTunePlan) -> tuple[Granularity, str]:
        """End of the plan's frozen prefix: the granularity and the first trained block."""
        return plan.granularity, self.work(plan.granularity).first_trained(plan)

    def prefix_work(self, plan: FineTunePlan, share: float = 1.0) -> float:
        """Units of work to run the plan's frozen prefix once over every view of a `share` of the training split."""
        images, epochs = self.request.images, self.request.train.epochs
        views = 1 if images.augment == "none" else images.views or epochs
        return self.work(plan.granularity).prefix(
            plan,
            views=min(views, epochs),
            train_images=len(self.data.train),
            validation_images=len(self.data.val),
            nominal_epochs=epochs,
            share=share,
        )

    def training_work(
        self,
        plan: FineTunePlan,
        epochs: int,
        share: float = 1.0,
        further_passes: int = 0,
        solver_iterations: int = 0,
        validated_images: int | None = None,
    ) -> float:
        """Units of work of `epochs` epochs on a `share` of the training split, without the plan's frozen prefix.

        The rest as in `WorkTable.training`.
        """
        return self.work(plan.granularity).training(
            plan,
            epochs_run=epochs,
            nominal_epochs=self.request.train.epochs,
            train_images=len(self.data.train),
            validation_images=len(self.data.val),
            share=share,
            further_passes=further_passes,
            solver_iterations=solver_iterations,
            validated_images=validated_images,
        )

    def teaching_work(self, plan: FineTunePlan, passes: int) -> float:
        """Units of work to forward `passes` images through the networks that a distilled one learns from, at most."""
        return self.training_work(plan.as_ensemble, 0, further_passes=passes) if passes else 0.0

    @property
    def unit_flops(self) -> float:
        """FLOPs of a unit of work, with which those of several networks compare."""
        train, val = len(self.data.train), len(self.data.val)
        return self.work("stage").unit(self.request.train.epochs, train, val)

    def trainable_size(self, plan: FineTunePlan) -> int:
        """Number of scalars that a plan trains."""
        return trainable_size(self.model.module, self.blocks(plan.granularity), plan)

    @property
    def head_is_linear(self) -> bool:
        """Whether the head is a single linear layer, so that a linear probe can be solved."""
        return self.trainer.linear_head is not None

    @property
    def keeps_head(self) -> bool:
        """Whether plans can start from the head of the model that is fitted again."""
        return self.model.kept_head is not None

    @property
    def head_is_known(self) -> bool:
        """Whether that head has a row for every class, so that it need not train."""
        return self.model.kept_head is not None and self.model.kept_head.is_complete

    @property
    def has_statistics(self) -> bool:
        """Whether the network has batch norm (or another norm with running statistics)."""
        return has_statistics(self.model.module)

    def trains_statistics(self, plan: FineTunePlan) -> bool:
        """Whether a block that the plan trains has running statistics, so that the norm mode matters."""
        return trains_statistics(self.model.module, self.blocks(plan.granularity), plan)

    def train(
        self, plan: FineTunePlan, *, strategy: str, learning_rate: float, seed: int, purpose: Purpose
    ) -> TrainingRecord:
        """Train, or return the ledger's record of the same training. If training diverges, the record has an error."""
        record = TrainingRecord(self.key(plan, seed), purpose, strategy, learning_rate, seed, plan.to_dict())
        return self.find(record) or self.keep(self.run(record))

    def find(self, record: TrainingRecord) -> TrainingRecord | None:
        """The ledger's training of the same key, attributed to `record`'s strategy: strategies may share a plan."""
        stored = self.ledger.find(record.key)
        if stored is None:
            return None
        own = ("purpose", "strategy", "learning_rate", "generation", "slot")
        found = replace(stored, **{name: getattr(record, name) for name in own})
        self.callback.training_done(found, stored=True)
        return found

    def run(self, record: TrainingRecord, part: Part | None = None) -> TrainingRecord:
        """Train as `record` specifies, on a part of the training split or all of it, without changing the ledger."""
        return self.go_on(record, part=part)[0]

    def go_on(
        self,
        record: TrainingRecord,
        before: TrainingRecord | None = None,
        start: Paused | None = None,
        part: Part | None = None,
        *,
        keep_weights: bool = False,
    ) -> tuple[TrainingRecord, Paused | None]:
        """Train up to `record.until`; returns the record and the state to resume from, or None if training has ended.

        `before` is the record of the same training up to an earlier epoch, `start` its state. Without `start` the
        training starts over, with the same result at a higher cost. The weights of a final training are kept, those of
        others if `keep_weights`.
        """
        plan = FineTunePlan.from_dict(record.plan)
        if record.purpose == "refit":
            return self._refit(record, plan), None
        if plan.mixture:
            return self._mix(record, plan), None
        self.callback.training_started(record)
        self._in_network = None
        self._say_left_out(plan)
        try:
            train = partial(
                self.trainer.train,
                plan,
                self.blocks(plan.granularity),
                seed=record.seed,
                images=part.images if part else None,
                until=record.until,
                start=start,
                on_epoch=lambda epoch: self.callback.epoch_done(record, epoch),
            )
            trained = self.shared(self, record, train) if self.shared and record.purpose == "final" else train()
        except (NonFiniteLossError, TooLittleMemoryError) as error:
            return replace(record, error=str(error)), None
        if record.purpose == "final" or keep_weights:
            record = self._keep_weights(record, trained.state)
        share = len(part.images) / len(self.data.train) if part else 1.0
        if start is not None:
            trained = replace(trained, epochs_run=start.epoch + trained.epochs_run)
        completed = self._completed(record, plan, trained, share)
        return _plus(completed, before, anew=start is None), trained.paused

    def ingredients(self, record: TrainingRecord) -> tuple[TrainingRecord, ...]:
        """The trainings that a mixture is made of, with their weights kept; none of a training without one.

        What the ledger does not have is trained. Of a refit, they are refits.
        """
        plan = FineTunePlan.from_dict(record.plan)
        parts = tuple(self._ingredient(record, each) for each in plan.members) if plan.mixture else ()
        return tuple(map(self.refit, parts)) if record.purpose == "refit" else parts

    def _ingredient(self, mixture: TrainingRecord, ingredient: Ingredient) -> TrainingRecord:
        plan, seed = ingredient.plan, mixture.seed + ingredient.seed_offset
        key = self.key(plan, seed)
        stored = self.ledger.find(key)
        if stored is not None and (stored.checkpoint or stored.error):
            return stored
        record = replace(mixture, key=key, plan=plan.to_dict(), seed=seed)
        return self.keep(self.go_on(record, keep_weights=True)[0])

    def _mix(self, record: TrainingRecord, plan: FineTunePlan) -> TrainingRecord:
        """Put together what a mixture describes, from its ingredients; its costs are without theirs."""
        parts = self.ingredients(record)
        if error := next((part.error for part in parts if part.error), None):
            return replace(record, error=error)
        self.callback.training_started(record)
        states = [self._weights(part) for part in parts]
        self._in_network = None
        train_loss = _mean_of([part.best.train_loss for part in parts if part.best], plan)
        try:
            blocks = self.blocks(plan.granularity)
            if plan.is_ensemble:
                mixed = self.trainer.mean_output(plan, states, seed=record.seed, train_loss=train_loss)
                record = replace(record, checkpoint=fingerprint([part.checkpoint for part in parts]))
            elif plan.is_distilled:
                mixed = self.trainer.distil(
                    *(plan, blocks, states),
                    seed=record.seed,
                    on_epoch=lambda epoch: self.callback.epoch_done(record, epoch),
                )
                record = self._keep_weights(record, mixed.state)
            else:
                mixed = self.trainer.average(plan, blocks, states, seed=record.seed, train_loss=train_loss)
                record = self._keep_weights(record, mixed.state)
        except (NonFiniteLossError, TooLittleMemoryError) as error:
            return replace(record, error=str(error))
        return replace(self._completed(record, plan, mixed, 1.0), probe=parts[0].probe)

    @property
    def refit_images(self) -> LabelledRows:
        """Train and val together."""
        train, val = self.data.train, self.data.val
        return LabelledRows(np.concatenate([train.rows, val.rows]), torch.cat([train.labels, val.labels]))

    @property
    def refit_share(self) -> float:
        """Images of a refit per training image."""
        return 1 + len(self.data.val) / len(self.data.train)

    def refit(self, scored: TrainingRecord) -> TrainingRecord:
        """Train anew on train and val together what a training with kept weights trained, or find it in the ledger.

        For the number of epochs after which weights were kept, and from the probe with the penalty and temperature that
        were found. A mixture is made of the refits of its ingredients. Nothing is validated.
        """
        plan = FineTunePlan.from_dict(scored.plan)
        trains = plan.is_distilled or not (plan.mixture or plan.is_untrained)
        until = scored.best_epoch + 1 if trains and scored.best_epoch is not None else None
        key = self.key(plan, scored.seed, Part(self.refit_images, _REFIT), until)
        record = TrainingRecord(
            *(key, "refit", scored.strategy, scored.learning_rate, scored.seed, scored.plan),
            until=until,
            probe=scored.probe,
        )
        return self.find(record) or self.keep(self.go_on(record)[0])

    @cached_property
    def _refit_trainer(self) -> RefitTrainer:
        """Made for the first refit; the caches of both trainers together would be larger than was asked for."""
        self.trainer.empty_cache()
        data = replace(self.data, train=self.refit_images)
        size = self.trainer.micro_batch
        trainer = RefitTrainer(
            self.model, data, self.request.train, self.request.cache, self.callback.note, micro_batch=size
        )
        trainer.on_smaller_batch = self._smaller_batch
        return trainer

    def _refit(self, record: TrainingRecord, plan: FineTunePlan) -> TrainingRecord:
        """Refit as `record` specifies: `until` epochs, and `probe` as it was found."""
        parts = self.ingredients(record)
        if error := next((part.error for part in parts if part.error), None):
            return replace(record, error=error)
        self.callback.training_started(record)
        self._in_network = None
        try:
            refitted = self._refitted(record, plan, parts)
        except (NonFiniteLossError, TooLittleMemoryError) as error:
            return replace(record, error=str(error))
        record = self._keep_weights(record, refitted.state)
        solved = refitted.probe
        losses = refitted.losses or (_mean_of([part.losses[-1] for part in parts], plan),)
        return replace(
            record,
            losses=losses,
            work=self.training_work(
                plan,
                record.until or 0,
                self.refit_share,
                refitted.image_passes if parts and not plan.is_distilled else 0,
                0 if solved is None else solved.iterations,
                validated_images=0,
            )
            + self.teaching_work(plan, refitted.teaching_passes),
            image_passes=refitted.image_passes,
            cache_hits=refitted.cache_hits,
            seconds=refitted.seconds,
            peak_memory_bytes=refitted.peak_memory_bytes,
            probe=None if solved is None else _probe_record(solved),
        )

    def _refitted(self, record: TrainingRecord, plan: FineTunePlan, parts: Sequence[TrainingRecord]) -> Refitted:
        trainer, blocks, seed, probe = self._refit_trainer, self.blocks(plan.granularity), record.seed, record.probe
        if not parts:
            return trainer.refit(plan, blocks, seed=seed, epochs=record.until or 0, probe=probe)
        if plan.is_distilled:
            return trainer.refit_distilled(
                *(plan, blocks, [*map(self._weights, parts)]), seed=seed, epochs=record.until or 0
            )
        return trainer.refit_average(plan, blocks, [*map(self._weights, parts)], seed=seed, probe=probe)

    def _keep_weights(self, record: TrainingRecord, state: dict[str, Tensor]) -> TrainingRecord:
        """Before the ledger entry, so that every training in the ledger can be scored after a crash."""
        content = save(_contiguous(state))
        write_bytes(self._checkpoint(record), content)
        self._in_network = record.key
        return replace(record, checkpoint=sha256(content).hexdigest())

    def keep(self, record: TrainingRecord) -> TrainingRecord:
        """Add a finished training to the ledger."""
        self.ledger.add(record)
        self.callback.training_done(record, stored=False)
        return record

    def is_tuned(self, plan: FineTunePlan) -> bool:
        """Whether the ledger has a training of `plan` with the tuning seed."""
        return self.ledger.find(self.key(plan, self.tuning_seed)) is not None

    @property
    def tuning_seed(self) -> int:
        """Seed for tuning, different from those of final trainings, so that none of them repeats a lucky one."""
        return self.request.images.seed + TUNING_SEED_OFFSET

    def evaluate(self, record: TrainingRecord) -> Evaluation:
        """Probabilities of a final training. The test split is scored once, and the intent is recorded first."""
        path = self.folder.file(EVALUATIONS, f"{record.key}.safetensors")
        known = self.ledger.evaluation_digest(record.key)
        if known is None and self.test is None and not record.checkpoint:
            known = ""  # versions before 0.2 recorded the scores of the test split only
        if known is not None:
            if not (wrong := damage(path, known)):
                return self._read_evaluation(path)
            self.callback.note(f"{path} {wrong}; computing it again from the weights.")
        self._score(record, path, known)
        return self._read_evaluation(path)

    def _score(self, record: TrainingRecord, path: Path, known: str | None) -> None:
        """Write the probabilities and record them; what was recorded before must come out the same, bit for bit."""
        splits = {"train": self.scored_train, "val": self.data.val}
        if self.test is not None:
            splits["test"] = self.test
            if not known:
                self.ledger.intend_test(record.key)
        probabilities = self._probabilities(record, {name: split.rows for name, split in splits.items()})
        if FineTunePlan.from_dict(record.plan).is_solved:
            votes = self.trainer.nearest_neighbors(self.test)
            probabilities |= {f"{_NEIGHBORS}{name}": shares for name, shares in votes.items()}
        content = save(probabilities)
        digest = sha256(content).hexdigest()
        if known and digest != known:
            raise RunFolderError(f"{path} is damaged, and what is computed in its place is not the same; {_NEW_RUN}.")
        write_bytes(path, content)
        if not known:
            self.ledger.commit_evaluation(record.key, digest, self._test_scores(probabilities))

    def validation_probabilities(self, record: TrainingRecord) -> np.ndarray:
        """Class probabilities [n, C] of the validation images with the kept weights of a training."""
        return self._probabilities(record, {"val": self.data.val.rows})["val"].numpy()

    def scaled_loss(self, probabilities: np.ndarray) -> float:
        """Validation loss, after temperature scaling, of class probabilities [n, C] of the validation images."""
        return self.trainer.scaled_loss(to_logits(torch.from_numpy(probabilities)))

    def image_losses(self, probabilities: np.ndarray) -> np.ndarray:
        """The same for every image, [n]; images are weighted as the metric weights them, and their mean is the loss."""
        return self.trainer.image_losses(to_logits(torch.from_numpy(probabilities))).numpy()

    def _probabilities(self, record: TrainingRecord, rows: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """Class probabilities [n, C] of the pixel rows of every split."""
        plan = FineTunePlan.from_dict(record.plan)
        if plan.is_ensemble:
            found = [self._probabilities(part, rows) for part in self.ingredients(record)]
            return {name: weighted_mean([each[name] for each in found], plan.shares) for name in rows}
        self._load(record)
        return {name: self.trainer.probabilities(own) for name, own in rows.items()}

    def _test_scores(self, probabilities: Mapping[str, Tensor]) -> dict[str, float] | None:
        if self.test is None:
            return None
        return evaluation.score(probabilities["test"].numpy(), self.test.labels.numpy())

    def _read_evaluation(self, path: Path) -> Evaluation:
        """Raises `RunFolderError` for another shape or type, which only files without a digest can have."""
        sizes = {"train": len(self.scored_train), "val": len(self.data.val)}
        if self.test is not None:
            sizes["test"] = len(self.test)
        stored = _tensors(path)
        votes = {name for name in stored if name.removeprefix(_NEIGHBORS) in sizes} - set(sizes)
        for name in (*sizes, *votes):
            size, found = sizes[name.removeprefix(_NEIGHBORS)], stored.get(name)
            if found is None or found.shape != (size, len(self.classes)) or found.dtype != torch.float32:
                raise RunFolderError(f"{path} is damaged: no probabilities of the {size} {name} images; {_NEW_RUN}.")
        test = stored["test"].numpy() if self.test is not None else None
        neighbors = {name.removeprefix(_NEIGHBORS): stored[name].numpy() for name in votes}
        return Evaluation(stored["train"].numpy(), stored["val"].numpy(), test, neighbors)

    def network_of(self, record: TrainingRecord) -> LoadedModel:
        """The model with the weights of a final training."""
        self._load(record)
        return self.model

    def keep_plan(self, plan: FineTunePlan) -> None:
        """Write the best plan so far to the run folder, in place of the final one."""
        write_plan(self.folder.file(PLAN), plan)

    def _say_left_out(self, plan: FineTunePlan) -> None:
        """Say once which weights have no adapter, so that they stay as pretrained although their blocks train."""
        if plan.adapter is None or self._adapters_explained:
            return
        self._adapters_explained = True
        trained = [block for block in self.blocks(plan.granularity) if block.name in plan.trained]
        if names := left_out(self.model.module, trained):
            sizes = {name: parameter.numel() for name, parameter in self.model.module.named_parameters()}
            share = sum(sizes[name] for name in names) / sum(sizes.values())
            self.callback.note(
                f"Adapters leave {len(names)} weights as pretrained, {percent(share)} of all parameters: "
                f"{shortened(names)}. They belong to no linear layer, ungrouped convolution or nn.MultiheadAttention."
            )

    def _smaller_batch(self, size: int) -> None:
        self.ledger.keep_micro_batch(size)
        self.callback.note(
            f"Out of memory: continuing with {size} images at a time, accumulating gradients to batches of "
            f"{min(self.request.train.batch_size, len(self.data.train))}."
        )

    def _completed(
        self, record: TrainingRecord, plan: FineTunePlan, trained: TrainedModel, share: float
    ) -> TrainingRecord:
        solved = trained.probe
        iterations = 0 if solved is None else solved.iterations
        work = self.training_work(plan, trained.epochs_run, share, trained.mixing_passes, iterations)
        work += self.teaching_work(plan, trained.teaching_passes)
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

    def _load(self, record: TrainingRecord) -> None:
        if self._in_network == record.key:
            return
        weights, path = self._weights(record), self._checkpoint(record)
        if self._in_network == record.key:  # trained again
            return
        try:
            self.trainer.load(weights, seed=record.seed)
        except (AttributeError, KeyError, RuntimeError) as error:  # only of a file without a digest
            raise_if_out_of_memory(error)
            raise RunFolderError(f"{path} does not fit the model ({_first_line(error)}); {_NEW_RUN}.") from error
        self._in_network = record.key

    def _weights(self, record: TrainingRecord) -> dict[str, Tensor]:
        """The kept weights of a training; if they are lost or damaged, they are trained again."""
        path = self._checkpoint(record)
        if wrong := damage(path, record.checkpoint):
            self._train_again(record, f"{path} {wrong}")
        return _tensors(path)

    def _train_again(self, record: TrainingRecord, wrong: str) -> None:
        """Train what the lost or damaged weights came from, which must come out the same, bit for bit."""
        if not record.checkpoint:
            raise RunFolderError(f"{wrong}, so that training cannot be scored; {_NEW_RUN}.")
        self.callback.note(f"{wrong}; training it again.")
        if self.go_on(record, keep_weights=True)[0].checkpoint != record.checkpoint:
            raise RunFolderError(f"{wrong}, and training it again did not give the same weights; {_NEW_RUN}.")

    def _checkpoint(self, record: TrainingRecord) -> Path:
        return self.folder.file(CHECKPOINTS, f"{record.key}.safetensors")

    def key(self, plan: FineTunePlan, seed: int, part: Part | None = None, until: int | None = None) -> str:
        """Fingerprint of everything that a training depends on."""
        images = self.request.images
        return fingerprint(
            self.data_fingerprint,
            self.model.architecture,
            self.model.weights_fingerprint,
            # The bit depth is in the data's fingerprint: keys are those of before there was a choice.
            {name: value for name, value in asdict(self.model.preprocessing).items() if name != "bit_depth"},
            asdict(self.request.train),
            (images.augment, images.views, images.seed),
            # Likewise: a random head and the best epoch were all there was.
            {name: value for name, value in plan.to_dict().items() if (name, value) not in _ONCE_WITHOUT_CHOICE},
            seed,
            *(["streamed"] if self.trainer.images.streamed else []),
            *([part.fingerprint] if part else []),
            *([f"until {until}"] if until else []),
            *([kept.fingerprint] if (kept := self.model.kept_head) and plan.head_start == "kept" else []),
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


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunFolderError(f"{path} is damaged ({_first_line(error)}); {_NEW_RUN}.") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors, because safetensors rejects channels_last."""
    return {name: tensor.contiguous() for name, tensor in state.items()}
