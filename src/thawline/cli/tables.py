"""What the command line shows: answers as sentences and tables that fit the terminal."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from thawline.formatting import counted
from thawline.report import summary
from thawline.results import (
    CheckResult,
    Drift,
    Evaluation,
    Explanation,
    FileGroup,
    ImageSizes,
    Predictions,
    SkippedFile,
)
from thawline.runs.files import EXPLANATION_PAGE

FROZEN = "❄"
LEAGUE = {
    "strategy": "strategy",
    "rate": "rate",
    "val": "val",
    "test": "test",
    "n": "seeds",
    "interval": "95 % interval",
    "gap": "train - test",
    "trained": "trained",
    "work": "work",
    "trainings": "trainings",
    "time": "time",
    "memory": "process peak",
}
"""Columns of the league table: fields of `TableRow` and their titles."""
SPARED = ("memory", "trainings", "n", "time", "gap", "trained", "val", "interval", "rate")
"""Columns that a narrow terminal does without, the first first."""
UNBOUNDED = 10_000
"""Columns: wider than any table."""
DRAWN_SINGLY = 16
"""Blocks of which each is drawn, at most."""
SHOWN = 20
"""Groups of files listed on screen at most."""
NAMED = 6
"""Files of a group listed on screen at most."""
_USES = {"train": "of these images were trained on", "val": "were used for validation"}
_SCALE = ("#5b8fc7", "#7aa6a1", "#c9b458", "#e8953a", "#d9480f")
"""Learning rates from 1e-5 to 1e-1, a colour per decade."""


def print_fit(console: Console, results: Mapping[str, Any], run: Path, snippet: str) -> None:
    """The answer of `fit`: the sentence, the network, the table, where it all is, and the lines that open the model."""
    console.print()
    console.print(summary.headline(results), style="bold", highlight=False, markup=False)
    console.print()
    console.print(block_band(results["blocks"]))
    console.print()
    print_table(console, [results, *results["baselines"].values()], run)
    for note in summary.search_notes(results.get("search", {})):
        console.print(note, highlight=False, markup=False)
    if frozen := sum(block["frozen"] for block in results["blocks"]):
        console.print(
            f"\n{counted(frozen, 'frozen block')} bit-identical to the pretrained network: "
            "proved after every training.",
            highlight=False,
        )
    console.print(
        f"\nEverything is in {run}; {run}/report.html shows it. Open the model:\n",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print(snippet, highlight=False, markup=False, soft_wrap=True)


def print_comparison(console: Console, comparison: Mapping[str, Any], run: Path) -> None:
    """The answer of `compare`: the sentence, the table, where the rest is, and how to get a model."""
    console.print()
    console.print(summary.comparison_headline(comparison), style="bold", highlight=False, markup=False)
    console.print()
    print_table(console, comparison["rows"], run)
    text = f"\nEverything is in {run}; {run}/report.html shows it. A comparison saves no model"
    if command := summary.fit_command(comparison):
        text += f"; this trains the best one on validation and saves it:\n{command}"
    console.print(text, highlight=False, markup=False, soft_wrap=True)
    console.print(f"digest {comparison['digest'][:16]}", style="dim", highlight=False)


def print_table(console: Console, rows: Sequence[Mapping[str, Any]], run: Path) -> None:
    """The league table, as many of its columns as the console is wide for, and the verdicts below it."""
    lines = [summary.table_row(row) for row in rows]
    names = list(LEAGUE)
    table = _league(lines, names)
    unbounded = console.options.update_width(UNBOUNDED)
    for spared in SPARED:
        if Measurement.get(console, unbounded, table).maximum <= console.width:
            break
        names.remove(spared)
        table = _league(lines, names)
    console.print(table)
    for line in lines:
        if line.verdict:
            console.print(f"{line.strategy}: {line.verdict}", highlight=False, markup=False)
    if len(names) < len(LEAGUE):
        left_out = ", ".join(title for name, title in LEAGUE.items() if name not in names)
        text = f"Not shown for want of width: {left_out}; see {run / summary.TABLE_FILE}."
        console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)


def _league(lines: Sequence[summary.TableRow], names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(LEAGUE[name], no_wrap=True)
    for line in lines:
        table.add_row(*(Text(getattr(line, name)) for name in names))
    return table


def block_band(blocks: Sequence[Mapping[str, Any]]) -> Text:
    """The network from input to head: a snowflake on frozen blocks, the learning rate on the others.

    Of many blocks, neighbours that are treated alike are one: `conv1 to layer2.1.conv2 ❄`.
    """
    merge = len(blocks) > DRAWN_SINGLY
    runs = [list(run) for _, run in groupby(enumerate(blocks), key=lambda one: _treated(*one, merge=merge))]
    band = Text()
    for run in runs:
        first, last = run[0][1], run[-1][1]
        name = first["name"] if len(run) == 1 else f"{first['name']} to {last['name']}"
        if first["frozen"]:
            band.append(f" {name} {FROZEN} ", style="#7d8590 on #e7edf3")
        else:
            rate = summary.rate(first["learning_rate"])
            band.append(f" {name} {rate} ", style=f"bold #ffffff on {_colour(first['learning_rate'])}")
        band.append(" ")
    return band


def _treated(position: int, block: Mapping[str, Any], *, merge: bool) -> tuple[Any, ...]:
    """Neighbours with equal answers are drawn as one."""
    return (block["frozen"], block["learning_rate"]) if merge else (position,)


def _colour(learning_rate: float) -> str:
    decades = sum(learning_rate >= 10.0**power for power in (-4, -3, -2, -1))
    return _SCALE[decades]


def print_blocks(console: Console, inspected: Mapping[str, Any]) -> None:
    """The answer of `inspect`."""
    console.print(
        f"{inspected['architecture']} at {inspected['image_size']} px, blocks by {inspected['granularity']}\n",
        style="bold",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("block")
    for name in ("layers", "parameters", "MFLOPs", "output KiB", "work", "work from here up"):
        table.add_column(name, justify="right")
    flops = sum(block["flops"] for block in inspected["blocks"]) or 1
    for block in inspected["blocks"]:
        table.add_row(
            Text(block["name"]),
            str(block["layers"]),
            f"{block['parameters']:,}",
            f"{block['flops'] / 1e6:,.1f}",
            f"{block['boundary_bytes'] / 1024:,.1f}",
            f"{100 * block['flops'] / flops:.1f} %",
            f"{100 * block['step_from_here']:.0f} %",
        )
    console.print(table)
    console.print(
        "\nFLOPs of one image forward; output = activations of one image in fp32; work = share of the forward pass;\n"
        "work from here up = a training step of this block and all above it, against one of the whole network.",
        style="dim",
        highlight=False,
    )


def print_strategies(console: Console, strategies: Sequence[Mapping[str, Any]]) -> None:
    """The answer of `strategies`: what each one trains and, below, its arguments."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for one in strategies:
        table.add_row(Text(one["name"], style="bold"), Text(one["help"]))
        for name, default in one.get("arguments", {}).items():
            values = ", ".join(str(value) for value in one["tuned"].get(name, ()))
            table.add_row(
                "", Text(f"{name}={default}" + (f"; left open, tuning tries {values}" if values else ""), style="dim")
            )
        if "error" in one:
            table.add_row("", Text(one["error"], style="red"))
    console.print(table)
    console.print("\nArguments follow a colon: last_blocks:k=3, lora:rank=8,alpha=16.", style="dim", highlight=False)


