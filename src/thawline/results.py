"""What every command returns and a run folder stores: one field per key of the JSON, with its unit and meaning.

A result is read by attribute, `results.test.accuracy.mean`, or by key, `results["test"]["accuracy"]["mean"]`; `to_dict`
gives the JSON. Accuracies, precision, recall, F1, calibration errors and shares are 0 to 1 unless a field says percent.
Standard library only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from thawline.formatting import row_label
from thawline.plan import FineTunePlan

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object whose keys belong to another type, which is named where this stands."""
Number: TypeAlias = int | float
"""A sum: 0 where nothing was added."""
Interval: TypeAlias = tuple[float, float]
"""Lower and upper end."""
Address: TypeAlias = Sequence[int]
"""A candidate of a search: [generation, slot]."""
_OPTIONAL = {"optional": True}
HIDDEN = {"hidden": True}
"""Of a field that is not a key: it is not in the JSON."""


class Result:
    """Base of all results: their keys are their fields, without the optional ones that are not there."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __getitem__(self, key: str) -> Any:
        """A field by its name in the JSON; `KeyError` if it is not there."""
        for name, value in self.items():
            if name == key:
                return value
        raise KeyError(key)

    def get(self, key: str, default: object = None) -> Any:
        """A field by its name in the JSON, or `default` if it is not there."""
        return next((value for name, value in self.items() if name == key), default)

    def keys(self) -> list[str]:
        """Names of the fields in the JSON, in its order."""
        return [name for name, _ in self.items()]

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and values in the order of the JSON."""
        for each in dataclasses.fields(self):
            if "hidden" in each.metadata:
                continue
            value = getattr(self, each.name)
            if value is not None or "optional" not in each.metadata:
                yield each.metadata.get("key", each.name), value

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def to_dict(self) -> JsonObject:
        """This result in plain JSON types."""
        return {name: plain(value) for name, value in self.items()}


def plain(value: object) -> Any:
    """A value and all results inside it as plain JSON types."""
    if isinstance(value, Result | FineTunePlan):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


@dataclass(frozen=True, kw_only=True)
class Figure(Result):
    """One metric over the final trainings, one per seed."""

    mean: float
    """Mean over the seeds."""
    standard_error: float | None
    """Standard error of the mean; None = one seed."""
    n: int
    """Number of seeds."""
    per_seed: Sequence[float]
    """The lowest seed first."""


@dataclass(frozen=True, kw_only=True)
class SplitScores(Result):
    """Every metric of one split. Macro figures average over the classes that occur in it."""

    accuracy: Figure
    """Share of the images that are classified correctly."""
    balanced_accuracy: Figure
    """Mean recall of the classes."""
    macro_precision: Figure
    """A class that is never predicted counts as 0."""
    macro_recall: Figure
    """Mean recall over the classes, also called balanced accuracy."""
    macro_f1: Figure
    """Mean F1 over the classes."""
    negative_log_likelihood: Figure
    """Mean over the images, in nats."""
    calibration_error: Figure
    """Expected calibration error over 15 equal bins of confidence."""


@dataclass(frozen=True, kw_only=True)
class ClassScores(Result):
    """One class by one model."""

    name: str
    """The class."""
    precision: float
    """Share of the images predicted as this class that belong to it."""
    recall: float
    """Share of the images of this class that are predicted as it."""
    f1: float
    """Harmonic mean of precision and recall."""
    images: int
    """Images of the class in the split."""


@dataclass(frozen=True, kw_only=True)
class TestScores(SplitScores):
    """The test split: all metrics, and what the saved model gets right in each class."""

    __test__ = False  # not a test, whatever pytest makes of the name

    interval95: Interval
    """95 % bootstrap interval of the accuracy over test images, seeds averaged."""
    confusion_matrix: Sequence[Sequence[int]]
    """Images by [true class][predicted class], for the lowest seed."""
    per_class: Sequence[ClassScores] | None = field(default=None, metadata=_OPTIONAL)
    """Scores of each class for the lowest seed, in the order of the classes; not stored in the cells of a recipe."""


@dataclass(frozen=True, kw_only=True)
class Cost(Result):
    """What one strategy took on its way to its scores."""

    work: Number
    """Tuning or search and the first final training, in full fine-tunings at the nominal number of epochs."""
    proof: Number
    """Final trainings with further seeds, in the same unit."""
    refit: Number | None = field(default=None, metadata=_OPTIONAL)
    """Training the saved model on train and val together, in the same unit and not in `work`; None = no refit."""
    trainings: int
    """Trainings of all kinds, each counted once."""
    seconds: Number
    """Wall time of those trainings, without decoding and scoring."""
    image_passes: int
    """Images seen by the network, training and validation."""
    cache_hits: int
    """Image passes whose frozen blocks were read and not computed; depends on the machine."""
    peak_memory_bytes: int
    """Highest memory of the whole process until the last of them ended (on a GPU: allocated there by PyTorch)."""


@dataclass(frozen=True, kw_only=True)
class Versus(Result):
    """The paired comparison of a strategy with full fine-tuning on the test images."""

    difference: float
    """Accuracy minus that of full fine-tuning."""
    interval95: Interval
    """95 % interval of the difference over test images."""
    p_holm: float
    """Two-sided permutation test, Holm-adjusted over the strategies compared."""
    words: str
    """The same as a sentence, with its interval, the number of test images and of trainings (`thawline.verdicts`)."""

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, kw_only=True)
class BlockWeight(Result):
    """One block of the plan that a search found."""

    name: str
    """The block."""
    weight: float | None
    """Learning rate as a multiple of the base rate; None = frozen."""


@dataclass(frozen=True, kw_only=True)
class Generation(Result):
    """One generation of a search."""

    generation: int
    """Number of the generation; 0 = the initial one."""
    fold: int | None
    """The part of the training split that it trained on; None = all of it."""
    best: float
    """Highest validation score."""
    mean: float
    """Mean validation score."""
    quartiles: Sequence[float]
    """Lower quartile, median and upper quartile of the validation scores."""
    diversity: float | None
    """Mean distance between two candidates, 0 to 1; None = a single candidate."""
    evaluations: int
    """Candidates trained in this generation."""


