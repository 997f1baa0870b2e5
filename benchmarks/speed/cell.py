"""One cell in a process of its own: `python -m benchmarks.speed.cell NAME SETTINGS_JSON FILE`."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.speed import instructions
from benchmarks.speed.cells import CELLS
from benchmarks.speed.commands import CommandFailedError
from benchmarks.speed.peers import versions
from benchmarks.speed.settings import PRECISIONS, Settings
from benchmarks.speed.side import Side
from thawline.records import environment, write_json


def main() -> None:
    """Measure, then write the whole JSON."""
    name, stored, file = sys.argv[1:]
    settings, cell = Settings.from_json(stored), CELLS[name]
    module = importlib.import_module(f"benchmarks.speed.{cell.module}")  # here, not above: some must not load torch
    busy, started = os.getloadavg(), time.monotonic()
    try:
        with MatrixRates(settings) as matrix_rates:
            rates = {"before": matrix_rates()}
            found = module.measure(settings, **cell.arguments)
            rates["after"] = matrix_rates()
    except CommandFailedError as error:
        sys.exit(f"{name}: {error}")
    facts = environment(device=settings.device, threads=settings.threads, command=f"python -m benchmarks.speed {name}")
    record = {
        "cell": name,
        "environment": facts.to_dict() | {"platform": platform.system(), "peers": versions()},
        # What else ran: this machine's load before and after, 1 = one core busy.
        "load_average": {"before": busy[0], "after": os.getloadavg()[0]},
        "instructions": instructions.in_use(),
        # The limit of every training: what the machine reaches where it does nothing but multiply matrices.
        "matrix_gflops": rates,
        "minutes": round((time.monotonic() - started) / 60, 2),
        "smoke": settings.smoke,
        **found,
    }
    write_json(Path(file), record)


class MatrixRates(ExitStack):
    """Billions of operations a second by precision, each measured in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._sides = {each: Side("matrix.product", settings, precision=each) for each in PRECISIONS}

    def __enter__(self) -> MatrixRates:
        """Start the processes."""
        for side in self._sides.values():
            self.enter_context(side)
        return self

    def __call__(self) -> dict[str, float]:
        """One measurement of each."""
        return {each: side() for each, side in self._sides.items()}


if __name__ == "__main__":
    main()
