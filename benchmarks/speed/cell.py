"""One cell in a process of its own: `python -m benchmarks.speed.cell NAME SETTINGS_JSON FILE`."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path

from benchmarks.speed.cells import CELLS
from benchmarks.speed.commands import CommandFailedError
from benchmarks.speed.peers import versions
from benchmarks.speed.settings import Settings
from thawline.records import environment, write_json


def main() -> None:
    """Measure, then write the whole JSON."""
    name, stored, file = sys.argv[1:]
    settings, cell = Settings.from_dict(json.loads(stored)), CELLS[name]
    module = importlib.import_module(f"benchmarks.speed.{cell.module}")  # here, not above: some must not load torch
    busy, started = os.getloadavg(), time.monotonic()
    try:
        found = module.measure(settings, **cell.arguments)
    except CommandFailedError as error:
        sys.exit(f"{name}: {error}")
    facts = environment(device=settings.device, threads=settings.threads, command=f"python -m benchmarks.speed {name}")
    record = {
        "cell": name,
        "environment": facts.to_dict() | {"platform": platform.system(), "peers": versions()},
        # What else ran: this machine's load before and after, 1 = one core busy.
        "load_average": {"before": busy[0], "after": os.getloadavg()[0]},
        "minutes": round((time.monotonic() - started) / 60, 2),
        "smoke": settings.smoke,
        **found,
    }
    write_json(Path(file), record)


if __name__ == "__main__":
    main()
