"""Datasets of the Hugging Face hub, or from a local folder in their formats: `hf:NAME`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol, TypedDict, cast

from thawline.data import cache as cache_folder
from thawline.data.layout import Split
from thawline.data.materialise import Sample, entry_key, find_or_write, materialise
from thawline.data.sources import ImageSet
from thawline.errors import DataError, MissingExtraError
from thawline.reading import read_regular

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*){0,2}")
_OPTIONS = ("image", "label", "revision")
_LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target")

_SPLITS: dict[str, Split] = {
    "train": "train",
    "validation": "val",
    "valid": "val",
    "val": "val",
    "dev": "val",
    "test": "test",
}


class _StoredImage(TypedDict):
    """An undecoded cell of an image column."""

    bytes: bytes | None
    path: str | None


class _Table(Protocol):
    """What is used of `datasets.Dataset`."""

    features: Mapping[str, object]

    def select_columns(self, column_names: list[str]) -> _Table: ...

    def cast_column(self, column: str, feature: object) -> _Table: ...

    def __iter__(self) -> Iterator[Mapping[str, object]]: ...


_Loaded = _Table | dict[str, _Table]
"""A `Dataset`, or a `DatasetDict` of its splits."""


@dataclass(frozen=True)
class _Name:
    """The parts of a name: `hf:PATH[/CONFIG][:OPTIONS]`."""

    source: str
    path: str
    """A folder, or the name on the hub."""
    config: str | None
    options: Mapping[str, str]

    @property
    def is_folder(self) -> bool:
        return Path(self.path).is_dir()


def read_huggingface(name: str, cache: Path) -> ImageSet:
    """Read the dataset `USER/NAME[/CONFIG]` of the hub, or of a local folder (`save_to_disk`, parquet, images).

    Options may follow after `:`; `image=` and `label=` choose among several columns, `revision=` a version. Images are
    decoded by thawline's own decoder. Downloads are kept and reused without the network; a folder is read again when a
    file in it changes. Raises `DataError` if the dataset cannot be downloaded or its columns are ambiguous, and
    `MissingExtraError` without the datasets library.
    """
    asked = _parse(name)
    key = entry_key(asked.source, _state(Path(asked.path)) if asked.is_folder else None)
    return find_or_write(asked.source, cache, key, lambda: _write(asked, cache, key))


def is_loaded(data: object) -> bool:
    """Whether it is a `Dataset` or a `DatasetDict` of the datasets library."""
    return type(data).__module__.partition(".")[0] == "datasets"


def read_loaded(loaded: _Loaded, cache: Path) -> ImageSet:
    """Write the images of a loaded `Dataset`, or `DatasetDict` of its splits, to `cache`, named by their content.

    Raises `DataError` if the columns are ambiguous; whether it can be used for training is not checked.
    """
    asked = _Name("the dataset", "", None, {})
    splits, unused = _by_split(asked.source, loaded)
    return materialise(asked.source, _samples(_library(), asked, splits), cache, notes=unused)


def _write(asked: _Name, cache: Path, key: str) -> ImageSet:
    library = _library()
    with cache_folder.building(cache) as scratch:
        loaded, notes = _load(library, asked, scratch)
        splits, unused = _by_split(asked.source, loaded)
        samples = _samples(library, asked, splits)
        return materialise(asked.source, samples, cache, key=key, notes=[*notes, *unused])


def _parse(name: str) -> _Name:
    path, separator, text = name.rpartition(":")
    if not separator or "=" not in text:
        path, text = name, ""
    options = dict(part.partition("=")[::2] for part in text.split(",") if part)
    source = f"hf:{name}"
    if unknown := sorted(set(options).difference(_OPTIONS)):
        raise DataError(f"{source!r}: unknown option {unknown[0]!r}; the options are {', '.join(_OPTIONS)}.")
    if path and Path(path).is_dir():
        return _Name(source, path, None, options)
    if not _HUB_NAME.fullmatch(path):
        raise DataError(f"{source!r} is neither a folder nor a dataset name (USER/NAME or USER/NAME/CONFIG).")
    user, _, rest = path.partition("/")
    dataset, _, config = rest.partition("/")
    return _Name(source, f"{user}/{dataset}" if dataset else user, config or None, options)


def _state(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and modification time of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    states = [(path, path.stat()) for path in files]
    return [(path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns) for path, state in states]


def _library() -> ModuleType:
    try:
        return importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "hf: datasets need the datasets library, which is not installed: pip install 'thawline[hf]'"
        ) from error


def _load(library: ModuleType, asked: _Name, scratch: Path) -> tuple[_Loaded, list[str]]:
    """The dataset, and notes; a local folder leaves nothing in the library's own cache."""
    hub = importlib.import_module("huggingface_hub")
    # The hub's error derives from those of its HTTP library, which it also lets through.
    http_errors = hub.errors.HfHubHTTPError.__bases__
    library.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # no telemetry
    revision = asked.options.get("revision")
    try:
        if not asked.is_folder:
            commit = _ask_hub(hub, library, asked.path, revision)
            loaded = library.load_dataset(asked.path, asked.config, revision=revision)
            return loaded, [f"{asked.source} was read at revision {commit}"] if commit else []
        if any((Path(asked.path) / file).is_file() for file in ("dataset_dict.json", "state.json")):
            return library.load_from_disk(asked.path), []
        return library.load_dataset(asked.path, cache_dir=str(scratch)), []
    except (OSError, RuntimeError, ValueError, library.exceptions.DatasetsError, *http_errors) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        remedy = "check the folder" if asked.is_folder else "check the name and the connection"
        raise DataError(f"{asked.source!r} cannot be loaded ({reason}): {remedy}.") from error


