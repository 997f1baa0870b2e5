"""fastai's `fine_tune` and Hugging Face's `Trainer`, their rate tuned on validation for as long as `auto` took.

    python -m benchmarks.trial --procedures auto-5x,fastai,hf

Five rates, the library's own first; then, while time is left, the best of them with further seeds. The network that is
best on validation is scored on test. Nothing is begun when the time is up; what runs then may end.
"""

from __future__ import annotations

import csv
import importlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.speed import fastai_tune
from benchmarks.speed.images import DecodedEachTime, Images, usual_transform
from benchmarks.speed.peers import needed
from thawline.data.walk import sort_key
from thawline.model.load import LoadedModel, load_model

FASTAI_RATES = (2e-3, 5e-3, 1e-3, 1e-2, 5e-4)
"""Its default first."""
HF_RATES = (5e-5, 3e-4, 1e-3, 1e-4, 3e-3)
"""Its default first."""
BATCH = 32


@dataclass(frozen=True)
class Task:
    """What a peer trains on."""

    data: Path
    """Folders split/label/ made by `as_folders`."""
    weights: Path
    """timm folder of the pretrained network."""
    image_size: int
    epochs: int
    seed: int
    folder: Path
    """For what the library writes."""


@dataclass(frozen=True)
class Trained:
    """One training of a peer."""

    rate: float
    val: float
    """Accuracy."""
    right: Callable[[], np.ndarray]
    """Which test images it gets right, [n] bool in the order of their file names; called for the best training only."""


@dataclass(frozen=True)
class Peer:
    """Another library, or a recipe made with it."""

    modules: tuple[str, ...]
    """What it imports; packages of the same names must be installed."""
    rates: tuple[float, ...]
    train: Callable[[Task, float, int], Trained]
    """One training with a rate and a seed."""


def tuned(name: str, manifest: Path, weights: Path, seed: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Figures of one peer on one split, in the form of the trial's other procedures."""
    task = Task(as_folders(manifest, folder / "data"), weights, 96, 12, seed, folder)
    done, spent = trained_within(PEERS[name], task, seconds)
    best = max(done, key=lambda attempt: attempt.val)
    test = float(best.right().mean())
    return {
        "test": {"mean": test, "per_seed": [test], "n": 1},
        "val": best.val,
        "work": float(len(done)),
        "seconds": spent,
        "trainings": len(done),
        "chosen": f"{name} at {best.rate:g}",
        "allowed_seconds": seconds,
        "tried": [{"rate": attempt.rate, "val": attempt.val} for attempt in done],
    }


def trained_within(peer: Peer, task: Task, seconds: float) -> tuple[list[Trained], float]:
    """All trainings that a peer begins within `seconds`, at least one, and the seconds that they took."""
    torch.set_num_threads(1)
    # What a library takes to import is not held against it.
    with needed(*peer.modules):
        for module in peer.modules:
            importlib.import_module(module)
    started = time.monotonic()
    done: list[Trained] = []
    for rate, number in _next_training(peer.rates, done):
        if done and time.monotonic() - started > seconds:
            break
        done.append(peer.train(task, rate, task.seed + 1000 * number))
    return done, time.monotonic() - started


def _next_training(rates: tuple[float, ...], done: list[Trained]) -> Iterator[tuple[float, int]]:
    """Rate and number of the seed: every rate once, then the best so far again and again."""
    yield from ((rate, 0) for rate in rates)
    number = 0
    while True:
        number += 1
        yield max(done, key=lambda attempt: attempt.val).rate, number


def as_folders(manifest: Path, folder: Path) -> Path:
    """`folder`/split/label/ with copies of the images, whose names sort as their paths in the manifest do."""
    with manifest.open(encoding="utf-8", newline="") as stream:
        rows = sorted(
            (row for row in csv.DictReader(stream) if row["split"]), key=lambda row: sort_key(Path(row["path"]))
        )
    for number, row in enumerate(rows):
        home, path = folder / row["split"] / row["label"], Path(row["path"])
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, home / f"{number:06}{path.suffix}")
    return folder


def by_file_name(paths: Sequence[Path], right: np.ndarray) -> np.ndarray:
    """`right` [n] in the order of the names of the files."""
    found: np.ndarray = right[sorted(range(len(paths)), key=lambda number: paths[number].name)]
    return found


def _fastai(task: Task, rate: float, seed: int) -> Trained:
    from fastai.vision import all as fastai

    options = SimpleNamespace(
        data=task.data, weights=task.weights, image_size=task.image_size, augment="none", batch=BATCH
    )
    fastai.set_seed(seed)
    fastai.default_device(use=False)
    loaders = fastai_tune._loaders(fastai, options)  # type: ignore[arg-type]
    learner = fastai.vision_learner(loaders, f"local-dir:{task.weights}", metrics=fastai.accuracy, path=task.folder)
    frozen = fastai_tune.FREEZE_EPOCHS
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(task.epochs - frozen, base_lr=rate, freeze_epochs=frozen)
        val = float(learner.validate()[1])

    def right() -> np.ndarray:
        paths = fastai.get_image_files(task.data / "test")
        with learner.no_bar(), learner.no_logging():
            scores, labels = learner.get_preds(dl=loaders.test_dl(paths, with_labels=True))
        return by_file_name(paths, (scores.argmax(1) == labels).numpy())

    return Trained(rate, val, right)


def _hugging_face(task: Task, rate: float, seed: int) -> Trained:
    from transformers import PrinterCallback, Trainer, TrainingArguments

    from benchmarks.speed.hf_trainer import WithLoss, _collate

    torch.manual_seed(seed)
    model, decoded = opened(task)
    arguments = TrainingArguments(
        output_dir=str(task.folder / f"hf-{rate:g}-{seed}"),
        num_train_epochs=task.epochs,
        per_device_train_batch_size=BATCH,
        learning_rate=rate,
        seed=seed,
        use_cpu=True,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        WithLoss(model.module),
        arguments,
        train_dataset=decoded["train"],
        eval_dataset=decoded["val"],
        data_collator=_collate,
        compute_metrics=lambda found: {"accuracy": float(np.mean(np.argmax(found.predictions, 1) == found.label_ids))},
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()

    def right() -> np.ndarray:
        found = trainer.predict(decoded["test"])
        return by_file_name(decoded["test"].images.paths, np.argmax(found.predictions, 1) == found.label_ids)

    return Trained(rate, float(trainer.evaluate(decoded["val"])["eval_accuracy"]), right)


def opened(task: Task) -> tuple[LoadedModel, dict[str, DecodedEachTime]]:
    """The pretrained network with a head of the right size, and the images by split."""
    sets = {split: Images.read(task.data / split) for split in ("train", "val", "test")}
    model = load_model(f"local-dir:{task.weights}", sets["train"].classes, image_size=task.image_size)
    transform = usual_transform(model.preprocessing)
    return model, {split: DecodedEachTime(images, transform) for split, images in sets.items()}


PEERS: Mapping[str, Peer] = {
    "fastai": Peer(("fastai", "fastai.vision.all"), FASTAI_RATES, _fastai),
    "hf": Peer(("accelerate", "transformers", "transformers.trainer"), HF_RATES, _hugging_face),
}
