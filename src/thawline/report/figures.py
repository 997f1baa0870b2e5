"""Figures of the rows and of the shown model: accuracy against cost, depth, calibration, block changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from thawline.formatting import counted, signed
from thawline.formatting import figure as digits
from thawline.report.charts import Axis, Chart, figure, linear_axis, log_axis
from thawline.report.predictions import Bin
from thawline.results import DepthCurve, Row, ScoredRow, SplitScores


def scores_of(row: ScoredRow) -> SplitScores:
    """Its test figures, or those of validation without a test split."""
    return row.test or row.val


def accuracy_of(row: ScoredRow) -> float:
    """Mean over seeds."""
    return scores_of(row).accuracy.mean


def whisker_of(row: ScoredRow) -> tuple[float, float]:
    """The 95 % interval over test images; without a test split mean ± standard error over seeds, if it has one."""
    if row.test:
        return row.test.interval95
    error = row.val.accuracy.standard_error or 0.0
    return accuracy_of(row) - error, accuracy_of(row) + error


def accuracy_bar(row: ScoredRow, rows: Sequence[ScoredRow]) -> Markup:
    """A row's accuracy and its whisker on the scale of all rows: a word-sized figure for the table."""
    ends = [end for other in rows for end in whisker_of(other)]
    axis = Axis("", min(ends), max(ends), ())
    low, high = whisker_of(row)
    return Markup(
        '<svg class="spark" width="100%" height="14" aria-hidden="true">'
        '<line class="grid" x1="0" x2="100%" y1="7" y2="7"/>'
        '<line class="whisker" x1="{:.1f}%" x2="{:.1f}%" y1="7" y2="7"/>'
        '<circle class="dot" cx="{:.1f}%" cy="7" r="4"/></svg>'
    ).format(axis.at(low), axis.at(high), axis.at(accuracy_of(row)))


def points_of(run_rows: Sequence[Row], *, one_search: bool) -> dict[int, ScoredRow]:
    """The points of the picture: rows by their number in the table.

    `one_search`: the first row is the answer of a search that tuned the others on its way. A row with the same plan is
    no point of its own: what it cost to find it is the cost of the search.
    """
    rows = {number: row for number, row in enumerate(run_rows, start=1) if isinstance(row, ScoredRow)}
    found = rows.get(1)
    if not one_search or found is None or found.search is None:
        return rows
    return {number: row for number, row in rows.items() if number == 1 or row.plan != found.plan}


def front_of(rows: Sequence[ScoredRow]) -> list[int]:
    """Positions of the rows that none beats in accuracy at the same cost or less, the cheapest first."""
    order = sorted(range(len(rows)), key=lambda at: (rows[at].cost.work, -accuracy_of(rows[at])))
    front: list[int] = []
    for at in order:
        if not front or accuracy_of(rows[at]) > accuracy_of(rows[front[-1]]):
            front.append(at)
    return front


def front(points: Mapping[int, ScoredRow], split: str) -> Markup:
    """Accuracy against cost of rows by their number in the results table."""
    numbers, rows = list(points), list(points.values())
    costs = [row.cost.work for row in rows]
    wide = min(costs) > 0 and max(costs) / min(costs) > 8
    label = "work, in full fine-tunings" + (" (logarithmic)" if wide else "")
    x = log_axis(label, costs) if wide else linear_axis(label, [0.0, *costs])
    y = linear_axis("accuracy", [end for row in rows for end in whisker_of(row)], bounds=(0, 1))
    best = front_of(rows)
    names = ", ".join(f"{numbers[at]} {rows[at].label}" for at in best)
    chart = Chart("front", f"Accuracy on {split} against work", f"Not beaten at their cost: {names}.", x, y, 300)
    chart.line([(costs[at], accuracy_of(rows[at])) for at in best], "front")
    for at in sorted(range(len(rows)), key=lambda at: at in best):
        row, kind = rows[at], "" if at in best else "muted"
        chart.whisker(costs[at], *whisker_of(row), kind)
        tooltip = f"{row.label}: accuracy {digits(accuracy_of(row))} at {digits(costs[at], 2)} full fine-tunings"
        chart.badge((costs[at], accuracy_of(row)), str(numbers[at]), tooltip, kind)
    return chart.draw()