@dataclass(frozen=True, kw_only=True)
class Candidate(Result):
    """One plan that a search tried."""

    generation: int
    """The generation that it belongs to; 0 = initial candidates."""
    slot: int
    """Its place in the generation."""
    operator: str
    """How it was made: start, initial, mutation, ..."""
    parents: Sequence[Address]
    """Candidates that it was made from."""
    genes: Sequence[float]
    """Its encoding, 0 to 1, in the order of the search's `genes`."""
    fold: int | None
    """The part of the training split that it trained on; None = all of it."""
    rung: int = 0
    """Number of promotions to a longer training."""
    score: float
    """Validation score, mean over its seeds."""
    per_seed: Sequence[float]
    """Validation scores of its seeds."""
    work: Number
    """Units of work: 1 = one full fine-tuning."""
    weights: Sequence[float | None] | None = field(default=None, metadata=_OPTIONAL)
    """For every block, the learning rate as a multiple of the base rate; None = frozen."""
    epochs: int | None = field(default=None, metadata=_OPTIONAL)
    """Epochs that it was trained for (auto only)."""
    early_score: float | None = field(default=None, metadata=_OPTIONAL)
    """Validation score after the first rung, which all candidates reached (auto only)."""
    batch_norm: str | None = field(default=None, metadata=_OPTIONAL)
    """Batch norm of its trained blocks: moving or kept; None = no block with batch norm trains."""
    head_start: str | None = field(default=None, metadata=_OPTIONAL)
    """What its head started from: random or probe (auto only)."""
    scaled_loss: float | None = field(default=None, metadata=_OPTIONAL)
    """Validation loss in nats after temperature scaling, mean over its seeds; the lowest is selected (auto only)."""

    @property
    def comparable_score(self) -> float:
        """The score that all candidates of the search have: the early one where epochs differ."""
        return self.score if self.early_score is None else self.early_score


@dataclass(frozen=True, kw_only=True)
class BaselineTrial(Result):
    """How a search tried one fixed strategy."""

    strategy: str
    """Name and arguments: last_blocks:k=2."""
    score: float
    """Validation score."""
    epochs: int
    """Epochs that it was trained for."""


@dataclass(frozen=True, kw_only=True)
class SearchRecord(Result):
    """The course of a search."""

    settings: JsonObject
    """Fields of `AutoConfig` or `EvolutionConfig`."""
    rungs: Sequence[int] | None = field(default=None, metadata=_OPTIONAL)
    """Numbers of epochs after which candidates are compared and promoted (auto only)."""
    base_rate: float
    """Learning rate that weights multiply."""
    genes: Sequence[str]
    """Names of the genes."""
    blocks: Sequence[BlockWeight]
    """The winning plan, from the input to the head."""
    norm: str | None = field(default=None, metadata=_OPTIONAL)
    """Batch norm in the winning plan: train or eval (auto only); None = no block with batch norm trains."""
    trainable_percent: float
    """Parameters that the winning plan trains, in percent."""
    data_share: float
    """Share of the training split that a generation trains on."""
    generations: Sequence[Generation]
    """Scores of every generation, in order."""
    importance: Mapping[str, float]
    """Block -> share of what sets the best candidates apart (PED-ANOVA); sums to 1, empty if they are too alike."""
    candidates: Sequence[Candidate] | None = field(default=None, metadata=_OPTIONAL)
    """All of them; not stored in the cells of a recipe."""
    winner: Address
    """The candidate that was selected."""
    best: Address | None = field(default=None, metadata=_OPTIONAL)
    """The candidate with the highest score among those that could be selected (auto only)."""
    optimism: float | None = field(default=None, metadata=_OPTIONAL)
    """How much of the winner's validation accuracy, 0 to 1, is owed to its selection, by a bootstrap over validation
    images; what is shown is without it (auto only)."""
    ways: Mapping[str, BaselineTrial | None] | None = field(default=None, metadata=_OPTIONAL)
    """Fixed strategies among the initial candidates; None = the budget had no room for it (auto only)."""
    trainings: int
    """Number of trainings of the search."""
    work: Number
    """Units of work: 1 = one full fine-tuning."""
    digest: str
    """SHA-256: two searches are equal when these are."""

    @property
    def tried(self) -> Sequence[Candidate]:
        """The candidates whose blocks are known."""
        return [candidate for candidate in self.candidates or () if candidate.weights]

    def candidate(self, address: Address) -> Candidate | None:
        """The candidate at [generation, slot]."""
        wanted = tuple(address)
        return next((found for found in self.candidates or () if (found.generation, found.slot) == wanted), None)


class Row(Result):
    """One strategy: a `ScoredRow`, or a `FailedRow` if it could not be trained."""

    strategy: str
    """Name and arguments as requested: last_blocks, auto."""

    @property
    def label(self) -> str:
        """What tables call it: the strategy; of a comparison of several networks its network before that."""
        return row_label(self.strategy, self.get("network"))


@dataclass(frozen=True, kw_only=True)
class FailedRow(Row):
    """A strategy that could not be trained."""

    strategy: str
    """The strategy with its arguments."""
    error: str | None
    """Why, in one line."""
    versus_full: None = None
    """Always None: there is nothing to compare."""
    network: str | None = field(default=None, metadata=_OPTIONAL)
    """As in `ScoredRow`."""


@dataclass(frozen=True, kw_only=True)
class NearestNeighbors(Result):
    """Accuracy, 0 to 1, of the votes of the nearest training images in the features of the pretrained network."""

    val: float
    """On the validation images."""
    test: float | None
    """None = the data has no test split."""


