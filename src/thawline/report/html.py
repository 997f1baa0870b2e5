"""report.html: the whole run on one page that needs nothing but a browser. Drawn from the run folder, without torch."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from thawline.plan import FineTunePlan
from thawline.records import write_text
from thawline.report import figures, search_figures
from thawline.report.audit import audit
from thawline.report.band import Band, band, label_of, scale
from thawline.report.confusion import confusion
from thawline.report.explained import FILE as EXPLAINED
from thawline.report.explained import examples, moved
from thawline.report.reading import Run, read_run
from thawline.report.summary import (
    comparison_headline,
    fit_command,
    headline,
    plan_in_words,
    rate,
    search_notes,
    table_row,
    train_test_gap,
)
from thawline.report.thumbnails import read_thumbnails

FILE = "report.html"


def write_report(folder: Path) -> Path:
    """Draw `report.html` of a finished run, again if it is there; raises `RunFolderError` for any other folder."""
    path = folder / FILE
    write_text(path, draw(read_run(folder)))
    return path


def draw(run: Run) -> str:
    """The page as text."""
    page = _environment().get_template("report.html.j2").render(**_context(run))
    return page.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # names of files may be no UTF-8


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("thawline.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        rate=rate, percent=_percent, figure=_figure, signed=_signed, flat=_flat, unbroken=_unbroken
    )
    return environment


def _context(run: Run) -> dict[str, Any]:
    style, script = (Markup(_packaged(name)) for name in ("report.css", "report.js"))
    answer = headline(run.results) if run.is_fit else comparison_headline(run.results)
    shared = {
        "run": run,
        "results": run.results,
        "style": style,
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "title": Path(run.results["data"]["root"]).name,
        "answer": _unbroken(answer),
        "league": [
            (table_row(row), "" if row.get("error") else figures.accuracy_bar(row, run.scored)) for row in run.rows
        ],
        "bands": _bands(run),
        "scale": scale(),
        "curve": run.results.get("depth"),
        "audit": _audit(run),
        "moved": moved(run.record(EXPLAINED)),
        "fit_command": None if run.is_fit else fit_command(run.results),
        "searches": _searches(run),
    }
    return {**shared, **_of_the_rows(run), **_of_the_shown(run)}


def _of_the_rows(run: Run) -> dict[str, Any]:
    if not run.scored:
        return {"front": None, "depth": None, "gap": None}
    curve = run.results.get("depth")
    return {
        "front": figures.front(run.scored, run.split) if len(run.scored) > 1 else None,
        "depth": figures.depth(curve) if curve else None,
        "gap": figures.gap(curve) if curve else None,
    }


def _of_the_shown(run: Run) -> dict[str, Any]:
    """What is drawn of one model: its facts, its images, its classes."""
    row, predictions = run.shown, run.predictions
    pictures = read_thumbnails(run.folder)
    drawn: dict[str, Any] = {"facts": [], "plan_words": "", "pytorch": "", "confusion": None, "bins": None}
    drawn |= {"per_class": [], "examples": {}, "reliability": None, "confidences": None}
    if row is not None:
        plan, trained = FineTunePlan.from_dict(row["plan"]), run.results["request"]["train"]
        drawn |= {
            "facts": _facts(run, row),
            "plan_words": _unbroken(plan_in_words(_blocks(plan), row["plan"])),
            "pytorch": plan.to_pytorch(trained["optimizer"], trained["weight_decay"]) if plan.sets_rates_only else "",
        }
    if predictions is not None:
        bins = predictions.bins()
        drawn |= {
            "confusion": confusion(predictions, pictures),
            "per_class": predictions.per_class(),
            "bins": bins,
            "reliability": figures.reliability(bins),
            "confidences": figures.confidences(bins),
            "examples": examples(predictions, pictures, run.folder, run.record(EXPLAINED)),
        }
    return drawn


def _facts(run: Run, row: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Beside the sentence: (name, figure, what to know of it)."""
    scores, cost = figures.scores_of(row), row["cost"]
    accuracy = scores["accuracy"]
    spread = accuracy["standard_error"]
    seeds = f"± {spread:.3f} standard error, {accuracy['n']} seeds" if spread is not None else "one seed"
    facts = [(f"accuracy on {run.split}", f"{accuracy['mean']:.3f}", seeds)]
    if row["test"]:
        low, high = row["test"]["interval95"]
        images = run.results["data"]["images"]["test"]
        facts.append(("95 % interval", f"{low:.3f} to {high:.3f}", f"over {images:,} test images"))
    facts.append(("parameters trained", f"{row['trainable_percent']:.3g} %", "of the network"))
    full = next((one for one in run.scored if one["strategy"] == "full"), None)
    beside = f"tuning included; full fine-tuning: {full['cost']['work']:.2f}" if full else "tuning included"
    facts.append(("cost in full fine-tunings", f"{cost['work']:.2f}", beside))
    if (gap := train_test_gap(row)) is not None:
        facts.append(("train minus test", f"{gap:+.3f}", "in accuracy: what it knows by heart"))
    return facts


def _bands(run: Run) -> list[Band]:
    """One band per plan: fit's own alone, every scored row of a comparison with its number in the table."""
    if run.is_fit:
        return [band("band", label_of(run.results), run.results)]
    return [
        band(f"band{number}", f"{number}  {label_of(row)}", row)
        for number, row in enumerate(run.rows, start=1)
        if not row.get("error")
    ]


def _blocks(plan: FineTunePlan) -> list[dict[str, Any]]:
    rates = {name: plan.highest_rate(name) for name in plan.blocks}
    return [{"name": name, "learning_rate": value, "frozen": value is None} for name, value in rates.items()]


def _audit(run: Run) -> Any:
    found, data = run.record("check.json"), run.results["data"]
    return audit(found, data["images"], data["notes"]) if found else None


def _searches(run: Run) -> list[dict[str, Any]]:
    rows = [row for row in run.scored if row.get("search")]
    return [
        {
            "row": row,
            "search": row["search"],
            # The usual ways that `compare` has rows of are tuned there, each by itself.
            "notes": search_notes(row["search"], ways=run.is_fit),
            "generations": search_figures.generations(row["search"], f"search{number}"),
            "diversity": search_figures.diversity(row["search"], f"search{number}"),
            "importance": search_figures.importance(row["search"], f"search{number}"),
            "tried": search_figures.tried(row["search"], f"search{number}"),
        }
        for number, row in enumerate(rows)
    ]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _unbroken(sentence: str) -> str:
    """The same with figures that no line ends in (3e-3, 0.71 ± 0.01), and with lines that may end after a comma."""
    sentence = sentence.replace(" ± ", "\u00a0±\u00a0").replace(",", ",\u200b")
    sentence = re.sub(r"p ([<=]) (\d)", "p\u00a0\\1\u00a0\\2", sentence)
    return re.sub(r"(\de)-(\d)", "\\1\u2011\\2", sentence)


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"


def _figure(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _packaged(name: str) -> str:
    return resources.files("thawline.report").joinpath("page", name).read_text(encoding="utf-8")


def _flat(settings: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """What was asked, one setting a line, with the options' names."""
    lines: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            lines += _flat(value)
        elif value is not None:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            lines.append((name.replace("_", " "), shown))
    return lines