def _ask_hub(hub: ModuleType, library: ModuleType, name: str, revision: str | None) -> str | None:
    """The commit that will be read, if the hub reports it.

    Without a connection this request fails at once, whereas the library would retry for long.
    """
    if library.config.HF_HUB_OFFLINE:  # the user's choice: use an earlier download, or raise the library's error
        return None
    try:
        commit: str | None = hub.HfApi().dataset_info(name, revision=revision, timeout=10).sha
    except hub.errors.HfHubHTTPError:  # the library has the better message for a wrong name
        return None
    return commit


def _by_split(source: str, loaded: _Loaded) -> tuple[dict[Split | None, _Table], list[str]]:
    """The splits to use, and a note about unused ones."""
    if not isinstance(loaded, dict):
        return {None: loaded}, []
    if len(loaded) == 1:
        ((name, part),) = loaded.items()
        return {None: part}, [] if name == "train" else [f"the only split, {name!r}, is split again"]
    found: dict[Split | None, _Table] = {}
    for name, part in loaded.items():
        split = _SPLITS.get(name)
        if split in found:
            raise DataError(f"{source!r} has two {split} splits: {', '.join(loaded)}.")
        if split:
            found[split] = part
    if "train" not in found:
        raise DataError(f"{source!r} has no train split, only {', '.join(loaded)}.")
    unused = [name for name in loaded if name not in _SPLITS]
    return found, [f"splits not used: {', '.join(unused)}"] if unused else []


def _samples(library: ModuleType, asked: _Name, splits: Mapping[Split | None, _Table]) -> Iterator[Sample]:
    for split, part in splits.items():
        image = _image_column(library, asked, part.features)
        label = _label_column(library, asked, part.features)
        rows = part.select_columns([image, label]).cast_column(image, library.Image(decode=False))
        names = getattr(part.features[label], "names", None)
        for row in rows:
            yield Sample(_content(cast("_StoredImage | None", row[image])), _class_name(row[label], names), split)


def _image_column(library: ModuleType, asked: _Name, features: Mapping[str, object]) -> str:
    images = [name for name, feature in features.items() if isinstance(feature, library.Image)]
    return _choose(asked, "image", images, features)


def _label_column(library: ModuleType, asked: _Name, features: Mapping[str, object]) -> str:
    """The `ClassLabel` column, else a text or number column with a usual name, else the only text column."""
    labels = [name for name, feature in features.items() if isinstance(feature, library.ClassLabel)]
    plain = {name: str(getattr(feature, "dtype", "")) for name, feature in features.items() if name not in labels}
    text = [name for name, kind in plain.items() if kind in ("string", "large_string")]
    numbers = [name for name, kind in plain.items() if kind.startswith(("int", "uint", "bool"))]
    if "label" in asked.options:
        return _choose(asked, "label", [*labels, *text, *numbers], features)
    named = [name for name in (*text, *numbers) if name.lower() in _LABEL_NAMES]
    return _choose(asked, "label", labels or named or text, features)


def _choose(asked: _Name, kind: str, candidates: Sequence[str], features: Mapping[str, object]) -> str:
    wanted = asked.options.get(kind)
    if wanted is not None:
        if wanted in candidates:
            return wanted
        known = ", ".join(candidates) or "none"
        raise DataError(f"{asked.source!r}: {wanted!r} cannot be used as the {kind} column; possible columns: {known}.")
    if not candidates:
        raise DataError(f"{asked.source!r} has no {kind} column; its columns are: {', '.join(features)}.")
    if len(candidates) > 1:
        if not asked.path:
            listed = ", ".join(candidates)
            raise DataError(f"{asked.source} has several {kind} columns ({listed}): remove all but one of them.")
        name = f"{asked.path}/{asked.config}" if asked.config else asked.path
        raise DataError(
            f"{asked.source!r} has several {kind} columns ({', '.join(candidates)}): "
            f"choose one, as in hf:{name}:{kind}={candidates[0]}"
        )
    return candidates[0]


def _content(image: _StoredImage | None) -> bytes:
    """The undecoded image file; empty if the dataset has none, which the check of the data then reports."""
    if image is None or (image["bytes"] is None and image["path"] is None):
        return b""
    return image["bytes"] if image["bytes"] is not None else read_regular(Path(image["path"] or ""))


def _class_name(value: object, names: Sequence[str] | None) -> str | None:
    """The class name; None = unlabeled (-1 in test sets without labels)."""
    if names is None or value is None:
        return None if value is None else str(value)
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
