"""Every strategy and its peers on twelve data sets, each tuned with the same number of trainings.

    python -m benchmarks.ground --shared ../shared                          the development splits
    python -m benchmarks.ground --splits published --processes 2            what the tables are made of, on two cores
    python -m benchmarks.ground --sets dtd10,isic5 --methods full,auto      some
    python -m benchmarks.ground --smoke                                     all of it with a few images, to see it work

12 epochs, 96 px (64 where images are small), no augmentation, AdamW; at most 400 training, 250 validation and 1,000
test images; six tuning trainings and a final one a row. One JSON per cell goes to results/ground/. Stop it whenever you
like: the same command goes on where it was, and a second process with the same command takes a share of the work.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ground.methods import METHODS, Method
from benchmarks.ground.queue import Worker, jobs
from benchmarks.ground.sets import SETS
from benchmarks.ground.settings import Place, Settings
from benchmarks.ground.splits import DEVELOPMENT, PUBLISHED, Sizes
from thawline.strategies.base import split_specs

RESULTS = Path(__file__).parents[1] / "results" / "ground"


ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # Without these, glibc hands the activations of every step back to the system: a quarter of the processor time.
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
}
"""Environment of the processes that `--processes` starts; results are the same without it, bit for bit."""


def main() -> None:
    """Run what is not there yet; exit code 1 if a cell ended with an error of the program."""
    options = _options()
    if options.smoke and not options.runs:
        options.runs = Path(tempfile.mkdtemp(prefix="ground-smoke-"))
        print(f"smoke test: everything goes to {options.runs}", flush=True)
    settings = _settings(options)
    if options.processes > 1:
        sys.exit(max(_children(settings, options.processes)))
    worker = Worker(settings)
    worker.work_off(jobs(_places(options), _methods(options.methods)))
    sys.exit(1 if worker.failed else 0)


def _settings(options: argparse.Namespace) -> Settings:
    if options.smoke:
        return Settings(options.shared, options.runs / "runs", options.runs / "results", Sizes(40, 20, 40, 1), epochs=2)
    return Settings(options.shared, options.runs or Path("runs/ground"), options.results)


def _children(settings: Settings, count: int) -> list[int]:
    """Exit codes of `count` processes with the same command."""
    command = [sys.executable, "-m", "benchmarks.ground", *sys.argv[1:], "--processes", "1"]
    if "--smoke" in sys.argv:
        command += ["--runs", str(settings.runs.parent)]
    started = [subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}) for _ in range(count)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # no process goes on without the others
    try:
        return [child.wait() for child in started]
    finally:
        for child in started:
            child.terminate()


def _places(options: argparse.Namespace) -> list[Place]:
    names = options.sets.split(",") if options.sets else list(SETS)
    number, parts = map(int, options.part.split("/"))
    mine = names[number - 1 :: parts]
    return [Place(options.backbone, name, split, SETS[name]) for split in _splits(options.splits) for name in mine]


def _splits(given: Sequence[str]) -> list[int]:
    named = {"development": DEVELOPMENT, "published": PUBLISHED}
    return [split for word in given for split in (named[word] if word in named else (int(word),))]


def _methods(text: str) -> list[Method]:
    wanted = split_specs(text)
    return [method for method in METHODS if not wanted or method.name in wanted or method.group in wanted]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--backbone", default="mobilenetv2_050", help="a folder of weights/")
    parser.add_argument("--sets", default="", help=f"some of {', '.join(SETS)}")
    parser.add_argument("--methods", default="", help="names of methods or of groups of them")
    parser.add_argument("--splits", nargs="+", default=["development"], help="development, published, or numbers")
    parser.add_argument("--part", default="1/1", help="1/2 = every second data set, from the first")
    parser.add_argument("--processes", type=int, default=1, help="processes that share the work, one thread each")
    parser.add_argument("--runs", type=Path, help="for manifests, run folders and locks; default: runs/ground")
    parser.add_argument("--results", type=Path, default=RESULTS, help="for the cells")
    parser.add_argument("--smoke", action="store_true", help="40 training images, 2 epochs, a temporary folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
