"""A file of a run that was changed since it was written is one line; a run without digests is read as it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from tests.small_runs import Stop, small_request
from thawline import api
from thawline.callback import Callback
from thawline.config import Request
from thawline.errors import InputError, RunFolderError
from thawline.records import write_bytes
from thawline.runs import sealed
from thawline.runs.experiment import Experiment
from thawline.runs.folder import RunFolder
from thawline.runs.sealed import LOCK, digests, is_expected, proved, publish, updating
from thawline.sums import SUMS_FILE

ROWS = ("linear_probe", "full")


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "fit"
    api.run(replace(small_request(images, ("linear_probe",), "fit"), explain=True), run)
    api.evaluate(run, str(images))
    return run


@pytest.fixture(scope="module")
def stopped(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison with two of its trainings."""
    run = tmp_path_factory.mktemp("runs") / "compare"
    with pytest.raises(KeyboardInterrupt):
        api.run(small_request(images, ROWS, learning_rate=1e-3), run, Stop(1))
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_sha256sum_agrees_with_every_file(finished: Path) -> None:
    named = {*digests(finished), *(f"explain/{name}" for name in digests(finished / "explain"))}
    rest = {"ledger.journal", "report.html", LOCK, f"explain/{LOCK}", SUMS_FILE, f"explain/{SUMS_FILE}", ".lock"}
    found = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert {name for name in found - rest if not name.startswith(("model/", "evaluations/"))} == named
    for folder in (finished, finished / "explain"):
        done = subprocess.run(["sha256sum", "--strict", "-c", SUMS_FILE], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def _change_a_digit(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"[0-8](?!.*\d)", lambda found: str(int(found[0]) + 1), text, count=1), encoding="utf-8")


PUT: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "an empty file": Path.touch,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
}
"""What is put in the place of a file."""
READERS = {
    "report": ("results.json", "check.json", "explain.json", "thumbnails.json", "predictions.csv"),
    "evaluate": ("results.json", "splits.csv", "evaluations.json"),
    "explain": ("results.json", "run.json", "splits.csv"),
    "resume": ("results.json", "run.json"),
}
CASES = [
    (verb, name, damage)
    for verb, names in READERS.items()
    for name in names
    for damage in ("a digit", *PUT)
    if not (damage == "nothing" and name in ("results.json", "run.json"))  # not finished, or not a run: that is said
]


@pytest.mark.parametrize(("verb", "name", "damage"), CASES)
def test_a_file_that_changed_is_refused(run: Path, images: Path, verb: str, name: str, damage: str) -> None:
    read: dict[str, Callable[[], object]] = {
        "report": lambda: api.report(run),
        "evaluate": lambda: api.evaluate(run, str(images)),
        "explain": lambda: api.explain(run, images / "val" / "red" / "0.png"),
        "resume": lambda: api.resume(run),
    }
    if damage == "a digit":
        _change_a_digit(run / name)
    else:
        (run / name).unlink()
        PUT[damage](run / name)
    with pytest.raises(RunFolderError, match=rf"{name} .*SHA256SUMS|{name} is missing") as refused:
        read[verb]()
    assert "\n" not in str(refused.value)


def test_a_picture_that_changed_is_refused(run: Path) -> None:
    picture = next((run / "explain").glob("*-after.png"))
    picture.write_bytes(picture.read_bytes()[:-20])
    with pytest.raises(RunFolderError, match=picture.name):
        api.report(run)


def test_without_digests_a_run_opens_as_before(run: Path, images: Path) -> None:
    for folder in (run, run / "explain"):
        (folder / SUMS_FILE).unlink()
    (run / "check.json").unlink()
    assert api.report(run).is_file()
    assert api.evaluate(run, str(images)).seen == {}
    assert api.resume(run).digest


@pytest.mark.parametrize("text", ["x", "0" * 64, f"{'0' * 64}  ../results.json\n", "\0"])
def test_digests_that_are_none_are_refused(run: Path, text: str) -> None:
    (run / SUMS_FILE).write_text(text)
    with pytest.raises(RunFolderError, match=r"SHA256SUMS (is damaged|cannot be read)"):
        api.report(run)


