"""Loads a pretrained network with a new classifier, and restores that state as often as needed."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict, cast

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from thawline.config import Preprocessing
from thawline.errors import ModelError
from thawline.memory import raise_if_out_of_memory
from thawline.model import own
from thawline.model.execution import forward_blank_image
from thawline.model.head import HeadFactory, ResettingHead, head_tensors, named_tensors, seeded
from thawline.model.kept_head import KeptHead
from thawline.model.source import Origin, resolve
from thawline.model.weights import fill, loading, read_weights


@dataclass(frozen=True)
class ModelStructure:
    """A network without weights, on the meta device."""

    source: str
    """The name that the user gave."""
    architecture: str
    """timm's name without a tag; for the user's own network, `source`."""
    module: nn.Module
    num_classes: int
    preprocessing: Preprocessing
    model_args: dict[str, object]
    """Keyword arguments that rebuild it with `timm.create_model(architecture, num_classes=..., **model_args)`."""
    pretrained_cfg: dict[str, object]


class LoadedModel:
    """A network with pretrained weights and a new classifier, in fp32, initially on the CPU."""

    def __init__(
        self,
        origin: Origin,
        module: nn.Module,
        preprocessing: Preprocessing,
        heads: HeadFactory | ResettingHead,
        *,
        num_classes: int,
        own_network: own.OwnNetwork | None = None,
    ) -> None:
        """Use `load_model` instead. `own_network`: what the user's code built; None for timm's networks."""
        self.source = origin.source
        """The name that the user gave."""
        self.is_timm = origin.is_timm
        """False for the user's own network, which only the code named by `source` can rebuild."""
        self.architecture = origin.architecture
        """timm's name without a tag; for the user's own network, `source`."""
        self.module = module
        self.num_classes = num_classes
        self.preprocessing = preprocessing
        self.model_args = dict(origin.model_args)
        """Keyword arguments that rebuild it with `timm.create_model(architecture, num_classes=..., **model_args)`."""
        self.pretrained_cfg = _settings(module)
        """timm's settings for the loaded weights, without their location."""
        head = head_tensors(module)
        self._pristine = {name: tensor.detach().clone() for name, tensor in named_tensors(module) if name not in head}
        self._heads = heads
        self._package = own_network.package if own_network else None
        self.kept_head: KeptHead | None = None
        """Rows of the classifier that belonged to these weights, for plans that start from them."""
        self.trained: str | None = None
        """Key of the training whose weights the network has, if that is known."""
        self.notes: tuple[str, ...] = ()
        """What the user should know about its layers, in one line each."""
        self.weights_fingerprint = _fingerprint(self._pristine, own_network.code if own_network else "")
        """SHA-256 over names and values of the pretrained tensors, without the classifier, and over the user's code."""

    def restore(self, seed: int) -> None:
        """Restore all pretrained weights and buffers, and draw a new classifier from `seed`.

        Modules and parameters remain the same objects, on the same device and in the same memory format. The global
        random generator, modes and `requires_grad` are left unchanged.
        """
        state = {**self._pristine, **self._heads.draw(seed)}
        with torch.no_grad():
            for name, tensor in named_tensors(self.module):
                tensor.copy_(state[name])
        self.trained = None

    @property
    def own_files(self) -> Mapping[str, str]:
        """SHA-256 of every file of the user's code that ran so far, by its path relative to the factory's folder."""
        return dict(self._package.files) if self._package else {}

    def changed_files(self, recorded: Mapping[str, str]) -> list[str]:
        """Files of the user's code that are not what `own_files` was once; empty if nothing was recorded."""
        return self._package.differing(recorded) if self._package and recorded else []

    def pristine(self) -> Mapping[str, Tensor]:
        """Pretrained parameters and buffers by name, on the CPU, without the classifier. Do not modify them."""
        return self._pristine


def load_model(
    source: str, num_classes: int, *, weights: str | None = None, image_size: int | None = None, seed: int = 0
) -> LoadedModel:
    """Load a network with a new classifier drawn from `seed`.

    `source`: a timm name, `local-dir:PATH`, `hf-hub:ORGANISATION/NAME`, or the user's own `module.py:factory` (see
    `model/own.py`). `weights`: `random` (drawn from `seed`), a file of tensors, or a timm folder; None = the weights
    that belong to the name. `image_size` in pixels; None = the network's training resolution. Raises `ModelError` if
    the name is unknown, or if the weights are unavailable, unreadable or do not fit.
    """
    _require_classes(num_classes)
    origin = resolve(source, weights, image_size)
    path = origin.locate_weights()
    if not origin.is_timm:
        return _load_own(origin, num_classes, path, image_size, seed)
    filled = contextlib.nullcontext() if path is None else loading(path, allow_extra=not origin.from_user)
    with filled, seeded(seed):
        module = _create(origin, num_classes, pretrained=path is not None).float()
    heads = HeadFactory(module, partial(_create, origin, num_classes))
    preprocessing = _preprocessing(module, image_size, source)
    model = LoadedModel(origin, module, preprocessing, heads, num_classes=num_classes)
    model.restore(seed)
    return model


