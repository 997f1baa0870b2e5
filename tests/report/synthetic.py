"""Run folders made up of plain records: as many classes as wanted, under any names."""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from PIL import Image

from thawline.config import Request, TrainConfig, TuningConfig
from thawline.plan import FineTunePlan, Phase
from thawline.records import write_json
from thawline.results import (
    BlockChange,
    BlockRow,
    BlockWeight,
    Candidate,
    CheckResult,
    Comparison,
    Cost,
    DataFacts,
    DepthCurve,
    Drift,
    Environment,
    ExplainedImage,
    Explanation,
    FailedRow,
    Figure,
    FileGroup,
    FitResults,
    Generation,
    ImageSizes,
    ModelFacts,
    OtherMap,
    Row,
    ScoredRow,
    SearchRecord,
    SkippedFile,
    SourceAccuracy,
    SplitScores,
    TestScores,
    Versus,
)

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


def over_seeds(mean: float, *, seeds: int = 3) -> Figure:
    error = 0.012 if seeds > 1 else None
    return Figure(mean=mean, standard_error=error, n=seeds, per_seed=[mean] * seeds)


def scores(accuracy: float, *, seeds: int = 3) -> SplitScores:
    figures = {metric.name: over_seeds(0.1, seeds=seeds) for metric in fields(SplitScores)}
    right = over_seeds(accuracy, seeds=seeds)
    return SplitScores(**{**figures, "accuracy": right, "balanced_accuracy": right})


def scores_on_test(accuracy: float, *, seeds: int = 3) -> TestScores:
    figures = {metric.name: getattr(scores(accuracy, seeds=seeds), metric.name) for metric in fields(SplitScores)}
    return TestScores(**figures, interval95=(accuracy - 0.04, accuracy + 0.04), confusion_matrix=[], per_class=[])


def row(
    strategy: str, rates: Sequence[float | None], accuracy: float, work: float, *, test: bool = True, **others: Any
) -> ScoredRow:
    plan = FineTunePlan((Phase(dict(zip(BLOCKS, rates, strict=True))),))
    usual: dict[str, Any] = {
        "strategy": strategy,
        "chosen": strategy,
        "arguments": {},
        "learning_rate": 1e-3,
        "plan": plan,
        "train": scores(min(1.0, accuracy + 0.1)),
        "val": scores(accuracy),
        "test": scores_on_test(accuracy) if test else None,
        "trainable_percent": 40.0,
        "cost": Cost(
            work=work,
            proof=0.0,
            trainings=6,
            seconds=60.0,
            image_passes=1200,
            cache_hits=0,
            peak_memory_bytes=2**30,
        ),
        "best_epochs": [3],
        "versus_full": Versus(difference=0.01, interval95=(-0.01, 0.03), p_holm=0.3, words="no difference"),
    }
    return ScoredRow(**{**usual, **others})


