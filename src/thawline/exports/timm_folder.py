"""A trained model as a timm folder, which timm, transformers and the Hugging Face Hub open without thawline.

    config.json         architecture, class names, preprocessing: what timm and transformers read
    model.safetensors   the weights: contiguous, fp32, named as in the bare timm model
    SHA256SUMS          digests of all but the model card, which people edit
    labels.txt          one class per line in index order, escaped by `one_line`
    README.md           the model card
    thawline.json       where the model comes from: blocks and rates, plan, data, metrics, versions

The files are written here rather than by timm's `save_for_hf`, which writes a pickle by default, rejects shared
tensors and lets preprocessing of the source weights through (their test size, their label offset, their class names).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timm.models import PretrainedCfg
from timm.utils.model import unwrap_model
from torch import nn

from thawline.config import FULL_DEPTH, Preprocessing
from thawline.errors import ModelError, RunFolderError
from thawline.exports.escaping import one_line
from thawline.exports.timm_config import timm_config
from thawline.exports.writing import CARD_FILE, LABELS_FILE, THAWLINE_FILE, is_temperature, plain_json, write_folder
from thawline.records import FORMAT_VERSION, read_json

CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class TimmFolder:
    """What a timm folder says about its model, apart from the weights."""

    architecture: str
    """timm's name without the tag."""
    num_classes: int
    """Outputs of the classifier; 0 = the folder holds features only."""
    label_names: tuple[str, ...] | None
    """Class names in index order; None if the folder does not name its classes."""
    preprocessing: Preprocessing
    thawline: Mapping[str, object] | None
    """What thawline recorded about the training; None if another program wrote the folder."""
    temperature: float = 1.0
    """What logits are divided by before the softmax. thawline only: timm and transformers leave it out."""


def save_timm_folder(
    folder: Path,
    module: nn.Module,
    *,
    architecture: str,
    label_names: Sequence[str],
    preprocessing: Preprocessing,
    model_args: Mapping[str, object],
    pretrained_cfg: Mapping[str, object],
    thawline: Mapping[str, object],
    card: str,
    temperature: float = 1.0,
) -> None:
    """Write `folder` whole or not at all, replacing an earlier one that thawline wrote.

    `model_args` are the keyword arguments that build the architecture and `pretrained_cfg` is the one that the source
    weights came with; what contradicts the trained model is left out of both. `card` becomes README.md.

    Raises ModelError if names and outputs differ in number or something is not plain JSON, RunFolderError if the folder
    holds something else or cannot be written.
    """
    bare: nn.Module = unwrap_model(module)  # type: ignore[no-untyped-call]
    _check_head(bare, label_names)
    config = timm_config(bare, architecture, label_names, preprocessing, model_args, pretrained_cfg, temperature)
    texts = {
        CONFIG_FILE: plain_json(CONFIG_FILE, config.to_dict()),
        LABELS_FILE: "".join(f"{one_line(name)}\n" for name in label_names),
        CARD_FILE: card,
        THAWLINE_FILE: plain_json(THAWLINE_FILE, {"format_version": FORMAT_VERSION, **thawline}),
    }
    write_folder(folder, texts, bare)


def read_timm_folder(folder: Path) -> TimmFolder:
    """Read what a timm folder says about its model, whichever program wrote it.

    Raises RunFolderError if a file is missing or is not JSON, ModelError if it does not describe a timm model on RGB.
    """
    path = folder / CONFIG_FILE
    config = read_json(path)
    cfg = config.get("pretrained_cfg") if isinstance(config, dict) else None
    if not isinstance(cfg, dict):
        raise ModelError(
            f"{path} has no pretrained_cfg, so this is not a timm folder; save the model with timm >= 1.0."
        )
    architecture = config.get("architecture")
    if not isinstance(architecture, str):
        raise ModelError(f"{path} names no architecture; add the timm name of the model, for instance resnet50.")
    classes = _num_classes({**cfg, **config}, path)
    names = _label_names({**cfg, **config}, classes, path)
    ours = config.get("thawline")
    preprocessing = _preprocessing(cfg, _bit_depth(ours), path)
    temperature = _temperature(ours, path)
    return TimmFolder(architecture, classes, names, preprocessing, _read_thawline(folder), temperature)


def timm_snippet(folder: Path | None = None) -> str:
    """Three lines of Python that open the model in timm, offline and without thawline.

    Without `folder`, they open the model in the current directory.
    """
    name = f"local-dir:{folder.resolve() if folder else '.'}"
    return (
        "import timm\n"
        f"model = timm.create_model({name!r}, pretrained=True).eval()\n"
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)"
    )


def _check_head(module: nn.Module, label_names: Sequence[str]) -> None:
    outputs = getattr(module, "num_classes", len(label_names))
    if outputs != len(label_names):
        # timm drops a head of another size without a warning, so this must never reach a file.
        raise ModelError(
            f"the model has {outputs} outputs and {len(label_names)} class names were given; they must match."
        )


def _num_classes(config: Mapping[str, object], path: Path) -> int:
    number = config.get("num_classes")
    if not isinstance(number, int) or number < 0:
        raise ModelError(f"{path}: num_classes must be a number of classes, got {number!r}.")
    return number


def _label_names(config: Mapping[str, object], num_classes: int, path: Path) -> tuple[str, ...] | None:
    names = config.get("label_names")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) != num_classes:
        raise ModelError(f"{path}: label_names must be a list of {num_classes} names, one for each class.")
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ModelError(f"{path}: label_names has {repeated[0]!r} more than once; give every class its own name.")
    return tuple(names)


def _preprocessing(stored: Mapping[str, object], bit_depth: int, path: Path) -> Preprocessing:
    try:
        # As timm does it: missing keys take its defaults, an unknown key is an error.
        known: dict[str, Any] = {key: value for key, value in stored.items() if value is not None}
        cfg = PretrainedCfg(**known)
        channels, height, width = cfg.input_size
        mean, std, crop_pct = _rgb(cfg.mean), _rgb(cfg.std), float(cfg.crop_pct)
        if channels != 3 or height != width:
            raise ValueError(f"the input must be square RGB, got {channels} channels of {height} x {width} pixels")
        return Preprocessing(height, cfg.interpolation, crop_pct, cfg.crop_mode, mean, std, bit_depth)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: timm cannot use its pretrained_cfg ({str(error).removesuffix('.')}).") from error


def _bit_depth(thawline: object) -> int:
    """Bits that the values of 16-bit images really have; timm knows no such setting."""
    return thawline.get("bit_depth", FULL_DEPTH) if isinstance(thawline, dict) else FULL_DEPTH


def _temperature(thawline: object, path: Path) -> float:
    """Raises `ModelError` for a value that logits cannot be divided by."""
    found = thawline.get("temperature", 1.0) if isinstance(thawline, dict) else 1.0
    if not is_temperature(found):
        raise ModelError(f"{path}: the temperature must be a number above 0, got {found!r}.")
    return float(found)


def _rgb(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)


def _read_thawline(folder: Path) -> Mapping[str, object] | None:
    path = folder / THAWLINE_FILE
    if not path.exists():
        return None
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format_version") != FORMAT_VERSION:
        raise RunFolderError(
            f"{path} does not have format_version {FORMAT_VERSION}; use the version of thawline that wrote it."
        )
    return record
