"""`thawline fit --strategy full`, the whole command, against a script with fastai's `fine_tune`. No torch here."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks.speed.commands import flags, run_python
from benchmarks.speed.measuring import at_least, figures, interleaved, ratio, shares
from benchmarks.speed.settings import BATCH, RATE, Settings
from benchmarks.speed.side import Side

EPOCHS = 10
TRAIN_IMAGES = 400
"""Training images of dtd10 in one epoch, the same number for both sides."""
FASTER = 2.0
TUNED_RATE = 3e-4
"""Rate of `full` on these images, found on val (benchmarks/README.md, dtd10 at 160 px); its tuning is not timed."""


@dataclass(frozen=True)
class Ours:
    """One way of calling `thawline fit`."""

    strategy: str
    rate: float

    def __str__(self) -> str:
        return f"fit --strategy {self.strategy} --learning-rate {self.rate:g}"

    @property
    def file(self) -> str:
        """Its name in names of files."""
        return f"{self.strategy.replace(':', '-')}-{self.rate:g}"


CALLS = (Ours("full:norm=kept", RATE), Ours("full:norm=kept", TUNED_RATE))
"""What trains once, as fastai's script does; with `full` alone both norm modes would be tried."""


@dataclass
class Sides:
    """Runs both commands again and again, with a new seed each time, and keeps their test accuracies."""

    settings: Settings
    augment: str
    accuracies: dict[str, list[float]] = field(default_factory=dict)

    def ours(self, call: Ours) -> Callable[[], float]:
        """Seconds of `thawline fit`, nothing decoded beforehand."""
        kept = self.accuracies.setdefault(str(call), [])
        settings = self.settings

        def measure() -> float:
            run = settings.runs / f"fit-{self.augment}-{call.file}-{len(kept)}"
            shutil.rmtree(run, ignore_errors=True)
            cache = run.with_name(f"{run.name}-cache")
            shutil.rmtree(cache, ignore_errors=True)
            finished = run_python(
                ["-m", "thawline", "fit", *self._options(call, len(kept)), "--out", str(run)],
                settings,
                log=run.with_name(f"{run.name}.log"),
                cache=cache,
            )
            shutil.rmtree(cache)
            results = json.loads((run / "results.json").read_text(encoding="utf-8"))
            kept.append(results["test"]["accuracy"]["mean"])
            return finished.seconds

        return measure

    def _options(self, call: Ours, seed: int) -> list[str]:
        settings = self.settings
        options = {
            "model": settings.named("mobilenetv2_050").source,
            "strategy": call.strategy,
            "learning-rate": call.rate,
            "epochs": settings.small(EPOCHS, 2),
            "patience": 0,
            "image-size": settings.small(128, 32),
            "augment": self.augment,
            # A new draw in every epoch, as fastai does.
            "views": 0,
            "batch-size": BATCH,
            "device": settings.device,
            "threads": settings.threads,
            "seed": seed,
        }
        # fastai's script explains nothing either.
        return [str(settings.data("dtd10")), "--no-explain", *flags(options)]

    def fastai(self) -> float:
        """Seconds of the script with `fine_tune`."""
        settings, kept = self.settings, self.accuracies.setdefault(FASTAI, [])
        out = settings.runs / f"fastai-{self.augment}-{len(kept)}.json"
        options = {
            "data": settings.data("dtd10"),
            "weights": settings.shared / "weights" / "mobilenetv2_050",
            "image-size": settings.small(128, 32),
            "epochs": settings.small(EPOCHS, 2),
            "batch": BATCH,
            "seed": len(kept),
            "augment": self.augment,
            "device": settings.device,
            "out": out,
        }
        script = ["-m", "benchmarks.speed.fastai_tune", *flags(options)]
        finished = run_python(script, settings, log=out.with_suffix(".log"))
        kept.append(json.loads(out.read_text(encoding="utf-8"))["test_accuracy"])
        return finished.seconds


FASTAI, MATRIX = "fastai fine_tune", "matrix product fp32"


def measure(settings: Settings, *, augment: str) -> dict[str, Any]:
    """Both commands on dtd10: same backbone, pixels, epochs, augmentation; each with its own head and schedule."""
    sides = Sides(settings, augment)
    # The peer first: if it is not installed, the cell ends at once.
    runs = {FASTAI: sides.fastai, **{str(call): sides.ours(call) for call in CALLS}}
    with ExitStack() as stack:
        limit = Side("matrix.product", settings, precision="fp32")
        operations = stack.enter_context(Side("matrix.operations", settings, name="mobilenetv2_050"))()
        values = interleaved({MATRIX: stack.enter_context(limit), **runs}, settings.times(5))
    seconds = {name: values[name] for name in runs}
    trained = TRAIN_IMAGES * settings.small(EPOCHS, 2)
    reached = {
        f"{name}: of the matrix rate": shares([trained / each for each in seconds[name]], operations, values[MATRIX])
        for name in runs
    }
    work = f"mobilenetv2_050 on dtd10, augmentation {augment}"
    claims = []
    for call in CALLS:
        name, faster = str(call), ratio(seconds[FASTAI], seconds[str(call)])
        claims.append(at_least(f"{name}, {work}: time", FASTAI, FASTER, faster))
        more = _difference(sides.accuracies[name], sides.accuracies[FASTAI])
        claims.append(at_least(f"{name}, {work}: test accuracy", FASTAI, 0.0, more, unit=" more"))
    accuracies = {f"{name}: test accuracy": values for name, values in sides.accuracies.items()}
    return {
        "sides": {
            **figures(seconds, "s"),
            **figures(accuracies, ""),
            **figures({MATRIX: values[MATRIX]}, "GFLOP/s"),
            **figures(reached, "%"),
        },
        "claims": claims,
        "facts": {"epochs": settings.small(EPOCHS, 2), "means": _means(sides.accuracies)},
    }


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Difference of the means over seeds, and its range over seeds."""
    pairs = [own - other for own, other in zip(ours, theirs, strict=True)]
    mean = statistics.fmean(ours) - statistics.fmean(theirs)
    return {"median": mean, "lowest": min(pairs), "highest": max(pairs), "n": len(pairs)}


def _means(accuracies: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.fmean(values) for name, values in accuracies.items()}
