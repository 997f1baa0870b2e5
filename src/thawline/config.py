"""What can be set, with the unit and the default of every field. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from thawline.errors import OptionError
from thawline.plan import Granularity

Optimizer = Literal["adamw", "adam", "sgd", "rmsprop"]
Precision = Literal["auto", "fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Augment = Literal["none", "mild", "strong"]
Balance = Literal["none", "loss", "sampler"]
Metric = Literal["accuracy", "macro_f1"]
OnBad = Literal["error", "skip"]

DEFAULT_MODEL = "mobilenetv3_large_100"
DEFAULT_ROWS = ("linear_probe", "last_blocks", "full", "full_10x_head")
"""What `compare` compares."""

BASE_RATE = 1e-3
"""Learning rate where nothing is tuned, and the first that tuning tries."""

TRAININGS_PER_ROW = 6
"""Trainings that tune a strategy's arguments and rate, the same number for every strategy."""


def _require(condition: bool, option: str, rule: str, value: object) -> None:
    if not condition:
        raise OptionError(f"--{option} must be {rule}, got {value!r}.")


def parse_bytes(option: str, text: str) -> int:
    """`500M` -> 500 x 2^20, with K, M, G, T or nothing behind the number; `OptionError` if it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise OptionError(f"--{option} must be a number of bytes such as 500M or 2G, got {text!r}.")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def _require_choice(option: str, choices: object, value: object) -> None:
    names = get_args(choices)
    _require(value in names, option, f"one of {', '.join(names)}", value)


@dataclass(frozen=True)
class TrainConfig:
    """How one training runs. The plan says what trains and how fast; this says everything else."""

    epochs: int = 20
    """Passes over the training split at most; early stopping may end sooner."""
    batch_size: int = 32
    """Images per optimiser step."""
    optimizer: Optimizer = "adamw"
    """SGD has momentum 0.9; the others their PyTorch defaults."""
    weight_decay: float = 1e-4
    """Per step; never applied to biases and norm layers."""
    patience: int = 5
    """Epochs without a better validation score before a training stops; 0 = never stop early."""
    warmup_share: float = 0.05
    """Share of all steps over which the rates rise linearly from 0, before the cosine takes them back to 0."""
    schedule_epochs: int | None = None
    """Epochs over which the cosine falls, if training ends before it does; None = `epochs`."""
    balance: Balance = "none"
    """For classes of unequal size: loss = weigh each class by its effective number of images (Cui et al. 2019, beta
    0.999), sampler = draw every class equally often."""
    metric: Metric = "accuracy"
    """Validation score that picks the epoch, the rate and the plan."""
    label_smoothing: float = 0.0
    """Probability mass taken from the true class in the training loss."""
    clip_norm: float | None = None
    """Largest 2-norm of the gradient of all trained parameters together; None = no clipping."""
    precision: Precision = "auto"
    """auto = bf16 where the device computes it natively and it pays, else fp32."""
    device: Device = "auto"
    """auto = cuda, else mps, else cpu."""
    threads: int = 0
    """CPU threads of one training; 0 = physical cores. Changes rounding, so it is recorded with the run."""

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        _require(self.batch_size >= 2, "batch-size", "at least 2", self.batch_size)
        _require_choice("optimizer", Optimizer, self.optimizer)
        _require(self.weight_decay >= 0, "weight-decay", "0 or more", self.weight_decay)
        _require(self.patience >= 0, "patience", "0 (never stop early) or more", self.patience)
        span = self.schedule_epochs
        _require(span is None or span >= self.epochs, "schedule-epochs", "at least as many as --epochs", span)
        _require(0 <= self.warmup_share < 1, "warmup-share", "at least 0 and below 1", self.warmup_share)
        _require(0 <= self.label_smoothing < 1, "label-smoothing", "at least 0 and below 1", self.label_smoothing)
        _require(self.clip_norm is None or self.clip_norm > 0, "clip-norm", "above 0", self.clip_norm)
        _require_choice("balance", Balance, self.balance)
        _require_choice("metric", Metric, self.metric)
        _require_choice("precision", Precision, self.precision)
        _require_choice("device", Device, self.device)
        _require(self.threads >= 0, "threads", "0 (physical cores) or more", self.threads)


@dataclass(frozen=True)
class DataConfig:
    """How images become pixels and splits."""

    image_size: int | None = None
    """Side of the square that the network sees, in pixels; None = the model's own."""
    crop_pct: float | None = None
    """Side of the crop over the shorter side of the resized image, above 0 and at most 1; None = the model's own."""
    augment: Augment = "mild"
    """Of training images only. mild: random crop (up to 1/8 of the side), flip, rotation up to 10 degrees; strong:
    random resized crop (half the area or more), flip, rotation, colour jitter of 0.2."""
    views: int = 4
    """Pre-drawn augmented views per image, taken in turn by epoch; 0 = a new draw in every epoch."""
    test_share: float | None = None
    """Share carved off train as test where the folder brings train and val only; None = no test figures then."""
    limit: int | None = None
    """Use a stratified draw of this many images; None = all."""
    group_pattern: str | None = None
    """Regular expression over paths; images with the same first bracket (patient, camera, video) stay in one split."""
    on_bad: OnBad = "error"
    """What an unreadable image does: end the run before training, or be listed and left out."""
    seed: int = 0
    """Draws the splits, the views and the images of `limit`."""

    def __post_init__(self) -> None:
        size = self.image_size
        _require(size is None or 8 <= size <= 4096, "image-size", "between 8 and 4096 pixels", size)
        crop = self.crop_pct
        _require(crop is None or 0 < crop <= 1, "crop-pct", "above 0 and at most 1", crop)
        _require_choice("augment", Augment, self.augment)
        _require(self.views >= 0, "views", "0 (a new draw every epoch) or more", self.views)
        share = self.test_share
        _require(share is None or 0 < share < 1, "test-share", "above 0 and below 1", share)
        _require(self.limit is None or self.limit >= 1, "limit", "at least 1 image", self.limit)
        _require_choice("on-bad", OnBad, self.on_bad)
        _require(0 <= self.seed < 2**31, "seed", "from 0 to 2147483647", self.seed)


