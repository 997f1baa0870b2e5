"""A finished `fit`, opened for inspection: its network with the weights before and after, and its images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from thawline.config import Preprocessing
from thawline.data.cache import user_cache
from thawline.data.pixels import build_pixels, normalize
from thawline.data.survey import Facts
from thawline.errors import ModelError, RunFolderError
from thawline.exports.ensemble_folder import is_ensemble, read_ensemble_folder
from thawline.exports.writing import THAWLINE_FILE, WEIGHTS_FILE
from thawline.model.blocks import partition
from thawline.model.load import load_model
from thawline.model.trust import ASK, Trust, code_to_run
from thawline.model.weights import fill, read_saved
from thawline.plan import Block
from thawline.records import read_json
from thawline.results import FitResults, plain
from thawline.runs.files import REQUEST
from thawline.runs.folder import RunFolder
from thawline.runs.listed import Listed, listed
from thawline.runs.model_folder import MODEL_FOLDER
from thawline.sums import check_sums

BATCH = 32

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class DecodedImages:
    """Decoded images; the row of an unreadable image is black."""

    pixels: np.ndarray
    """[n, S, S, 3] uint8."""
    facts: Sequence[Facts]
    preprocessing: Preprocessing

    def digest(self, row: int) -> bytes:
        """SHA-256 of one image's pixels."""
        return hashlib.sha256(self.pixels[row].tobytes()).digest()

    def batches(self, rows: Sequence[int] | None = None) -> Iterator[Tensor]:
        """Network input [B, 3, S, S] of some rows, or of all rows."""
        chosen = np.arange(len(self.pixels)) if rows is None else np.asarray(rows)
        for start in range(0, len(chosen), BATCH):
            pixels = np.ascontiguousarray(self.pixels[chosen[start : start + BATCH]])
            yield normalize(torch.from_numpy(pixels), self.preprocessing)


@dataclass(frozen=True)
class FinishedRun:
    """One network, and its weights before and after fine-tuning."""

    path: Path
    results: FitResults
    network: nn.Module
    """The network in eval mode, on the CPU; `put` decides which weights are in it."""
    preprocessing: Preprocessing
    blocks: tuple[Block, ...]
    """All blocks at the plan's granularity."""
    pretrained: State
    """Parameters and buffers by name, without the classifier."""
    fine_tuned: State
    """All of them."""

    @property
    def classes(self) -> list[str]:
        """Names in the order of the logits."""
        return list(self.results.data.classes)

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.path.resolve().name

    def put(self, *states: State) -> nn.Module:
        """The network with these tensors in it, later ones over earlier ones."""
        own = dict(self.network.named_parameters()) | dict(self.network.named_buffers())
        with torch.no_grad():
            for name, tensor in {key: value for state in states for key, value in state.items()}.items():
                own[name].copy_(tensor)
        return self.network

    @property
    def about_members(self) -> str:
        """That only the first member of an ensemble is looked at, as a sentence; empty of a single network."""
        plan = self.results.plan
        if not plan.is_ensemble:
            return ""
        return (
            f"The model is an ensemble of {len(plan.members)} networks: Grad-CAM and block changes are those of the "
            "first."
        )

    def listed(self) -> list[Listed]:
        """Every image of the run."""
        return listed(self.path, Path(self.results.data.root))

    def decode(self, paths: Sequence[Path]) -> DecodedImages:
        """Decode and preprocess images as the run did."""
        store = build_pixels(paths, self.preprocessing, cache=user_cache() / "pixels", on_bad="skip")
        return DecodedImages(store.array, store.facts, self.preprocessing)


def open_finished(folder: RunFolder, trust: Trust = ASK) -> FinishedRun:
    """Raises `RunFolderError` if the run is not a finished `fit`, `ModelError` if its weights or its code changed.

    Code that the run names runs as far as `trust` says.
    """
    request, results = folder.request(), folder.results()
    weights = _saved(folder.path / MODEL_FOLDER) / WEIGHTS_FILE
    if not isinstance(results, FitResults) or not weights.is_file():
        raise RunFolderError(f"{folder.path} has no saved model; give the folder of a finished `fit`.")
    classes = results.data.classes
    source = code_to_run(request.model, folder.file(REQUEST), trust)
    _require_its_model(folder.path, results)
    model = load_model(source, len(classes), weights=request.weights, image_size=request.images.image_size)
    if changed := ", ".join(model.changed_files(results.pretrained.own_files or {})):
        raise ModelError(f"the code of {folder.path} changed since its training ({changed}); restore it.")
    if model.weights_fingerprint != results.pretrained.weights_fingerprint:
        raise ModelError(
            f"{request.model}: its weights or code differ from those that {folder.path} started from; restore them."
        )
    preprocessing = model.preprocessing
    if request.images.crop_pct is not None:
        preprocessing = replace(preprocessing, crop_pct=request.images.crop_pct)
    if request.images.bit_depth != "auto":
        preprocessing = replace(preprocessing, bit_depth=int(request.images.bit_depth))
    plan = results.plan
    return FinishedRun(
        folder.path,
        results,
        model.module.eval(),
        preprocessing,
        partition(model.module, plan.granularity, preprocessing.image_size),
        model.pristine(),
        _fine_tuned(model.module, weights),
    )


def _saved(folder: Path) -> Path:
    """The folder with the weights to look at: of an ensemble, those of its first member."""
    return folder / read_ensemble_folder(folder).members[0] if is_ensemble(folder) else folder


def _require_its_model(run: Path, results: FitResults) -> None:
    """Raise `RunFolderError` if the model folder came from another run: before and after would not belong together."""
    record = read_json(run / MODEL_FOLDER / THAWLINE_FILE)
    origin = {"plan": plain(results.plan), "saved_seed": results.saved_seed}
    if not isinstance(record, dict) or any(record.get(key, value) != value for key, value in origin.items()):
        raise RunFolderError(
            f"{run / MODEL_FOLDER} is not the model of this run according to its {THAWLINE_FILE}; restore it."
        )


def _fine_tuned(network: nn.Module, path: Path) -> State:
    """The saved weights, proved to be those that were saved and to fit the network."""
    check_sums(path.parent, (path.name,))
    state = read_saved(path)
    fill(network, state, path, allow_extra=False, classifier=True)
    return state
