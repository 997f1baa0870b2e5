"""A run of two processes that torchrun starts: the answer of one but for rounding, and an end when one is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import HashStore  # type: ignore[attr-defined]  # torch's documentation names it so

from thawline.errors import RunError
from thawline.records import read_json
from thawline.results import FitResults
from thawline.runs.files import RESULTS, read
from thawline.runs.processes import Processes, joined

OPTIONS = (
    *("--model", "test_efficientnet", "--weights", "random", "--image-size", "32", "--device", "cpu", "--threads", "1"),
    *("--batch-size", "8", "--patience", "0", "--norm", "kept", "--strategy", "last_blocks:k=3", "--no-explain"),
)
LIMIT = 600
"""Seconds after which a command counts as one that hangs."""
IMAGES = "it has no images"


@pytest.fixture
def both() -> tuple[Processes, Processes]:
    """Two processes that share a store, in one."""
    store = HashStore()
    first, second = (Processes(rank, 2, store, preparing=timedelta(seconds=0.2)) for rank in range(2))
    return first, second


def _never(*_: object) -> NoReturn:
    raise AssertionError("nothing is trained")


def test_the_others_learn_how_a_run_ended(both: tuple[Processes, Processes], tmp_path: Path) -> None:
    first, second = both
    with first.leading(tmp_path / "one"):
        pass
    assert second.follow(_never) == tmp_path / "one"
    with pytest.raises(KeyboardInterrupt), first.leading(tmp_path / "two"):
        raise KeyboardInterrupt
    with pytest.raises(RunError, match="process 0 could not finish the run"):
        second.follow(_never)


def test_who_cannot_take_part_or_does_not_answer_is_named(both: tuple[Processes, Processes]) -> None:
    first, second = both
    with pytest.raises(RunError, match="process 1 of 2 did not answer for"):
        first._hear("ready", first.preparing)
    second._say("ready", f"{IMAGES}.")
    with pytest.raises(RunError, match=f"process 1 of 2 cannot take part: {IMAGES}.$"):
        first._hear("ready", first.preparing)
    second._say("stopped", "process 1 of 2 ran out of memory")
    with pytest.raises(RunError, match="process 1 of 2 ran out of memory"):
        first._hear("weights", first.preparing)
    assert first._why_stopped() == "process 1 of 2 ran out of memory"


def test_a_process_that_is_alone_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert joined.__wrapped__() is None


def _command(images: Path, out: Path, epochs: int) -> list[str]:
    return ["thawline", "fit", str(images), "--out", str(out), "--epochs", str(epochs), *OPTIONS]


def _start(command: list[str], output: Path, processes: int = 1) -> subprocess.Popen[bytes]:
    """A command of the command line, by torchrun with several processes; what it writes goes to `output`."""
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    launched = [sys.executable, "-m", *(torchrun if processes > 1 else ()), *command]
    with output.open("wb") as stream:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(launched, stdout=stream, stderr=subprocess.STDOUT, env=environment)


def _done(command: list[str], output: Path, processes: int = 1) -> str:
    process = _start(command, output, processes)
    assert process.wait(LIMIT) == 0, output.read_text()
    return output.read_text()


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(images: Path, tmp_path: Path) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    _done(_command(images, alone, epochs=17), tmp_path / "alone.txt")  # 51 steps
    said = _done(_command(images, both, epochs=17), tmp_path / "both.txt", processes=2)
    assert said.count("2 processes train last_blocks:k=3,norm=kept together") == 1
    assert said.count("All results are in") == 1, "only one process writes to the screen"

    one, two = (read(run / RESULTS["fit"], FitResults) for run in (alone, both))
    assert (one.processes, two.processes) == (None, 2)
    assert two.answer.endswith("trained by 2 processes.")
    assert two.frozen_bit_identical
    assert one.digest != two.digest

    weights, others = (load_file(run / "model" / "model.safetensors") for run in (alone, both))
    furthest = max((weights[name] - others[name]).abs().max().item() for name in weights)
    assert 0 < furthest < 1e-4
    frozen = tuple(f"{row.name}." for row in two.blocks if row.frozen)
    assert any(name.startswith(frozen) for name in weights)
    assert all(torch.equal(weights[name], others[name]) for name in weights if name.startswith(frozen))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the rank of a process is read from /proc")
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_run_and_resume_continues_it(images: Path, tmp_path: Path, lost: int) -> None:
    out, output = tmp_path / "run", tmp_path / "output.txt"
    process = _start(_command(images, out, epochs=25), output, processes=2)
    _wait_for("processes train", output)
    time.sleep(0.5)
    os.kill(_rank(process.pid, lost), signal.SIGKILL)
    assert process.wait(LIMIT) != 0
    assert not (out / RESULTS["fit"]).exists()
    ended = [line for line in output.read_text().splitlines() if line.startswith("thawline: ")]
    assert len(ended) <= 1, ended
    assert all("`thawline resume" in line for line in ended)

    _done(["thawline", "resume", str(out)], tmp_path / "resumed.txt", processes=2)
    whole = tmp_path / "whole"
    _done(_command(images, whole, epochs=25), tmp_path / "whole.txt", processes=2)
    assert read_json(out / RESULTS["fit"])["digest"] == read_json(whole / RESULTS["fit"])["digest"]


@pytest.mark.slow
def test_a_process_with_other_images_cannot_take_part(images: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text(
        "import os, shutil\n"
        "if os.environ.get('RANK') == '1':\n"
        "    import thawline.runs.processes as processes\n"
        "    made = processes._Opened.experiment\n"
        "    def experiment(self, request):\n"
        "        found = made(self, request)\n"
        "        found.data_fingerprint = 'other'\n"
        "        return found\n"
        "    processes._Opened.experiment = experiment\n"
    )
    output = tmp_path / "output.txt"
    before = os.environ.get("PYTHONPATH", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{other}{os.pathsep}{before}")
        process = _start(_command(images, tmp_path / "run", epochs=2), output, processes=2)
    assert process.wait(LIMIT) != 0
    assert "has other images, weights or settings than process 0" in output.read_text()


def _wait_for(words: str, output: Path) -> None:
    begun = time.monotonic()
    while words not in output.read_text():
        assert time.monotonic() - begun < LIMIT, output.read_text()
        time.sleep(0.1)


def _rank(launcher: int, rank: int) -> int:
    """The process that torchrun started with this rank."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    environments = {int(child): Path(f"/proc/{child}/environ").read_bytes().split(b"\0") for child in children}
    return next(child for child, environment in environments.items() if f"RANK={rank}".encode() in environment)