def print_check(console: Console, found: CheckResult) -> None:
    """The answer of `check`: what to look at first, then the files it is about."""
    low, high = min(found.classes.values()), max(found.classes.values())
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    console.print(
        f"{found.root}: {found.images:,} images in {len(found.classes)} classes, {each} in each",
        style="bold",
        highlight=False,
        markup=False,
    )
    facts = {**found.formats, **found.oddities}
    console.print(", ".join(f"{name} {count:,}" for name, count in facts.items() if count), highlight=False)
    _print_sizes(console, found.sizes)
    for text in found.warnings or ["No problems found."]:
        console.print(f"  {text}", highlight=False, markup=False)
    copies, similar = found.duplicates, found.lookalikes
    _print_groups(console, "The same file under different labels", (group for group in copies if group.contradicts))
    _print_groups(console, "The same file twice", (group for group in copies if not group.contradicts))
    _print_groups(console, "Near-duplicates under different labels", (group for group in similar if group.contradicts))
    leaking = (group for group in similar if group.leaks and not group.contradicts)
    _print_groups(console, "Near-duplicates across splits", leaking)
    _print_unreadable(console, found.unreadable)
    _print_ignored(console, found.ignored)


def _print_sizes(console: Console, sizes: ImageSizes) -> None:
    if sizes.smallest is None or sizes.largest is None:
        return
    low, high = ("{} x {}".format(*size) for size in (sizes.smallest, sizes.largest))
    text = f"All {low} pixels" if sizes.different == 1 else f"{sizes.different:,} sizes, {low} to {high} pixels"
    console.print(text, highlight=False)