@dataclass(frozen=True, kw_only=True)
class ScoredRow(Row):
    """A strategy, tuned on validation, trained with every seed, and scored."""

    strategy: str
    """The strategy with its arguments."""
    chosen: str
    """What was settled on, with arguments: last_blocks:k=3."""
    arguments: JsonObject = field(default_factory=dict)
    """Its arguments by name."""
    learning_rate: float
    """Base learning rate per step, from which the plan was made; 0 = none, the head is a solved linear probe."""
    plan: FineTunePlan
    """In the JSON `FineTunePlan.to_dict()`, which `FineTunePlan.from_dict` reads."""
    batch_norm: str | None = field(default=None, metadata=_OPTIONAL)
    """Batch norm of the trained blocks: moving (batch statistics, which also update the running ones) or kept (the
    running statistics); None = no block with batch norm trains."""
    probe_strength: float | None = field(default=None, metadata=_OPTIONAL)
    """L2 penalty of the linear probe that the head is or starts from; None = it starts from random weights."""
    train: SplitScores
    """Images as they are, not augmented."""
    val: SplitScores
    """Scores on the validation images."""
    test: TestScores | None
    """None = the data has no test split."""
    trainable_percent: float
    """Parameters that train, in percent of all."""
    cost: Cost
    """What tuning and final trainings took."""
    best_epochs: Sequence[int | None]
    """For every seed the epoch, from 0, whose weights were kept."""
    search: SearchRecord | None = field(default=None, metadata=_OPTIONAL)
    """How the plan was found, if it comes from a search."""
    versus_full: Versus | None = None
    """None = full fine-tuning itself, or not compared with it. Full fine-tuning is that of the same network."""
    network: str | None = field(default=None, metadata=_OPTIONAL)
    """`ComparedNetwork.name` of its network; None = the run has a single one."""
    versus_best: Versus | None = field(default=None, metadata=_OPTIONAL)
    """Against the row that is best on validation among all networks, over the same test images; None = it is that row,
    there is a single network, or no test split."""
    nearest_neighbors: NearestNeighbors | None = field(default=None, metadata=_OPTIONAL)
    """Beside a solved linear probe: what the same features give without any head."""
    processes: int | None = field(default=None, metadata=_OPTIONAL)
    """Number of processes that took every step of a final training together; None = one. Figures of several numbers of
    processes differ by rounding, and so do digests."""

    @property
    def train_test_gap(self) -> float | None:
        """Train minus test accuracy, means over seeds; None without a test split."""
        return None if self.test is None else self.train.accuracy.mean - self.test.accuracy.mean


@dataclass(frozen=True, kw_only=True)
class Environment(Result):
    """The software and hardware that made a run."""

    python: str
    """Version of Python."""
    platform: str
    """Operating system and machine type."""
    processor: str
    """Name of the processor and its number of cores."""
    packages: Mapping[str, str | None]
    """Versions; None = not installed."""
    device: str
    """cpu, cuda or mps."""
    threads: int
    """CPU threads of each training."""
    command: str | None = field(default=None, metadata=_OPTIONAL)
    """The command line; not stored in the cells of a recipe."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts(Result):
    """The pretrained network."""

    source: str | None = field(default=None, metadata=_OPTIONAL)
    """The model as requested: a timm name, local-dir:PATH, hf-hub:NAME or module.py:factory; not in recipe cells."""
    architecture: str
    """Name of the network."""
    weights_fingerprint: str
    """SHA-256 of the pretrained weights, and of the code for a network of one's own."""
    own_files: Mapping[str, str] | None = field(default=None, metadata=_OPTIONAL)
    """SHA-256 of every file of the code of a network of one's own, by its path relative to the factory's."""


@dataclass(frozen=True, kw_only=True)
class DataFacts(Result):
    """The images that a run was made on."""

    root: str
    """The folder that paths are relative to."""
    fingerprint: str
    """Changes with any pixel, label or split."""
    classes: Sequence[str]
    """Names in the order of the model's outputs."""
    images: Mapping[str, int]
    """Number of images by split: train, val, test."""
    notes: Sequence[str]
    """What to know of the splits."""


@dataclass(frozen=True, kw_only=True)
class MirrorTest(Result):
    """A linear probe of the training images as they are, scored on validation images and on their mirror images.

    Log-losses are means over the images in nats, each at its best temperature; with the metric macro_f1 all figures
    but counts weight every class alike.
    """

    images: int
    """Validation images."""
    passes: int
    """Images forwarded: training images, validation images and their mirror images."""
    log_loss: float
    """Of the images as they are."""
    mirrored_log_loss: float
    """Of their mirror images."""
    accuracy: float
    """Accuracy on the validation images as they are."""
    mirrored_accuracy: float
    """Accuracy on their mirror images."""
    p: float
    """One-sided p-value that the log-loss of mirror images is higher: Student's t, paired over the images."""


@dataclass(frozen=True, kw_only=True)
class AugmentationChoice(Result):
    """What `augment` auto settled on before any training, and why."""

    augment: str
    """The augmentation of every training of the run: mild, or mild_no_flip."""
    words: str
    """The reason as sentences, as the screen and the report give it."""
    work: Number
    """Forward passes of the mirror test, in full fine-tunings; in the `work` of no strategy."""
    mirror_test: MirrorTest | None = field(default=None, metadata=_OPTIONAL)
    """What was measured; None = it could not be."""


@dataclass(frozen=True, kw_only=True)
class FitAgain(Result):
    """What became of the classes of the trained model that a run started from, and which images it knows."""

    source: str
    """The run, or the timm folder."""
    head: str
    """kept = classes of the same name keep their rows of the classifier; new = all rows are new."""
    kept: Sequence[str]
    """Classes of the same name."""
    new: Sequence[str]
    """Classes that the old model did not know."""
    vanished: Sequence[str]
    """Classes of the old model that these images do not have."""
    seen: Mapping[str, int] = field(default_factory=dict)
    """How many of these images trained ("train") or selected ("val") the old model, by the content of their files."""
    seen_in_test: int = 0
    """How many of them are test images here."""
    words: str
    """The same in sentences, as the screen and the report give it."""

    def with_words(self, words: str) -> FitAgain:
        """The same in other words."""
        return dataclasses.replace(self, words=words)

    def with_seen(self, seen: Mapping[str, int], in_test: int) -> FitAgain:
        """The same with the images that the old model knows."""
        return dataclasses.replace(self, seen=seen, seen_in_test=in_test)


@dataclass(frozen=True, kw_only=True)
class Forgetting(Result):
    """How well the old run's test images are classified by the old model and by the saved one."""

    images: int
    """Those that are still there, of classes that both models know."""
    missing: int
    """Test images of these classes that are not there any more."""
    before: float
    """Accuracy of the old model."""
    after: float
    """Accuracy of the saved model."""
    interval95: Interval
    """95 % interval of after minus before, paired over the images."""
    words: str
    """The same as a sentence."""


@dataclass(frozen=True, kw_only=True)
class TriedShare(Result):
    """One mixture of old and new weights."""

    old_share: float
    """Share of the weights that training started from; 0 = the trained network."""
    val: float
    """Validation accuracy on the new images."""
    old_val: float
    """Accuracy on the old run's validation images of classes that both models know."""


@dataclass(frozen=True, kw_only=True)
class KeepOld(Result):
    """How the share of the old weights in the saved model was chosen: the highest mean of both accuracies."""

    old_share: float
    """Share of the old weights in the saved model."""
    tried: Sequence[TriedShare]
    """Every share that was tried."""
    old_images: int
    """Validation images of the old run."""
    words: str
    """What the share costs on either split, as a sentence."""


