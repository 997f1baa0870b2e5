"""An experiment: one dataset and one model; trains plans on demand and records everything in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from thawline.callback import Callback
from thawline.errors import RunFolderError, ThawlineError
from thawline.formatting import percent, shortened
from thawline.memory import raise_if_out_of_memory
from thawline.model.adapters import left_out
from thawline.model.load import LoadedModel
from thawline.plan import FineTunePlan, Ingredient
from thawline.reading import damage
from thawline.records import Purpose, TrainingRecord, fingerprint, write_bytes
from thawline.runs.files import CHECKPOINTS, EVALUATIONS, PLAN, write_plan
from thawline.runs.folder import RunFolder
from thawline.runs.jobs import Jobs
from thawline.runs.ledger import Ledger
from thawline.runs.problem import Problem
from thawline.runs.remote import NotThereError, Returned, Setting, with_everything
from thawline.runs.worker import Job, Outcome, Worker
from thawline.runs.workforce import Workers
from thawline.training import evaluation
from thawline.training.images import LabelledRows
from thawline.training.mixing import to_logits, weighted_mean
from thawline.training.pause import Paused, keep_latest
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
class Experiment(Problem):
    """Trains plans on one dataset with one model, each training at most once."""

    folder: RunFolder
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

    def __post_init__(self) -> None:
        self.worker = Worker(
            self,
            micro_batch=self.ledger.micro_batch,
            note=self.callback.note,
            on_smaller_batch=self._smaller_batch,
        )
        self.jobs: Jobs | None = None
        """Trainings that others do; None = this process does all of them."""
        self.paused: dict[str, Paused] = {}
        """Paused trainings by key; one that is missing is trained anew, with the same result."""
        self._adapters_explained = False

    @property
    def searching(self) -> Experiment:
        """The experiment in which strategies are tuned and plans are searched."""
        return self.sample or self

    @property
    def scored_train(self) -> LabelledRows:
        """Training images on which the training score is computed: the sample if there is one, else all."""
        return self.data.probed or self.data.train

    def hand_out(self, workers: Workers, setting: Setting, begun: Jobs | None = None) -> None:
        """Have workers train, who read what the setting says, or are sent it where that is possible.

        `begun`: what they were asked before by an experiment that was closed since. Raises `InputError` if they cannot
        read it, or would not compute the same as this process.
        """
        if begun is not None:
            self.jobs = replace(begun, arrived=self._arrived, lost=self._lost, micro_batch=self._micro_batch)
            return
        self.jobs = Jobs(workers.executor, setting, self._arrived, self._lost, self._micro_batch)
        try:
            if workers.need_all:
                raise NotThereError("these images or weights were never sent")
            if not workers.checked:
                self.jobs.check()
        except NotThereError as error:
            if workers.share is None:
                raise
            pixels = self.data.pixels
            assert isinstance(pixels, np.ndarray), "workers have images in a cache"
            self.jobs.setting = with_everything(setting, self.model, pixels, workers.share, error)
            if not workers.checked:
                self.jobs.check()
            workers.need_all = True
        workers.checked = True

    def _micro_batch(self) -> int | None:
        return self.ledger.micro_batch

    @property
    def trainer(self) -> Trainer:
        """The trainer of this process."""
        return self.worker.trainer

    @property
    def head_is_linear(self) -> bool:
        """Whether the head is a single linear layer, so that a linear probe can be solved."""
        return self.trainer.linear_head is not None

    def train(
        self, plan: FineTunePlan, *, strategy: str, learning_rate: float, seed: int, purpose: Purpose
    ) -> TrainingRecord:
        """Train, or return the ledger's record of the same training. If training diverges, the record has an error."""
        record = TrainingRecord(self.key(plan, seed), purpose, strategy, learning_rate, seed, plan.to_dict())
        return self.find(record) or self.keep(self.run(record))

    def find(self, record: TrainingRecord) -> TrainingRecord | None:
        """The `known` training of the same key, attributed to `record`'s strategy: strategies may share a plan."""
        stored = self.known(record.key)
        if stored is None:
            return None
        found = _attributed(stored, record)
        self.callback.training_done(found, stored=True)
        return found

    def known(self, key: str) -> TrainingRecord | None:
        """The training of this key, if this run has asked for it before."""
        return self.ledger.find(key)

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
        parts = self.ingredients(record)
        if error := next((part.error for part in parts if part.error), None):
            return replace(record, error=error), None
        self.callback.training_started(record)
        self._say_left_out(FineTunePlan.from_dict(record.plan))
        job = self._job(record, before, start, part, keep_weights=keep_weights)
        job = replace(job, parts=parts, states=tuple(map(self._weights, parts)))
        outcome = self._done_before(job) or self._awaited(job)
        if outcome is None:
            shared = partial(self.shared, self, record) if self.shared and record.purpose == "final" else None
            outcome = self.worker.perform(job, lambda epoch: self.callback.epoch_done(record, epoch), shared)
            self._keep_weights(outcome)
        else:
            for epoch in outcome.record.epochs:
                self.callback.epoch_done(record, epoch)
        return outcome.record, outcome.paused

    def ahead(self, calls: Iterable[Callable[[Experiment], object]]) -> None:
        """Hand out the next trainings that these calls are going to ask for; nothing without workers.

        They are made on a `Lookahead`, which changes nothing else.
        """
        if self.jobs is not None:
            for call in calls:
                _look_ahead(self, call)

    def side_by_side(self, procedures: Iterable[Callable[[Experiment], object]]) -> None:
        """Train ahead what procedures that do not depend on each other will ask for; nothing without workers.

        Each is run on a `Lookahead` until it asks for a training that is not there, and again when that is. Afterwards
        they can be run one after the other, as without workers, and find everything that was trained.
        """
        if self.jobs is None:
            return
        waiting = [(each, keys) for each in procedures if (keys := _look_ahead(self, each))]
        while waiting:
            self.jobs.wait_for({key for _, keys in waiting for key in keys})
            now = [(each, keys) for each, keys in waiting if not all(map(self.jobs.is_waiting, keys))]
            later = [each for each in waiting if each not in now]
            waiting = later + [(each, keys) for each, _ in now if (keys := _look_ahead(self, each))]

    def close(self) -> None:
        """Keep what workers have finished; what they have not is trained when the run is resumed."""
        if self.sample is not None:
            self.sample.close()
        if self.jobs is not None:
            self.jobs.close()

    def by_the_clock(self) -> None:
        """Called where what follows depends on the time, so that it cannot be done ahead."""

    def _job(
        self,
        record: TrainingRecord,
        before: TrainingRecord | None,
        start: Paused | None,
        part: Part | None,
        *,
        keep_weights: bool,
    ) -> Job:
        images = part.images if part else None
        return Job(record, before, start, images, keep_weights or record.purpose == "final")

    def _done_before(self, job: Job) -> Outcome | None:
        """What was trained ahead, in the name of who asks now."""
        record = self.ledger.trained_ahead(job.record.key)
        if record is None or (job.keep_weights and not (record.checkpoint or record.error)):
            return None
        return Outcome(_attributed(record, job.record))

    def _awaited(self, job: Job) -> Outcome | None:
        """The outcome of a job that others do; None if it is done here.

        Whatever needs the weights of other trainings is: they are in the folder of the run.
        """
        if self.jobs is None or job.parts or job.record.purpose == "refit":
            return None
        self.jobs.finish(job)
        return self._done_before(job)

    def _arrived(self, returned: Returned) -> None:
        """Keep at once what a worker did: a killed run loses only what was running."""
        outcome, size = returned.outcome, returned.micro_batch
        for note in returned.notes:
            self.callback.note(note)
        if size is not None and size < (self.ledger.micro_batch or size + 1):
            self._smaller_batch(size)
        self._keep_weights(outcome)
        if outcome.paused is not None:
            keep_latest(self.paused, outcome.record.key, outcome.paused)
        self.ledger.keep_ahead(outcome.record, returned.place, returned.unlike)
        self.callback.trained_ahead(outcome.record, self.jobs.count if self.jobs else 0)

    def _lost(self, job: Job, attempt: int, place: str, reason: str) -> None:
        record = job.record
        self.ledger.keep_loss(record, attempt, place, reason)
        self.callback.note(
            f"Lost the worker {place} ({reason}) while it trained {record.strategy} (seed {record.seed}), attempt "
            f"{attempt}."
        )

    def _keep_weights(self, outcome: Outcome) -> None:
        """Before the ledger entry, so that every training in the ledger can be scored after a crash."""
        if outcome.weights is not None:
            write_bytes(self._checkpoint(outcome.record), outcome.weights)

    def ingredients(self, record: TrainingRecord) -> tuple[TrainingRecord, ...]:
        """The trainings that a mixture is made of, with their weights kept; none of a training without one.

        What the ledger does not have is trained. Of a refit, they are refits.
        """
        plan = FineTunePlan.from_dict(record.plan)
        members = plan.members if plan.mixture else ()
        self.ahead(partial(Experiment._ingredient, mixture=record, ingredient=each) for each in members)
        parts = tuple(self._ingredient(record, each) for each in members)
        return tuple(map(self.refit, parts)) if record.purpose == "refit" else parts

    def _ingredient(self, mixture: TrainingRecord, ingredient: Ingredient) -> TrainingRecord:
        plan, seed = ingredient.plan, mixture.seed + ingredient.seed_offset
        key = self.key(plan, seed)
        stored = self.known(key)
        if stored is not None and (stored.checkpoint or stored.error):
            return stored
        record = replace(mixture, key=key, plan=plan.to_dict(), seed=seed)
        return self.keep(self.go_on(record, keep_weights=True)[0])

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
            raise RunFolderError(f"{path} is damaged, and computing it again gives a different result; {_NEW_RUN}.")
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
                f"Adapters do not train {len(names)} weights, {percent(share)} of all parameters: {shortened(names)}. "
                "They are not part of a linear layer, ungrouped convolution or nn.MultiheadAttention."
            )

    def _smaller_batch(self, size: int) -> None:
        self.ledger.keep_micro_batch(size)
        self.callback.note(
            f"Out of memory: continuing with {size} images at a time, accumulating gradients to batches of "
            f"{min(self.request.train.batch_size, len(self.data.train))}."
        )

    def _load(self, record: TrainingRecord) -> None:
        if self.worker.in_network == record.key:
            return
        weights, path = self._weights(record), self._checkpoint(record)
        if self.worker.in_network == record.key:  # trained again
            return
        try:
            self.trainer.load(weights, seed=record.seed)
        except (AttributeError, KeyError, RuntimeError) as error:  # only of a file without a digest
            raise_if_out_of_memory(error)
            raise RunFolderError(f"{path} does not fit the model ({_first_line(error)}); {_NEW_RUN}.") from error
        self.worker.in_network = record.key

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
        self.ledger.forget_ahead(record.key)
        again = self.go_on(record, keep_weights=True)[0]
        if again.error:
            raise RunFolderError(f"{wrong}, and training it again failed: {again.error}")
        if again.checkpoint != record.checkpoint:
            raise RunFolderError(f"{wrong}, and training it again gave different weights; {_NEW_RUN}.")

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


