"""report.html: the whole run on one page that needs nothing but a browser. Drawn from the run folder, without torch."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from thawline import verdicts
from thawline.data.named import called
from thawline.formatting import figure, percent, rate, signed
from thawline.report import figures, search_figures
from thawline.report.audit import NO_PROBLEMS, audit
from thawline.report.band import SNOWFLAKE, SOLVED, Band, band, label_of, scale
from thawline.report.confusion import confusion
from thawline.report.explained import block_changes, examples
from thawline.report.measured import measured_notes
from thawline.report.networks import NetworkRow, network_rows, networks_chart, work_in_words
from thawline.report.plan_words import (
    BATCH_NORM_SHORT,
    besides_rates,
    defined,
    is_mixture,
    is_solved,
    made_by,
    mixture_in_words,
    plan_in_words,
)
from thawline.report.reading import Run
from thawline.report.summary import (
    again_notes,
    answer,
    answer_against_full,
    calibration_note,
    comparison_headline,
    copied_note,
    depth_in_words,
    ensemble_note,
    fit_command,
    network_table,
    networks_in_words,
    pick_note,
    refit_note,
    row_notes,
    search_notes,
    table_row,
)
from thawline.results import Comparison, FitResults, ScoredRow, SearchRecord

Context: TypeAlias = dict[str, object]
"""Variables of the template by name."""


def draw(run: Run) -> str:
    """The page as text."""
    page = environment().get_template("report.html.j2").render(**_context(run))
    return page.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # names of files may be no UTF-8


@cache
def environment(package: str = "thawline.report") -> Environment:
    """Renders the templates in the folder page/ of a package: HTML is escaped, and unknown variables are errors."""
    environment = Environment(
        loader=PackageLoader(package, "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(rate=rate, percent=percent, figure=figure, signed=signed, flat=_flat, unbroken=_unbroken)
    return environment


def _context(run: Run) -> Context:
    style, script = (Markup("".join(map(packaged, names))) for names in (("figures.css", "report.css"), ("report.js",)))
    bands = _bands(run)
    shared: Context = {
        "run": run,
        "results": run.results,
        "several": network_table(run.results) if isinstance(run.results, Comparison) else None,
        "networks_said": networks_in_words(run.results) if isinstance(run.results, Comparison) else [],
        "style": style,
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "title": called(str(run.results.request["data"])),
        "answer": _unbroken(_answer(run.results)),
        "league": [
            (
                table_row(row, run.results.data),
                figures.accuracy_bar(row, run.scored) if isinstance(row, ScoredRow) else "",
            )
            for row in run.rows
        ],
        "snowflake": SNOWFLAKE,
        "bands": bands,
        "any_solved": any(SOLVED in each.drawing for each in bands),
        "row_notes": _row_notes(run),
        "batch_norm": BATCH_NORM_SHORT if any(row.batch_norm for row in run.scored) else "",
        "scale": scale(),
        "audit": audit(run.check, run.results.data.images, run.results.data.notes) if run.check else None,
        "no_problems": NO_PROBLEMS,
        "changes": block_changes(run.explanation),
        "fit_command": fit_command(run.results) if isinstance(run.results, Comparison) else None,
        "searches": _searches(run),
        "mirror_test": verdicts.MIRROR_TEST,
        "frozen_kept": _frozen_kept(run.results),
        "again": again_notes(run.results),
        "keep_old": run.results.keep_old if isinstance(run.results, FitResults) else None,
        **_of_the_networks(run.results),
        "calibration_note": calibration_note(run.results) if isinstance(run.results, FitResults) else "",
        "against_full": answer_against_full(run.results) if isinstance(run.results, FitResults) else "",
        "refit_note": refit_note(run.results) if isinstance(run.results, FitResults) else "",
    }
    return {**shared, **_of_the_rows(run), **_of_the_shown(run)}


def _of_the_networks(results: FitResults | Comparison) -> Context:
    """How the network was chosen; nothing where a single one was given."""
    choice = results.models if isinstance(results, FitResults) else None
    rows: list[NetworkRow] = network_rows(choice) if choice else []
    return {
        "choice": choice,
        "networks": rows,
        "networks_chart": networks_chart(choice) if choice else None,
        "networks_work": work_in_words(choice) if choice else "",
    }


def _row_notes(run: Run) -> list[str]:
    notes = [note for row in run.scored for note in row_notes(row)]
    added = [pick_note(run.results), ensemble_note(run.results)] if isinstance(run.results, FitResults) else []
    return [*notes, *filter(None, added)]


def _answer(results: FitResults | Comparison) -> str:
    return answer(results) if isinstance(results, FitResults) else comparison_headline(results)


def _frozen_kept(results: FitResults | Comparison) -> str:
    if not isinstance(results, FitResults):
        return ""
    return verdicts.frozen_kept(sum(block.frozen for block in results.blocks), results.request, results.plan)


def _of_the_rows(run: Run) -> Context:
    points = figures.points_of(run.rows, one_search=run.is_fit)
    curve = run.results.depth if isinstance(run.results, Comparison) and run.scored else None
    return {
        "curve": curve,
        "curve_words": depth_in_words(run.results) if isinstance(run.results, Comparison) and curve else "",
        "front": figures.front(points, run.split) if len(points) > 1 else None,
        "copied": copied_note(run.results) if isinstance(run.results, FitResults) else "",
        "depth": figures.depth(curve) if curve else None,
        "gap": figures.gap(curve) if curve else None,
    }


def _of_the_shown(run: Run) -> Context:
    """What is drawn of one model: its facts, its images, its classes."""
    row, predictions = run.shown, run.predictions
    drawn: Context = {"facts": [], "plan_words": "", "plan_defined": [], "pytorch": "", "phases": 0, "solved": False}
    drawn |= {"mixture": "", "distilled": False, "made_by": ""}
    drawn |= {"confusion": None, "bins": None, "per_class": [], "examples": {}}
    drawn |= {"reliability": None, "confidences": None}
    if row is not None:
        plan, trained = row.plan, run.train_config
        drawn |= {
            "facts": _facts(run, row),
            "phases": len(plan.phases),
            "plan_words": _unbroken(plan_in_words(row)),
            "plan_defined": defined(row),
            "solved": is_solved(row),
            "pytorch": plan.to_pytorch(trained.optimizer, trained.weight_decay)
            if plan.sets_rates_only or plan.mixture
            else "",
            "mixture": mixture_in_words(plan),
            "distilled": plan.is_distilled,
            "made_by": made_by(row),
        }
    if predictions is not None:
        bins = predictions.bins()
        drawn |= {
            "confusion": confusion(predictions, run.pictures),
            "per_class": predictions.per_class(),
            "bins": bins,
            "reliability": figures.reliability(bins),
            "confidences": figures.confidences(bins),
            "examples": examples(predictions, run.pictures, run.explanation, run.overlays),
        }
    return drawn


def _facts(run: Run, row: ScoredRow) -> list[tuple[str, str, str]]:
    """Beside the sentence: (name, figure, what to know of it)."""
    accuracy = figures.scores_of(row).accuracy
    error = accuracy.standard_error
    seeds = f"± {figure(error)} standard error, {accuracy.n} trainings" if error is not None else "one training"
    seeds += f" by {row.processes} processes" if row.processes else ""
    facts = [(f"accuracy on {run.split}", figure(accuracy.mean), seeds)]
    if row.test:
        images = run.results.data.images["test"]
        facts.append(("95 % interval", table_row(row, run.results.data).interval, f"over {images:,} test images"))
    facts.append(("parameters trained", f"{row.trainable_percent:.3g} %", "of the network"))
    full = next((found for found in run.scored if found.strategy == "full" and found.network == row.network), None)
    beside = f"tuning included; full fine-tuning: {figure(full.cost.work, 2)}" if full else "tuning included"
    facts.append(("cost in full fine-tunings", figure(row.cost.work, 2), beside))
    if row.train_test_gap is not None:
        facts.append(("overfitting", signed(row.train_test_gap), "train minus test accuracy"))
    return facts


def _bands(run: Run) -> list[Band]:
    """One band per plan: fit's own alone, every scored row of a comparison with its number in the table."""
    if isinstance(run.results, FitResults):
        return [band("band", label_of(run.results), run.results)]
    return [
        band(f"band{number}", f"{number}  {label_of(row)}", row)
        for number, row in enumerate(run.rows, start=1)
        if isinstance(row, ScoredRow)
    ]


