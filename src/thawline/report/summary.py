"""A run's results in words and table rows: plain records in, text out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thawline.config import DataConfig, Request, TrainConfig
from thawline.formatting import counted

TABLE_FILE = "comparison.csv"
"""Every figure of every row, in the run folder."""


@dataclass(frozen=True)
class TableRow:
    """One strategy in the league table, ready to print."""

    strategy: str
    rate: str = ""
    val: str = ""
    """Mean ± standard error over seeds, here and in `test`."""
    test: str = ""
    n: str = ""
    """Seeds."""
    interval: str = ""
    """95 %, over test images."""
    gap: str = ""
    """Train accuracy minus test accuracy, both means over seeds."""
    trained: str = ""
    work: str = ""
    trainings: str = ""
    time: str = ""
    memory: str = ""
    """The process's peak until the row's trainings were over, so never less than that of the rows before."""
    verdict: str = ""


def headline(results: Mapping[str, Any]) -> str:
    """The answer in one sentence, with its uncertainty; says so when full fine-tuning wins."""
    what = plan_in_words(results["blocks"], results["plan"])
    accuracy = results["test"] or results["val"]
    split = "test" if results["test"] else "validation (there is no test split)"
    sentence = f"{what}: accuracy {_uncertain(accuracy)} on {split}"
    if results["chosen"].partition(":")[0] == "full" and results["baselines"]:
        return f"On validation full fine-tuning is as good as anything tried, so use it. {sentence}."
    if versus := results.get("versus_full"):
        sentence += f", {versus['words']}"
    return f"{sentence}."


def search_notes(search: Mapping[str, Any], *, ways: bool = True) -> list[str]:
    """What to know of a search's answer; `ways` = whether its usual ways have rows of their own."""
    return [note for note in (choice_note(search), *(unfinished_notes(search) if ways else ())) if note]


def choice_note(search: Mapping[str, Any]) -> str:
    """Why the plan of a search is not the best of those it could have taken; empty where it is."""
    winner, best = (tuple(search.get(which, ())) for which in ("winner", "best"))
    if not best or winner == best:
        return ""
    scores = {(one["generation"], one["slot"]): one["score"] for one in search["candidates"]}
    name = f"generation {best[0]}, candidate {best[1]}"
    if scores[winner] == scores[best]:
        close = f"In the search the plan is as accurate on validation as the best, {name} ({scores[best]:.3f})."
    else:
        close = (
            f"In the search the plan has {scores[winner]:.3f} on validation, within one standard error of the best "
            f"that was trained to the end and could be paid for, {scores[best]:.3f} ({name})."
        )
    return (
        f"{close} Of plans that close, one that the search started from comes before one that was proposed, and then "
        "the cheapest to train."
    )


def unfinished_notes(search: Mapping[str, Any]) -> list[str]:
    """Which of the usual ways a search did not train to the end, so that their rows are not at the best of rates."""
    notes = []
    for way, tried in search.get("ways", {}).items():
        if tried is None:
            notes.append(f"The budget had no room to try {way}; its rate is the usual one.")
        elif tried["epochs"] < search["rungs"][-1]:
            short = f"{tried['epochs']} of {search['rungs'][-1]} epochs in the search"
            notes.append(f"{way} had {short} (too far behind, too dear, or diverged): its rate is a rough choice.")
    return notes


def comparison_headline(comparison: Mapping[str, Any]) -> str:
    """Which row is best on validation, and what the test split says of it."""
    best = best_row(comparison)
    if best is None:
        return "No strategy could be trained."
    sentence = f"Best on validation: {best['chosen']} at {rate(best['learning_rate'])}"
    if best["test"]:
        sentence += f", accuracy {_uncertain(best['test'])} on test"
    if best.get("versus_full"):
        sentence += f", {best['versus_full']['words']}"
    return f"{sentence}."