@dataclass(frozen=True, kw_only=True)
class NetworkFacts(Result):
    """What a network takes in use and in training at one image size, measured on the machine of the run."""

    architecture: str
    """Name of the network."""
    image_size: int
    """Side of the input in pixels."""
    parameters: int
    """All weights, with a head for the classes of the run."""
    flops: int
    """Forward pass of one image; a multiplication and an addition are two."""
    unit_flops: float
    """Full fine-tuning for all epochs, with validation."""
    milliseconds: float
    """Median time of a single image."""
    milliseconds_batched: float
    """Median time an image in batches of 32."""
    memory_bytes: int
    """A step of full fine-tuning: weights, gradients, optimizer state and activations, without caches."""
    seconds_per_unit: float | None = field(default=None, metadata=_OPTIONAL)
    """Estimated time of a full fine-tuning; measured where the budget is a time."""


@dataclass(frozen=True, kw_only=True)
class ImageAccuracy(Result):
    """Accuracy on the validation images."""

    accuracy: float
    """Share of the images that are classified correctly."""
    interval95: Interval
    """95 % bootstrap interval over the validation images."""


@dataclass(frozen=True, kw_only=True)
class NetworkDifference(Result):
    """A network against the chosen one, paired over the validation images, trained as long."""

    difference: float
    """Accuracy minus that of the chosen network."""
    interval95: Interval
    """95 % bootstrap interval over the validation images."""
    epochs: int
    """Epochs of either training; 0 = solved linear probes."""


@dataclass(frozen=True, kw_only=True)
class NetworkTrial(Result):
    """One pair of a model and an image size among which `fit` chose."""

    name: str
    """As messages and tables call it: tf_efficientnet_lite0 at 96 px."""
    model: str
    """As requested."""
    asked_size: int | None
    """Image size as requested; None = the model's own."""
    outcome: str
    """chosen, trained, probed (not trained further), excluded (breaks a limit), failed or missing."""
    words: str
    """Why it was not chosen, or that it was."""
    facts: NetworkFacts | None = field(default=None, metadata=_OPTIONAL)
    """What the network takes; None if it could not be measured."""
    probe: ImageAccuracy | None = field(default=None, metadata=_OPTIONAL)
    """The solved linear probe."""
    neighbors: ImageAccuracy | None = field(default=None, metadata=_OPTIONAL)
    """Votes of the nearest training images in the features of the pretrained network."""
    epochs: int | None = field(default=None, metadata=_OPTIONAL)
    """Epochs of its longest training in the comparison of networks; None = it was not trained."""
    trained: ImageAccuracy | None = field(default=None, metadata=_OPTIONAL)
    """Its best training of that length."""
    versus_chosen: NetworkDifference | None = field(default=None, metadata=_OPTIONAL)
    """Difference to the chosen pair; None for that one, and for pairs without scores."""
    work: Number = 0
    """Its trainings in the comparison, in full fine-tunings of the costliest pair."""
    unit_share: Number | None = field(default=None, metadata=_OPTIONAL)
    """Work of a full fine-tuning of it, in those of the costliest pair."""


@dataclass(frozen=True, kw_only=True)
class NetworkChoice(Result):
    """models.json: which pair of a model and an image size `fit` settled on before it searched for the plan.

    Everything is decided on the validation images. The unit of work is a full fine-tuning of the costliest pair.
    """

    format_version: int
    """Version of the format."""
    trials: Sequence[NetworkTrial]
    """All pairs, in the order given."""
    chosen: str
    """Name of the pair that was chosen."""
    strategy: str
    """The search that follows, with the budget that is left, in full fine-tunings of the chosen pair."""
    work_of_probes: Number
    """Forward passes, solvers and the mirror test of all pairs."""
    work_of_trainings: Number
    """Trainings of all pairs to compare them; those of the chosen one are not repeated."""
    work_of_others: Number
    """The part of both that was spent on pairs that were not chosen, and on all probes."""
    unit_ratio: float
    """Work of a full fine-tuning of the costliest pair in those of the chosen pair."""
    seconds_of_probes: Number
    """Wall time of the probes, without decoding and loading."""
    validation_images: int
    """Number of images that everything was decided on."""
    epochs: int
    """Of a whole training."""
    words: str
    """The choice as a sentence, as the screen and the report give it."""
    doubled: str
    """What twice the budget would change, as a sentence."""
    digest: str
    """SHA-256 of everything that the seed decides in the comparison."""

    @property
    def best(self) -> NetworkTrial:
        """The pair that was chosen."""
        return next(trial for trial in self.trials if trial.name == self.chosen)


@dataclass(frozen=True, kw_only=True)
class RunFacts(Result):
    """What the results of every run begin with."""

    format_version: int
    """Version of the format."""
    environment: Environment
    """Versions, hardware and command."""
    pretrained: ModelFacts = field(metadata={"key": "model"})
    """The network before fine-tuning."""
    seed: int
    """The lowest seed of the final trainings."""
    seeds: int
    """Number of final trainings of every strategy."""
    request: JsonObject
    """`Request.to_dict()`: all options; `Request.from_dict` reads it."""
    data: DataFacts
    """The images and their splits."""
    again: FitAgain | None = field(default=None, metadata=_OPTIONAL)
    """The trained model that is fitted again; None = the run started from a pretrained network."""
    augmentation: AugmentationChoice | None = field(default=None, metadata=_OPTIONAL)
    """Why training images are flipped or not; None = `augment` was given."""


@dataclass(frozen=True, kw_only=True)
class BlockRow(Result):
    """One block of the network in the plan."""

    name: str
    """The block."""
    learning_rate: float | None
    """Learning rate per step, the highest over the plan's phases; None = frozen, or a head that was only solved."""
    frozen: bool
    """Whether its weights are those of the network it started from."""
    parameters: int
    """Number of trainable scalars."""


@dataclass(frozen=True, kw_only=True)
class _SavedFacts(RunFacts):
    saved_seed: int
    """Seed of the training whose weights are saved."""


@dataclass(frozen=True, kw_only=True)
class Latency(Result):
    """What the ensemble of a search takes in use beside one network, on the machine of the run."""

    batch_size: int
    """Images that are classified at once."""
    ensemble: float
    """Median milliseconds an image of the ensemble; blocks that its networks share run once."""
    single: float
    """The same of the saved network, or of the pick where the ensemble is saved."""


