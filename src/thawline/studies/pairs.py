"""A pair of a model and an image size that a run may choose: its run folder, its cost in use, and its probe."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from thawline.callback import Callback
from thawline.config import BASE_RATE, Request
from thawline.memory import within_memory
from thawline.model.latency import milliseconds_per_image
from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord, unpack_bits
from thawline.results import AugmentationChoice, Environment, ImageAccuracy, NetworkFacts, Result
from thawline.runs.experiment import Experiment
from thawline.runs.files import LEDGER, REQUEST
from thawline.runs.folder import RunFolder
from thawline.runs.jobs import Jobs
from thawline.runs.ledger import Ledger
from thawline.runs.processes import joined
from thawline.runs.setup import Opened, open_experiment
from thawline.runs.workforce import Workers
from thawline.search.candidates import Candidate, Task
from thawline.search.halving import Halving
from thawline.strategies.auto import AutoConfig
from thawline.studies.auto import make_halving, rung_epochs, seconds_per_unit
from thawline.studies.latency import BATCHES, SECONDS
from thawline.studies.tuning import CandidateTrainings, Context, asked_for
from thawline.training.evaluation import bootstrap_interval
from thawline.training.measure import bytes_of_a_step
from thawline.training.pause import Paused


@dataclass
class Pair:
    """A model at an image size, with a run folder of its own, in which nothing is trained or measured twice."""

    model: str
    asked_size: int | None
    """In pixels; None = the model's own."""
    name: str
    """The model without its place."""
    path: Path
    request: Request
    """The request of the run, with this pair in place of the candidates."""
    paused: dict[str, Paused] = field(default_factory=dict)
    """Trainings that paused at a rung, by key, while other networks are looked at."""
    begun: Jobs | None = None
    """What workers were asked for it, if there are any."""

    @contextmanager
    def opened(
        self,
        environment: Environment,
        callback: Callback,
        augmentation: AugmentationChoice | None,
        workers: Workers | None = None,
    ) -> Iterator[Opened]:
        """The experiment, alone in memory; an `augmentation` that another pair settled on is not measured again.

        `workers` go on with what they were asked when it is closed.
        """
        begun = (self.path / REQUEST).is_file()
        with RunFolder.open(self.path) if begun else RunFolder.create(self.path, self.request, environment) as folder:
            before = folder.request()
            if before.strategies != self.request.strategies:  # `resume` added some
                folder.store(replace(before, strategies=self.request.strategies))
            ledger = Ledger(folder.file(LEDGER))
            if augmentation is not None and ledger.augmentation is None:
                ledger.keep_augmentation(augmentation)
            opened = open_experiment(folder, callback, workers, self.begun, joined())
            opened.experiment.paused, self.begun = self.paused, opened.experiment.jobs
            yield opened
            if self.begun is not None:
                self.begun.collect()
        gc.collect()  # networks and their caches are in circles

    def drop(self) -> None:
        """Ask workers for nothing more."""
        if self.begun is not None:
            self.begun.drop()

    @property
    def ledger(self) -> Ledger:
        """Its ledger, for reading while nothing else has it open."""
        return Ledger(self.path / LEDGER)


def pairs_of(request: Request, folder: Path) -> list[Pair]:
    """All candidates of a request, their run folders below `folder`."""
    if request.candidates is None:
        return []
    names = _names(request.candidates.models)
    return [
        Pair(
            model,
            size,
            names[model],
            folder / f"{names[model]}{f'@{size}' if size else ''}",
            replace(
                request,
                model=model,
                images=replace(request.images, image_size=size),
                candidates=None,
                refit=False,
                explain=False,
            ),
        )
        for model, size in request.candidates.pairs
    ]


def _names(models: Sequence[str]) -> dict[str, str]:
    """A short name for every model, with a number where others have the same."""
    found: dict[str, str] = {}
    for model in models:
        short = short_name(model)
        numbered = (short, *(f"{short}-{number}" for number in range(2, len(models) + 1)))
        found[model] = next(name for name in numbered if name not in found.values())
    return found


def short_name(model: str) -> str:
    """The model without the place that it comes from, in letters that any file system takes."""
    kind, _, rest = model.rpartition(":")
    name = Path(rest).name if kind in ("local-dir", "hf-hub") else rest
    return re.sub(r"[^\w.-]", "-", name).strip(".-") or "model"


