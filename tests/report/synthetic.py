"""Run folders made up of plain records: as many classes as wanted, under any names."""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from thawline.config import TrainConfig, TuningConfig
from thawline.records import write_json

HOSTILE = (
    "<script>alert('x')</script>",
    "\"><img src=x onerror=alert('x')>",
    "שלום עולם",
    "\u202eright to left override",
    "a" * 300,
    "{{ 7 * 7 }} {% raw %} &amp; </script><!-- ",
    "tab\tand 'quotes' and \"quotes\"",
)
BLOCKS = ("stem", "blocks.1", "blocks.2<b>", "head")


def over_seeds(mean: float, *, seeds: int = 3) -> dict[str, Any]:
    error = 0.012 if seeds > 1 else None
    return {"mean": mean, "standard_error": error, "n": seeds, "per_seed": [mean] * seeds}


def scores(accuracy: float, *, test: bool = False, seeds: int = 3) -> dict[str, Any]:
    figures = {"accuracy": over_seeds(accuracy, seeds=seeds)} | {
        name: over_seeds(0.1, seeds=seeds) for name in ("calibration_error", "negative_log_likelihood")
    }
    return {**figures, "interval95": [accuracy - 0.04, accuracy + 0.04]} if test else figures


def row(
    strategy: str, rates: Sequence[float | None], accuracy: float, work: float, *, test: bool = True, **others: Any
) -> dict[str, Any]:
    phases = [{"epochs": None, "learning_rates": dict(zip(BLOCKS, rates, strict=True))}]
    plan = {"format_version": 1, "granularity": "stage", "phases": phases, "norm": "train", "parts": "all"}
    plan |= {"penalty": None, "adapter": None, "rate_rule": "constant", "interpolation": [], "prefixes": {}}
    return {
        "strategy": strategy,
        "chosen": strategy,
        "arguments": {},
        "learning_rate": 1e-3,
        "plan": plan,
        "train": scores(min(1.0, accuracy + 0.1)),
        "val": scores(accuracy),
        "test": scores(accuracy, test=True) if test else None,
        "trainable_percent": 40.0,
        "cost": {"work": work, "proof": 0.0, "trainings": 6, "seconds": 60.0, "peak_memory_bytes": 2**30},
        "best_epochs": [3],
        "versus_full": {"difference": 0.01, "interval95": [-0.01, 0.03], "p_holm": 0.3, "words": "no difference"},
        **others,
    }


def search() -> dict[str, Any]:
    generator = random.Random(0)
    weights = (None, 0.1, 0.5, 1.0, 4.0)
    candidates = [
        {
            "generation": at // 4,
            "slot": at % 4,
            "fold": at % 2,
            "score": 0.5 + at / 40,
            "weights": [*generator.choices(weights, k=3), 1.0],
        }
        for at in range(12)
    ]
    generations = [
        {"generation": at, "best": 0.6 + at / 20, "mean": 0.5 + at / 20, "quartiles": [0.4, 0.5, 0.6]}
        | {"diversity": 0.5 / (at + 1), "evaluations": 4, "fold": at % 2}
        for at in range(3)
    ]
    return {
        "base_rate": 1e-3,
        "blocks": [
            {"name": name, "weight": weight} for name, weight in zip(BLOCKS, (None, 0.5, 1.0, 4.0), strict=True)
        ],
        "data_share": 0.5,
        "generations": generations,
        "importance": dict(zip(BLOCKS, (0.1, 0.2, 0.3, 0.4), strict=True)),
        "candidates": candidates,
        "winner": [2, 3],
        "trainings": 12,
        "work": 6.5,
    }


DEPTH = {
    "shares": [0, 25, 100],
    "train": [0.7, 0.9, 1.0],
    "test": [0.6, 0.72, 0.7],
    "chance_best": [0.0, 0.8, 0.2],
    "best": 25,
    "alike": [25, 100],
    "gap_growth": [[0, 0], [0.01, 0.1], [0.1, 0.3]],
    "over_fitting_from": 25,
}