def fit_command(comparison: Mapping[str, Any]) -> str | None:
    """The command that trains and saves what is best on validation; None if nothing could be trained."""
    best, request = best_row(comparison), comparison["request"]
    if best is None:
        return None
    words = ["thawline", "fit", request["data"], "--model", request["model"], "--strategy", best["chosen"]]
    changed = {name: request[name] for name in ("weights", "granularity") if request[name] != getattr(Request, name)}
    for part, defaults in (("train", TrainConfig()), ("images", DataConfig())):
        changed |= {name: value for name, value in request[part].items() if value != getattr(defaults, name)}
    # A search finds the head's rate itself; what it starts from is the rate that was asked for.
    given = request["search"]["learning_rate"] if _is_searched(best) else best["learning_rate"]
    changed |= {} if given is None else {"learning_rate": _exact_rate(given)}
    for name, value in {**changed, "out": "MODEL"}.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def best_row(comparison: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The row that is best on validation by the metric of the run; None if none could be trained."""
    scored = [row for row in comparison["rows"] if not row.get("error")]
    metric = comparison["request"]["train"]["metric"]
    return max(scored, key=lambda row: float(row["val"][metric]["mean"]), default=None)


def _is_searched(row: Mapping[str, Any]) -> bool:
    """Whether the plan of a row is one that no other strategy makes."""
    return bool(row.get("search")) and row["chosen"].partition(":")[0] == row["strategy"].partition(":")[0]


def _exact_rate(value: float) -> str:
    """A rate that reads back as the same number."""
    return rate(value) if float(rate(value)) == value else repr(value)


def plan_in_words(blocks: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]) -> str:
    """`Train blocks.6 and the head at 1e-3, freeze the rest`, and what the plan does besides rates."""
    moves = any(not block["frozen"] for block in blocks[:-1])
    kept = ", norm layers keep their pretrained statistics" if plan["norm"] == "eval" and moves else ""
    further = "; ".join(besides_rates(plan))
    return _rates_in_words(blocks) + kept + (f" ({further})" if further else "")


def besides_rates(plan: Mapping[str, Any]) -> list[str]:
    """What a plan does that the rates of its blocks do not tell."""
    facts = []
    if len(plan["phases"]) > 1:
        facts.append(_phases_in_words(plan["phases"]))
    if plan["parts"] != "all":
        facts.append(f"of each block only: {str(plan['parts']).replace('_', ' ')}")
    if plan["adapter"]:
        facts.append("low-rank updates in place of the weights")
    if plan["penalty"]:
        facts.append("pulled back to the pretrained weights")
    if plan["rate_rule"] == "relative_gradient":
        facts.append("each tensor's rate follows its gradient")
    if plan["interpolation"]:
        facts.append("mixed with the weights it started from")
    return facts


def _phases_in_words(phases: Sequence[Mapping[str, Any]]) -> str:
    spans = [counted(phase["epochs"], "epoch") if phase["epochs"] else "the rest" for phase in phases]
    return f"{len(phases)} phases, from the top: {', '.join(spans)}"


def _rates_in_words(blocks: Sequence[Mapping[str, Any]]) -> str:
    body = [block for block in blocks[:-1] if not block["frozen"]]
    head = rate(blocks[-1]["learning_rate"])
    rates = {block["learning_rate"] for block in blocks if not block["frozen"]}
    if not body:
        return f"Train the head alone at {head}, freeze the rest"
    frozen = ", freeze the rest" if len(body) < len(blocks) - 1 else ""
    if len(rates) == 1 and not frozen:
        return f"Train everything at {head}"
    if len(rates) == 1:
        return f"Train {_span(blocks, body)} and the head at {head}{frozen}"
    low, high = min(block["learning_rate"] for block in body), max(block["learning_rate"] for block in body)
    spread = rate(low) if low == high else f"{rate(low)} to {rate(high)}"
    return f"Train {_span(blocks, body)} at {spread} and the head at {head}{frozen}"


def table_row(row: Mapping[str, Any]) -> TableRow:
    """A row of `comparison.json` as text."""
    if row.get("error"):
        return TableRow(row["strategy"], verdict=f"failed: {row['error']}")
    test, versus, cost, gap = row["test"], row.get("versus_full"), row["cost"], train_test_gap(row)
    return TableRow(
        strategy=_chosen(row["strategy"], row["chosen"]),
        rate=rate(row["learning_rate"]),
        val=_mean(row["val"]),
        test=_mean(test) if test else "",
        n=str(row["val"]["accuracy"]["n"]),
        interval="{:.3f} to {:.3f}".format(*test["interval95"]) if test else "",
        gap="" if gap is None else f"{gap:+.3f}",
        trained=f"{row['trainable_percent']:.3g} %",
        work=f"{cost['work']:.2f}",
        trainings=str(cost["trainings"]),
        time=duration(cost["seconds"]),
        memory=f"{cost['peak_memory_bytes'] / 2**20:,.0f} MiB",
        verdict=versus["words"] if versus else "",
    )


def train_test_gap(row: Mapping[str, Any]) -> float | None:
    """Mean train accuracy (images as they are, unaugmented) minus mean test accuracy; None without a test split."""
    if not row["test"]:
        return None
    return float(row["train"]["accuracy"]["mean"]) - float(row["test"]["accuracy"]["mean"])


def _chosen(asked: str, chosen: str) -> str:
    """What was settled on, and what was asked if that says more."""
    return chosen if chosen.partition(":")[0] == asked.partition(":")[0] else f"{asked} -> {chosen}"


def rate(value: float) -> str:
    """A learning rate as people write it: 1e-3, 3e-4, 7.5e-4."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def duration(seconds: float) -> str:
    """Wall time in words, no finer than it is worth: `40 s`, `14 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _mean(scores: Mapping[str, Any]) -> str:
    mean, error = scores["accuracy"]["mean"], scores["accuracy"]["standard_error"]
    return f"{mean:.3f}" if error is None else f"{mean:.3f} ± {error:.3f}"


def _uncertain(scores: Mapping[str, Any]) -> str:
    """Mean ± standard error over seeds; of one seed, the 95 % interval over test images instead."""
    if scores["accuracy"]["standard_error"] is None and "interval95" in scores:
        return "{} ({:.3f} to {:.3f})".format(_mean(scores), *scores["interval95"])
    return _mean(scores)


def _span(blocks: Sequence[Mapping[str, Any]], body: Sequence[Mapping[str, Any]]) -> str:
    """Names of trained blocks: `everything`, `blocks.4 to blocks.6`, or a list."""
    names: list[str] = [block["name"] for block in body]
    if len(body) == len(blocks) - 1:
        return "everything" if len(names) > 1 else names[0]
    positions = [index for index, block in enumerate(blocks) if block in body]
    contiguous = positions == list(range(positions[0], positions[-1] + 1))
    if contiguous and len(names) > 2:
        return f"{names[0]} to {names[-1]}"
    return ", ".join(names)