@dataclass(frozen=True, kw_only=True)
class Refit(Result):
    """How the saved model was trained on train and val together. No score in the results is its own."""

    images: int
    """Number of images of train and val."""
    epochs: Sequence[int]
    """For every network that is saved or averaged, the epochs it trained for; 0 = a solved linear probe."""
    words: str
    """What the saved model and the scores have to do with each other, as the screen, the report and the model card say
    it."""


@dataclass(frozen=True, kw_only=True)
class Calibration(Result):
    """The temperature that the saved model's logits are divided by, and what it changes (Guo et al. 2017).

    `predict`, `evaluate` and exports apply it; the scores of all rows are those of the networks as trained.
    """

    temperature: float
    """1 = probabilities stay as the network gives them."""
    images: int
    """Validation images that it was fitted on."""
    gain: float
    """By how much it lowers the validation log-loss, in nats: on folds that it was not fitted on."""
    gain_error: float | None
    """Standard error of the gain over images; None = too few images to say."""
    val_before: float
    """Calibration error on validation before, ..."""
    val_after: float
    """... and after."""
    test_before: float | None
    """Calibration error on test before; None = without a test split."""
    test_after: float | None
    """... and after."""
    words: str = ""
    """The same as a sentence."""


@dataclass(frozen=True, kw_only=True)
class FitResults(ScoredRow, _SavedFacts):
    """results.json, and what `fit`, `demo` and `resume` return: the row of the saved model, and the baselines.

    If the saved model was refitted, its row is that of the model before the refit.
    """

    blocks: Sequence[BlockRow]
    """All blocks, from the input to the head."""
    baselines: Mapping[str, Row]
    """Fixed strategies that the search tuned on its way, scored in the same way."""
    frozen_bit_identical: bool
    """Whether frozen blocks kept every bit, checked after every training."""
    digest: str
    """SHA-256 of everything that the seed decides: two runs are equal when these are."""
    answer: str = ""
    """The answer in words, as the screen and the report give it."""
    pick: str | None = field(default=None, metadata=_OPTIONAL)
    """The row whose plan the search of `auto` selected: the saved one, a baseline, or one of its own, `pick`."""
    latency: Sequence[Latency] | None = field(default=None, metadata=_OPTIONAL)
    """What an ensemble beside the answer, or as the answer, takes in use; None = there is none."""
    forgetting: Forgetting | None = field(default=None, metadata=_OPTIONAL)
    """What fitting again cost on the old test images; None = the old run or its test images are not there."""
    keep_old: KeepOld | None = field(default=None, metadata=_OPTIONAL)
    """How much of the old weights is in the saved model; None = `keep_old` was not asked for."""
    refit: Refit | None = field(default=None, metadata=_OPTIONAL)
    """How the saved model was refitted; None = it is the model that was scored."""
    models: NetworkChoice | None = field(default=None, metadata=_OPTIONAL)
    """How the network was chosen among several; None = a single one was given."""
    calibration: Calibration | None = field(default=None, metadata=_OPTIONAL)
    """How the probabilities of the saved model are scaled; None = with `calibrate` off."""
    refit_error: str | None = field(default=None, metadata=_OPTIONAL)
    """Why the saved model is the one that was scored, although a refit was asked for."""

    def __str__(self) -> str:
        return self.answer

    @property
    def rows(self) -> Sequence[Row]:
        """The saved model's row, then the baselines."""
        return [self, *self.baselines.values()]


@dataclass(frozen=True, kw_only=True)
class DepthCurve(Result):
    """Accuracy against the share of the layers that train; one figure per share, shares rising."""

    shares: Sequence[float]
    """Layers below the head that train, in percent."""
    train: Sequence[float]
    """Mean train accuracy."""
    test: Sequence[float]
    """Mean test accuracy."""
    chance_best: Sequence[float]
    """How often each share was the best of a bootstrap resample; they sum to 1."""
    best: float
    """The share with the highest test accuracy; the smallest of equals."""
    alike: Sequence[float]
    """Shares that the test images cannot separate from the best: the 95 % interval of their distance reaches 0."""
    gap_growth: Sequence[Interval]
    """How much more train exceeds test than at the smallest share: 95 % interval over train images, test images and
    seeds, simultaneous over the shares."""
    over_fitting_from: float | None
    """The smallest share from which on every gap has grown; None = no share, or a single seed, which cannot say."""
    words: str = ""
    """What the curve shows, in sentences."""

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, kw_only=True)
class ComparedNetwork(Result):
    """One pair of a model and an image size of a comparison of several."""

    name: str
    """As tables and rows call it: tf_efficientnet_lite0 at 96 px."""
    model: str
    """As requested."""
    asked_size: int | None
    """Image size as requested; None = the model's own."""
    folder: str
    """Its own comparison, relative to the run folder."""
    weights: ModelFacts | None = field(default=None, metadata=_OPTIONAL)
    """The network and its pretrained weights."""
    facts: NetworkFacts | None = field(default=None, metadata=_OPTIONAL)
    """What it takes in use and in training."""
    digest: str | None = field(default=None, metadata=_OPTIONAL)
    """That of its own comparison."""
    error: str | None = field(default=None, metadata=_OPTIONAL)
    """Why it is left out, in one line; None = it has rows."""


@dataclass(frozen=True, kw_only=True)
class Comparison(RunFacts):
    """comparison.json, and what `compare` and `resume` return.

    Of several networks, `model` and `data` are those of the row that is best on validation, and work counts full
    fine-tunings of the costliest network.
    """

    rows: Sequence[Row]
    """One per strategy, in the order asked for; of several networks one after the other."""
    networks: Sequence[ComparedNetwork] | None = field(default=None, metadata=_OPTIONAL)
    """All pairs of a model and an image size, in the order given; None = there is a single one."""
    digest: str
    """SHA-256 of everything that the seed decides: two runs are equal when these are."""
    depth: DepthCurve | None = field(default=None, metadata=_OPTIONAL)
    """The curve through the rows depth:share=..., if there are at least three."""
    answer: str = ""
    """The answer in words, as the screen and the report give it."""

    def __str__(self) -> str:
        return self.answer


@dataclass(frozen=True, kw_only=True)
class SkippedFile(Result):
    """A file that was not used."""

    path: str
    """The file."""
    reason: str
    """Why it was not used."""


