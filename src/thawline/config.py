"""Every option of a run: its type, default and, below the field, its help text. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from thawline.errors import ModelError, OptionError
from thawline.formatting import nearest
from thawline.plan import Granularity
from thawline.ranges import Fault, Range, as_text, first_fault, kinds, read_number, shown

Optimizer = Literal["adamw", "adam", "sgd", "rmsprop"]
Precision = Literal["auto", "fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Augment = Literal["auto", "none", "mild", "mild_no_flip", "strong", "strong_no_flip"]
Balance = Literal["none", "loss", "sampler"]
Metric = Literal["accuracy", "macro_f1"]
OnBad = Literal["error", "skip"]
Norm = Literal["tuned", "moving", "kept"]
Answer = Literal["pick", "average", "ensemble", "distilled"]
Calibrate = Literal["auto", "on", "off"]
ExportFormat = Literal["onnx", "torch", "openvino"]
HeadOption = Literal["random", "probe", "kept", "tuned"]
Head = Literal["auto", "keep", "new"]
BitDepth = Literal["auto", "8", "10", "12", "14", "16"]
BIT_DEPTHS = (8, 10, 12, 14, 16)
"""Bits that the values of 16-bit files may really have."""
FULL_DEPTH = BIT_DEPTHS[-1]

DEFAULT_MODEL = "mobilenetv3_large_100"
DEFAULT_ROWS = ("linear_probe", "last_blocks", "full", "full_10x_head")
"""What `compare` compares."""

MAKE_A_PLAN = ("strategy", "budget", "answer", "learning_rate", "norm")
"""Options of `fit` that a given plan leaves nothing to decide."""
BASE_RATE = 1e-3
"""Learning rate where nothing is tuned, and the first that tuning tries."""

TRAININGS_PER_ROW = 6
"""Trainings that tune a strategy's arguments and rate, the same number for every strategy."""


COUNT = Range(1, 1_000_000)
PORT = Range(0, 65_535)
IMAGE_SIZE = Range(8, 4096, "pixels")
ANY_COUNT = 1_000_000_000_000
"""More images than anyone has: a larger batch or limit is all of them."""
WORKERS = Range(1, 10_000)
BYTES = Range(0, 1 << 50, "1024T, 0 = none")

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([KMGT]?)(?:i?B)?", re.IGNORECASE)
_LATENCY = re.compile(r"([0-9]+(?:\.[0-9]+)?) *(us|ms|s)")
_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[^:/\s\[\]]+):[0-9]{1,5}")
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([KMG]?)", re.IGNORECASE)


def _refuse(fault: Fault | None) -> None:
    """Messages put the names of options in backticks; the command line shows them as flags (`cli.options.as_flags`)."""
    if fault is not None:
        raise OptionError(f"`{fault.name}` {fault}")


def _require(condition: bool, option: str, rule: str, value: object) -> None:
    _refuse(None if condition else Fault(option, rule, value))


def read_option(cls: type, name: str, text: str) -> int | float:
    """The number that was written for a field of `cls`; `OptionError` if it is not a number."""
    kind = kinds(cls)[name]
    number = read_number(text, kind.types[0])
    if number is None:
        raise OptionError(f"`{name}` {Fault(name, kind.rule, text)}")
    return number


def parse_bytes(option: str, size: str | int) -> int:
    """`500M` -> 500 x 2^20, with K, M, G, T or nothing after the number; `OptionError` if it is not a size."""
    found = _SIZE.fullmatch(as_text(size).strip())
    count = float(found[1]) * 1024.0 ** " KMGT".index(found[2].upper() or " ") if found else -1.0
    _require(count in BYTES, option, "a number of bytes such as 500M or 2G, at most 1024T", size)
    return int(count)


def parse_latency(text: str) -> float:
    """`5ms` -> 5.0 milliseconds, also with us or s after the number; `OptionError` if it is none of them."""
    found = _LATENCY.fullmatch(as_text(text).strip())
    milliseconds = float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]] if found else 0.0
    _require(milliseconds > 0, "latency", "a time for one image such as 5ms or 0.2s", text)
    return milliseconds


