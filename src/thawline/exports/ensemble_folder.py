"""An ensemble as a folder: every member in a folder of its own, which opens by itself, and how much each counts.

1/, 2/, ...         the members: timm folders, or folders of the user's own code
ensemble.json       their names and shares
SHA256SUMS          digests of the files beside it; every member has its own
README.md           what it is, and how to open it
thawline.json       where it comes from, as in a member's folder
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from thawline.errors import RunFolderError
from thawline.exports.writing import CARD_FILE, THAWLINE_FILE, WEIGHTS_FILE, is_temperature, plain_json, whole_folder
from thawline.records import FORMAT_VERSION, read_json

ENSEMBLE_FILE = "ensemble.json"


@dataclass(frozen=True)
class EnsembleFolder:
    """The members of an ensemble."""

    members: tuple[str, ...]
    """Names of their folders."""
    shares: tuple[float, ...]
    """How much the probabilities of each count, relative to the others."""
    temperature: float = 1.0
    """What the logarithms of the mean probabilities are divided by before the softmax."""

    @property
    def weights(self) -> tuple[float, ...]:
        """The shares, so that they sum to 1."""
        return tuple(share / sum(self.shares) for share in self.shares)


def save_ensemble_folder(
    folder: Path,
    members: Iterable[Callable[[Path], None]],
    shares: Sequence[float],
    *,
    thawline: Mapping[str, object],
    card: str,
    temperature: float = 1.0,
) -> None:
    """Write the folder whole or not at all, replacing an earlier one that thawline wrote.

    `members`: functions that save each member into the folder that they are given, called in turn. `card` becomes
    README.md. Raises as `save_timm_folder` does.
    """
    about = EnsembleFolder(tuple(str(number) for number in range(1, len(shares) + 1)), tuple(shares), temperature)
    stored = {key: value for key, value in asdict(about).items() if (key, value) != ("temperature", 1.0)}
    texts = {
        ENSEMBLE_FILE: plain_json(ENSEMBLE_FILE, {"format_version": FORMAT_VERSION, **stored}),
        THAWLINE_FILE: plain_json(THAWLINE_FILE, {"format_version": FORMAT_VERSION, **thawline}),
        CARD_FILE: card,
    }
    with whole_folder(folder, texts) as partial:
        for name, save in zip(about.members, members, strict=True):
            save(partial / name)


def is_ensemble(folder: Path) -> bool:
    """Whether a model folder holds an ensemble, maybe a damaged one."""
    return (folder / ENSEMBLE_FILE).is_file() or (folder / "1").is_dir()


def read_ensemble_folder(folder: Path) -> EnsembleFolder:
    """Read ensemble.json; `RunFolderError` if a key is missing or cannot be used, or if a member is not there."""
    path = folder / ENSEMBLE_FILE
    stored = read_json(path)
    try:
        found = msgspec.convert(stored, EnsembleFolder)
        _check(found)
    except msgspec.ValidationError as error:
        raise RunFolderError(f"{path} cannot be used ({error}); restore it, or train the model again.") from error
    if stored.get("format_version") != FORMAT_VERSION:
        raise RunFolderError(
            f"{path} does not have format_version {FORMAT_VERSION}; use the version of thawline that wrote it."
        )
    if absent := [name for name in found.members if not (folder / name).is_dir()]:
        raise RunFolderError(f"{folder / absent[0]} is missing, but {path.name} names it; restore the folder.")
    return found


def _check(found: EnsembleFolder) -> None:
    """Raise `msgspec.ValidationError` unless every member has a share and is a folder beside the file."""
    if not found.members or len(found.members) != len(found.shares):
        raise msgspec.ValidationError("members and shares must be lists of the same length")
    if not all(name == Path(name).name != "" and name != ".." for name in found.members):
        raise msgspec.ValidationError("members must be names of folders beside it")
    if not all(share > 0 and math.isfinite(share) for share in found.shares):
        raise msgspec.ValidationError("shares must be numbers above 0")
    if not is_temperature(found.temperature):
        raise msgspec.ValidationError("temperature must be a number above 0")


_MEAN = (
    "shares = {shares}\n"
    "# images [B, 3, S, S] -> probabilities [B, {classes}]\n"
    "model = lambda images: sum(share * member(images).softmax(dim=1) for share, member in zip(shares, members))"
)


def timm_ensemble_snippet(about: EnsembleFolder, classes: int, folder: Path | None = None) -> str:
    """Lines of Python that open an ensemble in timm, offline and without thawline; see `timm_snippet`."""
    place = f"local-dir:{folder.resolve() if folder else '.'}/"
    return (
        "import timm\n"
        f"members = [timm.create_model({place!r} + name, pretrained=True).eval() for name in {about.members!r}]\n"
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(members[0]), is_training=False)\n"
        f"{_MEAN.format(shares=about.weights, classes=classes)}"
    )


def own_ensemble_snippet(folder: Path, about: EnsembleFolder, source: str, classes: int) -> str:
    """Lines of Python that open an ensemble in plain PyTorch; see `own_snippet`."""
    place, _, factory = source.rpartition(":")
    module = Path(place).stem if place.endswith(".py") else place
    return (
        f"from safetensors.torch import load_file\nfrom {module} import {factory}\n"
        f"members = [{factory}({classes}).eval() for _ in {about.members!r}]\n"
        f"for member, name in zip(members, {about.members!r}):\n"
        f"    member.load_state_dict(load_file({str(folder.resolve())!r} + f'/{{name}}/{WEIGHTS_FILE}'))\n"
        f"{_MEAN.format(shares=about.weights, classes=classes)}"
    )
