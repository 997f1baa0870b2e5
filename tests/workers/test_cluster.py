"""A cluster of Ray: what it is asked of, and that a node that goes takes nothing with it but what it was doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.cluster import alone, longest_idle, trial
from thawline import telemetry
from thawline.config import WorkerOptions
from thawline.errors import MissingExtraError, OptionError
from thawline.runs.files import LEDGER
from thawline.runs.workforce import opened_workers
from thawline.workers import cluster
from thawline.workers.pool import Stint


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    refused = pytest.raises(MissingExtraError, match=r"pip install 'thawline\[ray\]'")
    with refused, opened_workers(WorkerOptions(ray="local")):
        pass


def test_rays_telemetry_is_off_before_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(telemetry.RAY, raising=False)
    monkeypatch.setattr(cluster, "import_module", lambda name: os.environ[telemetry.RAY])
    assert cluster._ray() == "0"
    monkeypatch.setenv(telemetry.RAY, "1")
    assert cluster._ray() == "1", "what the user has set stands"


@pytest.mark.slow
def test_ray_is_not_imported_without_being_asked_for() -> None:
    script = "import sys, thawline.api; assert not {'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_worker_is_idle_only_while_a_task_waits() -> None:
    quick = [Stint("a", 0, 0, 1, False), Stint("a", 0, 1, 2, False), Stint("b", 0, 0, 3, False)]
    assert longest_idle(quick) == 0
    slow = [Stint("a", 0, 0, 1, False), Stint("a", 0, 4, 5, False), Stint("b", 0, 0, 3, False)]
    assert longest_idle(slow) == 3, "from 1 to 4, for the task that it began then"
    nothing_to_do = [Stint("a", 0, 0, 1, False), Stint("a", 4, 4, 5, False)]
    assert longest_idle(nothing_to_do) == 0


@pytest.mark.slow
def test_a_node_that_is_removed_in_mid_task_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, socket_enabled: None
) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    found = trial(tmp_path)
    assert found["digest"] == alone()
    assert sorted(loss["place"] for loss in found["lost"]) == sorted(found["workers_lost_while_training"])
    assert found["worked_on_the_new_node"]
    assert found["longest_idle_while_tasks_waited"] < 5


@pytest.mark.slow
def test_an_address_without_a_cluster_is_refused(socket_enabled: None) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    refused = pytest.raises(OptionError, match=r"`ray` 127\.0\.0\.1:1: no cluster can be reached")
    with refused, opened_workers(WorkerOptions(ray="127.0.0.1:1")):
        pass


@pytest.mark.slow
def test_ctrl_c_ends_the_cluster_too(images: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    options = ("--model", "test_efficientnet", "--weights", "random", "--image-size", "32", "--epochs", "20")
    command = [sys.executable, "-m", "thawline", "compare", str(images), *options, "--out", str(tmp_path / "run")]
    with subprocess.Popen(
        [*command, "--ray", "local", "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        journal = tmp_path / "run" / LEDGER
        while process.poll() is None and not (journal.exists() and b'"ahead:' in journal.read_bytes()):
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "thawline: interrupted; `thawline resume" in said
    deadline = time.monotonic() + 30
    while _of_session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _of_session(process.pid)


def _of_session(session: int) -> list[str]:
    """Processes of a session that still run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(state[3]) == session and state[0] != "Z":
            found.append((process / "cmdline").read_text()[:80])
    return found