def parse_workers(number: str | int | None) -> int | None:
    """`4` or 4 -> 4, `auto` or None -> None; `OptionError` if it is neither."""
    if number is None or number == "auto":
        return None
    found = read_number(as_text(number).strip(), int)
    _require(found in WORKERS, "workers", f"a whole number {WORKERS}, or auto", number)
    return int(found or 0)


def parse_parameters(text: str | int) -> int:
    """`3M` -> 3 million, with K, M, G or nothing after the number; `OptionError` if it is not a number of weights."""
    found = _AMOUNT.fullmatch(as_text(text).strip())
    count = int(float(found[1]) * 1000.0 ** " KMG".index(found[2].upper() or " ")) if found else 0
    _require(count > 0, "parameters", "a number of weights such as 800K or 3M", text)
    return count


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The pretrained network, and what counts as a block of it."""

    group: ClassVar[str] = "Model"

    model: str = DEFAULT_MODEL
    """Pretrained model: a timm name, local-dir:PATH, hf-hub:NAME, file.py:factory, or the folder of a finished fit,
    whose model is then fitted again. Several, each with an option of its own (in Python a list): `fit` finds out within
    its budget which of them to fine-tune, `compare` runs every strategy on each."""
    weights: str | None = None
    """Pretrained weights: a file, a folder, or "random"; default: the model's own."""
    granularity: Granularity = "stage"
    """What counts as one block: stage = a stage of the network, group = a residual block or the like (timm's finest
    groups), layer = a single convolution or linear layer."""


