"""Figures of a search: its course over the generations, what was tried in every block, which blocks mattered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from markupsafe import Markup

from thawline.formatting import counted
from thawline.report.charts import Axis, Chart, linear_axis, shorten
from thawline.report.figures import bars
from thawline.report.summary import rate

Search = Mapping[str, Any]
FROZEN_ROOM = 1.7
"""From the edge of a chart to its frozen candidates, as a factor of the rate."""
DRAWN = 12
"""Blocks drawn one by one at most: the most important ones of a finer partition."""


def generations(search: Search, name: str) -> Markup:
    """Best and mean score of the population, with its quartiles, by generation."""
    rows = search["generations"]
    numbers = [row["generation"] for row in rows]
    scores = [row[key] for row in rows for key in ("best", "mean")]
    last = max(numbers[-1], 1)
    step = max(1, round(last / 8))
    chart = Chart(
        f"{name}-generations",
        "Score by generation",
        _course(search),
        Axis(_first(search), -0.3, last + 0.3, [(at, str(at)) for at in range(0, last + 1, step)]),
        linear_axis("validation score", [*scores, *(row["quartiles"][at] for row in rows for at in (0, 2))]),
    )
    chart.line([(row["generation"], row["mean"]) for row in rows], "quiet")
    chart.line([(row["generation"], row["best"]) for row in rows])
    for row in rows:
        low, _, high = row["quartiles"]
        chart.whisker(row["generation"], low, high, "quiet")
        chart.dot((row["generation"], row["mean"]), f"generation {row['generation']}: mean {row['mean']:.3f}", "quiet")
        chart.dot((row["generation"], row["best"]), f"generation {row['generation']}: best {row['best']:.3f}")
    return chart.draw()


def _course(search: Search) -> str:
    if "rungs" in search:
        return (
            "Dark: the best so far of all that were trained longest. Pale: mean of each generation, most of it trained "
            "for a few epochs only; whiskers span its middle half."
        )
    described = "Best (dark) and mean (pale) of what each generation leaves; whiskers span its middle half."
    folds = {row["fold"] for row in search["generations"]}
    return f"{described} Each trains on another part of the data, so scores may fall." if len(folds) > 1 else described


def _first(search: Search) -> str:
    usual = "rungs" in search and "starts" not in search["settings"]["without"].split("+")
    return f"generation (0 = {'the starts' if usual else 'drawn at random'})"


def diversity(search: Search, name: str) -> Markup:
    """How unlike the candidates of a population are."""
    rows = search["generations"]
    last = max(rows[-1]["generation"], 1)
    step = max(1, round(last / 8))
    chart = Chart(
        f"{name}-diversity",
        "Diversity by generation",
        "It falls as the search closes in on one plan.",
        Axis(_first(search), -0.3, last + 0.3, [(at, str(at)) for at in range(0, last + 1, step)]),
        linear_axis("mean distance of two candidates", [0.0, *(row["diversity"] for row in rows)]),
    )
    chart.line([(row["generation"], row["diversity"]) for row in rows])
    for row in rows:
        tooltip = (
            f"generation {row['generation']}: {row['diversity']:.3f}, {counted(row['evaluations'], 'new candidate')}"
        )
        chart.dot((row["generation"], row["diversity"]), tooltip)
    return chart.draw()


def importance(search: Search, name: str) -> Markup | None:
    """Share of each block in what sets the best candidates apart; None where they are too much alike to say."""
    shares: Mapping[str, float] = search["importance"]
    if not shares:
        return None
    top = sorted(shares.items(), key=lambda item: -item[1])[:DRAWN]
    described = ", ".join(f"{shorten(block)} {100 * share:.0f} %" for block, share in top)
    values = [(shorten(block), 100 * share) for block, share in top]
    return bars(f"{name}-importance", "Importance of the blocks", described, values, " %", values[0][1])


def tried(search: Search, name: str) -> list[Markup]:
    """One chart per block: the rate that a candidate gave it against the candidate's score."""
    candidates = [one for one in search["candidates"] if one.get("weights")]
    if not candidates:
        return []
    merits = _merits(candidates)
    ranks = search["importance"]
    positions = sorted(range(len(search["blocks"])), key=lambda at: -ranks.get(search["blocks"][at]["name"], 0.0))
    winner = next((one for one in candidates if [one["generation"], one["slot"]] == search["winner"]), None)
    weights = [one["weights"][at] for one in candidates for at in positions if one["weights"][at] is not None]
    decades = _rate_axis([search["base_rate"] * weight for weight in weights])
    y = linear_axis("score, less the mean", merits)
    return [
        _block_chart(search, at, candidates, merits, (decades, y), winner, f"{name}-block{at}")
        for at in sorted(positions[:DRAWN])
    ]


def _block_chart(
    search: Search,
    at: int,
    candidates: Sequence[Mapping[str, Any]],
    merits: Sequence[float],
    axes: tuple[Axis, Axis],
    winner: Mapping[str, Any] | None,
    name: str,
) -> Markup:
    block = search["blocks"][at]["name"]
    described = f"{len(candidates)} candidates; the one that won is ringed."
    chart = Chart(name, shorten(block), described, *axes, height=150)
    for one, merit in zip(candidates, merits, strict=True):
        weight = one["weights"][at]
        value = axes[0].low * FROZEN_ROOM if weight is None else search["base_rate"] * weight
        words = "frozen" if weight is None else rate(value)
        tooltip = f"{words}: {_comparable(one):.3f} (generation {one['generation']})"
        chart.dot((value, merit), tooltip, "best" if one is winner else "cloud", 5 if one is winner else 3)
    return chart.draw()


def _rate_axis(rates: Sequence[float]) -> Axis:
    """Decades of learning rate, and on the left a place for frozen."""
    known = rates or [1e-3]
    frozen, high = min(known) / 8, max(known) * 1.5
    marks = [10.0**decade for decade in range(-9, 2) if min(known) / 1.6 <= 10.0**decade <= high]
    return Axis(
        "learning rate",
        frozen / FROZEN_ROOM,
        high,
        [(frozen, "frozen"), *((mark, rate(mark)) for mark in marks)],
        log=True,
    )


def _merits(candidates: Sequence[Mapping[str, Any]]) -> list[float]:
    """Scores less the mean of all candidates of the same fold: folds differ in difficulty."""
    scores = [_comparable(one) for one in candidates]
    by_fold: dict[int | None, list[float]] = defaultdict(list)
    for one, score in zip(candidates, scores, strict=True):
        by_fold[one["fold"]].append(score)
    return [score - fmean(by_fold[one["fold"]]) for one, score in zip(candidates, scores, strict=True)]


def _comparable(candidate: Mapping[str, Any]) -> float:
    """Its score; of candidates that were trained for unequal times, the one that all of them have."""
    return float(candidate.get("early_score", candidate["score"]))
