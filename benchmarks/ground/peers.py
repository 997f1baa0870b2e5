"""Other libraries, their rate tuned on validation for as long as `auto` took at the same place."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]  # timm lists no public names
from timm.scheduler import create_scheduler_v2  # type: ignore[attr-defined]
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.ground.methods import AUTO, Method
from benchmarks.ground.schema import Tried
from benchmarks.ground.settings import Place, Settings
from benchmarks.speed.images import DecodedEachTime
from benchmarks.trial.peers import BATCH, PEERS, Peer, Task, Trained, as_folders, by_file_name, opened, trained_within
from thawline.records import pack_bits, read_json

TIMM_RATES = (5e-4, 1e-3, 2e-4, 2e-3, 1e-4)
WEIGHT_DECAY = 0.05
SMOOTHING = 0.1
"""Label smoothing of timm's train.py."""


class SkippedError(Exception):
    """Why a peer takes no part, in one line."""


def peer_figures(place: Place, method: Method, settings: Settings) -> Mapping[str, Any]:
    """Figures of one peer; a training of it counts as a unit of work, as it trains everything.

    Raises `SkippedError` if the library is not installed, or if `auto`, which says how long it may take, is not there.
    """
    peer = _ALL[method.spec]
    if missing := [module for module in peer.modules if importlib.util.find_spec(module.split(".")[0]) is None]:
        raise SkippedError(f"{' and '.join(missing)} not installed (pip install 'thawline[bench]')")
    allowed = _seconds_of_auto(place, settings)
    folder = settings.runs / place.path.with_suffix(f".{method.spec}")
    shutil.rmtree(folder, ignore_errors=True)
    weights = (settings.shared / "weights" / place.backbone).resolve()
    data = as_folders(settings.manifest(place), folder / "data")
    task = Task(data, weights, place.image_size, settings.epochs, place.split, folder)
    done, seconds = trained_within(peer, task, allowed)
    best = max(done, key=lambda attempt: attempt.val)
    right = best.right()
    shutil.rmtree(folder)
    return {
        "test_accuracy": float(right.mean()),
        "val_accuracy": best.val,
        "right": pack_bits(right.tolist()),
        "work": float(len(done)),
        "seconds": seconds,
        "trainings": len(done),
        "chosen": f"{method.spec} at {best.rate:g}",
        "norm": "moving",
        "head_start": "random",
        "learning_rate": best.rate,
        "trainable_share": 1.0,
        "tried": [_tried(method, attempt) for attempt in done],
        "search": {"allowed_seconds": allowed},
    }


def _seconds_of_auto(place: Place, settings: Settings) -> float:
    path = settings.cell(place, AUTO)
    seconds = read_json(path)["seconds"] if path.exists() else None
    if seconds is None:
        raise SkippedError(f"needs the seconds of {path}, which is not there or failed")
    return float(seconds)


def _tried(method: Method, attempt: Trained) -> Tried:
    return Tried(spec=method.spec, learning_rate=attempt.rate, val_accuracy=attempt.val, val_loss=None, error=None)


def _timm(task: Task, rate: float, seed: int) -> Trained:
    """A plain loop around timm's optimizer and schedule: AdamW, one epoch of warm-up, cosine, label smoothing.

    The epoch that is best on validation is kept, as timm's train.py keeps its checkpoints.
    """
    torch.manual_seed(seed)
    model, decoded = opened(task)
    network = model.module
    loader = DataLoader(decoded["train"], BATCH, shuffle=True)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=rate, weight_decay=WEIGHT_DECAY)
    schedule, epochs = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=task.epochs, warmup_epochs=1, warmup_lr=rate / 100
    )
    best, kept = -1.0, {}
    for epoch in range(epochs):
        schedule.step(epoch)
        network.train()
        for pixels, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(pixels), labels, label_smoothing=SMOOTHING).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if (accuracy := float(_right(network, decoded["val"]).mean())) > best:
            best, kept = accuracy, {name: value.clone() for name, value in network.state_dict().items()}

    def right() -> np.ndarray:
        network.load_state_dict(kept)
        return by_file_name(decoded["test"].images.paths, _right(network, decoded["test"]))

    return Trained(rate, best, right)


def _right(network: nn.Module, images: DecodedEachTime) -> np.ndarray:
    """Which images the network gets right, [n] bool."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network(pixels).argmax(1) == labels for pixels, labels in DataLoader(images, BATCH)]).numpy()


_ALL: Mapping[str, Peer] = {**PEERS, "timm": Peer(("timm",), TIMM_RATES, _timm)}