@dataclass(frozen=True, kw_only=True)
class AgainOptions:
    """What becomes of the classifier of a model that is fitted again."""

    group: ClassVar[str] = "Model"

    head: Head = "auto"
    """Classifier of a `model` that is a run folder or a timm folder with label names: keep = classes of the same name
    keep their rows, others get new ones; new = a new classifier; auto = keep where any name is the same."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How images become splits and pixels."""

    group: ClassVar[str] = "Data"

    image_size: Annotated[int | None, IMAGE_SIZE] = None
    """Side of the square network input, in pixels; default: the model's own. Several, as with `model`: `fit` chooses
    among all pairs of a model and a size, `compare` runs all of them."""
    crop_pct: Annotated[float | None, Range(0.1, 1)] = None
    """Side of the center crop divided by the shorter side of the resized image, as in timm; default: the model's
    own."""
    augment: Augment = "auto"
    """Augmentation of training images. mild: random shift (by up to 1/8 of the side), horizontal flip, rotation by up
    to 10 degrees; strong: random resized crop (at least half the area), flip, rotation, color jitter of 0.2;
    mild_no_flip, strong_no_flip: the same without flips; auto: mild, or mild_no_flip if a linear probe recognizes
    mirrored validation images significantly worse, which is measured before any training."""
    views: Annotated[int, Range(0, 1_000_000, "0 = new ones in every epoch")] = 4
    """Augmented versions of each training image, drawn once and used in turn by epoch; 0 = new ones in every epoch."""
    test_share: Annotated[float | None, Range(0, 1, above=True, below=True)] = None
    """Fraction held out as test when the data has no test split; default: 0.2, or none (no test scores) when the
    data has a val split."""
    limit: Annotated[int | None, Range(1, ANY_COUNT)] = None
    """Use a stratified random subset of this many images; default: all images."""
    group_pattern: str | None = None
    """Regular expression for image paths: images with the same first capture group (patient, camera, video) stay in
    one split."""
    on_bad: OnBad = "error"
    """Unreadable images, and class folders that have no others: error = stop before training, skip = list them and
    leave them out."""
    bit_depth: BitDepth = "auto"
    """Bits that the values of 16-bit files really have, as those of X-ray, thermal and microscope cameras: auto =
    from the largest value in the dataset."""
    stream: bool = False
    """For more images than the disk has room for: final trainings decode every image when they need it, search and
    tuning have a stratified subset (`search_images`), and nothing is kept of the rest."""
    search_images: Annotated[int, Range(10, ANY_COUNT)] = 10_000
    """With `stream`, the number of training and validation images used for search and tuning; a larger subset contains
    every smaller one. Linear probes are solved on them, and training scores are computed on them."""
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Random seed of splits, subset, augmentation, head initialization, batch order and dropout."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a training runs. The plan says what trains and at which rates; this says everything else."""

    group: ClassVar[str] = "Training"

    epochs: Annotated[int, COUNT] = 20
    """Maximum number of passes over the training split; early stopping (`patience`) may end a training sooner."""
    batch_size: Annotated[int, Range(2, ANY_COUNT)] = 32
    """Images per optimizer step."""
    optimizer: Optimizer = "adamw"
    """Optimizer; SGD has momentum 0.9, the others PyTorch's defaults."""
    weight_decay: Annotated[float, Range(0, 1000)] = 1e-4
    """Weight decay of the optimizer; never applied to biases and norm layers."""
    patience: Annotated[int, Range(0, 1_000_000, "0 = never stop early")] = 5
    """Stop a training after this many epochs without a better validation score; 0 = never stop early. Candidates of the
    strategy auto keep their last epoch and never stop early."""
    warmup_share: Annotated[float, Range(0, 1, below=True)] = 0.05
    """Fraction of all steps over which the learning rates rise linearly from 0; then they follow a cosine to 0."""
    schedule_epochs: Annotated[int | None, COUNT] = None
    """Length of the cosine schedule in epochs, at least `epochs`; default: `epochs`. If longer, training ends before
    the learning rates reach 0."""
    balance: Balance = "none"
    """Correction of class imbalance: loss = weight each class by its effective number of images (Cui et al. 2019, beta
    0.999), sampler = draw every class equally often."""
    metric: Metric = "accuracy"
    """Validation score that selects epoch, learning rate and arguments. auto ranks plans by their validation loss
    instead, in which macro_f1 gives every class the same weight."""
    label_smoothing: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Label smoothing of the training loss."""
    clip_norm: Annotated[float | None, Range(1e-9, 1e9)] = None
    """Clip the gradient of all trained parameters together to this 2-norm; default: no clipping."""
    precision: Precision = "auto"
    """Precision of training: auto = bf16 where the device supports it natively and, on a CPU, where a few timed steps
    are at least 1.2 times as fast with it, else fp32. What was timed is remembered for this network and machine."""
    device: Device = "auto"
    """Device to train on: auto = cuda if available, else mps, else cpu."""
    threads: Annotated[int, Range(0, 1024, "0 = physical cores")] = 0
    """CPU threads per training; 0 = physical cores. It changes rounding, so it is recorded with the run."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))
        span = self.schedule_epochs
        _require(span is None or span >= self.epochs, "schedule_epochs", "at least as many as `epochs`", span)


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """How strategies are tuned, and how many final trainings prove them."""

    group: ClassVar[str] = "Tuning"

    seeds: Annotated[int, Range(1, 1000)] = 1
    """Final trainings per strategy, each with its own head initialization, batch order and dropout; two or more give a
    standard error."""
    learning_rate: Annotated[float | None, Range(1e-9, 100)] = None
    """Base learning rate; default: 1e-3 for `fit` of a named strategy, else tuned on validation."""
    norm: Norm = "tuned"
    """Batch norm of trained blocks: moving = statistics of the batch, which also move the stored ones; kept = the
    stored statistics of the pretrained network; tuned = whichever is better on validation. Networks without batch norm
    are not affected."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))


SearchConfig = TuningConfig
"""The name before 0.2; goes with it."""


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Space for the outputs of frozen blocks, as people write it."""

    group: ClassVar[str] = "Cache"

    cache_memory: str | int = "1G"
    """Memory for the outputs of frozen blocks, which all trainings of a run share, such as 500M (GPU memory where
    training is on a GPU); 0 = none. Another size may round differently, which training can
    amplify."""
    cache_disk: str | int = "4G"
    """Disk space for these outputs when the memory is full, such as 10G; 0 = none. Freed when the run ends."""


