"""A timm network that is already built, as the name of a model: it is written to a folder that timm opens."""

from __future__ import annotations

import hashlib
from pathlib import Path

import timm
import torch
from filelock import FileLock
from timm.models import save_for_hf
from torch import nn

from thawline.errors import ModelError
from thawline.records import replacing


def source_of(model: object, cache: Path) -> object:
    """The name of a model for `load_model`; anything but an `nn.Module` as it is.

    A timm network is written to `cache`, named by its weights, so that a run from it can be resumed without the object.
    Raises `ModelError` for another network, and for one of timm that its name alone does not build.
    """
    if not isinstance(model, nn.Module):
        return model
    cfg = getattr(model, "pretrained_cfg", None)
    architecture = cfg.get("architecture") if isinstance(cfg, dict) else None
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise ModelError(
            f"`model`: {type(model).__name__} is not a network of timm, and its weights alone cannot be resumed from; "
            "pass the function that returns it as `model='file.py:function'`."
        )
    _require_usual(model, architecture)
    folder = cache / f"{architecture}-{_digest(model)}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # processes of one script may all be given the same network
        if not folder.is_dir():
            with replacing(folder) as partial:
                save_for_hf(model, str(partial), safe_serialization=True)
    return f"local-dir:{folder.absolute()}"


def _require_usual(model: nn.Module, architecture: str) -> None:
    """Raise `ModelError` unless timm builds the same tensors from the name."""
    classes = getattr(model, "num_classes", None)
    with torch.device("meta"):
        usual = timm.create_model(architecture, num_classes=classes)
    shapes = [{name: tensor.shape for name, tensor in each.state_dict().items()} for each in (model, usual)]
    if differing := sorted(name for name, _ in shapes[0].items() ^ shapes[1].items()):
        raise ModelError(
            f"`model`: {architecture} was built with arguments that change it ({differing[0]}); save it as a timm "
            "folder with these arguments and pass `model='local-dir:FOLDER'`."
        )


def _digest(model: nn.Module) -> str:
    """16 digits of the SHA-256 of all tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(plain.numpy().data)
    return digest.hexdigest()[:16]
