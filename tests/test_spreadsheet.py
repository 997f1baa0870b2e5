"""Tables that spreadsheets do not run, and that are read back to the letter."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thawline.data.read import read_named
from thawline.prediction.written import as_csv
from thawline.results import Likelihood, Prediction
from thawline.runs import files
from thawline.runs.files import PredictionLine, SplitLine
from thawline.spreadsheet import cell, csv_text, from_cell, read_rows

HARMFUL = (
    *("=1+1", "+1+1", "-x", "@SUM(A1)", "=cmd|'/C calc'!A0", "\t=1", "\rx", "\nx", " =1", '"=1', "'=1", "''=1", "' =1"),
    *("a;=1", "a\t@b", "a\r\n-b", 'a;"=1', "\uff1d1", "-inf", "+1_0", "--1"),
)
HARMLESS = (
    "",
    "a",
    "'",
    "'a",
    "a=1",
    "a-b",
    "1-2",
    "-1",
    "+0.5",
    "1e-3",
    "-2.5E+10",
    "it's",
    "a;b",
    "last:k=2",
    "\u2212",
)
letters = st.text(st.sampled_from("=+-@\t\r\n '\";,|a1\uff1d"), max_size=12)


@pytest.mark.parametrize("text", HARMFUL)
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    written = cell(text)
    assert isinstance(written, str)
    assert written != text
    assert written.replace("'", "") == text.replace("'", "")
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))
    assert from_cell(written) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_everything_else_stays(text: str) -> None:
    assert (cell(text), from_cell(text)) == (text, text)


@pytest.mark.parametrize("value", [-1.5, -3, None, 1e-9])
def test_numbers_stay_numbers(value: object) -> None:
    assert cell(value) is value


@given(st.one_of(letters, st.text(max_size=8)))
def test_cells_read_back(text: str) -> None:
    written = cell(text)
    assert isinstance(written, str)
    assert from_cell(written) == text
    if not text.startswith("'"):
        assert from_cell(text) == text or any(mark in text for mark in ";\t\r\n"), "old tables are read as they are"


@given(st.lists(st.tuples(letters, letters), max_size=4))
def test_tables_read_back(rows: list[tuple[str, str]]) -> None:
    text = csv_text(("=a", "b"), rows)
    assert [row for _, row in read_rows(io.StringIO(text, newline=""))] == [["=a", "b"], *map(list, rows)]


def test_long_names_take_no_time() -> None:
    for letter in "\t '\"":
        assert from_cell(str(cell(letter * 100_000 + "="))) == letter * 100_000 + "="


def test_tables_of_a_run_read_back(tmp_path: Path) -> None:
    splits = [SplitLine(f"{name}/0.png", name, "train") for name in (*HARMFUL, *HARMLESS)]
    files.write_splits(tmp_path / "splits.csv", splits)
    assert files.read_splits(tmp_path / "splits.csv") == splits
    lines = [PredictionLine("full", 0, "test", f"{name}.png", 1, [0.25, 0.5, 0.25]) for name in HARMFUL]
    path = tmp_path / "predictions.csv"
    files.write_predictions(path, ("=a", "'=a", "'b"), lines)
    assert list(files.read_predictions(path)) == lines
    assert files.prediction_classes(path) == ("=a", "'=a", "'b")


def test_tables_of_earlier_versions_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("path,label,split\n=a/0.png,=a,train\n'b/0.png,'b,val\n", encoding="utf-8")
    assert files.read_splits(path) == [SplitLine("=a/0.png", "=a", "train"), SplitLine("'b/0.png", "'b", "val")]


def test_printed_predictions_are_harmless() -> None:
    guess = Likelihood(label="=1+1", probability=0.5)
    lines = as_csv([Prediction(path="@x.png", top=[guess])])
    assert [*csv.reader(io.StringIO(lines, newline=""))] == [["'@x.png", "1", "'=1+1", "0.500000", ""]]


def test_splits_of_a_run_are_a_manifest(tmp_path: Path) -> None:
    lines = [SplitLine(f"{name}.png", name, "train") for name in ("=1+1", "-x")]
    files.write_splits(tmp_path / "splits.csv", lines)
    images = read_named(str(tmp_path / "splits.csv"), tmp_path / "cache")
    assert {(item.path.name, item.label) for item in images.items} == {("=1+1.png", "=1+1"), ("-x.png", "-x")}
