"""A saved model: probabilities of images, scores on labeled folders."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import nn

from thawline import verdicts
from thawline.callback import Callback
from thawline.config import Preprocessing
from thawline.data.cache import user_cache
from thawline.data.layout import some
from thawline.data.pixels import normalize
from thawline.data.read import absolute_name, read_named
from thawline.data.sources import listed_classes
from thawline.data.survey import survey
from thawline.data.transform import eval_transform
from thawline.data.walk import Ignored
from thawline.errors import DataError, ModelError, RunFolderError, remedy
from thawline.exports.ensemble_folder import ENSEMBLE_FILE, is_ensemble, read_ensemble_folder
from thawline.exports.own_folder import OWN_FILE, read_own_folder
from thawline.exports.timm_folder import CONFIG_FILE, read_timm_folder
from thawline.exports.writing import EXPORT_FILE, WEIGHTS_FILE
from thawline.memory import is_out_of_memory, keep_freed_memory
from thawline.model.ensemble import Ensemble
from thawline.model.fusion import Fusion
from thawline.model.load import load_model, load_saved
from thawline.model.own import is_own
from thawline.model.trust import ASK, Trust, code_to_run
from thawline.model.weights import fill, read_saved
from thawline.records import FORMAT_VERSION, write_json
from thawline.results import Evaluation, EvaluationLog, SkippedFile
from thawline.runs.files import EVALUATION_LOG, REQUEST, RESULTS, read_if_there, write
from thawline.runs.folder import RunFolder
from thawline.runs.listed import is_refitted, seen
from thawline.runs.model_folder import MODEL_FOLDER
from thawline.runs.sealed import updating
from thawline.sums import SUMS_FILE, check_sums
from thawline.training import evaluation

BATCH = 64
_ALONE = threading.Lock()
"""Held while a network predicts: its modules have other `forward` methods meanwhile, and callers may use threads."""
SILENT = Callback()
BATCH_PIXELS = 64 * 512**2
"""Networks of larger images get fewer of them at a time."""


class Classifier:
    """A model that thawline trained, or any timm folder, with the preprocessing that it was trained with."""

    def __init__(self, folder: Path, trust: Trust = ASK) -> None:
        """Raises `RunFolderError` or `ModelError` if `folder` is not a run or timm folder, or has no classifier.

        Code that the folder names runs as far as `trust` says.
        """
        self.folder = folder / MODEL_FOLDER if (folder / MODEL_FOLDER).is_dir() else folder
        opened = _opened_ensemble(self.folder, trust) if is_ensemble(self.folder) else _opened(self.folder, trust)
        if opened is None:
            raise RunFolderError(f"{folder} does not contain a model: {_how_to_get_one(folder)}.")
        self.network = opened.network
        keep_freed_memory()
        self._fusion = Fusion(self.network, opened.preprocessing.image_size)
        self.preprocessing = opened.preprocessing
        self.temperature = opened.temperature
        """What logits are divided by before the softmax."""
        self.classes = opened.classes
        """Class names in index order; numbers where the folder has no names."""

    def of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities [B, C] float32 of pixels [B, S, S, 3] uint8; raises `ModelError` if the weights are damaged."""
        logits = self._logits(pixels)
        if not logits.isfinite().all():
            raise ModelError(f"{self.folder} gives NaN or infinite values for images; its weights are damaged.")
        return torch.softmax(logits / self.temperature, dim=1).numpy()

    def probabilities(
        self, paths: Sequence[Path], callback: Callback = SILENT
    ) -> tuple[np.ndarray, list[int], list[Ignored]]:
        """Probabilities [n, C] of the readable images, their positions in `paths`, and the unreadable ones."""
        batches: list[np.ndarray] = []
        positions: list[int] = []
        unreadable: list[Ignored] = []
        for pixels, rows in self._batches(paths, unreadable):
            batches.append(self.of_pixels(pixels))
            positions += rows
            callback.decoding(len(positions) + len(unreadable), len(paths))
        if not batches:
            return np.zeros((0, len(self.classes)), np.float32), [], unreadable
        return np.concatenate(batches), positions, unreadable

    def _logits(self, pixels: np.ndarray) -> torch.Tensor:
        """Logits [B, C] of pixels [B, S, S, 3]; in halves, if memory is too small for all of them at once."""
        try:
            with _ALONE, torch.inference_mode(), self._fusion.on():
                logits: torch.Tensor = self.network(normalize(torch.from_numpy(pixels), self.preprocessing))
                return logits.float()
        except (MemoryError, RuntimeError) as error:
            if len(pixels) == 1 or not is_out_of_memory(error):
                raise
        half = len(pixels) // 2
        return torch.cat([self._logits(pixels[:half]), self._logits(pixels[half:])])

    def _batches(self, paths: Sequence[Path], unreadable: list[Ignored]) -> Iterator[tuple[np.ndarray, list[int]]]:
        """Pixels [B, S, S, 3] and positions of readable images; the others are added to `unreadable`."""
        size = self.preprocessing.image_size
        at_once = max(1, min(BATCH, BATCH_PIXELS // size**2))
        pixels: list[np.ndarray] = []
        rows: list[int] = []
        transform, depth = eval_transform(self.preprocessing), self.preprocessing.bit_depth
        decoded = survey(paths, threads=0, transform=transform, bit_depth=depth)
        for position, image in enumerate(decoded):
            if image.pixels is None:
                unreadable.append(Ignored(paths[position], image.facts.error or "cannot be read"))
                continue
            pixels.append(np.frombuffer(image.pixels, np.uint8).reshape(size, size, 3))
            rows.append(position)
            if len(rows) == at_once:
                yield np.stack(pixels), rows
                pixels, rows = [], []
        if rows:
            yield np.stack(pixels), rows


@dataclass(frozen=True)
class _Opened:
    """A model folder, opened."""

    network: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    temperature: float = 1.0


def _opened(folder: Path, trust: Trust) -> _Opened | None:
    """The network of a folder of timm or of the user's own code; None if it is neither."""
    if (folder / EXPORT_FILE).is_file():
        raise RunFolderError(
            f"{folder} is an export: pass the run that was exported or, for `predict` and `serve`, its model.onnx."
        )
    check_sums(folder, (WEIGHTS_FILE,))
    if (folder / OWN_FILE).is_file():
        return _opened_own(folder, trust)
    if (folder / CONFIG_FILE).is_file():
        code_to_run(CONFIG_FILE, folder / CONFIG_FILE, trust)
        return _opened_timm(folder)
    return None


def _opened_timm(folder: Path) -> _Opened:
    about = read_timm_folder(folder)
    if about.num_classes < 1:
        raise ModelError(f"{folder} is a feature extractor without a classifier; train one with `thawline fit`.")
    classes = about.label_names or tuple(str(index) for index in range(about.num_classes))
    network = load_saved(folder, about.num_classes, about.preprocessing.image_size)
    return _Opened(network, about.preprocessing, classes, about.temperature)


def _opened_own(folder: Path, trust: Trust) -> _Opened:
    about = read_own_folder(folder)
    if not is_own(about.source):
        raise RunFolderError(f"{folder / OWN_FILE}: source must be file.py:factory, got {about.source!r}.")
    source = code_to_run(about.source, folder / OWN_FILE, trust)
    model = load_model(source, len(about.label_names), image_size=about.preprocessing.image_size)
    if changed := ", ".join(model.changed_files(about.files)):
        raise ModelError(f"the code of {folder} changed since it was trained ({changed}); restore it, or train again.")
    weights = folder / WEIGHTS_FILE
    fill(model.module, read_saved(weights), weights, allow_extra=False, classifier=True)
    return _Opened(model.module.eval(), about.preprocessing, about.label_names, about.temperature)


def _opened_ensemble(folder: Path, trust: Trust) -> _Opened:
    """All members of an ensemble as one network."""
    check_sums(folder, (ENSEMBLE_FILE,))
    about = read_ensemble_folder(folder)
    members = [_opened_member(folder / name, trust) for name in about.members]
    first = members[0]
    for name, member in zip(about.members, members, strict=True):
        if (member.classes, member.preprocessing) != (first.classes, first.preprocessing):
            raise ModelError(
                f"{folder / name} has other classes or preprocessing than {folder / about.members[0]}; they do not "
                "belong to the same ensemble."
            )
    networks = [member.network for member in members]
    network = Ensemble(networks, about.shares, first.preprocessing.image_size)
    return _Opened(network, first.preprocessing, first.classes, about.temperature)


def _opened_member(folder: Path, trust: Trust) -> _Opened:
    opened = _opened(folder, trust)
    if opened is None:
        raise RunFolderError(f"{folder} does not contain a model; restore this member of the ensemble.")
    return opened


def _skipped(files: Sequence[Ignored]) -> list[SkippedFile]:
    return [file.result() for file in files]


def _how_to_get_one(folder: Path) -> str:
    begun = (folder / REQUEST).is_file() and not (folder / RESULTS["fit"]).is_file()
    if begun and RunFolder(folder).request().verb == "fit":
        return f"`thawline resume {folder}` finishes the run"
    return "give a finished `fit` run, or a timm folder"


def evaluate(folder: Path, data: str, trust: Trust, callback: Callback) -> Evaluation:
    """Score a saved model on labeled images and log the scores in `folder`/evaluations.json, or say why not.

    Uses the test split of `data` if there is one, else all images. Classes are matched by name; raises `DataError` for
    a class that the model does not know.
    """
    classifier = Classifier(folder, trust)
    _logged(folder)  # a damaged log is refused before anything takes time
    images = read_named(data, user_cache() / "data", on_bad="skip", known=classifier.classes)
    splits = {item.split for item in images.items}
    items = [item for item in images.items if "test" not in splits or item.split == "test"]
    index = {name: number for number, name in enumerate(classifier.classes)}
    labels_there = {item.label for item in items}
    if unknown := sorted(labels_there - set(index)):
        raise DataError(
            f"{data!r}: the model does not know the {listed_classes(unknown)}; it knows {some(index, 10)}. Class "
            "folders or labels must have the same names as in training."
        )
    probabilities, positions, unreadable = classifier.probabilities([item.path for item in items], callback)
    if not positions:
        raise DataError(f"{data!r}: none of the {len(items)} images can be read.")
    labels = np.array([index[items[position].label] for position in positions])
    scores = Evaluation(
        data=absolute_name(data),
        split="test" if "test" in splits else "all",
        images=len(positions),
        **evaluation.score(probabilities, labels),
        interval95=evaluation.bootstrap_interval(evaluation.correctness([probabilities], labels)),
        confusion_matrix=evaluation.confusion(probabilities, labels),
        per_class=evaluation.per_class(probabilities, labels, classifier.classes),
        unreadable=_skipped(unreadable),
        seen=seen(folder, items),
        notes=[
            *images.notes,
            *_absent(classifier.classes, labels_there),
            *([verdicts.REFITTED_SCORES] if is_refitted(folder) else []),
        ],
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    try:
        _log(folder, scores)
    except OSError as error:
        callback.note(
            f"{folder / EVALUATION_LOG} lacks these scores ({error.strerror or error}); {remedy(error)}, then repeat."
        )
    return scores


def _log(folder: Path, scores: Evaluation) -> None:
    """Append scores; another process may score the same model."""
    with updating(folder):
        log = EvaluationLog(format_version=FORMAT_VERSION, evaluations=[*_logged(folder), scores])
        # A SHA256SUMS that named the log alone would say that the model's own files are missing.
        keep = write if os.path.lexists(folder / SUMS_FILE) else write_json
        keep(folder / EVALUATION_LOG, log)


def _absent(classes: Sequence[str], present: Collection[str]) -> list[str]:
    """One line about the classes without images."""
    absent = [name for name in classes if name not in present]
    return [f"no images of {listed_classes(absent)}: averages are over the other classes"] if absent else []


def _logged(folder: Path) -> Sequence[Evaluation]:
    log = read_if_there(folder / EVALUATION_LOG, EvaluationLog)
    return log.evaluations if log else ()
