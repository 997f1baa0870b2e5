from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ground.board import TUNED_FULL, parsed, read_boards
from benchmarks.ground.page import BEGIN, END, write_all
from benchmarks.ground.schema import CellResult
from thawline.errors import InputError, RunFolderError
from thawline.records import environment, pack_bits, write_json

RIGHT = [True, False, True]


def result(method: str, data: str, split: int = 0, **facts: Any) -> CellResult:
    usual: dict[str, Any] = {
        "backbone": "tiny",
        "spec": method,
        "group": "baselines",
        "image_size": 32,
        "images": {"train": 4, "val": 3, "test": len(RIGHT)},
        "classes": 2,
        "test_accuracy": 2 / 3,
        "val_accuracy": 0.5,
        "right": pack_bits(RIGHT),
        "commit": "abc1234",
        "environment": environment(device="cpu", threads=1, command=""),
        "load_at_start": 0.0,
    }
    return CellResult(method=method, set=data, split=split, **(usual | facts))


def write(folder: Path, *results: CellResult) -> None:
    for own in results:
        place = folder / own.backbone / own.set / str(own.split)
        write_json(place / f"{own.method.replace(':', '-')}.json", own)


def test_a_board_holds_what_was_written(tmp_path: Path) -> None:
    probe = result("linear_probe", "mnist", knn={"val": 0.4, "test": 0.3}, chosen="linear_probe")
    write(tmp_path, probe, result("full", "dtd10", norm="kept"), result("full", "mnist"))
    (board,) = read_boards(tmp_path)
    assert (board.backbone, board.split, board.sets) == ("tiny", 0, ["dtd10", "mnist"])
    assert board.methods == ["linear_probe", "kNN", "full"]
    full = board.row("full")["dtd10"]
    assert (full.accuracy, full.norm, full.right is not None and full.right.tolist()) == (2 / 3, "kept", [1, 0, 1])
    assert board.row("kNN")["mnist"].accuracy == 0.3
    assert board.row("kNN")["mnist"].right is None


def test_what_a_search_owes_to_its_selection_is_read(tmp_path: Path) -> None:
    search = {"work": 4.4, "digest": "ab", "rungs": [2, 12], "winner": {"generation": 0, "slot": 1}, "optimism": 0.02}
    write(tmp_path, result("full", "mnist"), result("auto", "mnist", search=search))
    (board,) = read_boards(tmp_path)
    assert board.row("auto")["mnist"].shown_val == pytest.approx(0.48)
    assert board.row("full")["mnist"].shown_val == 0.5


def test_a_data_set_waits_for_the_reference(tmp_path: Path) -> None:
    write(
        tmp_path, result("full", "mnist"), result("depth", "mnist"), result("depth", "dtd10"), result("lora", "dtd10")
    )
    (board,) = read_boards(tmp_path)
    assert (board.sets, board.methods, list(board.row("depth"))) == (["mnist"], ["full", "depth"], ["mnist"])


def test_a_board_of_a_trial_alone_has_the_reference_of_the_trial(tmp_path: Path) -> None:
    write(tmp_path, result(TUNED_FULL, "mnist", 201), result("auto", "mnist", 201), result("auto", "dtd10", 201))
    (board,) = read_boards(tmp_path)
    assert (board.reference, board.sets) == (TUNED_FULL, ["mnist"])
    write(tmp_path, result("full", "dtd10", 201))
    (board,) = read_boards(tmp_path)
    assert (board.reference, board.sets) == ("full", ["dtd10"])


def test_short_forms_are_made_from_published_splits_alone(tmp_path: Path) -> None:
    cells = tmp_path / "ground"
    write(cells, *(result(name, "mnist", 200) for name in ("full", "linear_probe")), result(TUNED_FULL, "dtd10", 201))
    (file := tmp_path / "README.md").write_text(f"{BEGIN.format('summary')}\n{END}\n", encoding="utf-8")
    write_all(cells, [file])
    assert "split 200 (published)" in file.read_text(encoding="utf-8")
    assert "split 201" not in file.read_text(encoding="utf-8")
    page = (tmp_path / "ground.md").read_text(encoding="utf-8")
    assert "split 201 (trial)" in page
    assert page.count("Which data set is which") == 1


def test_splits_and_backbones_are_boards_of_their_own(tmp_path: Path) -> None:
    other = dataclasses.replace(result("full", "mnist"), backbone="other")
    write(tmp_path, result("full", "mnist"), result("full", "mnist", 200), other)
    assert [(board.backbone, board.split) for board in read_boards(tmp_path)] == [
        ("other", 0),
        ("tiny", 0),
        ("tiny", 200),
    ]


def test_a_method_that_failed_has_no_cell_and_says_why(tmp_path: Path) -> None:
    failed = result("lora", "mnist", test_accuracy=None, right=None, error="the loss became nan")
    write(tmp_path, result("full", "mnist"), failed)
    (board,) = read_boards(tmp_path)
    assert board.failures == {("lora", "mnist"): "the loss became nan"}
    assert board.methods == ["full"]


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    write(tmp_path, result("full", "mnist"))
    path = tmp_path / "tiny" / "mnist" / "0" / "full.json"
    path.write_text('{"backbone": 3}', encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"full\.json"):
        read_boards(tmp_path)


def test_specs() -> None:
    assert parsed("full") == ("full", {})
    assert parsed("last_blocks:k=1,head_start=probe,norm=kept") == (
        "last_blocks",
        {"k": "1", "head_start": "probe", "norm": "kept"},
    )


def test_development_and_published_splits_have_pages_of_their_own(tmp_path: Path) -> None:
    cells = tmp_path / "ground"
    write(cells, result("full", "mnist", 0), result("full", "mnist", 200), result("depth", "isic5", 200))
    write_all(cells)
    assert "split 200 (published), 1 data set\n" in (tmp_path / "ground.md").read_text(encoding="utf-8")
    assert "split 0 (development)" in (tmp_path / "ground-development.md").read_text(encoding="utf-8")
    assert "development" not in (tmp_path / "ground.md").read_text(encoding="utf-8")


def test_without_cells_of_the_reference_there_is_nothing_to_write(tmp_path: Path) -> None:
    write(tmp_path, result("depth", "mnist"))
    with pytest.raises(InputError, match="no data set with a cell of full"):
        write_all(tmp_path)
