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
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.speed import fastai_tune
from benchmarks.speed.images import DecodedEachTime, Images, usual_transform
from benchmarks.speed.peers import needed
from thawline.model.load import load_model

MODULES = {"fastai": ("fastai", "fastai.vision.all"), "hf": ("accelerate", "transformers", "transformers.trainer")}
EPOCHS = 12
BATCH = 32
IMAGE_SIZE = 96
FASTAI_RATES = (2e-3, 5e-3, 1e-3, 1e-2, 5e-4)
"""Its default first."""
HF_RATES = (5e-5, 3e-4, 1e-3, 1e-4, 3e-3)
"""Its default first."""


@dataclass(frozen=True)
class Trained:
    """One training of a peer."""

    rate: float
    val: float
    test: Callable[[], float]
    """Accuracy; called for the best training only."""


def tuned(name: str, manifest: Path, weights: Path, seed: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Figures of one peer on one split, in the form of the trial's other procedures."""
    torch.set_num_threads(1)
    linked = _as_folders(manifest, folder / "data")
    train, rates = (_fastai, FASTAI_RATES) if name == "fastai" else (_hugging_face, HF_RATES)
    # What a library takes to import is not held against it.
    with needed(*MODULES[name]):
        for module in MODULES[name]:
            importlib.import_module(module)
    started = time.monotonic()
    done: list[Trained] = []
    for rate, number in _next_training(rates, done):
        if done and time.monotonic() - started > seconds:
            break
        done.append(train(linked, weights, rate, seed + 1000 * number, folder))
    spent = time.monotonic() - started
    best = max(done, key=lambda attempt: attempt.val)
    test = best.test()
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


def _next_training(rates: tuple[float, ...], done: list[Trained]) -> Iterator[tuple[float, int]]:
    """Rate and number of the seed: every rate once, then the best so far again and again."""
    yield from ((rate, 0) for rate in rates)
    number = 0
    while True:
        number += 1
        yield max(done, key=lambda attempt: attempt.val).rate, number


def _as_folders(manifest: Path, folder: Path) -> Path:
    """`folder`/split/label/ with copies of the images."""
    counts: dict[str, int] = defaultdict(int)
    with manifest.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if not row["split"]:
                continue
            home = folder / row["split"] / row["label"]
            home.mkdir(parents=True, exist_ok=True)
            counts[str(home)] += 1
            path = Path(row["path"])
            shutil.copyfile(path, home / f"{counts[str(home)]:05}{path.suffix}")
    return folder


def _fastai(data: Path, weights: Path, rate: float, seed: int, folder: Path) -> Trained:
    with needed("fastai"):
        from fastai.vision import all as fastai
    options = SimpleNamespace(data=data, weights=weights, image_size=IMAGE_SIZE, augment="none", batch=BATCH)
    fastai.set_seed(seed)
    fastai.default_device(use=False)
    loaders = fastai_tune._loaders(fastai, options)  # type: ignore[arg-type]
    learner = fastai.vision_learner(loaders, f"local-dir:{weights}", metrics=fastai.accuracy, path=folder)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(EPOCHS - fastai_tune.FREEZE_EPOCHS, base_lr=rate, freeze_epochs=fastai_tune.FREEZE_EPOCHS)
        val = float(learner.validate()[1])

    def test() -> float:
        loader = loaders.test_dl(fastai.get_image_files(data / "test"), with_labels=True)
        with learner.no_bar(), learner.no_logging():
            return float(learner.validate(dl=loader)[1])

    return Trained(rate, val, test)


def _hugging_face(data: Path, weights: Path, rate: float, seed: int, folder: Path) -> Trained:
    with needed("transformers", "accelerate"):
        from transformers import PrinterCallback, Trainer, TrainingArguments

        from benchmarks.speed.hf_trainer import WithLoss, _collate

    torch.manual_seed(seed)
    sets = {split: Images.read(data / split) for split in ("train", "val", "test")}
    model = load_model(f"local-dir:{weights}", sets["train"].classes, image_size=IMAGE_SIZE)
    transform = usual_transform(model.preprocessing)
    decoded = {split: DecodedEachTime(images, transform) for split, images in sets.items()}
    arguments = TrainingArguments(
        output_dir=str(folder / f"hf-{rate:g}-{seed}"),
        num_train_epochs=EPOCHS,
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

    def accuracy(split: str) -> float:
        return float(trainer.evaluate(decoded[split])["eval_accuracy"])

    return Trained(rate, accuracy("val"), lambda: accuracy("test"))
