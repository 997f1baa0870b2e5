"""Figures of a search: its course over the generations, what was tried in every block, which blocks mattered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from markupsafe import Markup

from thawline.formatting import counted, figure, rate
from thawline.report.charts import Axis, Chart, linear_axis, shorten
from thawline.report.figures import bars
from thawline.results import Candidate, Generation, SearchRecord

FROZEN_ROOM = 1.7
"""Distance between the edge of a chart and its frozen candidates, as a factor of the learning rate."""
DRAWN = 12
"""Blocks drawn one by one at most: the most important ones of a finer partition."""


def generations(search: SearchRecord, name: str) -> Markup:
    """Best and mean score of the population, with its quartiles, by generation."""
    rows = search.generations
    numbers = [row.generation for row in rows]
    scores = [score for row in rows for score in (row.best, row.mean)]
    last = max(numbers[-1], 1)
    step = max(1, round(last / 8))
    chart = Chart(
        f"{name}-generations",
        "Score by generation",
        f"Dark: {best_in_words(search)}. Pale: {mean_in_words(search)}.",
        Axis(_first(search), -0.3, last + 0.3, [(at, str(at)) for at in range(0, last + 1, step)]),
        linear_axis("validation score", [*scores, *(row.quartiles[at] for row in rows for at in (0, 2))]),
    )
    for stretch in _stretches(rows):
        chart.line([(row.generation, row.mean) for row in stretch], "quiet")
        chart.line([(row.generation, row.best) for row in stretch])
    for row in rows:
        low, _, high = row.quartiles
        chart.whisker(row.generation, low, high, "quiet")
        chart.dot((row.generation, row.mean), f"generation {row.generation}: mean {figure(row.mean)}", "quiet")
        chart.dot((row.generation, row.best), f"generation {row.generation}: best {figure(row.best)}")
    return chart.draw()


def best_in_words(search: SearchRecord) -> str:
    """What the dark line of the scores is."""
    if search.rungs is not None:
        return "best score so far among the candidates trained longest"
    folds = len({row.fold for row in search.generations}) > 1
    return f"best of the population{', each on another part of the data, so scores may fall' if folds else ''}"


def mean_in_words(search: SearchRecord) -> str:
    """What the pale line of the scores is."""
    short = ", most of it trained for a few epochs only" if search.rungs is not None else ""
    whose = "of each generation" if search.rungs is not None else "of the population"
    return f"mean {whose}{short}; whiskers: quartiles; no line where a generation has no candidates"


def _stretches(rows: Sequence[Generation]) -> list[list[Generation]]:
    """Generations without gaps between them: a line would claim scores that nothing had."""
    found: list[list[Generation]] = []
    for row in rows:
        if not found or row.generation != found[-1][-1].generation + 1:
            found.append([])
        found[-1].append(row)
    return found


def _first(search: SearchRecord) -> str:
    baselines = search.rungs is not None and {"starts", "baselines"}.isdisjoint(search.settings["without"].split("+"))
    return f"generation (0 = {'the baselines' if baselines else 'drawn at random'})"


def diversity(search: SearchRecord, name: str) -> Markup:
    """How unlike the candidates of a population are; a single one has no point."""
    rows = [row for row in search.generations if row.diversity is not None]
    last = max(search.generations[-1].generation, 1)
    step = max(1, round(last / 8))
    chart = Chart(
        f"{name}-diversity",
        "Diversity by generation",
        "It falls as the search closes in on one plan.",
        Axis(_first(search), -0.3, last + 0.3, [(at, str(at)) for at in range(0, last + 1, step)]),
        linear_axis("mean distance of two candidates", [0.0, *(row.diversity or 0.0 for row in rows)]),
    )
    for stretch in _stretches(rows):
        chart.line([(row.generation, row.diversity or 0.0) for row in stretch])
    for row in rows:
        tooltip = f"generation {row.generation}: {figure(row.diversity)}, {counted(row.evaluations, 'new candidate')}"
        chart.dot((row.generation, row.diversity or 0.0), tooltip)
    return chart.draw()


def importance(search: SearchRecord, name: str) -> Markup | None:
    """Share of each block in what sets the best candidates apart; None where they are too much alike to say."""
    shares = search.importance
    if not shares:
        return None
    top = sorted(shares.items(), key=lambda item: -item[1])[:DRAWN]
    described = ", ".join(f"{shorten(block)} {100 * share:.0f} %" for block, share in top)
    values = [(shorten(block), 100 * share) for block, share in top]
    return bars(f"{name}-importance", "Importance of the blocks", described, values, " %", values[0][1])


def tried(search: SearchRecord, name: str) -> list[Markup]:
    """One chart per block: the rate that a candidate gave it against the candidate's score."""
    candidates = search.tried
    if not candidates:
        return []
    merits = _merits(candidates)
    ranks = search.importance
    positions = sorted(range(len(search.blocks)), key=lambda at: -ranks.get(search.blocks[at].name, 0.0))
    winner = search.candidate(search.winner)
    weights = [weight for candidate in candidates for weight in candidate.weights or () if weight is not None]
    decades = _rate_axis([search.base_rate * weight for weight in weights])
    y = linear_axis("score, less the mean", merits)
    return [
        _block_chart(search, at, candidates, merits, (decades, y), winner, f"{name}-block{at}")
        for at in sorted(positions[:DRAWN])
    ]


def _block_chart(
    search: SearchRecord,
    at: int,
    candidates: Sequence[Candidate],
    merits: Sequence[float],
    axes: tuple[Axis, Axis],
    winner: Candidate | None,
    name: str,
) -> Markup:
    described = f"{counted(len(candidates), 'candidate')}; the winner is ringed."
    chart = Chart(name, shorten(search.blocks[at].name), described, *axes, height=150)
    for candidate, merit in zip(candidates, merits, strict=True):
        weight = candidate.weights[at] if candidate.weights else None
        value = axes[0].low * FROZEN_ROOM if weight is None else search.base_rate * weight
        words = "frozen" if weight is None else rate(value)
        norm = f", batch norm {candidate.batch_norm}" if candidate.batch_norm else ""
        tooltip = f"{words}: {figure(candidate.comparable_score)} (generation {candidate.generation}{norm})"
        won = candidate is winner
        chart.dot((value, merit), tooltip, "best" if won else "cloud", 5 if won else 3)
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


def _merits(candidates: Sequence[Candidate]) -> list[float]:
    """Scores less the mean of all candidates of the same fold: folds differ in difficulty."""
    by_fold: dict[int | None, list[float]] = defaultdict(list)
    for candidate in candidates:
        by_fold[candidate.fold].append(candidate.comparable_score)
    return [candidate.comparable_score - fmean(by_fold[candidate.fold]) for candidate in candidates]
