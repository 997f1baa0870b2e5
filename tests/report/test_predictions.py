"""What was predicted, counted; against scikit-learn where it counts the same."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.report.synthetic import write_run
from thawline.report.predictions import BINS, Predictions
from thawline.runs.files import read_run
from thawline.training import evaluation

ROW = "biotune:top=2,seeds=1"
CLASSES = ("a", "b", "c")


@pytest.fixture
def predictions(tmp_path: Path) -> Predictions:
    found = read_run(write_run(tmp_path, classes=CLASSES)).predictions
    assert found is not None
    return found


def probabilities(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open(newline="") as stream:
        lines = [line for line in csv.reader(stream) if line[:2] == [ROW, "0"]]
    values = np.array([[float(value) for value in line[5:]] for line in lines])
    return values, np.array([CLASSES.index(line[4]) for line in lines])


def test_one_row_and_seed_are_read(predictions: Predictions) -> None:
    assert (predictions.split, predictions.classes, len(predictions.guesses)) == ("test", CLASSES, 60)
    assert len({guess.path for guess in predictions.guesses}) == 60


def test_figures_are_those_of_scikit_learn(predictions: Predictions, tmp_path: Path) -> None:
    values, labels = probabilities(tmp_path / "predictions.csv")
    counts = [[len(predictions.cells.get((true, said), ())) for said in range(3)] for true in range(3)]
    assert counts == evaluation.confusion(values, labels)
    ours = {row.name: (row.images, row.precision, row.recall, row.f1) for row in predictions.per_class()}
    theirs = {
        row.name: (row.images, row.precision, row.recall, row.f1)
        for row in evaluation.per_class(values, labels, CLASSES)
    }
    assert {name: pytest.approx(figures) for name, figures in theirs.items()} == ours
    error = sum(group.images * abs(group.accuracy - group.confidence) for group in predictions.bins()) / 60
    assert error == pytest.approx(evaluation.calibration_error(values, labels), abs=1e-6)
    assert all(0 <= group.low < group.high <= 1 and group.images for group in predictions.bins())
    assert len(predictions.bins()) <= BINS


def test_mistakes_are_confident_and_correct_ones_are_not(predictions: Predictions) -> None:
    mistakes, hits = predictions.mistakes(5), predictions.least_confident(5)
    assert not any(guess.right for guess in mistakes)
    assert all(guess.right for guess in hits)
    surest = max(guess.confidence for guess in predictions.guesses if not guess.right)
    assert mistakes[0].confidence == surest
    assert hits[0].confidence == min(guess.confidence for guess in predictions.guesses if guess.right)


def test_a_run_without_predictions_has_none(tmp_path: Path) -> None:
    folder = write_run(tmp_path, classes=CLASSES)
    lines = (folder / "predictions.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "predictions.csv").write_text(lines[0], encoding="utf-8")
    assert read_run(folder).predictions is None
    (folder / "predictions.csv").unlink()
    assert read_run(folder).predictions is None