EDITS: dict[str, Callable[[Request], Request]] = {
    "verb": lambda request: replace(request, verb="fit", strategies=("linear_probe",)),
    "strategies": lambda request: replace(request, strategies=("full", "linear_probe")),
    "augment": lambda request: replace(request, images=replace(request.images, augment="none")),
    "seeds": lambda request: replace(request, search=replace(request.search, seeds=2)),
    "explain": lambda request: replace(request, explain=True),
    "epochs": lambda request: replace(request, train=replace(request.train, epochs=3)),
    "data": lambda request: replace(request, data="elsewhere"),
}


@pytest.mark.parametrize("option", EDITS)
def test_an_edited_request_is_refused_by_name(stopped: Path, tmp_path: Path, option: str) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    folder = RunFolder(run)
    edited = EDITS[option](folder.request())
    sums = (run / SUMS_FILE).read_bytes()
    folder.store(edited)
    (run / SUMS_FILE).write_bytes(sums)
    with pytest.raises(RunFolderError, match=f"run.json was edited: .*`{option}` is"):
        api.resume(run)
    (run / SUMS_FILE).unlink()  # the ledger knows it, too
    with pytest.raises((RunFolderError, InputError), match=f"`{option}` is|elsewhere"):
        api.resume(run)


@pytest.mark.thorough
def test_strategies_may_be_added_and_images_may_move(stopped: Path, images: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    moved = Path(shutil.copytree(images, tmp_path / images.name))
    folder = RunFolder(run)
    folder.store(replace(folder.request(), data=str(moved)))
    rows = api.resume(run, add=["norm_only"]).rows
    assert [row.strategy for row in rows] == ["linear_probe", "full", "norm_only"]


def test_a_process_killed_while_it_writes_leaves_nothing_that_looks_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    for writes in range(3):
        publish(path, b"old")

        def write(path: Path, content: bytes, left: list[int] = list(range(writes))) -> None:  # noqa: B006
            left.pop()  # raises IndexError when it is time to die
            write_bytes(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(sealed, "write_bytes", write)
            with pytest.raises(IndexError):
                publish(path, b"new")
        assert proved(path).read_bytes() == (b"new" if writes == 2 else b"old")


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    def count() -> None:
        for _ in range(5):
            with updating(tmp_path):
                number = int(proved(tmp_path / "n").read_bytes()) if is_expected(tmp_path / "n") else 0
                publish(tmp_path / "n", b"%d" % (number + 1))

    children = []
    for _ in range(3):
        if (child := os.fork()) == 0:
            count()
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert proved(tmp_path / "n").read_bytes() == b"15"


class Notes(Callback):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def _damage_weights_and_scores(run: Path) -> None:
    (weights,), (scores,) = (list((run / name).iterdir()) for name in ("checkpoints", "evaluations"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    scores.write_bytes(scores.read_bytes()[:-1] + b"\1")


@pytest.mark.thorough
def test_damaged_weights_and_scores_are_computed_again_and_that_is_said(
    stopped: Path, images: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    _damage_weights_and_scores(run)
    notes = Notes()
    resumed = api.resume(run, notes)
    assert resumed.digest == api.run(small_request(images, ROWS, learning_rate=1e-3), tmp_path / "whole").digest
    assert [note.partition(" has changed ")[2] for note in notes.said if "has changed" in note] == [
        "since it was written; computing it again from the weights.",
        "since it was written; training it again.",
    ]


def test_what_comes_out_differently_is_refused(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    _damage_weights_and_scores(run)
    different = lambda self, record, **_: (replace(record, checkpoint="0" * 64), None)  # noqa: E731
    monkeypatch.setattr(Experiment, "go_on", different)
    with pytest.raises(RunFolderError, match="training it again gave different weights; start a new run"):
        api.resume(run)


@pytest.mark.parametrize(
    "content", [b"", b"x" * 100, save({"head.weight": torch.zeros(3)}), save({"x": torch.ones(1)})]
)
def test_damaged_weights_without_a_digest_are_refused(stopped: Path, tmp_path: Path, content: bytes) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    ledger = run / "ledger.journal"
    without = re.sub(rb',"sha256":"\w{64}"', b"", ledger.read_bytes())
    ledger.write_bytes(re.sub(rb'"checkpoint":"\w{64}"', b'"checkpoint":""', without))
    (weights,), (scores,) = (list((run / name).iterdir()) for name in ("checkpoints", "evaluations"))
    scores.unlink()
    weights.write_bytes(content)
    with pytest.raises(RunFolderError, match=rf"{weights.name} (is damaged|does not fit the model)"):
        api.resume(run)
