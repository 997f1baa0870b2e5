"""What the command line shows: progress and tables on a terminal, plain sparse lines elsewhere."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from thawline.progress import Listener
from thawline.records import EpochRecord, TrainingRecord
from thawline.report import summary

FROZEN = "❄"
NARROW = 125
"""Columns below which the table leaves out what else would be cut, and says the verdicts underneath."""
SILENCE = 60.0
"""Seconds without a line, where the output is no terminal, after which an epoch is worth one."""
SHOWN = 20
"""Groups of files listed on screen at most."""
_SCALE = ("#5b8fc7", "#7aa6a1", "#c9b458", "#e8953a", "#d9480f")
"""Learning rates from 1e-5 to 1e-1, a colour per decade."""


class ConsoleListener(Listener):
    """Progress for people: a live bar on a terminal, one line per training elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._expected_seconds = 0.0
        self._expected_trainings = 0
        self._done = 0
        self._best: TrainingRecord | None = None
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> ConsoleListener:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a line above the progress."""
        self.console.print(text, highlight=False, markup=False)
        self._last_line = time.monotonic()

    def decoding(self, done: int, total: int) -> None:
        """A bar while pixels are made."""
        self._show("decoding images", done, total, f"{done:,} of {total:,}")

    def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
        """Say how long it will take, at most."""
        self._expected_seconds, self._expected_trainings = seconds, trainings
        self._started = time.monotonic()
        self.note(
            f"Forecast: about {summary.duration(seconds)} here (less with early stopping, more where a grid of rates "
            f"grows): {trainings} training(s), as much work as {units:.1f} full fine-tunings, "
            f"{memory_bytes / 2**20:,.0f} MiB of memory for a step."
        )

    def training_started(self, record: TrainingRecord) -> None:
        """Show what is running."""
        self._show(_title(record), self._done, max(self._expected_trainings, self._done + 1), self._status())

    def epoch_done(self, record: TrainingRecord, epoch: EpochRecord) -> None:
        """Show where the running training stands."""
        status = f"epoch {epoch.epoch + 1}, val {epoch.val_accuracy:.3f}; {self._status()}"
        self._show(_title(record), self._done, max(self._expected_trainings, self._done + 1), status)
        if not self.console.is_terminal and time.monotonic() - self._last_line > SILENCE:
            self.note(f"{_title(record)}: {status}")

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        """Keep the best so far; elsewhere than on a terminal, print a line."""
        self._done += not stored
        if self._best is None or record.score > self._best.score:
            self._best = record
        if self.console.is_terminal or stored:
            return
        outcome = record.error or f"val {record.score[0]:.3f} after {len(record.epochs)} epochs"
        expected = max(self._done, self._expected_trainings)
        self.note(f"[{self._done}/{expected}] {_title(record)}: {outcome}; {self._status()}")

    def _status(self) -> str:
        best = f"best so far {self._best.strategy} {self._best.score[0]:.3f}" if self._best else "no result yet"
        left = self._expected_seconds - (time.monotonic() - self._started)
        return f"{best}, about {summary.duration(left)} left" if left > 0 else best

    def _show(self, description: str, done: int, total: int, status: str) -> None:
        if self._task is None:
            self._task = self._progress.add_task(description, status=status)
        self._progress.update(self._task, description=description, completed=done, total=total, status=status)


def print_fit(console: Console, results: Mapping[str, Any], run: Path, snippet: str) -> None:
    """The answer of `fit`: the sentence, the network, the table, where it all is, and the lines that open the model."""
    console.print()
    console.print(summary.headline(results), style="bold", highlight=False, markup=False)
    console.print()
    console.print(block_band(results["blocks"]))
    console.print()
    print_table(console, [results, *results["baselines"].values()])
    if frozen := sum(block["frozen"] for block in results["blocks"]):
        console.print(
            f"\n{frozen} frozen block(s) bit-identical to the pretrained network: proved after every training.",
            highlight=False,
        )
    console.print(f"\nEverything is in {run}. Open the model:\n", highlight=False, markup=False, soft_wrap=True)
    console.print(snippet, highlight=False, markup=False, soft_wrap=True)


def print_comparison(console: Console, comparison: Mapping[str, Any]) -> None:
    """The answer of `compare`: the sentence and the table."""
    console.print()
    console.print(summary.comparison_headline(comparison["rows"]), style="bold", highlight=False, markup=False)
    console.print()
    print_table(console, comparison["rows"])
    console.print(f"digest {comparison['digest'][:16]}", style="dim", highlight=False)


def print_table(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """The league table: accuracy, its spread over seeds and its 95 % interval over test images."""
    columns = {
        "strategy": "strategy",
        "rate": "rate",
        "val": "val",
        "test": "test",
        "interval": "95 % interval",
        "trained": "trained",
        "work": "work",
        "verdict": "against full",
    }
    narrow = console.width < NARROW
    for name in ("interval", "trained", "verdict") if narrow else ():
        del columns[name]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in columns.values():
        table.add_column(title, no_wrap=True)
    lines = [summary.table_row(row) for row in rows]
    for line in lines:
        table.add_row(*(Text(getattr(line, name)) for name in columns))
    console.print(table)
    for line in lines if narrow else ():
        if line.verdict:
            console.print(f"{line.strategy}: {line.verdict}", highlight=False, markup=False)


def block_band(blocks: Sequence[Mapping[str, Any]]) -> Text:
    """The network from input to head: a snowflake on frozen blocks, the learning rate on the others."""
    band = Text()
    for block in blocks:
        if block["frozen"]:
            band.append(f" {block['name']} {FROZEN} ", style="#7d8590 on #e7edf3")
        else:
            colour = _colour(block["learning_rate"])
            band.append(f" {block['name']} {summary.rate(block['learning_rate'])} ", style=f"bold #ffffff on {colour}")
        band.append(" ")
    return band


def _colour(learning_rate: float) -> str:
    decades = sum(learning_rate >= 10.0**power for power in (-4, -3, -2, -1))
    return _SCALE[decades]


def _title(record: TrainingRecord) -> str:
    purpose = "tuning" if record.purpose == "tuning" else f"seed {record.seed}"
    return f"{record.strategy} at {summary.rate(record.learning_rate)} ({purpose})"


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


def print_check(console: Console, found: Mapping[str, Any]) -> None:
    """The answer of `check`: what to look at first, then the files it is about."""
    counts = found["classes"]
    low, high = min(counts.values()), max(counts.values())
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    console.print(
        f"{found['root']}: {found['images']:,} images in {len(counts)} classes, {each} in each",
        style="bold",
        highlight=False,
        markup=False,
    )
    facts = {**found["formats"], **found["oddities"]}
    console.print(", ".join(f"{name} {count:,}" for name, count in facts.items() if count), highlight=False)
    _print_sizes(console, found["sizes"])
    for text in found["warnings"] or ["Nothing to complain of."]:
        console.print(f"  {text}", highlight=False, markup=False)
    _print_alike(console, "The same file under different labels", found["duplicates"], contradicting=True)
    _print_alike(console, "The same file twice", found["duplicates"], contradicting=False)
    _print_alike(console, "Nearly the same picture under different labels", found["lookalikes"], contradicting=True)
    _print_unreadable(console, found["unreadable"])
    _print_ignored(console, found["ignored"])


def _print_sizes(console: Console, sizes: Mapping[str, Any]) -> None:
    if sizes["different"]:
        (low_width, low_height), (width, height) = sizes["smallest"], sizes["largest"]
        span = f"{width} x {height}" if sizes["different"] == 1 else f"{low_width} x {low_height} to {width} x {height}"
        console.print(f"{sizes['different']} different size(s), {span} pixels", highlight=False)


def _print_alike(console: Console, title: str, groups: Sequence[Mapping[str, Any]], *, contradicting: bool) -> None:
    chosen = [one for one in groups if (len(one["labels"]) > 1) == contradicting]
    if not chosen:
        return
    console.print(f"\n{title} ({len(chosen)})", style="bold", highlight=False)
    for one in chosen[:SHOWN]:
        console.print(f"  {'  =  '.join(one['paths'])}", highlight=False, markup=False, soft_wrap=True)
    if len(chosen) > SHOWN:
        console.print(f"  and {len(chosen) - SHOWN} more: --out FILE or --json lists them all", highlight=False)


def print_scores(console: Console, scores: Mapping[str, Any]) -> None:
    """The answer of `evaluate`."""
    low, high = scores["interval95"]
    console.print(
        f"{scores['images']:,} images ({scores['split']}): accuracy {scores['accuracy']:.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}), macro F1 {scores['macro_f1']:.3f}, "
        f"calibration error {scores['calibration_error']:.3f}",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("class")
    for name in ("precision", "recall", "F1", "images"):
        table.add_column(name, justify="right")
    for row in scores["per_class"]:
        figures = (f"{row[key]:.3f}" for key in ("precision", "recall", "f1"))
        table.add_row(Text(row["name"]), *figures, str(row["images"]))
    console.print(table)
    _print_unreadable(console, scores["unreadable"])


def print_predictions(console: Console, predicted: Mapping[str, Any]) -> None:
    """The answer of `predict`: one line per image."""
    for one in predicted["predictions"]:
        guesses = ", ".join(f"{guess['class']} {guess['probability']:.3f}" for guess in one["top"])
        console.print(f"{one['path']}: {guesses}", highlight=False, markup=False, soft_wrap=True)
    _print_unreadable(console, predicted["unreadable"])
    _print_ignored(console, predicted["ignored"])


def write_predictions_csv(stream: TextIO, predicted: Mapping[str, Any]) -> None:
    """One line per image and rank: path, rank (from 1), class, probability; unreadable files have an error instead."""
    writer = csv.writer(stream)
    writer.writerow(("path", "rank", "class", "probability", "error"))
    for one in predicted["predictions"]:
        for rank, guess in enumerate(one["top"], start=1):
            writer.writerow((one["path"], rank, guess["class"], f"{guess['probability']:.6f}", ""))
    for one in predicted["unreadable"]:
        writer.writerow((one["path"], "", "", "", one["reason"]))


def _print_ignored(console: Console, ignored: Sequence[Mapping[str, str]]) -> None:
    for reason, count in Counter(one["reason"] for one in ignored).most_common():
        console.print(f"ignored: {count:,} file(s): {reason}", highlight=False, markup=False)


def _print_unreadable(console: Console, unreadable: Sequence[Mapping[str, str]]) -> None:
    for one in unreadable:
        console.print(f"unreadable: {one['path']}: {one['reason']}", highlight=False, markup=False, soft_wrap=True)
