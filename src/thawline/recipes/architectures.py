"""Tables of a study of several networks: strategy x network for each dataset, paired over the same test images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thawline.formatting import counted, row_label
from thawline.recipes.reading import by, on_test, scored
from thawline.recipes.recipe import Table
from thawline.records import unpack_bits
from thawline.results import RecipeCell, Versus
from thawline.studies.results import OnTest, paired
from thawline.verdicts import SIGNIFICANT, differs


@dataclass(frozen=True)
class Across:
    """The networks of a dataset, against the best of them with the same strategy."""

    best: str
    """The network with the row that is best on validation."""
    versus: Mapping[str, Mapping[str, Versus]]
    """By network and strategy: its accuracy minus that of `best`, p-values adjusted over all rows of the dataset."""


def across(cells: Sequence[RecipeCell]) -> Across | None:
    """Cells of one dataset; None if there are not two networks that were scored on the same test images."""
    found = {cell.setting.model: cell for cell in cells if scored(cell)}
    if not found:
        return None
    best = max(found, key=lambda model: max(row.val.accuracy.mean for row in scored(found[model])))
    images = found[best].data.test_images
    same = {model: cell for model, cell in found.items() if images is not None and cell.data.test_images == images}
    if len(same) < 2:
        return None
    names = {
        row_label(row.strategy, model): (model, row.strategy) for model, cell in same.items() for row in scored(cell)
    }
    rows = {
        name: OnTest(_right(row.test_right, cell.data.images["test"]), name)
        for model, cell in same.items()
        for row in scored(cell)
        if (name := row_label(row.strategy, model))
    }
    references = {name: row_label(strategy, best) for name, (model, strategy) in names.items() if model != best}
    pairs = paired(rows, {name: other for name, other in references.items() if other in rows})
    versus: dict[str, dict[str, Versus]] = {}
    for name, pair in pairs.items():
        if pair is not None:
            model, strategy = names[name]
            versus.setdefault(model, {})[strategy] = Versus(
                difference=pair.found.difference, interval95=pair.found.interval95, p_holm=pair.p_holm, words=""
            )
    return Across(best, versus)


def _right(seeds: Sequence[str], images: int) -> np.ndarray:
    """Share of the seeds that got each test image right, [n]."""
    right = [unpack_bits(seed, images) for seed in seeds]
    return np.asarray(np.array(right, np.float64).mean(axis=0))


def across_tables(cells: Sequence[RecipeCell]) -> Iterable[Table]:
    """Strategy x network for each dataset: the difference from the best network with the same strategy."""
    for data, group in by(cells, "data").items():
        found = across(group)
        if found is None:
            continue
        strategies = dict.fromkeys(row.strategy for cell in group for row in scored(cell))
        lines = [[name, *(_difference(own.get(name)) for own in found.versus.values())] for name in strategies]
        notes = [
            f"Points of test accuracy more or less than {found.best}, the best network on validation, with the same "
            "strategy; in brackets the 95 % interval, paired over test images.",
            f"\\* = differs: paired permutation test over the test images, Holm over this table, p < {SIGNIFICANT}.",
        ]
        yield Table(f"{data}: networks against {found.best}", ["strategy", *found.versus], lines, notes)


def _difference(found: Versus | None) -> str:
    if found is None:
        return ""
    low, high = (100 * end for end in found.interval95)
    mark = "\\*" if differs(found) else ""
    return f"{100 * found.difference:+.1f}{mark} ({low:+.1f} to {high:+.1f})"


def across_in_words(cells: Sequence[RecipeCell]) -> list[str]:
    """A sentence for each dataset: its best network, and with how many strategies each other one differs from it."""
    said = []
    for data, group in by(cells, "data").items():
        found = across(group)
        if found is None:
            continue
        top = max((row for cell in group for row in scored(cell)), key=lambda row: row.val.accuracy.mean)
        others = "; ".join(f"{model} {_tally([*own.values()])}" for model, own in found.versus.items())
        accuracy = f"{100 * on_test(top).accuracy.mean:.1f} % on test"
        said.append(
            f"On {data} the best network on validation is {found.best} ({top.strategy}, {accuracy}). With the same "
            f"strategy, {others}."
        )
    return said


def _tally(found: Sequence[Versus]) -> str:
    """`is worse with 5 of 9 strategies and better with none`."""
    told = [versus.difference for versus in found if differs(versus)]
    worse, better = sum(difference < 0 for difference in told), sum(difference > 0 for difference in told)
    of = counted(len(found), "strategy", "strategies")
    return f"is worse with {worse or 'none'} and better with {better or 'none'} of {of}"