@dataclass(frozen=True)
class TuningConfig:
    """How plans are tuned and proven."""

    seeds: int = 1
    """Final trainings per strategy, each with its own head, batch order and dropout; more seeds give a spread."""
    learning_rate: float | None = None
    """Base rate of every strategy; None = tuned on validation with `TRAININGS_PER_ROW` trainings."""

    def __post_init__(self) -> None:
        _require(self.seeds >= 1, "seeds", "at least 1", self.seeds)
        rate = self.learning_rate
        _require(rate is None or 1e-9 <= rate <= 100, "learning-rate", "between 1e-9 and 100", rate)


SearchConfig = TuningConfig
"""The name before 0.2; goes with it."""


@dataclass(frozen=True)
class CacheConfig:
    """How much room the outputs of frozen blocks may take, so that they are computed once.

    Results depend on it by rounding only; runs with the same budgets are equal bit for bit.
    """

    memory_bytes: int = 1 << 30
    """In memory (of the GPU, where one trains) at most."""
    disk_bytes: int = 4 << 30
    """In memory-mapped files at most, where memory does not suffice; they are gone when the run ends."""

    def __post_init__(self) -> None:
        _require(self.memory_bytes >= 0, "cache-memory", "0 (none) or more bytes", self.memory_bytes)
        _require(self.disk_bytes >= 0, "cache-disk", "0 (none) or more bytes", self.disk_bytes)

    @property
    def off(self) -> bool:
        """Whether nothing may be kept: then every step runs the whole network."""
        return self.memory_bytes == self.disk_bytes == 0


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
        "seeds": 3,
    }
}
"""Options by preset: paper = how BioTune was measured (Colan et al. 2025). The rates fall to 0.79 of the start only."""


def preset_values(name: str) -> Mapping[str, Any]:
    """A preset's options by name; `OptionError` if there is none of that name."""
    if name not in PRESETS:
        raise OptionError(f"--preset must be one of {', '.join(PRESETS)}, got {name!r}.")
    return PRESETS[name]


def preset(name: str, **options: Any) -> dict[str, TrainConfig | DataConfig | TuningConfig]:
    """A preset's `train`, `images` and `search`, as `fit` and `compare` take them; `options` override its own."""
    chosen = {**preset_values(name), **options}
    parts = {"train": TrainConfig, "images": DataConfig, "search": TuningConfig}
    names = {key: {one.name for one in fields(part)} for key, part in parts.items()}
    if unknown := set(chosen) - set().union(*names.values()):
        raise OptionError(f"--preset {name}: {sorted(unknown)[0]!r} is no option of a run.")
    # `seed` and `seeds` are fields of one part each, so every option has one place.
    return {key: part(**{k: v for k, v in chosen.items() if k in names[key]}) for key, part in parts.items()}


@dataclass(frozen=True)
class Preprocessing:
    """From a decoded RGB image to the network's input, as timm's evaluation transform does it."""

    image_size: int
    """Side of the square input, in pixels."""
    interpolation: str
    """Name as in timm: bicubic, bilinear, ..."""
    crop_pct: float
    """The shorter side is resized to image_size / crop_pct before the crop."""
    crop_mode: str
    """Name as in timm: center, squash or border."""
    mean: tuple[float, float, float]
    """Per channel, on a 0 to 1 scale."""
    std: tuple[float, float, float]
    """Per channel, on a 0 to 1 scale."""


@dataclass(frozen=True)
class Request:
    """All that one run was asked to do: enough to repeat it or to resume it."""

    verb: Literal["fit", "compare"]
    data: str
    """Folder of images."""
    model: str
    """timm name or local-dir:PATH."""
    strategies: tuple[str, ...]
    """Specs such as last_blocks:k=3; fit has one."""
    weights: str | None = None
    """File or folder of weights, "random", or None = the model's own."""
    granularity: Granularity = "stage"
    train: TrainConfig = field(default_factory=TrainConfig)
    images: DataConfig = field(default_factory=DataConfig)
    search: TuningConfig = field(default_factory=TuningConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    explain: bool = True
    """Whether `fit` ends with Grad-CAM of the images that its report shows and with what moved in every block."""

    def __post_init__(self) -> None:
        _require_choice("granularity", Granularity, self.granularity)
        _require(bool(self.strategies), "strategies", "at least one strategy", self.strategies)

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
                }
            )
        except (KeyError, TypeError) as error:
            raise OptionError(f"the stored options of this run cannot be read ({error}).") from error