def load_saved(folder: Path, num_classes: int, image_size: int) -> nn.Module:
    """The network of a timm folder with the classifier that is saved in it, in fp32 and eval mode on the CPU.

    Raises `ModelError` if the folder is damaged, or if its settings, its weights and `num_classes` do not fit together.
    """
    origin = resolve(f"local-dir:{folder}", None, None)
    path = origin.locate_weights()
    assert path is not None
    with loading(path, allow_extra=False, classifier=True):
        module = _create(origin, num_classes, pretrained=True).float().eval()
    with torch.no_grad():
        output = forward_blank_image(module, image_size)
    found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if found != [1, num_classes]:
        raise ModelError(f"{folder}: its output for an image is {found} instead of logits {[1, num_classes]}.")
    return module


def _load_own(origin: Origin, num_classes: int, weights: Path | None, image_size: int | None, seed: int) -> LoadedModel:
    with seeded(seed):
        network, preprocessing, notes = _build_own(origin, num_classes, image_size, is_filled=weights is not None)
    module = network.module
    if weights is not None:
        fill(module, read_weights(weights), weights, allow_extra=False)
    heads = ResettingHead(module, origin.source)
    model = LoadedModel(origin, module, preprocessing, heads, num_classes=num_classes, own_network=network)
    model.notes = notes
    model.restore(seed)
    return model


def _build_own(
    origin: Origin, num_classes: int, image_size: int | None, *, is_filled: bool = False
) -> tuple[own.OwnNetwork, Preprocessing, tuple[str, ...]]:
    network = own.build(origin.source, num_classes)
    preprocessing = _preprocessing(network.module, image_size, origin.source)
    notes = own.examine(network, num_classes, preprocessing.image_size, is_filled=is_filled)
    return network, preprocessing, notes


def build_on_meta(source: str, num_classes: int, image_size: int | None = None) -> ModelStructure:
    """The structure of a model, for `inspect`, without reading weights or allocating memory.

    The user's own network is built by its code, including weights, and then moved to the meta device.
    """
    _require_classes(num_classes)
    origin = resolve(source, None, image_size)
    if origin.is_timm:
        with torch.device("meta"):
            module = _create(origin, num_classes)
        preprocessing = _preprocessing(module, image_size, source)
    else:
        with seeded(0):  # user code may compute with its tensors, which is not possible on the meta device
            network, preprocessing, _ = _build_own(origin, num_classes, image_size)
        module = network.module.to("meta")
    return ModelStructure(
        source=source,
        architecture=origin.architecture,
        module=module,
        num_classes=num_classes,
        preprocessing=preprocessing,
        model_args=dict(origin.model_args),
        pretrained_cfg=_settings(module),
    )


def _require_classes(num_classes: int) -> None:
    if num_classes < 2:
        raise ModelError(f"a classifier needs at least 2 classes, got {num_classes}.")


def _create(origin: Origin, num_classes: int, pretrained: bool = False) -> nn.Module:
    create: Callable[..., nn.Module] = timm.create_model
    try:
        return create(
            origin.architecture,
            pretrained=pretrained,
            pretrained_cfg=dict(origin.pretrained_cfg),
            num_classes=num_classes,
            **origin.model_args,
        )
    except ModelError:
        raise
    except Exception as error:  # model_args from a file reach any constructor, which may raise anything
        raise_if_out_of_memory(error)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        size = origin.model_args.get("img_size")
        hint = f"try another `image_size` than {size}" if size else "check its model_args"
        raise ModelError(f"{origin.source} cannot be built ({reason}); {hint}.") from error


class _DataConfig(TypedDict):
    """What is used of timm's data config."""

    input_size: tuple[int, int, int]
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: Sequence[float]
    std: Sequence[float]


def _preprocessing(module: nn.Module, image_size: int | None, source: str) -> Preprocessing:
    """The evaluation transform of timm at the training resolution (not the larger `test_input_size`)."""
    try:
        settings: _DataConfig = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
        _, height, width = settings["input_size"]
        found = Preprocessing(
            image_size=image_size or height,
            interpolation=settings["interpolation"],
            crop_pct=float(settings["crop_pct"]),
            crop_mode=settings["crop_mode"],
            mean=tuple(map(float, settings["mean"])),  # type: ignore[arg-type]
            std=tuple(map(float, settings["std"])),  # type: ignore[arg-type]
        )
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{source}: invalid preprocessing settings in its pretrained_cfg ({str(error).removesuffix('.')})."
        ) from error
    if image_size is None and height != width:
        raise ModelError(
            f"{source} expects images of {height} x {width} pixels, which is not square; set `image_size`."
        )
    return found


_WHERE_FROM = ("file", "source", "state_dict")


def _settings(module: nn.Module) -> dict[str, object]:
    """Settings that timm has for the weights, without local paths."""
    cfg = cast("dict[str, object]", module.pretrained_cfg)
    return {name: value for name, value in cfg.items() if name not in _WHERE_FROM}


def _fingerprint(state: Mapping[str, Tensor], code: str) -> str:
    digest = hashlib.sha256(code.encode(errors="replace"))
    for name in sorted(state):
        tensor = state[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
