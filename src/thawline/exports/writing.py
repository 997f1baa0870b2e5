"""Writing a model folder whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from thawline.errors import ModelError, RunFolderError
from thawline.records import replacing
from thawline.sums import write_sums

WEIGHTS_FILE = "model.safetensors"
LABELS_FILE = "labels.txt"
CARD_FILE = "README.md"
THAWLINE_FILE = "thawline.json"
EXPORT_FILE = "export.json"

_SYSTEM_ERROR = re.compile(r"os error ([0-9]+)")


def write_folder(folder: Path, texts: Mapping[str, str], module: nn.Module) -> None:
    """Write the text files and the module's weights, replacing an earlier folder that thawline wrote.

    Raises `RunFolderError` if the folder holds something else, and `OSError` if it cannot be written.
    """
    with whole_folder(folder, texts, (WEIGHTS_FILE,)) as partial:
        _save_weights(_weights(module), partial / WEIGHTS_FILE)
        shutil.copymode(partial / THAWLINE_FILE, partial / WEIGHTS_FILE)  # safetensors lets only the owner read


@contextmanager
def whole_folder(
    folder: Path, texts: Mapping[str, str], others: Collection[str] = (), *, mark: str = THAWLINE_FILE
) -> Iterator[Path]:
    """A new folder with these text files, which takes the place of `folder` at the end of the context, with SHA256SUMS.

    The caller adds the `others` files, and folders that have digests of their own. An earlier folder is replaced if it
    has a file `mark`. Raises as `write_folder` does.
    """
    _refuse_foreign(folder, mark)
    with replacing(folder) as partial:
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
        yield partial
        write_sums(partial, sorted({*texts, *others} - {CARD_FILE}))
        _flush(partial)


def _weights(module: nn.Module) -> dict[str, Tensor]:
    # One copy per name: safetensors refuses shared and channels_last tensors. torch.compile on a part of a model
    # leaves its prefix inside the names.
    return {name.replace("_orig_mod.", ""): _plain(tensor) for name, tensor in module.state_dict().items()}


def _plain(tensor: Tensor) -> Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype).clone(memory_format=torch.contiguous_format)


def plain_json(file: str, data: Mapping[str, object]) -> str:
    """Text of a JSON file; ModelError if the data is not plain JSON."""
    # ASCII, so that a class name that is not valid Unicode (a folder name may hold any bytes) cannot stop the export.
    try:
        return json.dumps(data, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ModelError(f"{file}: the model's description must be plain JSON ({error}).") from error


def is_temperature(value: object) -> bool:
    """Whether logits can be divided by it."""
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


def _refuse_foreign(folder: Path, mark: str) -> None:
    if not folder.name:  # the current folder, or the root
        raise RunFolderError(f"{folder} cannot be replaced; name a new folder as `out`.")
    around = next(parent for parent in folder.parents if parent.exists())
    if not around.is_dir():
        raise RunFolderError(f"{around} is not a folder, so {folder} cannot be made; choose another `out`.")
    is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not is_free and not (folder / mark).is_file():
        raise RunFolderError(f"{folder} contains files that thawline did not write; choose another `out`.")


def _save_weights(weights: dict[str, Tensor], path: Path) -> None:
    try:
        safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    except safetensors.SafetensorError as error:
        number = _SYSTEM_ERROR.search(str(error))  # what the operating system said is in its text only
        raise OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error)) from error


def _flush(folder: Path) -> None:
    for path in filter(Path.is_file, folder.iterdir()):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
