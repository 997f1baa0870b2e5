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
    """Pretrained model: a timm name, local-dir:PATH, hf-hub:NAME, file.py:factory, or the folder of a finished fit, to
    fine-tune its model again. Repeat the option for several models (in Python, pass a list): `fit` chooses among them
    within its budget, `compare` runs every strategy on each."""
    weights: str | None = None
    """Pretrained weights: a file, a folder, or "random"; default: the model's own."""
    granularity: Granularity = "stage"
    """What counts as one block: stage = a stage of the network, group = a residual block or similar unit (timm's finest
    groups), layer = a single convolution or linear layer."""


@dataclass(frozen=True, kw_only=True)
class AgainOptions:
    """What becomes of the classifier of a model that is fitted again."""

    group: ClassVar[str] = "Model"

    head: Head = "auto"
    """Classifier when `model` is a run folder or a timm folder with label names: keep = reuse the weights of classes
    with the same name and initialize new ones for the rest; new = a new classifier; auto = keep if any class name
    matches, otherwise new."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How images become splits and pixels."""

    group: ClassVar[str] = "Data"

    image_size: Annotated[int | None, IMAGE_SIZE] = None
    """Side of the square network input, in pixels; default: the model's own. Repeatable, like `model`: `fit` chooses
    among all pairs of model and size, `compare` runs all of them."""
    crop_pct: Annotated[float | None, Range(0.1, 1)] = None
    """Side of the center crop divided by the shorter side of the resized image, as in timm; default: the model's
    own."""
    augment: Augment = "auto"
    """Augmentation of training images. mild: random shift (by up to 1/8 of the side), horizontal flip, rotation by up
    to 10 degrees; strong: random resized crop (at least half the area), flip, rotation, color jitter of 0.2;
    mild_no_flip, strong_no_flip: the same without flips; auto: mild, or mild_no_flip if a linear probe is significantly
    worse on mirrored validation images, which is measured before any training."""
    views: Annotated[int, Range(0, 1_000_000, "0 = new ones in every epoch")] = 4
    """Number of augmented versions of each training image, generated once and used in turn by epoch; 0 = new ones in
    every epoch."""
    test_share: Annotated[float | None, Range(0, 1, above=True, below=True)] = None
    """Fraction held out as test when the data has no test split; default: 0.2, or none (no test scores) when the
    data has a val split."""
    limit: Annotated[int | None, Range(1, ANY_COUNT)] = None
    """Use a stratified random subset of this many images; default: all images."""
    group_pattern: str | None = None
    """Regular expression for image paths: images with the same first capture group (patient, camera, video) stay in
    one split."""
    on_bad: OnBad = "error"
    """What to do with unreadable images, and with class folders that contain no others: error = stop before training,
    skip = list and exclude them."""
    bit_depth: BitDepth = "auto"
    """Actual bit depth of the values in 16-bit files, such as those of X-ray, thermal and microscope cameras: auto =
    from the largest value in the dataset."""
    stream: bool = False
    """For datasets too large for the disk: final trainings decode each image when they need it, search and tuning use a
    stratified subset (`search_images`), and nothing else is cached."""
    search_images: Annotated[int, Range(10, ANY_COUNT)] = 10_000
    """With `stream`, the number of training and validation images used for search and tuning; a larger subset contains
    every smaller one. Linear probes are solved on them, and training scores are computed on them."""
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Random seed for splits, subset, augmentation, head initialization, batch order and dropout."""

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
    strategy auto never stop early and keep the weights of their last epoch."""
    warmup_share: Annotated[float, Range(0, 1, below=True)] = 0.05
    """Fraction of all steps used for linear warmup of the learning rates from 0; after that they follow a cosine to
    0."""
    schedule_epochs: Annotated[int | None, COUNT] = None
    """Length of the cosine schedule in epochs, at least `epochs`; default: `epochs`. If longer, training ends before
    the learning rates reach 0."""
    balance: Balance = "none"
    """Correction for class imbalance: loss = weight each class by its effective number of images (Cui et al. 2019, beta
    0.999), sampler = sample every class equally often."""
    metric: Metric = "accuracy"
    """Validation metric that selects epoch, learning rate and arguments. auto ranks plans by validation loss instead;
    with macro_f1, every class has the same weight in that loss."""
    label_smoothing: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Label smoothing of the training loss."""
    clip_norm: Annotated[float | None, Range(1e-9, 1e9)] = None
    """Clip the global gradient norm (2-norm over all trained parameters) to this value; default: no clipping."""
    precision: Precision = "auto"
    """Training precision: auto = bf16 if the device supports it natively and, on a CPU, if a few timed steps, each
    with a validation pass, are at least 1.2 times as fast with it, otherwise fp32. The timing is cached for this
    network and machine."""
    device: Device = "auto"
    """Device to train on: auto = cuda if available, else mps, else cpu."""
    threads: Annotated[int, Range(0, 1024, "0 = physical cores")] = 0
    """CPU threads per training; 0 = physical cores. The number affects rounding, so it is recorded with the run."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))
        span = self.schedule_epochs
        _require(span is None or span >= self.epochs, "schedule_epochs", "at least as many as `epochs`", span)


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """How strategies are tuned, and how many final trainings prove them."""

    group: ClassVar[str] = "Tuning"

    seeds: Annotated[int, Range(1, 1000)] = 1
    """Number of final trainings per strategy, each with its own head initialization, batch order and dropout; two or
    more give a standard error."""
    learning_rate: Annotated[float | None, Range(1e-9, 100)] = None
    """Base learning rate; default: 1e-3 for `fit` of a named strategy, else tuned on validation."""
    norm: Norm = "tuned"
    """Batch norm of trained blocks: moving = normalize with batch statistics and update the running statistics; kept =
    use the running statistics of the pretrained network; tuned = whichever is better on validation. No effect on
    networks without batch norm."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))


SearchConfig = TuningConfig
"""The name before 0.2; goes with it."""


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Space for the outputs of frozen blocks, as people write it."""

    group: ClassVar[str] = "Cache"

    cache_memory: str | int = "1G"
    """Memory for cached outputs of frozen blocks, shared by all trainings of a run, such as 500M (GPU memory when
    training on a GPU); 0 = none. Changing the size may change rounding, which training can amplify."""
    cache_disk: str | int = "4G"
    """Disk space for these outputs once the memory is full, such as 10G; 0 = none. Freed when the run ends."""


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
    """Number of processes that train in parallel, or auto = as many as this machine (or the cluster of `ray`) has CPUs
    for; default: this process alone, or auto with `ray`. If `threads` is not set, each training uses `cpus_per_worker`
    threads, regardless of the number of workers."""
    ray: str | None = None
    """Ray cluster that runs the workers: local = start one on this machine for this run; auto = the one that this
    machine belongs to; or an address such as 10.0.0.1:6379. Default: processes of this machine, without Ray."""
    cpus_per_worker: Annotated[int | None, Range(1, 1024)] = None
    """CPUs reserved for each worker; default: 1."""
    gpus_per_worker: Annotated[float, Range(0, 64)] = 0.0
    """GPUs reserved for each worker of `ray`; may be a fraction."""
    mixed_machines: bool = False
    """Allow workers with other versions of PyTorch, timm or numpy, or another CPU instruction set, than the machine
    that starts them. Two runs may then give different results; the ledger records which worker trained what."""

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
    """Options of a published protocol: paper = BioTune (Colan et al. 2025), with three seeds. Options that you set take
    precedence."""
    track: Sequence[str] = ()
    """Also log every training to tensorboard, mlflow or both (tensorboard,mlflow). Nothing leaves this machine."""


