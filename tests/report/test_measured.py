"""What a search found out, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from thawline.report.measured import measured_notes
from thawline.results import Candidate, SearchRecord


def candidate(loss: float | None, norm: str | None, head: str, epochs: int = 4, slot: int = 0) -> Candidate:
    return Candidate(
        generation=0,
        slot=slot,
        operator="start",
        parents=(),
        genes=(),
        fold=None,
        score=0.5,
        per_seed=(0.5,),
        work=1.0,
        weights=(1.0,),
        epochs=epochs,
        batch_norm=norm,
        head_start=head,
        scaled_loss=loss,
    )


def search(*candidates: Candidate) -> SearchRecord:
    return SearchRecord(
        settings={},
        base_rate=1e-3,
        genes=(),
        blocks=(),
        trainable_percent=1.0,
        data_share=1.0,
        generations=(),
        importance={},
        candidates=candidates,
        winner=(0, 0),
        trainings=len(candidates),
        work=1.0,
        digest="",
    )


def test_the_best_of_both_modes_stand_side_by_side() -> None:
    found = search(
        candidate(1.5, "kept", "probe"),
        candidate(1.0, "kept", "probe"),
        candidate(1.2, "moving", "random"),
        candidate(0.1, "moving", "random", epochs=2),
    )
    norm, head = measured_notes(found, ())
    assert norm == (
        "Batch norm: on validation the best plan with the statistics of the pretrained network has 0.500 (log-loss "
        "1.000), the best with those of each batch has 0.500 (log-loss 1.200), so the pretrained statistics fit these "
        "images."
    ), "a plan that ended early is not compared"
    assert head.endswith("so the probe is the better start.")


@pytest.mark.parametrize(
    ("kept", "moving", "words"),
    [(1.0, 1.04, "negligible difference"), (1.0, 0.9, "statistics of their own"), (0.0, 0.0, "negligible difference")],
)
def test_a_small_difference_says_nothing(kept: float, moving: float, words: str) -> None:
    (note,) = measured_notes(search(candidate(kept, "kept", "random"), candidate(moving, "moving", "random")), ())
    assert words in note


def test_what_was_tried_one_way_only_is_not_contrasted() -> None:
    assert not measured_notes(search(candidate(1.0, "kept", "probe"), candidate(0.5, "kept", "probe")), ())
    old = search(candidate(None, "kept", "probe"), candidate(None, "moving", "random"))
    assert not measured_notes(old, ())
    assert not measured_notes(replace(old, candidates=None), ())
