"""The file that `predict` appends to: each image once, whatever stopped the command before."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import thawline
from tests.prediction.conftest import CLASSES, SIZE, photo
from tests.small_runs import save_model
from thawline.callback import Callback
from thawline.errors import OptionError, RunError
from thawline.model.load import load_model
from thawline.prediction import written
from thawline.results import Likelihood, Prediction, PredictionFile, SkippedFile

FORMS: tuple[written.Form, ...] = ("csv", "jsonl")
TOP = 2


def images_in(path: Path) -> Counter[str]:
    """How often every image is in a file, from its own lines."""
    with path.open(newline="") as stream:
        if path.suffix == ".csv":
            rows = [*csv.DictReader(stream)]
            return Counter(row["path"] for row in rows if row["rank"] in ("1", ""))
        return Counter(json.loads(line)["path"] for line in stream)


def write(folder: Path, photos: Path | list[Path], path: Path, **options: Any) -> PredictionFile:
    return thawline.predict_to(folder, photos, path, **{"top": TOP, **options})


@pytest.mark.parametrize("form", FORMS)
def test_a_file_has_what_predict_returns_and_the_reasons(folder: Path, photos: Path, form: str) -> None:
    (photos / "bad.jpg").write_text("no image")
    (photos / "notes.md").write_text("no image")
    path = photos.parent / f"found.{form}"
    done = write(folder, photos, path)
    assert (done.predicted, done.unreadable, done.there_before) == (12, 1, 0)
    assert done.ignored == {"not a supported image format (by its extension)": 1}
    expected = thawline.predict(folder, photos, top=TOP)
    with path.open(newline="") as stream:
        if form == "csv":
            rows = [*csv.DictReader(stream)]
            (bad,) = [row for row in rows if row["error"]]
            guesses = [(row["path"], row["class"], float(row["probability"])) for row in rows if not row["error"]]
        else:
            lines = [json.loads(line) for line in stream]
            (bad,) = [line for line in lines if "error" in line]
            guesses = [
                (line["path"], guess["class"], guess["probability"]) for line in lines for guess in line.get("top", ())
            ]
    assert bad["path"] == str(photos / "bad.jpg")
    assert bad["error"] == expected.unreadable[0].reason
    wanted = [(image.path, guess.label, guess.probability) for image in expected.predictions for guess in image.top]
    assert [guess[:2] for guess in guesses] == [guess[:2] for guess in wanted]
    assert [guess[2] for guess in guesses] == pytest.approx([guess[2] for guess in wanted], abs=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("form", FORMS)
def test_cut_anywhere_and_repeated_every_image_is_there_once(folder: Path, photos: Path, form: str) -> None:
    (photos / "0" / "bad, \n name.jpg").write_text("no image")
    path = photos.parent / f"found.{form}"
    write(folder, photos, path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        done = write(folder, photos, path)
        assert path.read_bytes() == whole, end
        assert done.predicted + done.unreadable + done.there_before == 13


def test_more_images_are_added_and_none_is_predicted_again(folder: Path, photos: Path) -> None:
    path = photos.parent / "found.csv"
    write(folder, photos / "0", path)
    before = path.read_bytes()
    done = write(folder, photos, path, batch_size=5)
    assert (done.predicted, done.there_before) == (6, 6)
    assert path.read_bytes().startswith(before)
    assert set(images_in(path).values()) == {1}
    assert len(images_in(path)) == 12
    again = write(folder, photos, path)
    assert (again.predicted, again.there_before) == (0, 12)


class _Killed(BaseException):
    """As much of a kill as there is within a process."""


class _KillAfter(Callback):
    def predicting(self, done: int, total: int) -> None:
        if done:
            raise _Killed


@pytest.mark.parametrize("form", FORMS)
def test_what_was_written_before_a_stop_is_kept(
    folder: Path, photos: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thawline.prediction.predict._BETWEEN_REPORTS", -1.0)
    path = photos.parent / f"found.{form}"
    with pytest.raises(_Killed):
        write(folder, photos, path, batch_size=4, callback=_KillAfter())
    assert len(images_in(path)) == 4
    assert write(folder, photos, path).there_before == 4
    assert set(images_in(path).values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_killed_and_repeated_every_image_is_there_once(folder: Path, tmp_path: Path, form: str) -> None:
    source = photo(tmp_path / "photos" / "0000.png", 0)
    for number in range(1, 1500):
        os.link(source, source.with_name(f"{number:04}.png"))
    path = tmp_path / f"found.{form}"
    command = [sys.executable, "-m", "thawline", "predict", str(folder), str(source.parent), f"--{form}", str(path)]
    killed = 0
    for wanted in (50_000, 150_000, 300_000, None):
        process = subprocess.Popen([*command, "--batch-size", "8"])
        while process.poll() is None and (wanted is None or not path.exists() or path.stat().st_size < wanted):
            time.sleep(0.02)
        if process.poll() is None:
            process.kill()
            killed += 1
        process.wait()
    assert process.returncode == 0
    assert killed == 3
    counts = images_in(path)
    assert (len(counts), set(counts.values())) == (1500, {1})


def test_predictions_of_another_model_or_top_are_refused_and_kept(folder: Path, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    model = load_model("test_efficientnet", 4, weights="random", image_size=SIZE)
    torch.nn.init.normal_(model.module.get_parameter("classifier.bias"))
    save_model(other, model, CLASSES)
    for form in FORMS:
        path = photos.parent / f"found.{form}"
        write(folder, photos, path)
        whole = path.read_bytes()
        with pytest.raises(OptionError, match=r"holds predictions of another model .*give another file"):
            write(other, photos, path)
        for top in (1, 3):
            with pytest.raises(OptionError, match=r"is of predictions with another `top`"):
                write(folder, photos, path, top=top)
        assert path.read_bytes() == whole
        path.write_bytes(whole[:-1])
        with pytest.raises(OptionError, match=r"holds predictions of another model"):
            write(other, photos, path)
        assert path.read_bytes() == whole[:-1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "content", [b"path,label\nx.png,a\n", b"one line\n", b"no end", b"\x89PNG\r\n\x1a\n", b'{"answer": 1}\n', b"\n"]
)
def test_a_file_of_something_else_is_refused_and_kept(folder: Path, photos: Path, form: str, content: bytes) -> None:
    path = photos.parent / f"found.{form}"
    path.write_bytes(content)
    with pytest.raises(OptionError, match=r"line 1, is not a prediction as `predict` writes them"):
        write(folder, photos, path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("form", FORMS)
def test_damage_in_the_middle_is_refused_and_zeros_at_the_end_are_cut_off(
    folder: Path, photos: Path, form: str
) -> None:
    path = photos.parent / f"found.{form}"
    write(folder, photos, path)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"garbage\n", *lines[3:]]))
    with pytest.raises(OptionError, match=r"line 4, is not a prediction"):
        write(folder, photos, path)
    path.write_bytes(whole[:-200] + bytes(200))
    write(folder, photos, path)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("form", "last"),
    [
        ("csv", b"total,12\r\n"),
        ("csv", b"my,1,own note,so so,\r\n"),
        ("jsonl", b'{"path": "x", "label": "a"}'),
        ("jsonl", b'{"path": "x", "label": "a"}\n'),
    ],
)
def test_a_last_line_that_is_whole_and_not_ours_is_refused_and_kept(
    folder: Path, photos: Path, form: str, last: bytes
) -> None:
    path = photos.parent / f"found.{form}"
    write(folder, photos, path)
    content = path.read_bytes() + last
    path.write_bytes(content)
    with pytest.raises(OptionError, match=r"is not a prediction as `predict` writes them"):
        write(folder, photos, path)
    assert path.read_bytes() == content


def test_a_file_that_is_being_written_or_is_a_folder_is_refused(folder: Path, photos: Path) -> None:
    path = photos.parent / "found.csv"
    with written.opened(path), pytest.raises(OptionError, match="is being written by another command"):
        write(folder, photos, path)
    with pytest.raises(OptionError, match="is not a file"):
        write(folder, photos, photos, form="csv")
    with pytest.raises(OptionError, match=r"must end in \.csv or \.jsonl"):
        write(folder, photos, photos.parent / "found.json")
    with pytest.raises(OptionError, match=r"gone is not a folder; make it first"):
        write(folder, photos, photos.parent / "gone" / "found.csv")


def test_a_disk_that_fills_up_is_a_failed_run_and_a_file_that_cannot_be_opened_bad_input(
    folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = photos.parent / "found.csv"
    with monkeypatch.context() as patch:
        patch.setattr(written, "append", full)
        with pytest.raises(RunError, match=r"found\.csv cannot be written \(No space .*\); free some space"):
            write(folder, photos, path)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(OptionError, match=r"found\.csv cannot be written"):
        write(folder, photos, path)


def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    odd = Prediction(path='=1,\n"x".png', top=[Likelihood(label="=b;\r\nc", probability=0.25)])
    answers: list[written.Answer] = [odd, SkippedFile(path="-x.png", reason="is, empty\n")]
    for form in FORMS:
        path = tmp_path / f"found.{form}"
        with written.opened(path) as stream:
            written.cut_off(stream, form, written.take_up(stream, path, form, 1))
            written.append(stream, form, answers)
        with written.opened(path) as stream:
            found = written.take_up(stream, path, form, 1)
            assert stream.read() == b""
        assert found.first == odd
        assert found.paths == {odd.path, "-x.png"}
        assert found.end == path.stat().st_size
