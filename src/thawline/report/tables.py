"""What the command line, `str` and a notebook show of results: answers as sentences and tables that fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from thawline import verdicts
from thawline.formatting import counted, extent, figure, file_size, percent, rate, sentence, tally
from thawline.report import networks, summary
from thawline.report.audit import NAMED, NO_PROBLEMS, findings, sizes_in_words
from thawline.report.consoles import UNBOUNDED, Code
from thawline.report.plan_words import BATCH_NORM_SHORT, mixed_from, plan_in_words
from thawline.results import (
    BlockRow,
    CheckResult,
    Comparison,
    DataFacts,
    Drift,
    Evaluation,
    Explanation,
    ExportResult,
    FitResults,
    InspectResult,
    NetworkChoice,
    Prediction,
    PredictionFile,
    Row,
    SkippedFile,
)
from thawline.visible import visible

if TYPE_CHECKING:
    from thawline.data.walk import Ignored

FROZEN = "❄"
COLUMNS = {
    "strategy": "strategy",
    "rate": "rate",
    "batch_norm": "batch norm",
    "head": "head start",
    "val": "val",
    "test": "test",
    "n": "seeds",
    "interval": "95 % interval",
    "gap": "train minus test",
    "trained": "trained",
    "work": "work",
    "trainings": "trainings",
    "time": "time",
    "memory": "peak memory",
}
"""Columns of the results table: fields of `TableRow` and their titles. Of several networks, `network` comes first."""
HIDDEN_FIRST = ("memory", "trainings", "head", "n", "batch_norm", "time", "gap", "trained", "val", "interval", "rate")
"""Columns that a narrow window hides, in this order."""
TABLE_FILE = "comparison.csv"
"""Has every figure of every row."""
DRAWN_SINGLY = 16
"""Blocks that are drawn one by one at most."""
SHOWN = 20
"""Groups of files listed on screen at most."""
_USES = {"train": "of these images were trained on", "val": "were used for validation"}
_SCALE = ("#5b8fc7", "#7aa6a1", "#c9b458", "#e8953a", "#d9480f")
"""Learning rates from 1e-5 to 1e-1, one color per decade."""


def print_fit(console: Console, results: FitResults, run: Path, snippet: str) -> None:
    """The answer of `fit`: the sentence, the network, the table, where it all is, and the lines that open the model."""
    console.print()
    console.print(visible(summary.headline(results)), style="bold", highlight=False, markup=False)
    if mixed := mixed_from(results):
        console.print(visible(sentence(f"members: {mixed}")), highlight=False, markup=False)
    if results.models:
        print_choice(console, results.models)
    if refit := summary.refit_note(results):
        console.print(visible(refit), highlight=False, markup=False)
    console.print()
    console.print(block_band(results.blocks))
    console.print()
    print_table(console, results.rows, results.data, run, said=summary.headline(results))
    for note in filter(None, [*_notes(results), summary.calibration_note(results)]):
        console.print(visible(note), highlight=False, markup=False)
    for note in summary.again_notes(results):
        console.print(visible(note), highlight=False, markup=False)
    if kept := verdicts.frozen_kept(sum(block.frozen for block in results.blocks), results.request, results.plan):
        console.print(f"\n{kept}", highlight=False)
    console.print(
        f"\nAll results are in {visible(str(run))}; see {visible(str(run))}/report.html. Load the model:\n",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print(Code(snippet), highlight=False, markup=False, soft_wrap=True)


def print_choice(console: Console, choice: NetworkChoice) -> None:
    """Which network was chosen, beside the others, and what twice the budget would change."""
    rows = networks.network_rows(choice)
    names = [name for name in networks.TITLES if any(getattr(row, name) for row in rows)]
    shown = [name for name in names if name != "outcome"]  # which gets lines of its own
    hidden = ("memory", "gflops", "neighbors", "batched", "parameters", "trained")
    unbounded = console.options.update_width(UNBOUNDED)
    table = Table()
    for column in (None, *hidden):
        shown = [name for name in shown if name != column]
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for name in shown:
            table.add_column(networks.TITLES[name], no_wrap=True)
        for row in rows:
            table.add_row(*(Text(visible(getattr(row, name))) for name in shown))
        if Measurement.get(console, unbounded, table).maximum <= console.width:
            break
    console.print()
    console.print(table)
    console.print("Accuracies on validation, with 95 % intervals over its images.", style="dim", highlight=False)
    for row in rows[1:]:
        console.print(visible(f"{row.name}: {row.outcome}"), highlight=False, markup=False)
    for words in (networks.work_in_words(choice), choice.doubled):
        console.print(visible(words), highlight=False, markup=False)


def _notes(results: FitResults) -> list[str]:
    """What to know of the answer of a search."""
    notes = (summary.copied_note(results), summary.pick_note(results), summary.ensemble_note(results))
    return [*summary.search_notes(results.search, results.request), *notes]


def print_comparison(console: Console, comparison: Comparison, run: Path) -> None:
    """The answer of `compare`: the sentence, the table, where the rest is, and how to get a model."""
    console.print()
    console.print(visible(summary.comparison_headline(comparison)), style="bold", highlight=False, markup=False)
    if best := summary.best_row(comparison):
        words = plan_in_words(best)
        console.print(visible(f"That is: {words[0].lower()}{words[1:]}."), highlight=False, markup=False)
    console.print()
    print_table(console, comparison.rows, comparison.data, run)
    for words in summary.networks_in_words(comparison):
        console.print(visible(words), highlight=False, markup=False)
    if matrix := summary.network_table(comparison):
        _print_network_table(console, matrix)
    if comparison.depth:
        console.print(summary.depth_in_words(comparison), highlight=False, markup=False)
    text = f"\nAll results are in {visible(str(run))}; see {visible(str(run))}/report.html. A comparison saves no model"
    if command := summary.fit_command(comparison):
        text += "; this trains the best one on validation and saves it:"
    console.print(text, highlight=False, markup=False, soft_wrap=True)
    if command:
        console.print(Code(command), highlight=False, markup=False, soft_wrap=True)
    console.print(f"digest {comparison.digest[:16]} (equal digests = equal results)", style="dim", highlight=False)


def _print_network_table(console: Console, matrix: summary.NetworkTable) -> None:
    """Strategies x networks, where all of them fit; the table of rows has the same figures."""
    table = _table("", *matrix.networks)
    for line in matrix.lines:
        table.add_row(line.name, *(f"*{cell}" if at == line.best else cell for at, cell in enumerate(line.cells)))
    if Measurement.get(console, console.options.update_width(UNBOUNDED), table).maximum <= console.width:
        console.print()
        console.print(table)
        console.print(f"Accuracy on {matrix.split}; * best on validation.", style="dim", highlight=False)


def print_table(console: Console, rows: Sequence[Row], data: DataFacts, run: Path, *, said: str = "") -> None:
    """The results table, as many of its columns as fit, and below it what its figures are and the verdicts.

    A verdict that was `said` before is not repeated.
    """
    lines = [summary.table_row(row, data) for row in rows]
    names = [name for name in COLUMNS if name != "batch_norm" or any(line.batch_norm for line in lines)]
    if any(line.network for line in lines):
        names.insert(0, "network")
    known = tuple(names)
    table = _results_table(lines, names)
    unbounded = console.options.update_width(UNBOUNDED)
    for hidden in filter(known.__contains__, HIDDEN_FIRST):
        if Measurement.get(console, unbounded, table).maximum <= console.width:
            break
        names.remove(hidden)
        table = _results_table(lines, names)
    console.print(table)
    if any("±" in line.val for line in lines):
        console.print("± is the standard error over seeds.", style="dim", highlight=False)
    if any(line.interval for line in lines):
        console.print("The 95 % interval is over test images.", style="dim", highlight=False)
    if "batch_norm" in names:
        console.print(BATCH_NORM_SHORT, style="dim", highlight=False)
    for line in lines:
        if line.verdict and sentence(line.verdict) not in said:
            console.print(visible(f"{line.label}: {line.verdict}"), highlight=False, markup=False)
    for note in (note for row in summary.scored(rows) for note in summary.row_notes(row)):
        console.print(visible(note), highlight=False, markup=False)
    if len(names) < len(known):
        left_out = ", ".join(COLUMNS[name] for name in known if name not in names)
        text = f"Hidden (narrow window): {left_out}; see {visible(str(run / TABLE_FILE))}."
        console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)


def _results_table(lines: Sequence[summary.TableRow], names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(COLUMNS.get(name, name), no_wrap=True)
    for line in lines:
        table.add_row(*(Text(visible(getattr(line, name))) for name in names))
    return table


def block_band(blocks: Sequence[BlockRow]) -> Text:
    """The network from input to head: a snowflake on frozen blocks, the learning rate on the others, or `solved`.

    In a long network, neighbors that are treated alike are drawn as one: `conv1 to layer2.1.conv2 ❄`.
    """
    merge = len(blocks) > DRAWN_SINGLY
    groups = groupby(enumerate(blocks), key=lambda at: _group(*at, merge=merge))
    runs = [[block for _, block in group] for _, group in groups]
    band = Text()
    for run in runs:
        first, last = run[0], run[-1]
        name = visible(first.name if len(run) == 1 else f"{first.name} to {last.name}")
        if first.frozen:
            band.append(f" {name} {FROZEN} ", style="#7d8590 on #e7edf3")
        elif first.learning_rate is None:
            band.append(f" {name} solved ", style="bold #ffffff on #2c7a57")
        else:
            band.append(f" {name} {rate(first.learning_rate)} ", style=f"bold #ffffff on {_color(first.learning_rate)}")
        band.append(" ")
    return band


def _group(position: int, block: BlockRow, *, merge: bool) -> object:
    """Neighbors with equal answers are drawn as one."""
    return (block.frozen, block.learning_rate) if merge else position


def _color(learning_rate: float) -> str:
    decades = sum(learning_rate >= 10.0**power for power in (-4, -3, -2, -1))
    return _SCALE[decades]


def print_blocks(console: Console, inspected: InspectResult) -> None:
    """The answer of `inspect`."""
    console.print(
        f"{visible(inspected.architecture)} at {inspected.image_size} px, blocks by {inspected.granularity}\n",
        style="bold",
        highlight=False,
    )
    table = _table("block", "layers", "parameters", "MFLOPs", "output KiB", "work", "step from here up")
    flops = sum(block.flops for block in inspected.blocks) or 1
    for block in inspected.blocks:
        table.add_row(
            Text(visible(block.name)),
            str(block.layers),
            f"{block.parameters:,}",
            f"{block.flops / 1e6:,.1f}",
            f"{block.boundary_bytes / 1024:,.1f}",
            percent(block.flops / flops),
            percent(block.step_from_here, 0),
        )
    console.print(table)
    console.print(
        "\nFLOPs of one image forward; output = activations of one image in fp32; work = share of the forward pass;\n"
        "step from here up = cost of training from this block up, as a share of training the whole network.",
        style="dim",
        highlight=False,
    )


def print_strategies(console: Console, strategies: Sequence[Mapping[str, Any]]) -> None:
    """The answer of `strategies`: what each one trains and, below, its arguments."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for listed in strategies:
        table.add_row(Text(listed["name"], style="bold"), Text(listed["help"]))
        for name, default in listed.get("arguments", {}).items():
            values = ", ".join(str(value) for value in listed["tuned"].get(name, ()))
            table.add_row(
                "", Text(f"{name}={default}" + (f"; if unset, tuning tries {values}" if values else ""), style="dim")
            )
        if "error" in listed:
            table.add_row("", Text(visible(listed["error"]), style="red"))
    console.print(table)
    console.print(
        "\nArguments follow a colon: last_blocks:k=3, lora:rank=8,alpha=16. Every strategy accepts norm=moving or "
        "norm=kept (batch norm of trained blocks: batch statistics, or the pretrained running statistics); if unset, "
        "tuning tries both. Every strategy also accepts head_start=probe: the head then starts from the solved "
        "linear probe.",
        style="dim",
        highlight=False,
    )