def write_run(
    folder: Path, *, classes: Sequence[str], verb: str = "compare", images: int = 60, test: bool = True
) -> Path:
    """A finished run with predictions, an audit and, for `compare`, a search, a depth curve and a row that failed."""
    rows = [
        row("linear_probe", (None, None, None, 1e-2), 0.7, 0.1, test=test),
        row("full", (1e-3, 1e-3, 1e-3, 1e-3), 0.65, 6.0, test=test, versus_full=None),
        row("biotune:top=2,seeds=1", (None, 1e-4, 1e-3, 1e-2), 0.8, 20.0, test=test, search=search()),
    ]
    facts = _facts(classes, images, test)
    folder.mkdir(parents=True, exist_ok=True)
    if verb == "fit":
        blocks = [
            {"name": name, "learning_rate": rate, "frozen": rate is None, "parameters": 1000}
            for name, rate in rows[2]["plan"]["phases"][0]["learning_rates"].items()
        ]
        others = {"saved_seed": 0, "blocks": blocks, "frozen_bit_identical": True}
        baselines = {one["strategy"]: one for one in rows[:2]}
        write_json(folder / "results.json", {**facts, **rows[2], **others, "baselines": baselines})
    else:
        failed = {"strategy": "lora<i>", "error": "the loss became <NaN>"}
        depth = {"depth": DEPTH} if test else {}
        write_json(folder / "comparison.json", {**facts, "rows": [*rows, failed], **depth})
    _write_predictions(folder / "predictions.csv", rows[2]["strategy"], classes, images, "test" if test else "val")
    write_json(folder / "check.json", _check(classes))
    return folder


def _facts(classes: Sequence[str], images: int, test: bool) -> dict[str, Any]:
    environment = {"python": "3.11", "platform": "Linux", "processor": "a <fast> one", "device": "cpu", "threads": 2}
    environment |= {"packages": {"thawline": "0.1.0"}, "command": "thawline compare '<data>' --out run"}
    request: Mapping[str, Any] = {
        "verb": "compare",
        "data": "photos & <friends>",
        "model": "tiny",
        "strategies": ["full"],
        "weights": None,
        "granularity": "stage",
        "train": asdict(TrainConfig(epochs=12)),
        "images": {"seed": 0},
        "search": asdict(TuningConfig(seeds=3)),
    }
    counts = {"train": 100, "val": images, **({"test": images} if test else {})}
    return {
        "format_version": 1,
        "environment": environment,
        "model": {"source": "tiny", "architecture": "tiny<net>", "weights_fingerprint": "0" * 64},
        "seed": 0,
        "seeds": 3,
        "request": request,
        "data": {"root": "/data/photos & <friends>", "classes": list(classes), "images": counts, "notes": []},
        "digest": "f" * 64,
    }


def _write_predictions(path: Path, strategy: str, classes: Sequence[str], images: int, split: str) -> None:
    generator = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("row", "seed", "split", "path", "true", *classes))
        for number in range(images):
            true = number % len(classes)
            said = true if number % 3 else generator.randrange(len(classes))
            sure = generator.uniform(1.2 / len(classes), 1.0)
            rest = (1 - sure) / max(len(classes) - 1, 1)
            values = [f"{sure if at == said else rest:.6f}" for at in range(len(classes))]
            line = (strategy, 0, split, f"{number}/{classes[true]}.png", classes[true], *values)
            writer.writerow(line)
            writer.writerow((strategy, 1, *line[2:]))  # another seed, which is not shown


def _check(classes: Sequence[str]) -> dict[str, Any]:
    return {
        "images": 220,
        "classes": dict.fromkeys(classes, 11),
        "warnings": ["2 images of <b>this</b> that cannot be read."],
        "unreadable": [{"path": "<b>.png", "reason": "the file is empty"}],
        "duplicates": [{"paths": ["a.png", "<i>.png"], "labels": ["a", "b"], "splits": ["train", "test"]}],
        "lookalikes": [],
        "leaking_groups": [],
        "oddities": {"rotated by EXIF": 3},
        "formats": {"PNG": 220},
        "modes": {"RGB": 220},
        "sizes": {"different": 1, "smallest": [32, 32], "largest": [32, 32]},
        "ignored": [],
    }


def noise(path: Path, side: int = 128) -> None:
    """An image that no format can make small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.Random(str(path)).randbytes(3 * side * side)
    Image.frombytes("RGB", (side, side), pixels).save(path)


def write_explanation(folder: Path) -> None:
    """`explain.json` as `thawline explain` leaves it."""
    noise(folder / "explain" / "before.png")
    noise(folder / "explain" / "quarter.png")
    image = {"true": "a", "predicted": "b", "before": "explain/before.png", "after": "explain/gone.png"}
    image["beside"] = [{"run": "depth-<25>", "picture": "explain/quarter.png"}]
    blocks = [
        {"name": name, "weight_change": 0.1 * at, "cka": 1 - 0.2 * at, "norm_drift": None}
        | {"probe_before": 0.5, "probe_after": 0.6}
        for at, name in enumerate(BLOCKS)
    ]
    source = {"accuracy_before": 0.91, "accuracy_after": 0.42, "images": 1000}
    write_json(
        folder / "explain.json",
        {
            "format_version": 1,
            "images": [{"path": "elsewhere/<new>.png", **image}],
            "drift": {"blocks": blocks, "source": source},
        },
    )