class NotYet(BaseException):
    """Ends a `Lookahead` where it asks for what is not there; no `except Exception` must stop it."""

    def __init__(self, *keys: str) -> None:
        super().__init__(*keys)
        self.keys = keys
        """Keys of the trainings that it waits for; empty if it cannot go on before the run itself does."""


class Lookahead(Experiment):
    """Runs a procedure as far as its trainings are there, and hands the next ones to the workers.

    It reports no progress, and keeps the trainings that it finds for itself; a search enters its candidates in the
    ledger, as it will when the run gets there. What needs this process's network, the test split, or the time, ends it.
    """

    kept: dict[str, TrainingRecord]

    @classmethod
    def of(cls, experiment: Experiment) -> Lookahead:
        """For what is going to be asked of `experiment`."""
        found = object.__new__(cls)
        found.__dict__.update(experiment.__dict__)  # the same ledger, the same jobs
        found.callback, found.kept = Callback(), dict(getattr(experiment, "kept", {}))
        return found

    def known(self, key: str) -> TrainingRecord | None:
        """What the run will know by then."""
        return self.kept.get(key) or super().known(key)

    def keep(self, record: TrainingRecord) -> TrainingRecord:
        """Keep it for this call."""
        self.kept[record.key] = record
        return record

    def keep_plan(self, plan: FineTunePlan) -> None:
        """Nothing."""

    def evaluate(self, record: TrainingRecord) -> Evaluation:
        """Not ahead of the run."""
        raise NotYet

    def by_the_clock(self) -> None:
        """Not ahead of the run."""
        raise NotYet

    def side_by_side(self, procedures: Iterable[Callable[[Experiment], object]]) -> None:
        """Only hand out what comes first."""
        self.ahead(procedures)

    def go_on(
        self,
        record: TrainingRecord,
        before: TrainingRecord | None = None,
        start: Paused | None = None,
        part: Part | None = None,
        *,
        keep_weights: bool = False,
    ) -> tuple[TrainingRecord, Paused | None]:
        """What is there; else it is handed out, and the call ends."""
        if self.ingredients(record) or record.purpose == "refit":
            raise NotYet
        job = self._job(record, before, start, part, keep_weights=keep_weights)
        outcome = self._done_before(job)
        if outcome is None:
            assert self.jobs is not None, "only a run with workers looks ahead"
            self.jobs.submit(job)
            raise NotYet(record.key)
        return outcome.record, outcome.paused

    def _load(self, record: TrainingRecord) -> None:
        raise NotYet


def _look_ahead(experiment: Experiment, call: Callable[[Experiment], object]) -> tuple[str, ...]:
    """Make a call on a `Lookahead`; returns the keys of the trainings that it waits for, empty if it goes no further.

    Errors are raised when the run itself gets there.
    """
    try:
        call(Lookahead.of(experiment))
    except NotYet as end:
        return end.keys
    except ThawlineError:
        pass
    return ()


def _attributed(stored: TrainingRecord, asked: TrainingRecord) -> TrainingRecord:
    """A training in the name of who asks for it."""
    own = ("purpose", "strategy", "learning_rate", "generation", "slot")
    return replace(stored, **{name: getattr(asked, name) for name in own})


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunFolderError(f"{path} is damaged ({_first_line(error)}); {_NEW_RUN}.") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