@dataclass(frozen=True, kw_only=True)
class FileGroup(Result):
    """Files with the same bytes, or near-duplicates."""

    paths: Sequence[str]
    """Relative to the data."""
    labels: Sequence[str]
    """Distinct labels; more than one is a contradiction."""
    splits: Sequence[str]
    """Distinct given splits; more than one is a leak."""

    @property
    def contradicts(self) -> bool:
        """Whether one image has several labels."""
        return len(self.labels) > 1

    @property
    def leaks(self) -> bool:
        """Whether one image is in several splits."""
        return len(self.splits) > 1


@dataclass(frozen=True, kw_only=True)
class ImageSizes(Result):
    """Sizes of the image files, as stored."""

    different: int
    """Number of different sizes."""
    smallest: Sequence[int] | None = field(default=None, metadata=_OPTIONAL)
    """Width and height in pixels, by area."""
    largest: Sequence[int] | None = field(default=None, metadata=_OPTIONAL)
    """Width and height in pixels, by area."""


@dataclass(frozen=True, kw_only=True)
class CheckResult(Result):
    """check.json, and what `check` returns: the audit of a data set."""

    format_version: int
    """Version of the format."""
    root: str
    """Folder or table of the images."""
    images: int
    """Number of image files, unreadable ones included."""
    classes: Mapping[str, int]
    """Readable images of each class."""
    given_splits: Mapping[str, int]
    """Images of each split that the data itself has."""
    imbalance: float
    """Images of the largest class per image of the smallest."""
    warnings: Sequence[str]
    """One line each, worst first; empty = no problems found."""
    unreadable: Sequence[SkippedFile]
    """Files that cannot be decoded."""
    duplicates: Sequence[FileGroup]
    """The same bytes."""
    lookalikes: Sequence[FileGroup]
    """Near-duplicates: different bytes, almost the same picture."""
    leaking_groups: Sequence[str]
    """Groups with images in two or more of the given splits."""
    oddities: Mapping[str, int]
    """Images that need more than plain decoding, by kind."""
    formats: Mapping[str, int]
    """Images by file format."""
    modes: Mapping[str, int]
    """Images by Pillow mode."""
    sizes: ImageSizes
    """Sides of the images, in pixels."""
    ignored: Sequence[SkippedFile]
    """Files and folders that were not used, with the reason; what is in such a folder is not listed."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Number of `ignored` files and folders by reason; with `images`, the account of everything that was found."""


@dataclass(frozen=True, kw_only=True)
class InspectedBlock(Result):
    """What one block weighs, for one image in fp32."""

    name: str
    """The block."""
    parameters: int
    """Trainable scalars."""
    layers: int
    """Convolutions and linear layers."""
    flops: int
    """Forward pass of one image; a multiplication and an addition are two."""
    entry_flops: int
    """The part of `flops` in the block's first layer."""
    boundary_bytes: int
    """Activations of one image that enter the next block; the logits, for the head."""
    step_from_here: float
    """Cost of a training step of this block and all above it, as a share of a step of the whole network."""


@dataclass(frozen=True, kw_only=True)
class InspectResult(Result):
    """What `inspect` returns: a network's blocks."""

    format_version: int
    """Version of the format."""
    model: str
    """The model as it was asked for."""
    architecture: str
    """Name of the network."""
    image_size: int
    """Side of the input in pixels."""
    granularity: str
    """What a block is: stage, group or layer."""
    blocks: Sequence[InspectedBlock]
    """All blocks, from the input to the head."""


@dataclass(frozen=True, kw_only=True)
class Evaluation(Result):
    """What `evaluate` returns, and an entry of evaluations.json: a saved model's scores on labeled images."""

    data: str
    """Folder or table of the images."""
    split: str
    """test, or all."""
    images: int
    """Readable images that were scored."""
    accuracy: float
    """Share of the images that are classified correctly."""
    balanced_accuracy: float
    """Mean recall over the classes that have images."""
    macro_precision: float
    """Mean precision over the classes that have images."""
    macro_recall: float
    """The same as `balanced_accuracy`."""
    macro_f1: float
    """Mean F1 over the classes that have images."""
    negative_log_likelihood: float
    """Mean over the images, in nats."""
    calibration_error: float
    """Expected calibration error: mean distance of confidence and accuracy over bins of confidence."""
    interval95: Interval
    """95 % bootstrap interval of the accuracy over the images."""
    confusion_matrix: Sequence[Sequence[int]]
    """Images by [true class][predicted class]."""
    per_class: Sequence[ClassScores]
    """Scores of every class."""
    unreadable: Sequence[SkippedFile]
    """Files that cannot be decoded."""
    seen: Mapping[str, int] = field(default_factory=dict)
    """How many of the images trained ("train") or selected ("val") the model."""
    notes: Sequence[str] = ()
    """What was left out of the data, classes without images, and that the model was refitted, one line each."""
    at: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class EvaluationLog(Result):
    """evaluations.json: every `evaluate` of the run, the oldest first."""

    format_version: int
    """Version of the format."""
    evaluations: Sequence[Evaluation]
    """One entry for each call."""


@dataclass(frozen=True, kw_only=True)
class Likelihood(Result):
    """One class and its probability."""

    label: str = field(metadata={"key": "class"})
    """The class."""
    probability: float
    """Its probability."""


@dataclass(frozen=True, kw_only=True)
class Prediction(Result):
    """One image and its likeliest classes."""

    path: str
    """The image."""
    top: Sequence[Likelihood]
    """The likeliest first."""


@dataclass(frozen=True, kw_only=True)
class Predictions(Result):
    """What `predict` returns."""

    format_version: int
    """Version of the format."""
    model: str
    """The folder of the model."""
    predictions: Sequence[Prediction]
    """One entry for each image that could be read."""
    unreadable: Sequence[SkippedFile]
    """Files that cannot be decoded."""
    ignored: Sequence[SkippedFile]
    """Files that are not images."""


@dataclass(frozen=True, kw_only=True)
class PredictionFile(Result):
    """What `predict_to` returns: the predictions themselves are in the file."""

    format_version: int
    """Version of the format."""
    model: str
    """The folder or file of the model."""
    file: str
    """The file that was written."""
    predicted: int
    """Images predicted by this call."""
    unreadable: int
    """Images that this call could not read; the file has the reasons."""
    there_before: int
    """Images that were in the file already, and were skipped."""
    ignored: Mapping[str, int]
    """Files that are not images, counted by reason."""


