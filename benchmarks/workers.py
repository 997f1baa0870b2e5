"""How many workers help: schedules the trainings of finished runs on 1 to 1,000 workers that do not exist.

    python -m benchmarks.workers --auto RUN --compare RUN --models RUN

Times are those of the ledgers: of a search by `auto`, of a comparison with BioTune among its rows, and of a run that
chose among several networks. What waits for what is what the driver waits for: the first candidates of `auto` do not
wait, the rungs of a generation wait for each other, and so do generations; extra seeds and the seeds of final trainings
do not; the rows of a comparison do not wait for each other, but a walk over learning rates for its last step; networks
are compared rung by rung. A worker takes the oldest training that waits for nothing, of the row with fewest of them.

`stragglers`: one training in twenty takes three times as long. `failures`: one in fifty is lost half-way and begun
anew. Between a training and the next on a worker `BETWEEN` seconds pass. The table goes to results/workers.md.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord, write_text
from thawline.runs.files import LEDGER, MODELS_FOLDER
from thawline.runs.ledger import Ledger

RESULTS = Path(__file__).parent / "results" / "workers.md"
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1000)
BETWEEN = 0.05
"""Seconds: packing, sending, one entry in the ledger."""
SLOW, TIMES_AS_LONG = 1 / 20, 3.0
LOST = 1 / 50
DRAWS = 20
"""Seeds of stragglers and failures, of which the mean is shown."""
_HEADING = """\
# How many workers help

