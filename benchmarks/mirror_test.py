"""Whether the mirror test of `augment` auto sees which classes are mirror-symmetric: on the development splits only.

    OMP_NUM_THREADS=1 python -m benchmarks.mirror_test --shared ../shared

The test that every run makes before its first training, on both development splits of the twelve sets of the proving
ground; forward passes only. A table goes to results/mirror-test.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.ground.cells import opened
from benchmarks.ground.sets import SETS
from benchmarks.ground.settings import Place, Settings
from benchmarks.ground.splits import DEVELOPMENT
from thawline import verdicts
from thawline.recipes.recipe import Table
from thawline.records import write_text
from thawline.results import MirrorTest
from thawline.runs.augmentation import work_of
from thawline.training.mirror import mirror_test

RESULTS = Path(__file__).parent / "results" / "mirror-test.md"
BACKBONE = "mobilenetv2_050"
COLUMNS = ("set", "split", "images", "log-loss", "mirrored", "rise", "p", "accuracy", "mirrored", "flips", "work")


def main() -> None:
    """Make every test, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, default=Path("runs/mirror-test"), help="for manifests and run folders")
    options = parser.parse_args()
    settings = Settings(options.shared, options.runs, options.runs / "results")
    lines = [_line(Place(BACKBONE, data, split, SETS[data]), settings) for data in SETS for split in DEVELOPMENT]
    title = f"The mirror test on the development splits: a linear probe on {BACKBONE}, validation images"
    table = Table(title, [*COLUMNS], lines).to_markdown()
    write_text(RESULTS, table)
    print(table)


def _line(place: Place, settings: Settings) -> list[str]:
    with opened(place, settings) as experiment:
        found = mirror_test(experiment.model, experiment.data, experiment.request.train, place.split)
        assert found is not None, f"{BACKBONE} has a linear head"
        work = work_of(found, experiment)
    return [place.data, str(place.split), *_figures(found), f"{work:.3f}"]


def _figures(found: MirrorTest) -> list[str]:
    return [
        str(found.images),
        f"{found.log_loss:.3f}",
        f"{found.mirrored_log_loss:.3f}",
        f"{100 * (found.mirrored_log_loss / found.log_loss - 1):+.0f} %",
        f"{found.p:.2g}",
        f"{found.accuracy:.3f}",
        f"{found.mirrored_accuracy:.3f}",
        "off" if verdicts.is_worse_mirrored(found) else "on",
    ]


if __name__ == "__main__":
    main()