@dataclass(frozen=True, kw_only=True)
class Int8(Result):
    """What computing in 8-bit integers costs and gives, on the same machine as the rest of export.json."""

    calibration_images: int
    """Training images that set the ranges of the activations."""
    images: int
    """Validation images that were scored."""
    accuracy: float
    """Validation accuracy in int8, by ONNX Runtime."""
    accuracy_fp32: float
    """The same in fp32."""
    loss_points: float
    """Accuracy lost, in percentage points."""
    bytes_fp32: int
    """Size of the fp32 file."""
    milliseconds_fp32: Mapping[str, float]
    """Batch size -> milliseconds per image of the fp32 file."""


@dataclass(frozen=True, kw_only=True)
class ExportResult(Result):
    """What `export` returns and export.json holds: an exported model, and how it was verified.

    It was opened in a fresh process by its own runtime, through the lines of classify.py.
    """

    format_version: int
    """Version of the format."""
    format: str
    """onnx, torch or openvino."""
    precision: str
    """fp32 or int8."""
    model: str
    """The folder of the model that was exported."""
    folder: str
    """Where the export is."""
    files: Mapping[str, int]
    """The model's files with their sizes in bytes."""
    images: int
    """Image files that it was verified on, from file to probability."""
    batches: Sequence[int]
    """Sizes of their batches."""
    largest_difference: float
    """Largest difference of a probability to `predict`."""
    agreeing: int
    """Images with the same likeliest class as by `predict`."""
    milliseconds: Mapping[str, float]
    """Batch size -> milliseconds per image, median, without decoding the file."""
    temperature: float
    """What logits are divided by, inside the graph."""
    packages: Mapping[str, str]
    """What it was opened with, by version."""
    opset: int | None = field(default=None, metadata=_OPTIONAL)
    """Operator set of the ONNX file."""
    int8: Int8 | None = field(default=None, metadata=_OPTIONAL)
    """What 8-bit integers change; None if the model computes in fp32."""
    at: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class OtherMap(Result):
    """What a further run makes of an explained image."""

    run: str
    """Folder of the run."""
    predicted: str = ""
    """The class that it predicts."""
    probability: float | None = None
    """Probability of that class."""
    picture: str
    """Its Grad-CAM overlay: a file relative to the run folder."""


@dataclass(frozen=True, kw_only=True)
class ExplainedImage(Result):
    """One image before and after fine-tuning; files are relative to the run folder."""

    path: str
    """Path of the image; the one in splits.csv if it belongs to the run."""
    true: str | None
    """None = not an image of the run."""
    predicted_before: str | None = None
    """Class predicted before fine-tuning, by a head fitted to other images; None = the head was fitted to this one."""
    predicted: str | None
    """Class predicted by the fine-tuned network; all maps of the image are for this class."""
    probability_before: float | None = None
    """Probability of the class predicted before fine-tuning."""
    probability: float | None = None
    """Probability of the class predicted after fine-tuning."""
    image: str | None = None
    """Picture of the image as the network gets it."""
    before: str | None = None
    """Grad-CAM overlay of the network before fine-tuning."""
    after: str | None = None
    """Grad-CAM overlay of the fine-tuned network."""
    all: str | None = None
    """All of them side by side."""
    beside: Sequence[OtherMap] = ()
    """Maps of further runs."""


@dataclass(frozen=True, kw_only=True)
class BlockChange(Result):
    """What fine-tuning changed in one block."""

    name: str
    """The block."""
    weight_change: float | None
    """Distance of the weights from the pretrained ones, over the length of those."""
    norm_drift: float | None
    """The same for batch norm statistics; None = the block has none."""
    cka: float | None
    """Similarity of the features before and after (linear CKA); 1 = the same. None = not compared."""
    probe_before: float | None
    """Validation accuracy of a linear probe on the pretrained features."""
    probe_after: float | None
    """Validation accuracy of a linear probe on the fine-tuned features."""


@dataclass(frozen=True, kw_only=True)
class SourceAccuracy(Result):
    """What is left of the pretraining task, by its own classifier."""

    accuracy_before: float
    """Before fine-tuning."""
    accuracy_after: float
    """After fine-tuning, with the features of the new network."""
    images: int
    """Number of images."""


@dataclass(frozen=True, kw_only=True)
class Drift(Result):
    """What fine-tuning changed, block by block."""

    blocks: Sequence[BlockChange]
    """All blocks from the input to the last one before the head."""
    images: Mapping[str, int] = field(default_factory=dict)
    """Images that features were compared on, by split."""
    source: SourceAccuracy | None = None
    """None = images of the pretraining task are not at hand."""


@dataclass(frozen=True, kw_only=True)
class Explanation(Result):
    """explain.json, and what `explain` returns."""

    format_version: int
    """Version of the format."""
    environment: Environment | None = field(default=None, metadata=_OPTIONAL)
    """Versions, hardware and command."""
    head_before: str = "fine_tuned"
    """The head before fine-tuning in the pictures: linear_probe or fine_tuned."""
    layer: str = ""
    """The module whose output Grad-CAM weighs."""
    images: Sequence[ExplainedImage]
    """One entry for each image with its maps."""
    unreadable: Sequence[SkippedFile] = ()
    """Files that cannot be decoded."""
    ignored: Sequence[SkippedFile] = ()
    """Files that are not images."""
    drift: Drift | None = None
    """What fine-tuning changed in every block; None if it was not measured."""
    notes: Sequence[str] = ()
    """What a reader should know beside the figures."""


@dataclass(frozen=True, kw_only=True)
class CellData(Result):
    """The images of a recipe's cell, without paths."""

    classes: Sequence[str]
    """Names of the classes."""
    images: Mapping[str, int]
    """Number of images by split: train, val, test."""
    fingerprint: str
    """SHA-256 over pixels, labels and splits."""
    test_images: str | None = field(default=None, metadata=_OPTIONAL)
    """Fingerprint of the names and labels of the test images: cells with equal ones can be paired."""