def measure(experiment: Experiment, *, timed: bool) -> NetworkFacts:
    """What the network takes in use and in training; `timed` = also how long a full fine-tuning takes."""
    trainer, size = experiment.trainer, experiment.model.preprocessing.image_size
    blocks, table = experiment.blocks("stage"), experiment.work("stage")
    everything = FineTunePlan.constant(blocks, {block.name: BASE_RATE for block in blocks})
    memory = bytes_of_a_step(trainer, everything, blocks)
    network = trainer.network.eval()
    with within_memory(f"{size} px are too many for it"):
        batched, single = (milliseconds_per_image(network, batch, size, SECONDS) for batch in BATCHES)
    return NetworkFacts(
        architecture=experiment.model.architecture,
        image_size=size,
        parameters=sum(block.parameters for block in table.blocks),
        flops=table.flops,
        unit_flops=experiment.unit_flops,
        milliseconds=single,
        milliseconds_batched=batched,
        memory_bytes=memory,
        seconds_per_unit=seconds_per_unit(experiment) if timed else None,
    )


@dataclass(frozen=True, kw_only=True)
class Screening(Result):
    """What was found without training, besides the probe, which is a training in the ledger."""

    neighbors: ImageAccuracy | None
    work: float
    """Units of work of the pair itself."""
    seconds: float
    """Probe and nearest neighbors, without loading and decoding."""


def screened(experiment: Experiment, comparable: Comparable) -> tuple[TrainingRecord | None, Screening]:
    """Solve the linear probe, None if the head is not a single linear layer; everything is done once."""
    began = time.perf_counter()
    solved = comparable.solved
    probe = None if solved is None else comparable.train(solved, comparable.last_rung)

    def look() -> Screening:
        if probe is None or probe.error:
            return Screening(neighbors=None, work=0.0, seconds=time.perf_counter() - began)
        blocks = experiment.blocks("stage")
        everything = FineTunePlan.constant(blocks, {block.name: BASE_RATE for block in blocks})
        passes = len(experiment.data.train) + len(experiment.data.val)
        return Screening(
            neighbors=neighbors(experiment),
            work=experiment.training_work(everything, 0, further_passes=passes) + probe.work,
            seconds=time.perf_counter() - began,
        )

    return probe, experiment.ledger.settled("screening", Screening, look)


def neighbors(experiment: Experiment) -> ImageAccuracy:
    """The votes of the nearest training images, on validation. The head must be a single linear layer."""
    experiment.model.restore(0)
    votes = experiment.trainer.nearest_neighbors(None)["val"].numpy()
    return accuracy_of(votes.argmax(axis=1) == experiment.data.val.labels.numpy())


def accuracy_of(right: np.ndarray) -> ImageAccuracy:
    """Accuracy and interval of validation images that were right or wrong, [n] bool."""
    return ImageAccuracy(accuracy=float(right.mean()), interval95=bootstrap_interval(right.astype(np.float64)))


def right_of(record: TrainingRecord, images: int) -> np.ndarray:
    """Which validation images a training classified correctly, [images] bool."""
    return np.array(unpack_bits(record.right, images))


@dataclass
class Comparable:
    """The first candidates of `auto` on one pair, trained as the search itself will train them."""

    halving: Halving
    trainings: CandidateTrainings

    @classmethod
    def of(cls, experiment: Experiment, settings: AutoConfig) -> Comparable:
        """The search that would follow if the pair were chosen."""
        spec = experiment.request.strategies[0]
        strategy = asked_for(experiment, spec)[0]
        rungs = rung_epochs(experiment.request.train.epochs, settings)
        trainings = CandidateTrainings(experiment, strategy.spec, rungs, keeps_weights=True)
        context = Context(experiment, strategy, experiment.request.search.learning_rate or BASE_RATE)
        return cls(make_halving(experiment, settings, context, trainings, strategy.spec), trainings)

    @property
    def solved(self) -> Candidate | None:
        """The solved linear probe; None if the head is not a single linear layer."""
        return next((each for each in self.halving.first() if self._plan(each).is_solved), None)

    @property
    def first(self) -> Candidate:
        """The first candidate that trains."""
        return next(each for each in self.halving.first() if not self._plan(each).is_untrained)

    def price(self, candidate: Candidate, rung: int, below: int | None) -> float:
        """Units of work up to the end of a rung, from the end of the rung `below`."""
        plan = self._plan(candidate)
        return self.trainings.price(plan, rung) - (0.0 if below is None else self.trainings.price(plan, below))

    def train(self, candidate: Candidate, rung: int) -> TrainingRecord:
        """Train up to the end of a rung, or find that in the ledger."""
        task = self._task(candidate, rung)
        return self.trainings.train_all([task])[self.trainings.key(task)]

    def begin(self, candidate: Candidate, rung: int) -> None:
        """Have workers begin what `train` is going to be asked for, if there are any."""
        self.trainings.ahead([self._task(candidate, rung)])

    @property
    def last_rung(self) -> int:
        """The rung at which a training is at its end."""
        return len(self.trainings.rungs) - 1

    def _task(self, candidate: Candidate, rung: int) -> Task:
        return Task.of(replace(candidate, rung=rung), self._plan(candidate), self.halving.seeds[0])

    def _plan(self, candidate: Candidate) -> FineTunePlan:
        return self.halving.space.plan(candidate.genes)