def depth(curve: DepthCurve) -> Markup:
    """Train and test accuracy against the share of the layers that train."""
    shares, train, test = curve.shares, curve.train, curve.test
    chart = Chart(
        "depth",
        "Accuracy against depth",
        f"Test accuracy is highest where {curve.best:g} % of the layers train.",
        Axis("layers that train, % from the top", 0, 100, [(share, f"{share:g}") for share in shares]),
        linear_axis("accuracy", [*train, *test], bounds=(0, 1)),
    )
    chart.line(list(zip(shares, train, strict=True)), "quiet")
    chart.line(list(zip(shares, test, strict=True)))
    for share, seen, unseen in zip(shares, train, test, strict=True):
        chart.dot((share, seen), f"{share:g} %: train {seen:.3f}", "quiet", 3)
        kind = "best" if share == curve.best else "alike" if share in curve.alike else "main"
        chart.dot((share, unseen), f"{share:g} %: test {unseen:.3f}", kind, 6 if kind == "best" else 4)
    return chart.draw()


def gap(curve: DepthCurve) -> Markup:
    """Train minus test accuracy, and the intervals of its growth."""
    shares = curve.shares
    gaps = [seen - unseen for seen, unseen in zip(curve.train, curve.test, strict=True)]
    ends = [gaps[0] + end for pair in curve.gap_growth for end in pair]
    chart = Chart(
        "gap",
        "Train minus test accuracy",
        "Whiskers: 95 % intervals of its growth since the smallest share.",
        Axis("layers that train, % from the top", 0, 100, [(share, f"{share:g}") for share in shares]),
        linear_axis("difference", [0.0, *gaps, *ends]),
    )
    chart.line([(0, gaps[0]), (100, gaps[0])], "rule")
    chart.line(list(zip(shares, gaps, strict=True)))
    for share, value, (low, high) in zip(shares, gaps, curve.gap_growth, strict=True):
        chart.whisker(share, gaps[0] + low, gaps[0] + high)
        chart.dot((share, value), f"{share:g} %: {signed(value)}")
    return chart.draw()


def reliability(bins: Sequence[Bin]) -> Markup:
    """Accuracy by confidence."""
    tenths = [(step / 5, f"{step / 5:g}") for step in range(6)]
    chart = Chart(
        "reliability",
        "Confidence against accuracy",
        "Bars on the diagonal = well calibrated.",
        Axis("confidence (probability of the predicted class)", 0, 1, tenths),
        Axis("accuracy", 0, 1, tenths),
    )
    for each in bins:
        chart.column(each.low, each.high, each.accuracy, f"{_bin(each)}, {digits(each.accuracy)} correct")
    chart.line([(0, 0), (1, 1)], "rule")
    return chart.draw()


def _bin(each: Bin) -> str:
    return f"{each.low:.2f} to {each.high:.2f}: {counted(each.images, 'image')}"


def confidences(bins: Sequence[Bin]) -> Markup:
    """How many images there are of each confidence."""
    tenths = [(step / 5, f"{step / 5:g}") for step in range(6)]
    total = sum(each.images for each in bins)
    shares = [100 * each.images / total for each in bins]
    chart = Chart(
        "confidences",
        "Confidence of the predictions",
        "Share of the images by confidence.",
        Axis("confidence (probability of the predicted class)", 0, 1, tenths),
        linear_axis("images, %", [0.0, *shares]),
    )
    for each, share in zip(bins, shares, strict=True):
        chart.column(each.low, each.high, share, _bin(each))
    return chart.draw()


def bars(
    name: str, title: str, description: str, values: Sequence[tuple[str, float]], unit: str, longest: float
) -> Markup:
    """Named values as lying bars with their figures, `longest` across the whole width."""
    step = 34
    pieces = []
    for number, (label, value) in enumerate(values):
        width = 100 * max(0.0, value) / longest if longest > 0 else 0.0
        top = number * step
        pieces.append(
            Markup(
                '<text class="label" x="0" y="{}">{}</text>'
                '<text class="tick" x="100%" y="{}" text-anchor="end">{}</text>'
                '<rect class="track" x="0" y="{}" width="100%" height="7" rx="2"/>'
                '<rect class="bar" x="0" y="{}" width="{:.2f}%" height="7" rx="2"><title>{}</title></rect>'
            ).format(top + 12, label, top + 12, f"{value:.3g}{unit}", top + 18, top + 18, min(width, 100), label)
        )
    return figure(name, title, description, Markup("").join(pieces), max(step * len(values), 1), "bars")
