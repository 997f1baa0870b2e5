"""What takes part in the trial, and how one of them is run on one split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.trial.fixed import WAYS, BestFixed
from thawline.callback import Callback
from thawline.config import CacheConfig, DataConfig, Request, TrainConfig, TuningConfig
from thawline.records import environment
from thawline.runs.folder import RunFolder
from thawline.runs.setup import open_experiment
from thawline.strategies.context import Tuned
from thawline.studies.results import summaries
from thawline.studies.rows import TrainedRow, make_row, row_of

BOTH = ("dtd10", "flowers5")
PAPER = "biotune:population=6,elites=2,generations=4,seeds=2,top=3"
LEVERS = ("decoupling", "norms", "starts", "rungs", "race", "thrift")
SEEDS = 3


@dataclass(frozen=True)
class Procedure:
    """A way to come to a plan."""

    name: str
    spec: str
    """Strategy with its arguments; "fixed" = `BestFixed`, of "full" alone with "fixed:full"; "peer" = another library,
    as long as `auto-5x` took."""
    data: tuple[str, ...] = BOTH
    splits: int = 5
    """Splits at most, of those planned."""
    paper: bool = False
    """Whether it trains as the paper does: Adam at 1e-3, patience 3."""
    cache: bool = True

    @property
    def setting(self) -> str:
        """Ending of the name of the run that it shares with all that train alike; empty for most."""
        alone = self.spec in ("full", "peer") or self.paper or not self.cache
        return f"-{self.name}" if alone else ""


def _procedures() -> Mapping[str, Procedure]:
    listed = [
        Procedure("full", "full"),
        Procedure("auto-5x", "auto"),
        Procedure("random-5x", "auto:sampler=random"),
        Procedure("tpe-5x", "auto:sampler=tpe"),
        Procedure("fixed-5x", "fixed"),
        Procedure("full-5x", "fixed:full"),
        Procedure("auto-10x", "auto:budget=10x", ("dtd10",), 3),
        Procedure("random-10x", "auto:budget=10x,sampler=random", ("dtd10",), 3),
        Procedure("paper", PAPER, ("dtd10",), 3, paper=True),
        Procedure("fastai", "peer", BOTH, 3),
        Procedure("hf", "peer", BOTH, 3),
        *(Procedure(f"without-{lever}", f"auto:without={lever}", ("dtd10",)) for lever in LEVERS),
        Procedure("random-without-starts", "auto:sampler=random,without=starts", ("dtd10",)),
        Procedure("without-cache", "auto", ("dtd10",), 3, cache=False),
    ]
    return {procedure.name: procedure for procedure in listed}


PROCEDURES = _procedures()
PUBLISHED = (
    *("full", "auto-5x", "random-5x", "tpe-5x", "fixed-5x", "full-5x"),
    *("auto-10x", "random-10x", "paper"),
    *("fastai", "hf"),
)
ABLATION = (*(f"without-{lever}" for lever in LEVERS), "random-without-starts", "without-cache")


def run(procedure: Procedure, manifest: Path, weights: Path, split: int, folder: Path) -> dict[str, Any]:
    """Figures of one procedure on one split; what it may select by is validation only."""
    # Full fine-tuning is there to be timed: all its epochs, at the usual rate.
    timed = procedure.spec == "full"
    train = TrainConfig(
        epochs=12,
        patience=0 if timed else 3 if procedure.paper else 5,
        optimizer="adam" if procedure.paper else "adamw",
        device="cpu",
        threads=1,
    )
    request = Request(
        verb="compare",
        data=str(manifest.resolve()),
        model=f"local-dir:{weights.resolve()}",
        strategies=("full",),  # not asked for: each procedure makes its own row
        train=train,
        images=DataConfig(image_size=96, augment="none", seed=split),
        search=TuningConfig(seeds=SEEDS, learning_rate=1e-3 if timed or procedure.paper else None),
        cache=CacheConfig() if procedure.cache else CacheConfig(0, 0),
    )
    begun = (folder / "run.json").exists()
    facts = environment(device="cpu", threads=1)
    with RunFolder.open(folder) if begun else RunFolder.create(folder, request, facts) as opened:
        experiment = open_experiment(opened, Callback()).experiment
        if procedure.spec.startswith("fixed"):
            ways = ("full",) if procedure.spec == "fixed:full" else WAYS
            chosen, plan, records = BestFixed(experiment, 5.0, ways).run()
            way, _, rate = chosen.rpartition(" at ")
            row = row_of(experiment, way, Tuned(way, float(rate), plan, (0.0, 0.0), records))
        else:
            row = make_row(experiment, procedure.spec)
        (summary,) = summaries(experiment, [row])
        return _figures(row, summary.to_dict())


def _figures(row: TrainedRow, summary: Mapping[str, Any]) -> dict[str, Any]:
    records = (*(row.tuned.records if row.tuned else ()), *row.finals[:1])
    phase = row.plan.phases[-1]
    return {
        "test": summary["test"]["accuracy"],
        "val": summary["val"]["accuracy"]["mean"],
        "work": summary["cost"]["work"],
        "seconds": sum(record.seconds for record in {record.key: record for record in records}.values()),
        "trainings": summary["cost"]["trainings"],
        "chosen": summary["chosen"],
        "norm": row.plan.norm,
        "learning_rates": dict(phase.learning_rates),
        "search": {key: (summary.get("search") or {}).get(key) for key in ("work", "digest", "trainings", "winner")},
    }