def _print_groups(console: Console, title: str, groups: Iterable[FileGroup]) -> None:
    chosen = list(groups)
    if not chosen:
        return
    files = sum(len(group.paths) for group in chosen)
    console.print(f"\n{title} ({len(chosen):,} in {files:,} files)", style="bold", highlight=False)
    for group in chosen[:SHOWN]:
        paths = group.paths[:NAMED]
        more = f"  and {len(group.paths) - NAMED:,} more" if len(group.paths) > NAMED else ""
        console.print(f"  {'  =  '.join(paths)}{more}", highlight=False, markup=False, soft_wrap=True)
    if len(chosen) > SHOWN:
        console.print(f"  and {len(chosen) - SHOWN} more: --out FILE or --json lists them all", highlight=False)


def print_scores(console: Console, scores: Evaluation) -> None:
    """The answer of `evaluate`."""
    low, high = scores.interval95
    console.print(
        f"{scores.images:,} images ({scores.split}): accuracy {scores.accuracy:.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}), macro F1 {scores.macro_f1:.3f}, "
        f"calibration error {scores.calibration_error:.3f}",
        highlight=False,
    )
    if seen := scores.seen:
        uses = " and ".join(f"{count:,} {_USES[split]}" for split, count in seen.items())
        console.print(f"These scores are optimistic: {uses}.", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("class")
    for name in ("precision", "recall", "F1", "images"):
        table.add_column(name, justify="right")
    for row in scores.per_class:
        figures = (f"{figure:.3f}" for figure in (row.precision, row.recall, row.f1))
        table.add_row(Text(row.name), *figures, str(row.images))
    console.print(table)
    _print_unreadable(console, scores.unreadable)


def print_predictions(console: Console, predicted: Predictions) -> None:
    """The answer of `predict`: one line per image."""
    for image in predicted.predictions:
        guesses = ", ".join(f"{guess.label} {guess.probability:.3f}" for guess in image.top)
        console.print(f"{image.path}: {guesses}", highlight=False, markup=False, soft_wrap=True)
    _print_unreadable(console, predicted.unreadable)
    _print_ignored(console, predicted.ignored)


def print_explained(console: Console, explained: Explanation, run: Path) -> None:
    """The answer of `explain`: the predictions for every image, the changes of every block, where the page is."""
    for image in explained.images:
        true = "" if image.true is None else f" (true: {image.true})"
        before = f"{image.predicted_before} {image.probability_before:.3f}"
        after = f"{image.predicted} {image.probability:.3f}"
        console.print(f"{image.path}{true}: {before} -> {after}", highlight=False, markup=False, soft_wrap=True)
    _print_unreadable(console, explained.unreadable)
    _print_ignored(console, explained.ignored)
    if explained.drift is not None:
        _print_changes(console, explained.drift)
    page = run / EXPLANATION_PAGE
    console.print(f"\nImages and what the columns mean: {page}", highlight=False, markup=False, soft_wrap=True)


def _print_changes(console: Console, drift: Drift) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("block")
    for name in ("weight change", "batch norm drift", "CKA", "probe before", "probe after"):
        table.add_column(name, justify="right")
    for block in drift.blocks:
        figures = (block.weight_change, block.norm_drift, block.cka, block.probe_before, block.probe_after)
        table.add_row(Text(block.name), *("-" if figure is None else f"{figure:.3f}" for figure in figures))
    console.print()
    console.print(table)
    if source := drift.source:
        before, after = source.accuracy_before, source.accuracy_after
        console.print(
            f"\nAccuracy on {source.images} images of the pretraining task: {before:.3f} -> {after:.3f}.",
            highlight=False,
        )


def write_predictions_csv(stream: TextIO, predicted: Predictions) -> None:
    """One line per image and rank: path, rank (from 1), class, probability; unreadable files have an error instead."""
    writer = csv.writer(stream)
    writer.writerow(("path", "rank", "class", "probability", "error"))
    for image in predicted.predictions:
        for rank, guess in enumerate(image.top, start=1):
            writer.writerow((image.path, rank, guess.label, f"{guess.probability:.6f}", ""))
    for file in predicted.unreadable:
        writer.writerow((file.path, "", "", "", file.reason))


def _print_ignored(console: Console, ignored: Sequence[SkippedFile]) -> None:
    for reason, count in Counter(file.reason for file in ignored).most_common():
        console.print(f"ignored: {counted(count, 'file')}: {reason}", highlight=False, markup=False)


def _print_unreadable(console: Console, unreadable: Sequence[SkippedFile]) -> None:
    for file in unreadable:
        console.print(f"unreadable: {file.path}: {file.reason}", highlight=False, markup=False, soft_wrap=True)
