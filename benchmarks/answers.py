"""What `auto` can hand over, and how candidates can be selected. On development splits.

Pick, average and ensemble are of one search; a distilled network is of a search of its own, which has less to spend,
and finds in the run folder what the other trained. The refit of the average is trained on train and val together.

    OMP_NUM_THREADS=1 python -m benchmarks.answers --shared ../shared --split 1
    python -m benchmarks.answers --page

One JSON per data set in results/answers/BACKBONE/SET/SPLIT.json; what is there is not run again, a cell that lacks one
of the answers gets it, and processes with the same command share the work. `--page` writes the table of all of them to
results/answers.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from benchmarks.commit import commit
from benchmarks.ground.cells import opened
from benchmarks.ground.sets import SETS
from benchmarks.ground.settings import Place, Settings
from benchmarks.ground.splits import DEVELOPMENT
from benchmarks.pages import percent_interval
from thawline.plan import FineTunePlan
from thawline.recipes.recipe import Table
from thawline.records import TrainingRecord, environment, read_json, write_json, write_text
from thawline.runs.experiment import Experiment
from thawline.strategies.context import Tuned
from thawline.studies.results import cost, refit_trainings
from thawline.studies.rows import TrainedRow, refitted, row_of
from thawline.studies.tuning import tune
from thawline.training.evaluation import correctness

RESULTS = Path(__file__).parent / "results" / "answers"
ANSWERS = ("pick", "average", "ensemble", "distilled")
SELECTIONS = ("pick", "lowest log-loss", "highest accuracy", "best on test")
"""Ways to select one of the candidates that were trained to the end; the last one is what no selection can beat."""
COMMAND = "python -m benchmarks.answers"


def main() -> None:
    """Run every data set that is not there yet, or write the page."""
    options = _options()
    if options.page:
        print(_page(options.results))
        return
    settings = Settings(options.shared, options.runs, options.results)
    for data in options.sets.split(",") if options.sets else SETS:
        place = Place(options.backbone, data, options.split, SETS[data])
        file = options.results / place.path.with_suffix(".json")
        lock = settings.lock(place)
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0):
                cell = read_json(file) if file.exists() else None
                if cell is None or not cell["answers"].keys() >= {*ANSWERS, "refit"}:
                    _run(place, settings, file, options.budget, cell)
        except Timeout:
            continue


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, default=Path("runs/answers"), help="for manifests and run folders")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--backbone", default="mobilenetv2_050")
    parser.add_argument("--sets", default="", help="data sets, joined by commas; all if left out")
    parser.add_argument("--split", type=int, default=1, choices=DEVELOPMENT)
    parser.add_argument("--budget", default="5x")
    parser.add_argument("--page", action="store_true")
    return parser.parse_args()


def _run(place: Place, settings: Settings, file: Path, budget: str, before: Mapping[str, Any] | None) -> None:
    """Run what is not in the cell `before`, and write the cell."""
    with opened(place, settings) as experiment:
        cell = before or _of_one_search(experiment, place, budget)
        answers = dict(cell["answers"])
        for name, further in (("distilled", _distilled), ("refit", _refit)):
            if name not in answers:
                answers[name] = further(experiment, budget)
    write_json(file, {**cell, "answers": answers})
    print(place.data, {name: round(100 * each["test"], 1) for name, each in answers.items()}, flush=True)


def _of_one_search(experiment: Experiment, place: Place, budget: str) -> Mapping[str, Any]:
    """A cell with the answers that one search gives."""
    found = tune(experiment, f"auto:budget={budget},answer=average")
    # The same search, so that it finds every training in the ledger. That of answer=pick has more to spend.
    ensemble = tune(experiment, f"auto:budget={budget},answer=ensemble")
    handed_over = {"pick": found.pick or found, "average": found, "ensemble": ensemble}
    row = row_of(experiment, "auto", replace(found, baselines={}))
    return {
        "set": place.data,
        "split": place.split,
        "backbone": place.backbone,
        "budget": budget,
        "answers": {name: _scored(experiment, tuned) for name, tuned in handed_over.items()},
        "finished": _finished(experiment, found),
        "optimism": found.search and found.search.optimism,
        "work": cost(experiment, row).work,
        "seconds": cost(experiment, row).seconds,
        "commit": commit(),
        "environment": environment(device="cpu", threads=1, command=COMMAND),
    }


def _distilled(experiment: Experiment, budget: str) -> Mapping[str, Any]:
    """What a search of its own hands over, and what it all took."""
    found = tune(experiment, f"auto:budget={budget},answer=distilled")
    paid = cost(experiment, row_of(experiment, "auto", replace(found, baselines={})))
    pick = _scored(experiment, found.pick or found)
    return {
        **_scored(experiment, found),
        "is_distilled": found.plan.is_distilled,
        "pick": {"test": pick["test"], "val_scaled_loss": pick["val_scaled_loss"]},
        "work": paid.work,
        "seconds": paid.seconds,
        "commit": commit(),
    }


def _refit(experiment: Experiment, budget: str) -> Mapping[str, Any]:
    """The average, trained anew on train and val together, and what that took besides the search.

    `before` is the same average without it: on another processor a search may end elsewhere.
    """
    found = tune(experiment, f"auto:budget={budget},answer=average")
    row = refitted(experiment, row_of(experiment, "auto", replace(found, baselines={})))
    assert experiment.test is not None, "every split has test images"
    labels = experiment.test.labels.numpy()
    before = float(row.test_correctness(labels).mean())
    if row.refit_error:
        return {"test": before, "before": before, "error": row.refit_error, "work": 0.0}
    (refit,) = row.refits
    return {
        "test": float(correctness([_test_probabilities(experiment, refit)], labels).mean()),
        "before": before,
        "strategy": found.strategy,
        "work": sum(record.work for record in refit_trainings(experiment, row)),
        "commit": commit(),
    }


def _scored(experiment: Experiment, tuned: Tuned) -> Mapping[str, Any]:
    row: TrainedRow = row_of(experiment, tuned.strategy, replace(tuned, baselines={}))
    assert experiment.test is not None, "every split has test images"
    (record,) = row.finals
    assert record.best is not None, "it was chosen"
    return {
        "test": float(row.test_correctness(experiment.test.labels.numpy()).mean()),
        "val": record.best.val_accuracy,
        "val_scaled_loss": record.best.val_scaled_loss,
        "strategy": tuned.strategy,
        "members": len(tuned.plan.members),
    }


def _finished(experiment: Experiment, found: Tuned) -> Sequence[Mapping[str, Any]]:
    """The candidates that were trained to the end."""
    assert experiment.test is not None, "every split has test images"
    labels, scored = experiment.test.labels.numpy(), []
    for record in found.records:
        if record.best is None or not record.checkpoint or FineTunePlan.from_dict(record.plan).mixture:
            continue
        right = correctness([_test_probabilities(experiment, record)], labels)
        best = record.best
        line = {"val": best.val_accuracy, "val_scaled_loss": best.val_scaled_loss, "test": float(right.mean())}
        scored.append({"strategy": record.strategy, "seed": record.seed, "plan": record.plan, **line})
    return scored


def _test_probabilities(experiment: Experiment, record: TrainingRecord) -> np.ndarray:
    probabilities = experiment.evaluate(record).test
    assert probabilities is not None, "every split has test images"
    return probabilities


def _page(results: Path) -> str:
    """What is handed over, what other rules would have selected, and what the refit changes."""
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*/*/*.json"))]
    text = "\n".join(table(cells).to_markdown() for table in (_answers_table, _selection_table, _refit_table))
    write_text(results.with_suffix(".md"), text)
    return text


def _selection_table(cells: Sequence[Mapping[str, Any]]) -> Table:
    selected = [_selected(cell) for cell in cells]
    lines = [
        [cell["set"], str(cell["split"]), *map(_percent, tests), str(len(cell["finished"]))]
        for cell, tests in zip(cells, selected, strict=True)
    ]
    mean = ["mean", "", *(_percent(fmean(column)) for column in zip(*selected, strict=True)), ""]
    note = (
        "Test accuracy in % of one candidate of those trained to the end, by the rule that selects it on validation: "
        "the pick of `auto` (log-loss after temperature scaling, then the one-standard-error rule), that log-loss "
        "alone, the accuracy (ties: log-loss); and the best on test. Trained: how many there are."
    )
    return Table("Selection", ["set", "split", *SELECTIONS, "trained"], [*lines, mean], [note])


def _selected(cell: Mapping[str, Any]) -> Sequence[float]:
    """Test accuracies in the order of `SELECTIONS`."""
    finished = cell["finished"]
    chosen = (
        min(finished, key=lambda each: each["val_scaled_loss"]),
        max(finished, key=lambda each: (each["val"], -each["val_scaled_loss"])),
        max(finished, key=lambda each: each["test"]),
    )
    return [cell["answers"]["pick"]["test"], *(each["test"] for each in chosen)]


def _refit_table(cells: Sequence[Mapping[str, Any]]) -> Table:
    found = [(cell["set"], cell["split"], cell["answers"]["refit"]) for cell in cells if "refit" in cell["answers"]]
    before, after = ([refit[name] for _, _, refit in found] for name in ("before", "test"))
    gains, work = [b - a for a, b in zip(before, after, strict=True)], [refit["work"] for _, _, refit in found]
    lines = [
        [
            data,
            str(split),
            _percent(refit["before"]),
            _percent(refit["test"]),
            f"{100 * gain:+.1f}",
            f"{refit['work']:.2f}",
        ]
        for (data, split, refit), gain in zip(found, gains, strict=True)
    ]
    if found:
        means = (
            _percent(fmean(before)),
            _percent(fmean(after)),
            percent_interval(gains, len(found)),
            f"{fmean(work):.2f}",
        )
        lines.append(["mean", "", *means])
    header = ["set", "split", "average", "refit", "difference", "further work"]
    note = (
        "Test accuracy in %: of the average that a search handed over, and of the same plans trained anew on the "
        "training and the validation images together (`--refit`); in points, with a 95 % t interval over the sets."
    )
    return Table("Refit", header, lines, [note])


def _answers_table(cells: Sequence[Mapping[str, Any]]) -> Table:
    lines = [_line(cell) for cell in cells]
    columns = [[cell["answers"][name]["test"] for cell in cells] for name in ANSWERS]
    shown = fmean(_shown(cell) - cell["answers"]["average"]["test"] for cell in cells)
    own = fmean(cell["answers"]["distilled"]["work"] for cell in cells)
    work = (f"{fmean(cell['work'] for cell in cells):.2f}", f"{own:.2f}")
    mean = ["mean", "", *(_percent(fmean(column)) for column in columns), "", f"{100 * shown:+.1f}", *work]
    header = ["set", "split", *ANSWERS, "networks", "shown less test", "work", "work, distilled"]
    note = (
        "Test accuracy in %. Networks: of the average and of the ensemble. Shown less test: the validation accuracy of "
        "the average as it is shown, without what it owes to its selection, less its test accuracy, in points. Work "
        "(full fine-tunings): of the search of the first three, and of that of the distilled network with its last "
        "training. The average or the pick is in its place where its validation loss is above the pick's; in "
        f"{sum(cell['answers']['distilled']['is_distilled'] for cell in cells)} of {len(cells)} cells it is not."
    )
    return Table("Answers of a search", header, [*lines, mean], [note])


def _line(cell: Mapping[str, Any]) -> Sequence[str]:
    answers = cell["answers"]
    return [
        cell["set"],
        str(cell["split"]),
        *(_percent(answers[name]["test"]) for name in ANSWERS),
        f"{answers['average']['members']}, {answers['ensemble']['members']}",
        f"{100 * (_shown(cell) - answers['average']['test']):+.1f}",
        f"{cell['work']:.2f}",
        f"{answers['distilled']['work']:.2f}",
    ]


def _shown(cell: Mapping[str, Any]) -> float:
    return float(cell["answers"]["average"]["val"]) - float(cell["optimism"] or 0.0)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


if __name__ == "__main__":
    main()