How many times as fast a run is on so many workers as on one, from the times of finished runs; enough = twice as many
make it less than 1.1 times as fast. Written by `python -m benchmarks.workers`, which says what waits for what.
"""
HELPS = 1.1
"""Twice the workers help if the run is this much faster."""


@dataclass
class Training:
    """A training, and those that must be over before it begins."""

    seconds: float
    after: list[Training] = field(default_factory=list)
    row: str = ""
    """Rows share the workers fairly."""


Stage = list[Training]
"""Trainings that do not wait for each other."""


def main() -> int:
    """Simulate, print and write the table."""
    options = _options()
    runs = {
        "`auto`, one network": search(options.auto),
        "a comparison": comparison(options.compare),
        "BioTune alone": [each for row in rows_of(options.compare, "biotune") for each in row],
        "choosing among networks, then `auto`": choice(options.models),
    }
    text = "\n".join(_table(runs))
    print(text)
    write_text(options.out, f"{_HEADING}\n{text}\n")
    return 0


def search(run: Path, before: Sequence[Training] = ()) -> list[Training]:
    """What `auto` trains: first candidates, generations rung by rung, extra seeds, final trainings."""
    records = [record for record in Ledger(run / LEDGER).records if record.purpose != "refit"]
    return chained(stages_of_auto(records), before)


def stages_of_auto(records: Sequence[TrainingRecord]) -> list[Stage]:
    """Batches of which each waits for the one before."""
    seconds = own_seconds(records)
    searched = [record for record in records if record.purpose == "search"]
    first = min((record.seed for record in searched), default=0)
    batches: dict[tuple[int, int, int], Stage] = defaultdict(list)
    for record in searched:
        extra = record.seed != first
        rung = record.until or sys.maxsize
        place = (1, record.seed, 0) if extra else (0, record.generation, 0 if record.generation == 0 else rung)
        batches[place].append(Training(seconds[record.key]))
    rest = [record for record in records if record.purpose != "search"]
    mixed = [Training(seconds[record.key]) for record in rest if record.purpose == "tuning"]
    finals = [Training(seconds[record.key]) for record in rest if record.purpose == "final"]
    return [*(batches[place] for place in sorted(batches)), *([each] for each in mixed), finals]


def comparison(run: Path) -> list[Training]:
    """All rows, which do not wait for each other."""
    return [each for row in rows_of(run, "") for each in row]


def rows_of(run: Path, name: str) -> list[list[Training]]:
    """The trainings of every row whose strategy begins with `name`."""
    rows: dict[str, list[TrainingRecord]] = defaultdict(list)
    for record in Ledger(run / LEDGER).records:
        rows[record.strategy.partition(":")[0]].append(record)
    found = {row: chained(_stages_of_row(records)) for row, records in rows.items() if row.startswith(name)}
    for row, trainings in found.items():
        for training in trainings:
            training.row = row
    return [*found.values()]


def _stages_of_row(records: Sequence[TrainingRecord]) -> list[Stage]:
    """A search by its generations; else the norm modes at the first rate together, then rate by rate."""
    seconds = own_seconds(records)
    generations: dict[int, Stage] = defaultdict(list)
    for record in records:
        if record.purpose == "search":
            generations[record.generation].append(Training(seconds[record.key]))
    tuned = [record for record in records if record.purpose == "tuning"]
    together = [record for record in tuned if record.learning_rate == tuned[0].learning_rate]
    walked = [[Training(seconds[record.key])] for record in tuned if record not in together]
    finals = [Training(seconds[record.key]) for record in records if record.purpose == "final"]
    begun = [Training(seconds[record.key]) for record in together]
    return [begun, *walked, *(generations[number] for number in sorted(generations)), finals]


def choice(run: Path) -> list[Training]:
    """The probes of all networks together, then their trainings rung by rung; then the search of the one chosen."""
    by_rung: dict[int, Stage] = defaultdict(list)
    adopted: set[str] = set()
    for folder in sorted((run / MODELS_FOLDER).iterdir()):
        records = Ledger(folder / LEDGER).records
        seconds = own_seconds(records)
        for record in records:
            rung = 0 if FineTunePlan.from_dict(record.plan).is_solved else record.until or sys.maxsize
            by_rung[rung].append(Training(seconds[record.key], row=folder.name))
        adopted |= {record.key for record in records}
    stages = [by_rung[rung] for rung in sorted(by_rung)]
    before = chained(stages)
    own = [record for record in Ledger(run / LEDGER).records if record.key not in adopted and record.purpose != "refit"]
    return [*before, *chained(stages_of_auto(own), stages[-1] if stages else ())]


def own_seconds(records: Iterable[TrainingRecord]) -> dict[str, float]:
    """Seconds of every training by its key, without those of the same one up to an earlier rung."""
    found: dict[str, float] = {}
    furthest: dict[object, float] = {}
    for record in sorted(records, key=lambda record: record.until or sys.maxsize):
        training = (record.strategy, record.generation, record.slot, record.seed, record.purpose, repr(record.plan))
        found[record.key] = max(record.seconds - furthest.get(training, 0.0), 0.0)
        furthest[training] = record.seconds
    return found


def chained(stages: Iterable[Stage], before: Sequence[Training] = ()) -> list[Training]:
    """All trainings, those of a stage after all of the stage before."""
    found: list[Training] = []
    for stage in filter(None, stages):
        for training in stage:
            training.after = [*before]
        found += stage
        before = stage
    return found


def makespan(trainings: Sequence[Training], workers: int, rng: random.Random | None = None, lost: float = 0.0) -> float:
    """Seconds until all is over; with `rng` some take longer, and a share `lost` of all attempts is lost half-way."""
    seconds = [_drawn(training.seconds, rng, lost) + BETWEEN for training in trainings]
    number = {id(training): position for position, training in enumerate(trainings)}
    waits = [len(training.after) for training in trainings]
    followers: dict[int, list[int]] = defaultdict(list)
    for position, training in enumerate(trainings):
        for earlier in training.after:
            followers[number[id(earlier)]].append(position)
    ready = [position for position, count in enumerate(waits) if count == 0]
    running: list[tuple[float, int]] = []
    busy: Counter[str] = Counter()
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            position = min(ready, key=lambda each: busy[trainings[each].row])  # of equals the first, the oldest
            ready.remove(position)
            busy[trainings[position].row] += 1
            heapq.heappush(running, (now + seconds[position], position))
        now, position = heapq.heappop(running)
        busy[trainings[position].row] -= 1
        for follower in followers[position]:
            waits[follower] -= 1
            if waits[follower] == 0:
                ready.append(follower)
    return now


def _drawn(seconds: float, rng: random.Random | None, lost: float) -> float:
    if rng is None:
        return seconds
    slow = seconds * (TIMES_AS_LONG if not lost and rng.random() < SLOW else 1.0)
    total = slow
    while lost and rng.random() < lost:
        total += slow / 2
    return total


def enough(times: dict[int, float]) -> int:
    """The number of workers after which twice as many no longer help."""
    return next((count for count, more in pairwise(COUNTS) if times[count] < HELPS * times[more]), COUNTS[-1])


def _table(runs: dict[str, list[Training]]) -> list[str]:
    """Speed-ups over one worker, and where more stop helping."""
    lines = [
        f"| run | trainings | hours on one worker | {' | '.join(f'{count:,}' for count in COUNTS)} | enough |",
        f"|---|{'---:|' * (len(COUNTS) + 3)}",
    ]
    for name, trainings in runs.items():
        for what, times in _cases(trainings).items():
            speed = " | ".join(f"{times[1] / times[count]:.1f}" for count in COUNTS)
            label = name + (f", {what}" if what else "")
            lines.append(f"| {label} | {len(trainings)} | {times[1] / 3600:.2f} | {speed} | {enough(times)} |")
    return lines


def _cases(trainings: Sequence[Training]) -> dict[str, dict[int, float]]:
    def mean(count: int, lost: float) -> float:
        return fmean(makespan(trainings, count, random.Random(seed), lost) for seed in range(DRAWS))

    return {
        "": {count: makespan(trainings, count) for count in COUNTS},
        "stragglers": {count: mean(count, 0.0) for count in COUNTS},
        "failures": {count: mean(count, LOST) for count in COUNTS},
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auto", type=Path, required=True, help="folder of a `fit` by auto")
    parser.add_argument("--compare", type=Path, required=True, help="folder of a comparison with a row biotune")
    parser.add_argument("--models", type=Path, required=True, help="folder of a `fit` that chose among networks")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the table")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