@dataclass(frozen=True)
class DrawnSearch:
    """One search on the page."""

    strategy: str
    search: SearchRecord
    notes: list[str]
    generations: Markup
    best: str
    """What the dark line of `generations` is."""
    mean: str
    """What the pale line of `generations` is."""
    diversity: Markup
    importance: Markup | None
    plan: str
    """What the winning plan does besides its rates, or of which trainings the answer is made."""
    tried: list[Markup]


def _searches(run: Run) -> list[DrawnSearch]:
    searched = [(row, row.search) for row in run.scored if row.search is not None]
    return [
        DrawnSearch(
            row.label,
            search,
            # Baselines that `compare` has rows of are tuned there, each by itself.
            [*measured_notes(search, run.scored), *search_notes(search, run.results.request, baselines=run.is_fit)],
            search_figures.generations(search, f"search{number}"),
            search_figures.best_in_words(search),
            search_figures.mean_in_words(search),
            search_figures.diversity(search, f"search{number}"),
            search_figures.importance(search, f"search{number}"),
            _plan_of_search(row),
            search_figures.tried(search, f"search{number}"),
        )
        for number, (row, search) in enumerate(searched)
    ]


def _plan_of_search(row: ScoredRow) -> str:
    """Empty of a solved probe. A mixture is made of the winner and others, so it is not the plan that won."""
    label = "The returned model" if is_mixture(row) else "The winning plan"
    facts = "; ".join(besides_rates(row))
    return f"{label}: {facts}." if facts else ""


def _unbroken(text: str) -> str:
    """The same with figures that no line ends in (3e-3, 0.71 ± 0.01), and with lines that may end after a comma."""
    text = text.replace(" ± ", "\u00a0±\u00a0")
    text = re.sub(r",(?!\d)", ",\u200b", text)
    text = re.sub(r"p ([<=]) (\d)", "p\u00a0\\1\u00a0\\2", text)
    return re.sub(r"(\de)-(\d)", "\\1\u2011\\2", text)


def packaged(name: str) -> str:
    """Text of a file of report/page/."""
    return resources.files("thawline.report").joinpath("page", name).read_text(encoding="utf-8")


def _flat(settings: Mapping[str, object]) -> Sequence[tuple[str, str]]:
    """What was asked, one setting a line, with the options' names."""
    lines: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            lines += _flat(value)
        elif value is not None:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            lines.append((name.replace("_", " "), shown))
    return lines
