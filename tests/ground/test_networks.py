"""What benchmarks.networks makes of its cells: regrets, rank correlations, and which sets are complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.networks import (
    CHOICE,
    LOOKS,
    FirstLook,
    NetworkCell,
    Pair,
    Settings,
    best_probe,
    finished,
    largest,
    page,
    rank_table,
    regret_table,
)
from thawline.records import environment, write_json

PAIRS = [Pair("small", 64), Pair("small", 96), Pair("large", 96)]
NAMES = [pair.name for pair in PAIRS]


def look(probe: float, neighbors: float, share: float) -> FirstLook:
    return FirstLook(probe=probe, neighbors=neighbors, flops=round(1e6 * share), unit_share=share, epochs=0)


LOOK = dict(zip(NAMES, (look(0.5, 0.6, 0.1), look(0.7, 0.5, 0.2), look(0.6, 0.4, 1.0)), strict=True))


def cell(arm: str, accuracy: float | None, **others: Any) -> NetworkCell:
    usual: dict[str, Any] = {
        "arm": arm,
        "network": NAMES[1] if arm == CHOICE else arm,
        "epochs": 5,
        "units": 1.5,
        "backbone": "small",
        "set": "noise",
        "split": 200,
        "method": "auto",
        "spec": "auto:budget=2x",
        "group": "searches",
        "image_size": 64,
        "images": {"train": 10, "val": 10, "test": 10},
        "classes": 2,
        "test_accuracy": accuracy,
        "val_accuracy": accuracy,
        "val_loss": 1.0,
        "commit": "abc1234",
        "environment": environment(device="cpu", threads=1, command=""),
        "load_at_start": 0.0,
    }
    if arm == CHOICE:
        usual |= {"first_look": LOOK, "work_of_probes": 0.2}
    return NetworkCell(**{**usual, **others})


def cells(**others: Any) -> list[NetworkCell]:
    """The choice is one point below the best, the largest two."""
    accuracies = {CHOICE: 0.79, NAMES[0]: 0.6, NAMES[1]: 0.8, NAMES[2]: 0.78}
    return [cell(arm, accuracy, **others) for arm, accuracy in accuracies.items()]


def test_regret_is_against_the_best_search_on_test() -> None:
    (found,) = finished(cells())
    lines = {line[0]: line[1] for line in regret_table([found]).rows}
    assert lines == {
        "several pairs": "1.0",
        "several pairs, against the best on validation": "1.0",
        "the largest": "2.0",
        "the best probe": "0.0",
    }
    assert largest(found) == NAMES[2]
    assert best_probe(found) == NAMES[1]


def test_rank_correlations_are_over_the_pairs() -> None:
    (found,) = finished(cells())
    assert {name: found.correlation(look) for name, look in LOOKS.items()} == pytest.approx(
        {"solved probe": 1.0, "nearest neighbors": -0.5, "FLOPs": 0.5}
    )
    assert [line[1] for line in rank_table([found]).rows] == ["+1.00", "-0.50", "+0.50"]


def test_only_sets_whose_cells_are_all_there_are_shown() -> None:
    assert finished(cells()[:-1]) == []
    assert finished([*cells()[:-1], cell(NAMES[2], None, error="diverged")]) == []
    assert [each.data for each in finished([*cells(), *cells(set="other")[1:]])] == ["noise"]


def test_the_page_is_made_of_files(tmp_path: Path) -> None:
    settings = Settings(tmp_path, tmp_path, tmp_path / "results", pairs=PAIRS)
    assert page(settings.results) == "No cell has been run yet.\n"
    for each in [*cells(), cell("lost", None, set="other", error="every training failed")]:
        write_json(settings.cell(each.set, each.arm), each)
    text = page(settings.results)
    assert text.startswith("5 cells, 1 sets with all of theirs; commit abc1234; 5 epochs")
    assert "| noise | 78.0 | 60.0 | 80.0 | 79.0 (small at 96 px) | 1.50 | 0.20 |" in text
    assert "- other, lost: every training failed" in text