@dataclass(frozen=True)
class CacheConfig:
    """Space for the outputs of frozen blocks, which are computed once.

    Runs with the same sizes are equal bit for bit. Other sizes, or none, may round differently, which training can
    amplify.
    """

    memory_bytes: Annotated[int, BYTES] = 1 << 30
    """Largest size in memory (of the GPU where training is on a GPU), in bytes."""
    disk_bytes: Annotated[int, BYTES] = 4 << 30
    """Largest size in memory-mapped files, in bytes; they are deleted when the run ends."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))

    @property
    def off(self) -> bool:
        """Whether nothing may be kept: then every step runs the whole network."""
        return self.memory_bytes == self.disk_bytes == 0


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Who trains. The answer does not depend on it, so that a run can be resumed with other workers, or without."""

    group: ClassVar[str] = "Workers"

    workers: str | int | None = None
    """Processes that train side by side: a number, or auto = as many as this machine, or the cluster of `ray`, has
    processors for; default: this process trains alone, or auto with `ray`. Where `threads` is left out, a training has
    as many as `cpus_per_worker`, however many workers there are."""
    ray: str | None = None
    """Cluster of Ray that has the workers: local = one on this machine, made for this run; auto = the one that this
    machine belongs to; or its address, such as 10.0.0.1:6379. Default: processes of this machine, without Ray."""
    cpus_per_worker: Annotated[int | None, Range(1, 1024)] = None
    """Processors that each worker has to itself; default: 1."""
    gpus_per_worker: Annotated[float, Range(0, 64)] = 0.0
    """GPUs that each worker of `ray` has to itself, or a fraction of one."""
    mixed_machines: bool = False
    """Allow workers with other versions of PyTorch, timm or numpy, or other instructions of their processors, than the
    machine that asks them. Two runs may then end differently; the ledger says who trained what."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))
        parse_workers(self.workers)
        given = self.workers is not None or self.ray is not None
        place = self.ray in (None, "local", "auto") or _ADDRESS.fullmatch(str(self.ray)) is not None
        _require(place, "ray", "local, auto or the address of a cluster such as 10.0.0.1:6379", self.ray)
        alone, no_ray = "left out without `workers`", "left out without `ray`"
        _require(given or self.cpus_per_worker is None, "cpus_per_worker", alone, self.cpus_per_worker)
        _require(self.ray is not None or not self.gpus_per_worker, "gpus_per_worker", no_ray, self.gpus_per_worker)

    @classmethod
    def among(cls, options: Mapping[str, Any]) -> WorkerOptions:
        """Those of all options that are about workers."""
        return cls(**{field.name: options[field.name] for field in fields(cls) if field.name in options})

    @property
    def are_wanted(self) -> bool:
        """Whether others train than this process."""
        return self.workers is not None or self.ray is not None

    @property
    def count(self) -> int | None:
        """How many of them; None = as many as there is room for."""
        return parse_workers(self.workers)

    @property
    def cpus(self) -> int:
        """Processors of each."""
        return self.cpus_per_worker or 1


@dataclass(frozen=True, kw_only=True)
class RunOptions(WorkerOptions, CacheOptions, TuningConfig, TrainConfig, DataConfig, AgainOptions, ModelOptions):
    """Every option that `fit` and `compare` share, flat.

    It is never instantiated: the command line and the functions take names, types, defaults and, from the docstrings
    below the fields, help texts from here. A field added to one of its base classes is an option everywhere.
    """

    preset: str | None = None
    """Options of a published protocol: paper = BioTune (Colan et al. 2025), with three seeds. Options that you give
    take precedence."""
    track: Sequence[str] = ()
    """Also log every training to tensorboard, mlflow or both (tensorboard,mlflow). Nothing leaves this machine."""


@dataclass(frozen=True, kw_only=True)
class FitOptions(RunOptions):
    """The options of `fit`."""

    strategy: str = "auto"
    """Strategy that chooses what to train, with arguments after a colon: last_blocks:k=3. `thawline strategies` lists
    them."""
    budget: str | None = None
    """Cost limit of the strategy auto, everything up to the saved model included except a refit: 5x (default) = the
    work of five full fine-tunings, 30m = wall time (two runs may then decide differently), or 40candidates."""
    plan: str | None = None
    """Train this plan, in place of one that `strategy` makes: a plan.json, edited or not, or the folder of a run that
    has one; in Python also a `FineTunePlan`. Its rates are those that are used."""
    answer: Answer | None = None
    """What the strategy auto hands over: pick = its best candidate; average (default) = one network with the mean
    weights of its best candidates, or the pick where that has a lower validation loss; ensemble = up to three networks
    whose probabilities are averaged; distilled = one network, the best candidate trained once more on the mean output
    of three, or the average or the pick where that has a lower validation loss."""
    latency: str | None = None
    """Longest time that the network of the answer may take for a single image on this machine, such as 5ms; pairs of a
    model and a size that take longer are listed and not trained. Two runs may then decide differently."""
    parameters: str | None = None
    """Largest number of parameters of the network of the answer, such as 3M or 800K; larger ones are listed and not
    trained."""
    refit: bool = False
    """Save a model that was trained once more, on train and val together, for as many epochs as the scored training
    ran up to the weights that were kept. It has seen more images and has no score of its own: all scores are those of
    the model before the refit, which was trained on train alone. Learning rates follow the schedule of `epochs`; there
    are more steps, since an epoch has more images. With several `seeds`, the lowest is refitted. The cost comes on top
    of `budget`."""
    keep_old: bool = False
    """Save a model that is also good on the images that the old one was fitted to: weights between the old ones and the
    new ones (WiSE-FT, Wortsman et al. 2022), the share chosen on both validation splits. Needs a `model` that is a run
    folder whose images are still there, and a kept head."""
    calibrate: Calibrate = "auto"
    """Divide the saved model's logits by a temperature, fitted on validation (Guo et al. 2017): auto = where the
    cross-validated log-loss is lower by more than its standard error, on = always, off = never. The predicted class
    never changes."""
    explain: bool = True
    """End with Grad-CAM of the images in the report and with the changes in every block."""


@dataclass(frozen=True, kw_only=True)
class CompareOptions(RunOptions):
    """The options of `compare`."""

    strategies: Sequence[str] = DEFAULT_ROWS
    """Strategies to compare, such as full and last_blocks:k=3. `thawline strategies` lists them."""


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {
        "epochs": 30,
        "batch_size": 96,
        "optimizer": "adam",
        "weight_decay": 0.0,
        "patience": 3,
        "warmup_share": 0.0,
        "schedule_epochs": 100,
        "image_size": 224,
        "crop_pct": 0.9655,  # resized to 232
        "augment": "none",
        "learning_rate": BASE_RATE,
        "norm": "moving",
        "seeds": 3,
    }
}
"""Options by preset: paper = how BioTune was measured (Colan et al. 2025). The rates fall to 0.79 of the start only."""


def preset_values(name: str | None) -> Mapping[str, Any]:
    """A preset's options by name; `OptionError` if there is none of that name."""
    if name is None:
        return {}
    _require(isinstance(name, str) and name in PRESETS, "preset", f"one of {', '.join(PRESETS)}", name)
    return PRESETS[name]