def print_check(console: Console, found: CheckResult) -> None:
    """The answer of `check`: what to look at first, then the files it is about."""
    counts = list(found.classes.values())
    console.print(
        f"{visible(found.root)}: {counted(found.images, 'image')} in {counted(len(counts), 'class', 'classes')}, "
        f"{extent(counts)} in each",
        style="bold",
        highlight=False,
        markup=False,
    )
    console.print(visible(tally({**found.formats, **found.oddities})), highlight=False, markup=False)
    if found.sizes.different:
        sizes = sizes_in_words(found.sizes)
        console.print(sizes[0].upper() + sizes[1:], highlight=False)
    for text in found.warnings or [NO_PROBLEMS]:
        console.print(f"  {visible(text)}", highlight=False, markup=False)
    for finding in findings(found):
        if finding.title != "Unreadable":
            _print_groups(console, finding.title, finding.groups)
    _print_unreadable(console, found.unreadable)
    _print_ignored(console, found.ignored)


def _print_groups(console: Console, title: str, groups: Sequence[Sequence[str]]) -> None:
    files = sum(map(len, groups))
    console.print(f"\n{title} ({len(groups):,} in {counted(files, 'file')})", style="bold", highlight=False)
    for paths in groups[:SHOWN]:
        more = f"  and {len(paths) - NAMED:,} more" if len(paths) > NAMED else ""
        console.print(f"  {visible('  =  '.join(paths[:NAMED]))}{more}", highlight=False, markup=False, soft_wrap=True)
    if len(groups) > SHOWN:
        console.print(f"  and {len(groups) - SHOWN} more: --out FILE or --json lists them all", highlight=False)


