"""Training records, the digest for comparing runs, the environment, and atomic file writing.

Standard library only.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from thawline.errors import RunFolderError
from thawline.reading import parse_json, read_regular
from thawline.results import Environment, plain

FORMAT_VERSION = 1
LARGEST_JSON = 2**28
"""Size limit of JSON files in bytes."""

RUN_FILES = ("run.json", "ledger.journal")
"""The request and the ledger: a folder that contains both is a run."""

Purpose = Literal["tuning", "search", "final", "refit"]
"""What a training is for: tuning a strategy, a candidate of a search, the final scores, or the saved model, trained on
train and val together."""

RECORDED_PACKAGES = (
    *("thawline", "torch", "torchvision", "timm", "scikit-learn", "scipy", "optuna", "numpy", "pillow", "safetensors"),
)


@dataclass(frozen=True)
class EpochRecord:
    """One pass over the training split, and the validation after it where something depends on that.

    See `FineTunePlan.is_validated`. Without a validation, its figures are None.
    """

    epoch: int
    """Counted from 0."""
    train_loss: float
    """Mean over the training images, including regularization."""
    val_loss: float | None = None
    """Mean negative log-likelihood, in nats."""
    val_accuracy: float | None = None
    """0 to 1."""
    val_score: float | None = None
    """The metric used for selection, 0 to 1: accuracy unless configured otherwise."""
    val_scaled_loss: float | None = None
    """`val_loss` once the logits are divided by their best temperature; also None if stored before it was recorded."""

    @property
    def is_validated(self) -> bool:
        """Whether it has figures of the validation split."""
        return self.val_score is not None

    @property
    def score(self) -> tuple[float, float]:
        """Higher is better: the selection metric, then (ties) negative validation loss; only of validated epochs."""
        if self.val_score is None or self.val_loss is None:
            raise ValueError(f"epoch {self.epoch} was not validated")
        return self.val_score, -self.val_loss


@dataclass(frozen=True)
class ProbeRecord:
    """The solved linear probe that a training starts from."""

    strength: float
    """L2 penalty on the weights of the scaled features, picked on validation."""
    temperature: float
    """What validation divides the logits by, as part of the weights."""
    iterations: int
    """L-BFGS iterations over all penalties tried."""
    train_loss: float
    """Mean negative log-likelihood of the training images, in nats."""


@dataclass(frozen=True)
class TrainingRecord:
    """A training, finished or failed. All but cache hits, seconds and memory is determined by the seed."""

    key: str
    """Fingerprint of everything that the training depends on; no key is trained twice."""
    purpose: Purpose
    strategy: str
    """Name and arguments, e.g. last_blocks:k=2."""
    learning_rate: float
    """Base learning rate for which the strategy made its plan."""
    seed: int
    plan: dict[str, object]
    """`FineTunePlan.to_dict()`."""
    epochs: tuple[EpochRecord, ...] = ()
    best_epoch: int | None = None
    """The epoch whose weights were kept; None if the training failed, or is a refit, which keeps its last."""
    work: float = 0.0
    """Units of work (DESIGN 7): 1 = a full fine-tuning at the nominal number of epochs."""
    image_passes: int = 0
    """Images forwarded in training and validation."""
    cache_hits: int = 0
    """Those of them with cached outputs of the frozen prefix; depends on the machine."""
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    error: str | None = None
    """Why the training failed, in one line."""
    generation: int = 0
    slot: int = 0
    fold: int | None = None
    """The fold of the training split that was used; None = all of it."""
    until: int | None = None
    """Number of epochs after which it was paused, with the costs up to there, or of a refit; None = to its end."""
    right: str = ""
    """Which validation images the kept epoch classified correctly: one bit each, in the order of the split, as hex."""
    checkpoint: str = ""
    """SHA-256 of the file of its weights; empty = none was kept, or by a version before 0.2."""
    probe: ProbeRecord | None = None
    """What the head started from; None = random weights."""
    losses: tuple[float, ...] = ()
    """Training loss of every epoch of a refit, which is not validated; else empty."""
    processes: int = 1
    """Number of processes that took every step together; rounding differs between numbers of processes."""

    @property
    def best(self) -> EpochRecord | None:
        """The epoch whose weights were kept."""
        return None if self.best_epoch is None else self.epochs[self.best_epoch]

    @property
    def score(self) -> tuple[float, float]:
        """Higher is better: validation score, then (ties) negative validation loss; failed trainings rank last."""
        return (-1.0, 0.0) if self.best is None else self.best.score

    def to_dict(self) -> dict[str, object]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainingRecord:
        """Inverse of `to_dict`."""
        epochs = tuple(EpochRecord(**epoch) for epoch in data["epochs"])
        probe = ProbeRecord(**given) if (given := data.get("probe")) else None
        return cls(**{**data, "epochs": epochs, "probe": probe, "losses": tuple(data.get("losses", ()))})


def furthest(records: Iterable[TrainingRecord]) -> list[TrainingRecord]:
    """The last record of each training; a training that was paused has one for each pause."""
    found: dict[object, TrainingRecord] = {}
    for record in records:
        training = (record.purpose, record.strategy, record.generation, record.slot, record.seed, record.fold)
        found[training if record.purpose == "search" else record.key] = record
    return list(found.values())


def distinct(records: Iterable[TrainingRecord]) -> tuple[TrainingRecord, ...]:
    """Each training once."""
    return tuple({record.key: record for record in records}.values())


def pack_bits(values: Iterable[bool]) -> str:
    """Which images were right, as hexadecimal digits: one bit each in their order, padded to whole bytes."""
    bits = "".join("1" if value else "0" for value in values)
    return "".join(f"{int(bits[at : at + 8].ljust(8, '0'), 2):02x}" for at in range(0, len(bits), 8))


def unpack_bits(text: str, count: int) -> list[bool]:
    """The inverse of `pack_bits`; `count` = number of images."""
    bits = "".join(f"{byte:08b}" for byte in bytes.fromhex(text))
    return [bit == "1" for bit in bits[:count]]


def digest(records: Iterable[TrainingRecord]) -> str:
    """SHA-256 over everything determined by the seed: equal digests mean equal runs.

    Excludes times, memory, the order in which trainings finished, and failed attempts.
    """
    rows = sorted(
        json.dumps(
            [
                record.generation,
                record.slot,
                record.purpose,
                record.strategy,
                record.learning_rate,
                record.plan["phases"],
                record.seed,
                record.fold,
                [[epoch.train_loss, epoch.val_loss, epoch.val_accuracy, epoch.val_score] for epoch in record.epochs],
                record.work,
                *([record.losses] if record.losses else []),
                *([f"{record.processes} processes"] if record.processes > 1 else []),
            ],
            sort_keys=True,
        )
        for record in records
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def fingerprint(*parts: object) -> str:
    """SHA-256 over JSON-serialisable parts, for keys of what depends on them."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def environment(*, device: str, threads: int, command: str | None = None) -> Environment:
    """Versions, hardware and command, for every JSON file of a run."""
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        processor=_processor_name(),
        packages=packages(),
        device=device,
        threads=threads,
        command=command if command is not None else shlex.join([Path(sys.argv[0]).stem, *sys.argv[1:]]),
    )