PARTS = {"train": TrainConfig, "images": DataConfig, "search": TuningConfig}
"""The parts of a request that may be given whole; no option is a field of two of them."""


def preset(name: str, **options: Any) -> dict[str, TrainConfig | DataConfig | TuningConfig]:
    """A preset's `train`, `images` and `search`, as `fit` and `compare` take them; `options` override its own."""
    chosen = {**preset_values(name), **options}
    known = {field.name for part in PARTS.values() for field in fields(part)}
    if unknown := sorted(set(chosen) - known):
        raise OptionError(f"`preset` {name}: unknown option {unknown[0]!r}{nearest(unknown[0], known)}.")
    return {key: part(**_fields_of(part, chosen)) for key, part in PARTS.items()}


def _fields_of(part: type[TrainConfig | DataConfig | TuningConfig], options: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: options[field.name] for field in fields(part) if field.name in options}


@dataclass(frozen=True, kw_only=True)
class InspectOptions(ModelOptions):
    """What `inspect` takes."""

    model: str = DEFAULT_MODEL
    """Model: a timm name, local-dir:PATH, hf-hub:NAME, file.py:factory, or the folder of a finished fit."""
    image_size: Annotated[int | None, IMAGE_SIZE] = None
    """Side of the square network input, in pixels; default: the model's own."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The numbers that `predict` takes."""

    top: Annotated[int, COUNT] = 5
    """Classes per image."""
    batch_size: Annotated[int | None, COUNT] = None
    """Images that the network gets at once; default: 64, fewer where images are large."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))


@dataclass(frozen=True, kw_only=True)
class DashboardOptions:
    """The numbers that `dashboard` takes."""

    port: Annotated[int, Range(1, 65535)] = 8080
    """Port on this machine that the page is served at."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The numbers that `serve` takes."""

    port: Annotated[int, PORT] = 0
    """Port of the page on this machine; 0 = any that is free."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What `export` takes besides places."""

    to: ExportFormat = "onnx"
    """Format to write: onnx for ONNX Runtime and most others, torch = a torch.export program (.pt2), openvino."""
    int8: bool = False
    """Compute in 8-bit integers (ONNX only): smaller and often faster. Calibrated on training images, and refused
    if it loses more than `max_loss` on validation."""
    max_loss: Annotated[float, Range(0, 100, "percentage points")] = 0.5
    """Accuracy in percentage points on validation that int8 may lose."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))
        _require(not self.int8 or self.to == "onnx", "int8", "used with `to='onnx'`", self.to)


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded RGB image becomes the network's input; equal to timm's evaluation transform."""

    image_size: int
    """Side of the square input, in pixels."""
    interpolation: str
    """Name as in timm: bicubic, bilinear, ..."""
    crop_pct: float
    """The shorter side is resized to image_size / crop_pct before the crop."""
    crop_mode: str
    """Name as in timm: center, squash or border."""
    mean: tuple[float, float, float]
    """Mean of each channel, on a 0 to 1 scale."""
    std: tuple[float, float, float]
    """Standard deviation of each channel, on a 0 to 1 scale."""
    bit_depth: int = FULL_DEPTH
    """Bits that the values of 16-bit files really have, one of `BIT_DEPTHS`; 16 = the whole range."""

    def __post_init__(self) -> None:
        """Raise `ModelError` for settings that no network was trained with: they come from files of any origin."""
        is_size = isinstance(self.image_size, int) and 8 <= self.image_size <= 4096
        _require_setting(is_size, "image_size", "a whole number between 8 and 4096 pixels", self.image_size)
        _require_setting(
            self.interpolation in _INTERPOLATIONS,
            "interpolation",
            f"one of {', '.join(_INTERPOLATIONS)}",
            self.interpolation,
        )
        _require_setting(0.05 <= self.crop_pct <= 2, "crop_pct", "between 0.05 and 2", self.crop_pct)
        _require_setting(self.crop_mode in _CROP_MODES, "crop_mode", f"one of {', '.join(_CROP_MODES)}", self.crop_mode)
        for name, values, low, high in (("mean", self.mean, 0, 1), ("std", self.std, 0.001, 10)):
            is_rgb = len(values) == 3 and all(low <= value <= high for value in values)
            _require_setting(is_rgb, name, f"3 values (RGB) between {low} and {high}", list(values))
        is_depth = isinstance(self.bit_depth, int) and self.bit_depth in BIT_DEPTHS
        _require_setting(is_depth, "bit_depth", f"one of {', '.join(map(str, BIT_DEPTHS))}", self.bit_depth)


_INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming")
_CROP_MODES = ("center", "squash", "border")


def _require_setting(condition: bool, setting: str, rule: str, value: object) -> None:
    if not condition:
        raise ModelError(f"{setting} must be {rule}, got {value!r}.")


@dataclass(frozen=True)
class Candidates:
    """Several networks, all pairs of a model and a size: `fit` chooses among them, `compare` runs all of them."""

    models: tuple[str, ...]
    """Names as in `ModelOptions`."""
    image_sizes: tuple[int, ...] = ()
    """Sides in pixels; empty = each model's own."""
    latency: float | None = None
    """Most milliseconds for a single image that the answer of `fit` may take; None = any."""
    parameters: int | None = None
    """Most parameters that it may have; None = any."""

    @property
    def pairs(self) -> tuple[tuple[str, int | None], ...]:
        """Every model at every size, in the order given; None = the model's own size."""
        return tuple((model, size) for model in self.models for size in self.image_sizes or (None,))


@dataclass(frozen=True)
class Request:
    """Everything that a run was asked to do: enough to repeat it or to resume it."""

    verb: Literal["fit", "compare"]
    data: str
    """Folder of images, manifest, or a named dataset such as hf:NAME."""
    model: str
    """See `ModelOptions`, also for `weights` and `granularity`."""
    strategies: tuple[str, ...]
    """Specs such as last_blocks:k=3; `fit` has one."""
    weights: str | None = None
    granularity: Granularity = "stage"
    train: TrainConfig = field(default_factory=TrainConfig)
    images: DataConfig = field(default_factory=DataConfig)
    search: TuningConfig = field(default_factory=TuningConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    explain: bool = True
    """Whether `fit` ends with Grad-CAM of the images in its report and with the changes in every block."""
    refit: bool = False
    """Whether the saved model of `fit` is trained once more, on train and val together."""
    plan: Mapping[str, Any] | None = None
    """`FineTunePlan.to_dict()` of a plan that was given to be trained; None = the strategy makes it."""
    head: Head = "new"
    """See `AgainOptions`; runs from before there was a choice have new heads."""
    keep_old: bool = False
    """Whether the saved model of `fit` has weights between those that it started from and the trained ones."""
    candidates: Candidates | None = None
    """Networks among which `fit` has yet to choose, or that `compare` compares; None = `model` at `images.image_size`
    alone."""
    calibrate: Calibrate = "off"
    """See `FitOptions`; runs from before there was a choice are not calibrated."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))
        _require(not self.keep_old or self.verb == "fit", "keep_old", "left out of a comparison", True)
        _require(not (self.keep_old and self.head == "new"), "head", "auto or keep with `keep_old`", self.head)
        _require(not (self.keep_old and self.refit), "refit", "left out with `keep_old`, which needs validation", True)
        _require(not (self.keep_old and self.images.stream), "keep_old", "left out with `stream`", True)
        if self.candidates is not None:
            self._require_choice(self.candidates)
        _require(not self.refit or self.verb == "fit", "refit", "left out of a comparison, which saves no model", True)
        named = isinstance(self.strategies, tuple) and all(isinstance(spec, str) for spec in self.strategies)
        _require(named and bool(self.strategies), "strategies", "at least one strategy", self.strategies)

    def _require_choice(self, candidates: Candidates) -> None:
        """Refuse several networks where the rest of the request does not allow them."""
        _require(not self.images.stream, "stream", "left out where there are several networks or limits of them", True)
        if self.verb == "fit":
            name, _, arguments = self.strategies[0].partition(":")
            _require(name == "auto", "strategy", "auto where the run chooses the network", self.strategies[0])
            searched = "baselines" not in arguments and "starts" not in arguments
            _require(
                searched, "strategy", "auto with its baselines, with which networks are compared", self.strategies[0]
            )
        shared = self.weights in (None, "random") or len(candidates.models) == 1
        _require(shared, "weights", 'left out or "random" for several models', self.weights)

    @property
    def models(self) -> tuple[str, ...]:
        """All networks that the run may build."""
        return self.candidates.models if self.candidates else (self.model,)

    @classmethod
    def from_options(
        cls, verb: Literal["fit", "compare"], data: str, strategies: tuple[str, ...], options: Mapping[str, Any]
    ) -> Request:
        """Build a request from options by the names of `RunOptions`; the rest keeps defaults or those of the preset.

        `train`, `images` and `search` may be given whole instead. Raises `OptionError` for values that cannot be used.
        """
        options, candidates = _with_candidates(options)
        value = {**{field.name: field.default for field in fields(RunOptions)}, **options}
        return cls(
            verb=verb,
            data=data,
            model=value["model"],
            strategies=strategies,
            weights=str(value["weights"]) if isinstance(value["weights"], PurePath) else value["weights"],
            granularity=value["granularity"],
            cache=CacheConfig(
                memory_bytes=parse_bytes("cache_memory", value["cache_memory"]),
                disk_bytes=parse_bytes("cache_disk", value["cache_disk"]),
            ),
            explain=verb == "fit" and value.get("explain", FitOptions.explain),
            refit=value.get("refit", FitOptions.refit),
            head=value["head"],
            keep_old=value.get("keep_old", FitOptions.keep_old),
            candidates=candidates,
            calibrate=value.get("calibrate", FitOptions.calibrate) if verb == "fit" else "off",
            **{name: _part(name, options) for name in PARTS},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Request:
        """The inverse of `to_dict`; `OptionError` if another version of thawline wrote it with other options."""
        try:
            return cls(
                **{
                    **data,
                    "strategies": tuple(data["strategies"]),
                    "train": TrainConfig(**data["train"]),
                    "images": DataConfig(**data["images"]),
                    "search": TuningConfig(**data["search"]),
                    "cache": CacheConfig(**data["cache"]),
                    "candidates": _candidates(data.get("candidates")),
                }
            )
        except (KeyError, TypeError) as error:
            raise OptionError(f"the stored options of this run cannot be read ({error}).") from error


def _with_candidates(options: Mapping[str, Any]) -> tuple[Mapping[str, Any], Candidates | None]:
    """The options with one model and one size, the first of each; and all of them where there are several."""
    models, sizes = (_several(options.get(name)) for name in ("model", "image_size"))
    for name, values in (("model", models), ("image_size", sizes)):
        _require(values is None or bool(values), name, "at least one", options.get(name))
    singled = {name: values[0] for name, values in (("model", models), ("image_size", sizes)) if values}
    latency, parameters = options.get("latency"), options.get("parameters")
    if len(models or ()) < 2 and len(sizes or ()) < 2 and latency is None and parameters is None:
        return {**options, **singled}, None
    for name in models or ():
        _require(isinstance(name, str), "model", "a string, or several", name)
    for size in sizes or ():
        DataConfig(image_size=size)
    whole = options.get("images")
    own = (whole.image_size,) if isinstance(whole, DataConfig) and whole.image_size else ()
    preset_size = preset_values(options.get("preset")).get("image_size")
    return {**options, **singled}, Candidates(
        tuple(dict.fromkeys(models or (DEFAULT_MODEL,))),
        tuple(dict.fromkeys(sizes or own or ((preset_size,) if preset_size else ()))),
        None if latency is None else parse_latency(latency),
        None if parameters is None else parse_parameters(parameters),
    )


def _several(value: object) -> tuple[Any, ...] | None:
    """What was given, one or several; None = nothing."""
    if value is None:
        return None
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def _candidates(stored: Mapping[str, Any] | None) -> Candidates | None:
    """What `Request.to_dict` makes of candidates, with tuples in place of JSON's lists."""
    if stored is None:
        return None
    tuples: dict[str, Any] = {name: tuple(stored[name]) for name in ("models", "image_sizes")}
    return Candidates(**{**stored, **tuples})


def _part(name: str, options: Mapping[str, Any]) -> Any:
    """A part of the request, from its own options or given whole."""
    part, whole = PARTS[name], options.get(name)
    own = _fields_of(part, options)
    if whole is None:
        return part(**{**_fields_of(part, preset_values(options.get("preset"))), **own})
    if not isinstance(whole, part):
        raise OptionError(f"`{name}` must be a {part.__name__}, got {shown(whole)}.")
    if clash := [*own, *(["preset"] if options.get("preset") else [])]:
        raise OptionError(f"`{name}` and `{clash[0]}` cannot both be given; leave one of them out.")
    return whole