def print_scores(console: Console, scores: Evaluation) -> None:
    """The answer of `evaluate`."""
    console.print(
        f"{counted(scores.images, 'image')} ({scores.split}): {verdicts.evaluated(scores)}, "
        f"macro F1 {figure(scores.macro_f1)}, calibration error {figure(scores.calibration_error)}",
        highlight=False,
    )
    if guess := verdicts.guessing(scores):
        console.print(sentence(guess), highlight=False)
    if scores.seen:
        uses = " and ".join(f"{count:,} {_USES[split]}" for split, count in scores.seen.items())
        console.print(f"These scores are optimistic: {uses}.", highlight=False)
    for note in scores.notes:
        console.print(visible(sentence(note)), highlight=False, markup=False, soft_wrap=True)
    table = _table("class", "precision", "recall", "F1", "images")
    for row in scores.per_class:
        table.add_row(Text(visible(row.name)), *map(figure, (row.precision, row.recall, row.f1)), str(row.images))
    console.print(table)
    _print_unreadable(console, scores.unreadable)


def print_predictions(console: Console, answers: Iterable[Prediction | SkippedFile]) -> None:
    """Answers of `predict`: one line per image, those that could not be read left out."""
    for image in answers:
        if isinstance(image, Prediction):
            guesses = ", ".join(f"{guess.label} {figure(guess.probability)}" for guess in image.top)
            console.print(visible(f"{image.path}: {guesses}"), highlight=False, markup=False, soft_wrap=True)


