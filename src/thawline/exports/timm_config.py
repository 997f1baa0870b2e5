"""config.json of a timm folder: the architecture, its classes and its preprocessing.

Every key is either ours or checked against timm's own list; keys that describe the source weights only are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from timm.models import PretrainedCfg
from torch import nn

from thawline.config import FULL_DEPTH, Preprocessing
from thawline.version import __version__

# Keys that describe the source weights and would be wrong, or harmful, beside ours.
_SOURCE_KEYS = frozenset({"url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture"})
_STALE_KEYS = frozenset(
    {
        "test_input_size",  # timm's validate and transformers prefer test sizes to the size we trained at
        "test_crop_pct",
        "test_pool_size",
        "label_offset",  # would cut the first rows off our head at every load
        "label_names",
        "label_descriptions",
        "num_classes",  # these stand at the root of the file
    }
)
_NOT_MODEL_ARGS = frozenset(
    {"num_classes", "drop_rate", "drop_path_rate", "drop_block_rate", "device", "dtype"}  # decided by whoever loads it
)


@dataclass(frozen=True)
class TimmConfig:
    """What timm and transformers need to rebuild a network and its preprocessing."""

    architecture: str
    """timm's name without the tag."""
    num_classes: int
    num_features: int | None
    """Width of the features before the classifier; None = the network does not say."""
    label_names: Sequence[str]
    """Class names in index order."""
    model_args: Mapping[str, object]
    """Keyword arguments that build the architecture."""
    pretrained_cfg: Mapping[str, object]
    """Fields of timm's `PretrainedCfg`."""
    thawline: Mapping[str, object]
    """The version that wrote it; the bit depth of 16-bit images if it is not 16; the temperature if it is not 1."""

    def to_dict(self) -> dict[str, object]:
        """The keys of config.json; unknown ones are left out."""
        return {key: value for key, value in vars(self).items() if value is not None}


def timm_config(
    module: nn.Module,
    architecture: str,
    label_names: Sequence[str],
    preprocessing: Preprocessing,
    model_args: Mapping[str, object],
    source_cfg: Mapping[str, object],
    temperature: float = 1.0,
) -> TimmConfig:
    """config.json of `module`; `source_cfg` is the pretrained_cfg that its source weights came with."""
    channels, depth = getattr(module, "in_chans", 3), preprocessing.bit_depth
    return TimmConfig(
        architecture=architecture.partition(".")[0],
        num_classes=len(label_names),
        num_features=getattr(module, "num_features", None),
        label_names=list(label_names),
        model_args=_model_args(module, model_args, source_cfg, preprocessing.image_size, channels),
        pretrained_cfg=_pretrained_cfg(source_cfg, preprocessing, channels),
        thawline={
            "version": __version__,
            **({"bit_depth": depth} if depth != FULL_DEPTH else {}),
            **({"temperature": temperature} if temperature != 1 else {}),
        },
    )


def _model_args(
    module: nn.Module,
    model_args: Mapping[str, object],
    source_cfg: Mapping[str, object],
    image_size: int,
    channels: int,
) -> dict[str, object]:
    arguments = {key: value for key, value in model_args.items() if key not in _NOT_MODEL_ARGS and value is not None}
    if source_cfg.get("fixed_input_size"):
        # timm derives img_size from input_size for these nets, transformers does not. With dynamic_img_size the
        # position embedding keeps the size it was built at, whatever the images' size.
        built = getattr(getattr(module, "patch_embed", None), "img_size", None)
        arguments.setdefault("img_size", list(built or (image_size, image_size)))
    if channels != 3:
        arguments.setdefault("in_chans", channels)
    return arguments


def _pretrained_cfg(source_cfg: Mapping[str, object], preprocessing: Preprocessing, channels: int) -> dict[str, object]:
    # timm builds PretrainedCfg(**cfg): one unknown key, and the folder does not open.
    known = {field.name for field in dataclasses.fields(PretrainedCfg)} - _SOURCE_KEYS - _STALE_KEYS
    cfg = {key: value for key, value in source_cfg.items() if key in known and value is not None}
    size = (channels, preprocessing.image_size, preprocessing.image_size)
    source_size = source_cfg.get("input_size")
    if not isinstance(source_size, Sequence) or size[1:] != tuple(source_size)[1:]:
        cfg["pool_size"] = None
    cfg |= {
        "tag": "thawline",
        "custom_load": False,
        "input_size": size,
        "interpolation": preprocessing.interpolation,
        "crop_pct": preprocessing.crop_pct,
        "crop_mode": preprocessing.crop_mode,
        "mean": _per_channel(preprocessing.mean, channels),
        "std": _per_channel(preprocessing.std, channels),
    }
    if channels != 3:
        cfg["first_conv"] = None  # else timm may "adapt" our stem from RGB at every load
    return cfg


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    # timm's own rule for nets that do not see RGB: the average.
    return values if len(values) == channels else (sum(values) / len(values),) * channels