@dataclass(frozen=True, kw_only=True)
class ScoredCellRow(Row):
    """A scored row of a recipe's cell: a `ScoredRow` without its plan, with the test images that were right."""

    strategy: str
    """The strategy with its arguments."""
    chosen: str
    """The strategy with the arguments that tuning chose."""
    learning_rate: float
    """Base learning rate per step; 0 = none, the head is a solved linear probe."""
    batch_norm: str | None = field(default=None, metadata=_OPTIONAL)
    """Batch norm of the trained blocks: moving or kept; None = no block with batch norm trains."""
    probe_strength: float | None = field(default=None, metadata=_OPTIONAL)
    """L2 penalty of the linear probe that the head is or starts from; None = it starts from random weights."""
    trainable_percent: float
    """Parameters that train, in percent of all."""
    cost: Cost
    """What tuning and final trainings took."""
    best_epochs: Sequence[int | None]
    """The epoch that was kept of every final training."""
    versus_full: Versus | None
    """Difference from full fine-tuning; None if that was not run."""
    train: SplitScores
    """Scores on the training images."""
    val: SplitScores
    """Scores on the validation images."""
    test: TestScores | None
    """Scores on the test images; None without a test split."""
    search: SearchRecord | None = field(default=None, metadata=_OPTIONAL)
    """The course of its search; None for strategies that do not search."""
    nearest_neighbors: NearestNeighbors | None = field(default=None, metadata=_OPTIONAL)
    """Beside a solved linear probe: what the same features give without any head."""
    test_right: Sequence[str]
    """For every seed which test images were right: one bit each in their order, in hexadecimal."""


@dataclass(frozen=True, kw_only=True)
class FailedCellRow(Row):
    """A row of a recipe's cell that could not be trained."""

    strategy: str
    """The strategy with its arguments."""
    error: str | None
    """Why it could not be trained."""


@dataclass(frozen=True, kw_only=True)
class CellFigures(Result):
    """What a recipe's cell keeps of its comparison, without paths."""

    environment: Environment
    """Versions, hardware and command."""
    model: ModelFacts
    """The pretrained network."""
    data: CellData
    """The images and their splits."""
    request: JsonObject
    """The part of `Request.to_dict()` that decides the figures."""
    rows: Sequence[Row]
    """`ScoredCellRow` and `FailedCellRow`."""


@dataclass(frozen=True, kw_only=True)
class CellSetting(Result):
    """What tells the cells of a recipe apart."""

    model: str
    """The network as the tables call it."""
    data: str
    """The dataset as the tables call it."""
    strategy: str | None = field(default=None, metadata=_OPTIONAL)
    """Name and arguments, such as last_blocks:k=2. This and all further fields are set in a grid only."""
    learning_rate: float | None = field(default=None, metadata=_OPTIONAL)
    """Base rate, per step."""
    batch_size: int | None = field(default=None, metadata=_OPTIONAL)
    """Images per optimizer step."""
    optimizer: str | None = field(default=None, metadata=_OPTIONAL)
    """Name of the optimizer."""
    epochs: int | None = field(default=None, metadata=_OPTIONAL)
    """Most epochs of a training."""


@dataclass(frozen=True, kw_only=True)
class RecipeCell(Result):
    """One comparison of a recipe, as its folder stores it; it means the same on any machine."""

    format_version: int
    """Version of the format."""
    recipe: str
    """Name of the recipe."""
    cell: str
    """The name of its file."""
    setting: CellSetting
    """What tells this cell from the others."""
    varied: Sequence[str]
    """Axes of a grid that are not at its center."""
    key: str
    """Changes with every setting."""
    rates_tuned: Mapping[str, float]
    """Learning rates by strategy, where the recipe tunes one rate for all rows."""
    environment: Environment
    """Versions, hardware and command."""
    model: ModelFacts
    """The pretrained network."""
    data: CellData
    """The images and their splits."""
    request: JsonObject
    """The part of `Request.to_dict()` that decides the figures."""
    rows: Sequence[Row]
    """`ScoredCellRow` and `FailedCellRow`."""


@dataclass(frozen=True, kw_only=True)
class StudyResult(Result):
    """What `repeat_study` returns."""

    cells: Sequence[RecipeCell]
    """All finished cells in the study's folder, by name."""
    tables: str
    """Markdown."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Cells that could not be run, with the reason."""


@dataclass(frozen=True, kw_only=True)
class PlannedRow(Result):
    """What one strategy would do."""

    strategy: str
    """The strategy with its arguments."""
    network: str | None = field(default=None, metadata=_OPTIONAL)
    """Model and image size; None = there is a single network."""
    blocks: Sequence[str] | None
    """Blocks that train, from the input to the head; None = a search decides."""
    choices: int | None
    """Combinations of arguments and batch-norm modes that tuning tries; `blocks` are those of the first. None = a
    search decides."""
    tunes_rate: bool
    """Whether the learning rate is tuned on validation."""
    seconds: float
    """Wall time at most, on this machine: no training stops early."""
    units: float
    """Work in full fine-tunings."""
    trainings: int
    """Number of trainings at most."""


@dataclass(frozen=True, kw_only=True)
class DryRun(Result):
    """What `--dry-run` finds: what would be trained, on which images, and how long it takes at most.

    Of several networks, work counts full fine-tunings of the costliest. `compare` trains all rows, `fit` chooses one of
    them, each of which says what it takes if all of the budget goes to it: the sums are the largest of each figure.
    """

    format_version: int
    """Version of the format."""
    verb: str
    """fit or compare."""
    data: DataFacts
    """The images and their splits."""
    model: ModelFacts
    """The pretrained network."""
    augmentation: AugmentationChoice | None
    """What `augment` auto settles on; None = an augmentation was given."""
    request: JsonObject
    """All options, presets and `auto` resolved for this machine."""
    warnings: Sequence[str]
    """One line each, as `thawline check` has them, then notes on the splits."""
    rows: Sequence[PlannedRow]
    """One row for each strategy."""
    seconds: float
    """Wall time at most, on this machine."""
    units: float
    """Work in full fine-tunings."""
    trainings: int
    """Number of trainings of all rows at most."""
    memory_bytes: int
    """Memory of the largest training step."""


@dataclass(frozen=True, kw_only=True)
class RunRecord(Result):
    """run.json: what a run was asked to do, and where it began."""

    format_version: int
    """Version of the format."""
    request: JsonObject
    """`Request.to_dict()`; `Request.from_dict` reads it."""
    environment: Environment
    """Versions, hardware and command."""


@dataclass(frozen=True, kw_only=True)
class Thumbnails(Result):
    """thumbnails.json: small pictures of the images that the report shows."""

    format_version: int
    """Version of the format."""
    side: int
    """Pixels of the longer side."""
    images: Mapping[str, str]
    """Path relative to the data -> WebP in base64."""
