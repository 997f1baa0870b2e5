"""How fast: every promise about time and memory, measured against the usual ways on this machine.

    python -m benchmarks.speed --shared ../shared                          all cells, from the repository's root
    python -m benchmarks.speed probe last-block full-mobilenet             some
    python -m benchmarks.speed --tables                                    only write the tables again

Each cell is a process of its own and one JSON in results/speed-INSTRUCTIONS/ (speed-amx, speed-avx512, speed-avx2 by
what the processor has, speed-cuda with --device cuda); a cell that is there is not measured again. With the environment
ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 a processor does without newer instructions. Every side is a process of
its own, too; figures are medians of sides measured in turn, and the machine should do nothing else.
Every call writes results/speed-INSTRUCTIONS.md and, in README.md, the claims of all CPUs side by side.
The peers are an extra: pip install 'thawline[bench]'.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.pages import write_between
from benchmarks.speed import instructions
from benchmarks.speed.cells import CELLS
from benchmarks.speed.commands import run_cell
from benchmarks.speed.settings import ROOT, Settings
from benchmarks.speed.tables import markdown, read_cells, side_by_side
from thawline.records import write_text

README = ROOT / "benchmarks" / "README.md"
RESULTS = README.parent / "results"
MARKERS = "<!-- speed: written by benchmarks.speed -->", "<!-- end of the speed table -->"


def main() -> None:
    """Measure what is not there yet, then write and print the table."""
    options = _options()
    settings = Settings(
        shared=options.shared.resolve(),
        runs=options.runs.resolve(),
        device=options.device,
        threads=options.threads,
        repeats=options.repeats,
        smoke=options.smoke,
    )
    results = _results(options)
    failed = [] if options.tables else [name for name in options.cells if not _measure(name, settings, results)]
    page = markdown(read_cells(results))
    write_text(results.with_suffix(".md"), page)
    if results.parent == RESULTS:
        machines = {name.upper(): read_cells(RESULTS / f"speed-{name}") for name in instructions.NAMES}
        write_between(README, *MARKERS, side_by_side(machines))
    print(page)
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


def _measure(name: str, settings: Settings, results: Path) -> bool:
    """Whether the cell is there now; one that fails does not keep the others from running."""
    file = results / f"{name}.json"
    if file.exists():
        return True
    print(f"{name}, about {CELLS[name].minutes} min", flush=True)
    return run_cell(name, settings.to_json(), file, settings) == 0


def _results(options: argparse.Namespace) -> Path:
    name = f"speed-{instructions.short_name() if options.device == 'cpu' else options.device}"
    # Figures that mean nothing must not lie beside the real ones.
    return options.runs.resolve() / name if options.smoke else RESULTS / name


def _options() -> argparse.Namespace:
    listed = ", ".join(f"{name} ({cell.minutes} min)" for name, cell in CELLS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*", help=f"of: {listed}; default: all that the device has")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, default=None, help="for run folders, caches and logs; default: runs/speed")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each training")
    parser.add_argument("--repeats", type=int, default=0, help="measurements of each side; default: the cell's own")
    parser.add_argument("--smoke", action="store_true", help="as small as can be, to see that everything runs")
    parser.add_argument("--tables", action="store_true", help="measure nothing, only write the tables from the cells")
    options = parser.parse_args()
    options.runs = options.runs or ROOT / "runs" / ("speed-smoke" if options.smoke else "speed")
    options.cells = options.cells or [name for name, cell in CELLS.items() if options.device in cell.devices]
    for name in options.cells:
        if name not in CELLS or options.device not in CELLS[name].devices:
            parser.error(f"{name!r} is no cell of {options.device}; choose from: {listed}")
    return options


if __name__ == "__main__":
    main()
