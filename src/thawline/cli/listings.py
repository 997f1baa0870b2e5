"""What the command line shows before anything runs: a dry run, and the published studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from thawline.formatting import counted, duration, mebibytes
from thawline.recipes.cells import Expansion
from thawline.results import DryRun, PlannedRow
from thawline.visible import visible


def print_dry_run(console: Console, planned: DryRun) -> None:
    """The answer of `--dry-run`: images, what each strategy trains, and what all of it costs at most.

    Warnings are not repeated: they were shown as they were found.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    several = any(row.network for row in planned.rows)
    for name in ("network", "strategy") if several else ("strategy",):
        table.add_column(name, no_wrap=True)
    table.add_column("trains")
    for name in ("trainings", "work", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in planned.rows:
        cost = (f"{row.trainings:,}", f"{row.units:.1f}", duration(row.seconds))
        names = (row.network or "", row.strategy) if several else (row.strategy,)
        table.add_row(*(Text(visible(each)) for each in (*names, _trains(row))), *cost)
    console.print()
    console.print(table)
    if several and planned.verb == "fit":
        console.print(
            "\nOne of these networks is chosen within the budget: all are probed, and those that may be the best are "
            "trained for a few epochs. Each row is the cost if the whole budget goes to that network.",
            highlight=False,
        )
    console.print(
        f"\nAt most {duration(planned.seconds)} on this machine, less with early stopping; "
        f"{counted(planned.trainings, 'training')}, as much work as {planned.units:.1f} full fine-tunings, "
        f"{mebibytes(planned.memory_bytes)} of memory per training step.",
        highlight=False,
    )
    console.print(
        f"Work is measured in full fine-tunings{' of the costliest network' if several else ''}. Nothing was trained "
        "and no folder was created; the decoded images stay in the cache.",
        style="dim",
        highlight=False,
    )


def _trains(row: PlannedRow) -> str:
    """Which blocks, and what tuning is to find out."""
    if row.blocks is None:
        return "what the search chooses"
    open_choices = [f"{row.choices} variants"] if (row.choices or 1) > 1 else []
    tuned = " and ".join([*open_choices, *(["the rate"] if row.tunes_rate else [])])
    names = row.blocks if len(row.blocks) <= 6 else [*row.blocks[:2], "...", *row.blocks[-2:]]
    return ", ".join(names) + (f"; tuning tries {tuned}" if tuned else "")


def print_recipes(console: Console, recipes: Sequence[Mapping[str, Any]]) -> None:
    """The answer of `compare --list`: each study with its paper, data sets, networks and size."""
    for number, recipe in enumerate(recipes):
        console.print(f"{chr(10) if number else ''}{recipe['name']}", style="bold", highlight=False)
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column()
        given = f"; give folders for {', '.join(recipe['data_to_give'])}" if recipe["data_to_give"] else ""
        for name, text in (
            ("  paper", f"{recipe['paper']}. {recipe['reference']}"),
            ("  data", f"{', '.join(recipe['data'])}{given}"),
            ("  models", ", ".join(recipe["models"])),
            ("  size", recipe["cost"]),
        ):
            table.add_row(Text(name, style="dim"), Text(visible(text)))
        console.print(table)
    console.print("\nthawline compare --recipe NAME --out STUDY", highlight=False)


def print_cells(console: Console, expansion: Expansion) -> None:
    """The answer of `compare --recipe ... --dry-run`: the comparisons, one a line."""
    for note in expansion.notes:
        console.print(visible(note), highlight=False)
    for cell in expansion.cells:
        request = cell.request
        rows = counted(len(request.strategies), "strategy", "strategies")
        settings = f"{counted(request.search.seeds, 'seed')}, up to {counted(request.train.epochs, 'epoch')}"
        console.print(visible(f"{cell.name}: {rows}, {settings}"), highlight=False, soft_wrap=True)
    console.print(
        f"{counted(len(expansion.cells), 'comparison')}. Each forecasts its time when it starts; finished ones are "
        "not repeated.",
        style="dim",
        highlight=False,
    )
