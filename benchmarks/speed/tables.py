"""The table: what was wanted of every cell and what was measured."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed.cells import CELLS
from benchmarks.speed.settings import PRECISIONS

HEADER = "| work | against | wanted | measured, median (lowest to highest) | n | |"
RULE = "|---|---|---|---|---|---|"
SIDES_HEADER = "| cell | side | median (lowest to highest) | n |"
SIDES_RULE = "|---|---|---|---|"
MACHINE_HEADER = "| cell | matrix rate fp32, GFLOP/s | matrix rate bf16, GFLOP/s | load | instructions in use |"
MACHINE_RULE = "|---|---|---|---|---|"


def read_cells(folder: Path) -> list[dict[str, Any]]:
    """The measured cells, in the order of `CELLS`."""
    files = (folder / f"{name}.json" for name in CELLS)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]


def markdown(cells: Iterable[Mapping[str, Any]]) -> str:
    """Claims, then the figures behind them, then where they were measured."""
    cells = list(cells)
    claims = [_claim(claim) for cell in cells for claim in cell["claims"]]
    sides = [_side(cell["cell"], name, side) for cell in cells for name, side in cell["sides"].items()]
    parts = ["# Speed", "\n".join([HEADER, RULE, *claims]), "## Behind the ratios"]
    parts += ["\n".join([SIDES_HEADER, SIDES_RULE, *sides]), "## The machine, before and after each cell"]
    parts += [
        "\n".join([MACHINE_HEADER, MACHINE_RULE, *map(_machine, cells)]),
        "## Facts",
        "\n".join(map(_facts, cells)),
    ]
    parts += ["## Where", "\n".join(dict.fromkeys(map(_where, cells)))]
    return "\n\n".join(parts) + "\n"


def side_by_side(machines: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
    """What was wanted and what each machine's cells measured; `machines` has the cells by the name of a column."""
    measured: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    for machine, cells in machines.items():
        for claim in (claim for cell in cells for claim in cell["claims"]):
            row = claim["work"], claim["against"], _wanted(claim)
            measured[row][machine] = f"{_spread(claim, claim['unit'])} {_verdict(claim)}".rstrip()
    header = ["work", "against", "wanted", *machines]
    lines = [[*row, *(found.get(machine, "") for machine in machines)] for row, found in measured.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines)) + "\n"


def _wanted(claim: Mapping[str, Any]) -> str:
    return "" if claim["wanted"] is None else f"{claim['rule']} {claim['wanted']:g}{claim['unit']}"


def _verdict(claim: Mapping[str, Any]) -> str:
    return {True: "met", False: "**missed**", None: ""}[claim["met"]]


def _claim(claim: Mapping[str, Any]) -> str:
    measured = _spread(claim, claim["unit"])
    return (
        f"| {claim['work']} | {claim['against']} | {_wanted(claim)} | {measured} | {claim['n']} | {_verdict(claim)} |"
    )


def _side(cell: str, name: str, side: Mapping[str, Any]) -> str:
    unit = f" {side['unit']}".rstrip()
    return f"| {cell} | {name} | {_spread(side, unit)} | {side['n']} |"


def _spread(figure: Mapping[str, Any], unit: str) -> str:
    return f"{_short(figure['median'])}{unit} ({_short(figure['lowest'])} to {_short(figure['highest'])})"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _facts(cell: Mapping[str, Any]) -> str:
    smoke = " **Smoke test: the figures mean nothing.**" if cell["smoke"] else ""
    return f"- `{cell['cell']}`: {json.dumps(cell['facts'])}; {cell['minutes']:g} min.{smoke}"


def _machine(cell: Mapping[str, Any]) -> str:
    """What the machine can do, and what it was busy with, around a cell."""
    load, rates = cell["load_average"], cell["matrix_gflops"]
    pairs = [
        *((rates["before"][precision], rates["after"][precision]) for precision in PRECISIONS),
        (load["before"], load["after"]),
    ]
    columns = (f"{_short(before)}, {_short(after)}" for before, after in pairs)
    instructions = ", ".join(f"{library} {name}" for library, name in cell["instructions"].items())
    return f"| {cell['cell']} | {' | '.join(columns)} | {instructions} |"


def _where(cell: Mapping[str, Any]) -> str:
    facts = cell["environment"]
    packages = {**facts["packages"], **facts["peers"]}
    listed = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    return f"- {facts['processor']}, {facts['device']}, {facts['threads']} threads, Python {facts['python']}; {listed}."