def search(**others: Any) -> SearchRecord:
    generator = random.Random(0)
    weights = (None, 0.1, 0.5, 1.0, 4.0)
    usual: dict[str, Any] = {
        "settings": {"without": "none"},
        "base_rate": 1e-3,
        "genes": BLOCKS,
        "blocks": [
            BlockWeight(name=name, weight=weight) for name, weight in zip(BLOCKS, (None, 0.5, 1.0, 4.0), strict=True)
        ],
        "trainable_percent": 40.0,
        "data_share": 0.5,
        "generations": [
            Generation(
                generation=at,
                fold=at % 2,
                best=0.6 + at / 20,
                mean=0.5 + at / 20,
                quartiles=[0.4, 0.5, 0.6],
                diversity=0.5 / (at + 1),
                evaluations=4,
            )
            for at in range(3)
        ],
        "importance": dict(zip(BLOCKS, (0.1, 0.2, 0.3, 0.4), strict=True)),
        "candidates": [
            candidate(at // 4, at % 4, 0.5 + at / 40, fold=at % 2, weights=[*generator.choices(weights, k=3), 1.0])
            for at in range(12)
        ],
        "winner": [2, 3],
        "trainings": 12,
        "work": 6.5,
        "digest": "d" * 64,
    }
    return SearchRecord(**{**usual, **others})


def candidate(generation: int, slot: int, score: float, **others: Any) -> Candidate:
    usual: dict[str, Any] = {
        "operator": "initial",
        "parents": [],
        "genes": [0.5] * len(BLOCKS),
        "fold": None,
        "per_seed": [score],
        "work": 0.5,
    }
    return Candidate(generation=generation, slot=slot, score=score, **{**usual, **others})


DEPTH = DepthCurve(
    shares=[0.0, 25.0, 100.0],
    train=[0.7, 0.9, 1.0],
    test=[0.6, 0.72, 0.7],
    chance_best=[0.0, 0.8, 0.2],
    best=25.0,
    alike=[25.0, 100.0],
    gap_growth=[(0.0, 0.0), (0.01, 0.1), (0.1, 0.3)],
    over_fitting_from=25.0,
)


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
        write_json(folder / "results.json", fit_results(rows[2], rows[:2], facts))
    else:
        failed = FailedRow(strategy="lora<i>", error="the loss became <NaN>")
        depth = DEPTH if test else None
        write_json(folder / "comparison.json", Comparison(**facts, rows=[*rows, failed], digest="f" * 64, depth=depth))
    _write_predictions(folder / "predictions.csv", rows[2].strategy, classes, images, "test" if test else "val")
    write_json(folder / "check.json", _check(classes))
    return folder


def fit_results(
    saved: ScoredRow, baselines: Sequence[ScoredRow] = (), facts: Mapping[str, Any] | None = None
) -> FitResults:
    plan = saved.plan
    rates = {name: plan.highest_rate(name) for name in plan.blocks}
    return FitResults(
        **(facts or _facts(("a", "b"), 60, True)),
        **{field.name: getattr(saved, field.name) for field in fields(ScoredRow)},
        saved_seed=0,
        blocks=[
            BlockRow(name=name, learning_rate=rate, frozen=rate is None, parameters=1000)
            for name, rate in rates.items()
        ],
        baselines={baseline.strategy: baseline for baseline in baselines},
        frozen_bit_identical=True,
        digest="f" * 64,
    )


def comparison(*rows: Row, request: Request | None = None) -> Comparison:
    facts = _facts(("a", "b"), 60, True)
    facts |= {} if request is None else {"request": request.to_dict()}
    return Comparison(**facts, rows=rows, digest="f" * 64)


def _facts(classes: Sequence[str], images: int, test: bool) -> dict[str, Any]:
    request = Request(
        verb="compare",
        data="photos & <friends>",
        model="tiny",
        strategies=("full",),
        train=TrainConfig(epochs=12),
        search=TuningConfig(seeds=3),
    )
    counts = {"train": 100, "val": images, "test": images if test else 0}
    return {
        "format_version": 1,
        "environment": Environment(
            python="3.11",
            platform="Linux",
            processor="a <fast> one",
            packages={"thawline": "0.1.0"},
            device="cpu",
            threads=2,
            command="thawline compare '<data>' --out run",
        ),
        "pretrained": ModelFacts(source="tiny", architecture="tiny<net>", weights_fingerprint="0" * 64),
        "seed": 0,
        "seeds": 3,
        "request": request.to_dict(),
        "data": DataFacts(
            root="/data/photos & <friends>", fingerprint="1" * 64, classes=list(classes), images=counts, notes=[]
        ),
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


def _check(classes: Sequence[str]) -> CheckResult:
    return CheckResult(
        format_version=1,
        root="photos",
        images=220,
        classes=dict.fromkeys(classes, 11),
        given_splits={},
        imbalance=1.0,
        warnings=["2 images of <b>this</b> that cannot be read."],
        unreadable=[SkippedFile(path="<b>.png", reason="the file is empty")],
        duplicates=[FileGroup(paths=["a.png", "<i>.png"], labels=["a", "b"], splits=["train", "test"])],
        lookalikes=[],
        leaking_groups=[],
        oddities={"rotated by EXIF": 3},
        formats={"PNG": 220},
        modes={"RGB": 220},
        sizes=ImageSizes(different=1, smallest=[32, 32], largest=[32, 32]),
        ignored=[],
    )


def noise(path: Path, side: int = 128) -> None:
    """An image that no format can make small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.Random(str(path)).randbytes(3 * side * side)
    Image.frombytes("RGB", (side, side), pixels).save(path)


def write_explanation(folder: Path) -> None:
    """`explain.json` as `thawline explain` leaves it."""
    noise(folder / "explain" / "before.png")
    noise(folder / "explain" / "quarter.png")
    image = ExplainedImage(
        path="elsewhere/<new>.png",
        true="a",
        predicted="b",
        before="explain/before.png",
        after="explain/gone.png",
        beside=[OtherMap(run="depth-<25>", picture="explain/quarter.png")],
    )
    blocks = [
        BlockChange(
            name=name,
            weight_change=0.1 * at,
            norm_drift=None,
            cka=1 - 0.2 * at,
            probe_before=0.5,
            probe_after=0.6,
        )
        for at, name in enumerate(BLOCKS)
    ]
    source = SourceAccuracy(accuracy_before=0.91, accuracy_after=0.42, images=1000)
    drift = Drift(blocks=blocks, source=source)
    write_json(folder / "explain.json", Explanation(format_version=1, images=[image], drift=drift))