@dataclass(frozen=True, kw_only=True)
class FitOptions(RunOptions):
    """The options of `fit`."""

    strategy: str = "auto"
    """Strategy that chooses what to train, with arguments after a colon: last_blocks:k=3. `thawline strategies` lists
    them."""
    budget: str | None = None
    """Budget of the strategy auto, for everything up to the saved model except a refit: 5x (default) = as much work as
    five full fine-tunings, 30m = wall time (two runs may then make different choices), or 40candidates."""
    plan: str | None = None
    """Train this plan instead of one made by `strategy`: a plan.json, edited or not, or a run folder that has one; in
    Python also a `FineTunePlan`. Its learning rates are used as they are."""
    answer: Answer | None = None
    """The model that `auto` returns: pick = its best candidate; average (default) = one network with the averaged
    weights of its best candidates, or the pick if that has a lower validation loss; ensemble = up to three networks
    with averaged probabilities; distilled = one network, the best candidate trained once more on the mean output of
    three, or the average or the pick if that has a lower validation loss."""
    latency: str | None = None
    """Maximum inference time of the chosen network for a single image on this machine, such as 5ms; pairs of model and
    size that take longer are listed but not trained. Two runs may then make different choices."""
    parameters: str | None = None
    """Maximum number of parameters of the chosen network, such as 3M or 800K; larger networks are listed but not
    trained."""
    refit: bool = False
    """Save a model that was retrained on train and val together, for as many epochs as the scored training took to
    reach the weights it kept. It has seen more images but has no score of its own: all scores are those of the model
    before the refit, which was trained on train alone. Learning rates follow the schedule of `epochs`, with more steps
    because an epoch has more images. With several `seeds`, the lowest is refitted. The cost is not part of `budget`."""
    keep_old: bool = False
    """Save a model that still works on the images that the old one was trained on: weights interpolated between old and
    new (WiSE-FT, Wortsman et al. 2022), with the ratio chosen on both validation splits. Needs a `model` that is a run
    folder whose images still exist, and a kept head."""
    calibrate: Calibrate = "auto"
    """Temperature scaling: divide the saved model's logits by a temperature fitted on validation (Guo et al. 2017).
    auto = if that lowers the cross-validated log-loss by more than its standard error, on = always, off = never. The
    predicted class never changes."""
    explain: bool = True
    """After training, compute Grad-CAM for the images in the report, and the changes in every block."""


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
    """Number of classes per image."""
    batch_size: Annotated[int | None, COUNT] = None
    """Images per batch; default: 64, fewer if images are large."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))


@dataclass(frozen=True, kw_only=True)
class DashboardOptions:
    """The numbers that `dashboard` takes."""

    port: Annotated[int, Range(1, 65535)] = 8080
    """Local port of the page."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The numbers that `serve` takes."""

    port: Annotated[int, PORT] = 0
    """Local port of the page; 0 = any free port."""

    def __post_init__(self) -> None:
        _refuse(first_fault(self))


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What `export` takes besides places."""

    to: ExportFormat = "onnx"
    """Format to export: onnx for ONNX Runtime and most other runtimes, torch = a torch.export program (.pt2), or
    openvino."""
    int8: bool = False
    """Quantize to 8-bit integers (ONNX only): smaller and often faster. Calibrated on training images, and rejected if
    it loses more than `max_loss` on validation."""
    max_loss: Annotated[float, Range(0, 100, "percentage points")] = 0.5
    """Maximum loss of validation accuracy allowed for int8, in percentage points."""

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
        _require(
            not self.images.stream, "stream", "left out with several networks, or with `latency` or `parameters`", True
        )
        if self.verb == "fit":
            name, _, arguments = self.strategies[0].partition(":")
            _require(name == "auto", "strategy", "auto when the run chooses the network", self.strategies[0])
            searched = "baselines" not in arguments and "starts" not in arguments
            _require(
                searched, "strategy", "auto with its baselines, which are used to compare networks", self.strategies[0]
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