def packages() -> dict[str, str | None]:
    """Versions of the packages that results depend on; None = not installed."""
    return {name: _version(name) for name in RECORDED_PACKAGES}


@cache  # a package is looked for in every folder of the path
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()} ({os.cpu_count()} cores)"
    except OSError:
        pass
    return f"{platform.processor() or platform.machine()} ({os.cpu_count()} cores)"


def write_bytes(path: Path, content: bytes) -> None:
    """Write `path` atomically: neither readers nor crashes leave a partial file."""
    if path.exists() and not path.is_file():  # a device must not be replaced by a file of its name
        raise OSError(errno.EEXIST, "Not a regular file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def encoded(text: str) -> bytes:
    """UTF-8, in which file names that are not valid UTF-8 keep their bytes."""
    return text.encode("utf-8", "surrogateescape")


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` once all is written in it; removed on any error."""
    folder = Path(os.path.realpath(folder))  # of a link, what it points to
    partial, replaced = (folder.with_name(f".{folder.name}.{what}") for what in ("partial", "replaced"))
    for leftover in (partial, replaced):  # from a process that was killed right here
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
    except BaseException:
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 atomically; line ends and file names that are not valid UTF-8 are preserved."""
    write_bytes(path, encoded(text))


def json_bytes(data: object) -> bytes:
    """Indented JSON; accepts results. Raises `ValueError` for NaN, which JSON lacks."""
    data = plain(data)
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        text = json.dumps(data, indent=2, allow_nan=False)  # file names that are not valid UTF-8
    return encoded(text + "\n")


def write_json(path: Path, data: object) -> None:
    """Write `json_bytes` atomically."""
    write_bytes(path, json_bytes(data))


def read_json(path: Path) -> Any:
    """Parse a JSON file of a run folder. Raises `RunFolderError` if it is missing or damaged."""
    try:
        return parse_json(read_regular(path, LARGEST_JSON))
    except FileNotFoundError:
        raise RunFolderError(f"{path} is missing: is {path.parent} a thawline run?") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}); restore it from a copy.") from error
