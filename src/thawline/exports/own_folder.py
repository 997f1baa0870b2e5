"""A trained network from the user's own code as a folder: the weights and what is needed to use them, without timm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec
from torch import nn

from thawline.config import Preprocessing
from thawline.errors import RunFolderError
from thawline.exports.escaping import one_line
from thawline.exports.writing import LABELS_FILE, THAWLINE_FILE, WEIGHTS_FILE, is_temperature, plain_json, write_folder
from thawline.records import FORMAT_VERSION, read_json

OWN_FILE = "own_model.json"


@dataclass(frozen=True)
class OwnFolder:
    """What the folder says about its model, apart from the weights."""

    source: str
    """module.py:factory, as the user gave it, the file's path made absolute."""
    label_names: tuple[str, ...]
    preprocessing: Preprocessing
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of every file of the code by its path relative to the factory's; empty = not recorded, or installed."""
    temperature: float = 1.0
    """What logits are divided by before the softmax."""


def save_own_folder(folder: Path, module: nn.Module, about: OwnFolder, thawline: Mapping[str, object]) -> None:
    """Write the folder whole or not at all; raises RunFolderError if it cannot be written."""
    texts = {
        OWN_FILE: plain_json(OWN_FILE, {"format_version": FORMAT_VERSION, **asdict(about)}),
        LABELS_FILE: "".join(f"{one_line(name)}\n" for name in about.label_names),
        THAWLINE_FILE: plain_json(THAWLINE_FILE, {"format_version": FORMAT_VERSION, **thawline}),
    }
    write_folder(folder, texts, module)


def read_own_folder(folder: Path) -> OwnFolder:
    """Read what `save_own_folder` wrote; RunFolderError if a key is missing or has the wrong type."""
    path = folder / OWN_FILE
    try:
        found = msgspec.convert(read_json(path), OwnFolder)
        if len(set(found.label_names)) < max(2, len(found.label_names)):
            raise msgspec.ValidationError("label_names must be two or more different names")
        if not is_temperature(found.temperature):
            raise msgspec.ValidationError("temperature must be a number above 0")
        return found
    except msgspec.ValidationError as error:
        raise RunFolderError(f"{path} cannot be used ({error}); train the model again.") from error


def own_snippet(folder: Path, source: str, classes: Sequence[str]) -> str:
    """Lines of Python that open the model in plain PyTorch; the file with the factory must be importable."""
    place, _, factory = source.rpartition(":")
    module = Path(place).stem if place.endswith(".py") else place
    return (
        f"from safetensors.torch import load_file\nfrom {module} import {factory}\n"
        f"model = {factory}({len(classes)}).eval()\n"
        f"model.load_state_dict(load_file({str(folder.resolve() / WEIGHTS_FILE)!r}))"
    )