def print_skipped(
    console: Console, unreadable: Sequence[SkippedFile], ignored: Sequence[Ignored | SkippedFile]
) -> None:
    """What `predict` has no answer for."""
    _print_unreadable(console, unreadable)
    _print_ignored(console, ignored)


def print_prediction_file(console: Console, done: PredictionFile) -> None:
    """What `predict` has written to a file."""
    skipped = f"; {counted(done.there_before, 'image')} were already in it" if done.there_before else ""
    unreadable = f"; {done.unreadable:,} could not be read (the file has the reasons)" if done.unreadable else ""
    console.print(
        visible(f"{counted(done.predicted, 'prediction')} added to {done.file}{skipped}{unreadable}."),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    _print_reasons(console, done.ignored)


def print_shipment(console: Console, address: str, files: Sequence[tuple[str, int]], *, public: bool) -> None:
    """What would leave this machine, where it would go, and who would see it; sizes in bytes."""
    seen = "everyone (public)" if public else "only people with access (private)"
    console.print(visible(f"Upload to {address}, visible to {seen}:"), highlight=False, markup=False, soft_wrap=True)
    for name, size in files:
        console.print(visible(f"{size:>14,}  {name}"), highlight=False, markup=False, soft_wrap=True)
    console.print(f"{sum(size for _, size in files):>14,}  bytes in total", highlight=False, markup=False)


def print_exported(console: Console, exported: ExportResult) -> None:
    """The answer of `export`: that it is the same model, what it takes, where it is and how to use it."""
    folder = visible(exported.folder)
    size, opset = sum(exported.files.values()), f", opset {exported.opset}" if exported.opset else ""
    table = _table("", exported.precision)
    if exported.int8:
        table.add_column("fp32", justify="right")
    for name, own, other in _export_rows(exported):
        table.add_row(name, own, *([other] if exported.int8 else []))
    console.print()
    console.print(
        f"{exported.format}, {exported.precision}{opset}: {exported.agreeing} of {exported.images} image files get "
        f"the same class as from predict, with probabilities within {exported.largest_difference:.1e}.",
        style="bold",
        highlight=False,
        markup=False,
    )
    console.print(
        f"Verified in a fresh process with {_runtime(exported)}, from file to probability, in batches of "
        f"{', '.join(map(str, exported.batches))}.\n",
        highlight=False,
        markup=False,
    )
    console.print(table)
    console.print(
        f"\n{file_size(size)} in {folder}; classify.py there needs neither thawline nor timm:\n\n"
        f"python {folder}/classify.py photo.jpg",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _runtime(exported: ExportResult) -> str:
    library = {"onnx": "onnxruntime", "torch": "torch", "openvino": "openvino"}[exported.format]
    return f"{library} {exported.packages.get(library, '')}".strip()


def _export_rows(exported: ExportResult) -> list[tuple[str, str, str]]:
    """Name, figure and, beside int8, the figure in fp32."""
    int8 = exported.int8
    rows = [("size", file_size(sum(exported.files.values())), file_size(int8.bytes_fp32) if int8 else "")]
    rows += [
        (f"ms per image, batch {batch}", f"{taken:.2f}", f"{int8.milliseconds_fp32[batch]:.2f}" if int8 else "")
        for batch, taken in exported.milliseconds.items()
    ]
    if int8:
        name = f"accuracy, {counted(int8.images, 'val image')}"
        rows.append((name, figure(int8.accuracy), figure(int8.accuracy_fp32)))
    return rows


def print_explained(console: Console, explained: Explanation, run: Path) -> None:
    """The answer of `explain`: both networks' predictions, how each block changed, where the page is."""
    for image in explained.images:
        true = "" if image.true is None else f" (true: {image.true})"
        before = "(head fitted to this image)"
        if image.predicted_before is not None:
            before = f"{image.predicted_before} {figure(image.probability_before)}"
        after = f"{image.predicted} {figure(image.probability)}"
        console.print(
            visible(f"{image.path}{true}: {before} -> {after}"), highlight=False, markup=False, soft_wrap=True
        )
    if explained.images:
        console.print(verdicts.before_fine_tuning(explained.head_before), highlight=False, soft_wrap=True)
    for note in explained.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    _print_unreadable(console, explained.unreadable)
    _print_ignored(console, explained.ignored)
    if explained.drift is not None:
        _print_drift(console, explained.drift)
    page = run / "explain" / "index.html"
    console.print(
        f"\nImages and meaning of the columns: {visible(str(page))}", highlight=False, markup=False, soft_wrap=True
    )


def _print_drift(console: Console, drift: Drift) -> None:
    table = _table("block", "weight change", "batch norm drift", "CKA", "probe before", "probe after")
    for block in drift.blocks:
        figures = (block.weight_change, block.norm_drift, block.cka, block.probe_before, block.probe_after)
        table.add_row(Text(visible(block.name)), *(figure(value, missing="-") for value in figures))
    console.print()
    console.print(table)
    if source := drift.source:
        console.print(
            f"\nAccuracy on {counted(source.images, 'image')} of the pretraining task: "
            f"{figure(source.accuracy_before)} -> {figure(source.accuracy_after)}.",
            highlight=False,
        )


def _table(first: str, *others: str) -> Table:
    """A plain table: names on the left, figures on the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _print_ignored(console: Console, ignored: Sequence[Ignored | SkippedFile]) -> None:
    _print_reasons(console, Counter(skipped.reason for skipped in ignored))


def _print_reasons(console: Console, ignored: Mapping[str, int]) -> None:
    for reason, count in Counter(ignored).most_common():
        console.print(visible(f"ignored: {counted(count, 'file')}: {reason}"), highlight=False, markup=False)


def _print_unreadable(console: Console, unreadable: Sequence[SkippedFile]) -> None:
    for skipped in unreadable:
        console.print(
            visible(f"unreadable: {skipped.path}: {skipped.reason}"), highlight=False, markup=False, soft_wrap=True
        )
