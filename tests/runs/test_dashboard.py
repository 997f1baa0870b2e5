"""The dashboard can delete everything it shows, and the run stays as it was."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from thawline.errors import OptionError, RunFolderError
from thawline.records import EpochRecord, TrainingRecord
from thawline.runs import dashboard
from thawline.runs.files import LEDGER
from thawline.runs.ledger import Ledger


@pytest.fixture
def run(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path / LEDGER)
    epoch = EpochRecord(0, 0.5, 0.5, 0.75, 0.75)
    ledger.add(TrainingRecord("key", "final", "full", 1e-3, 0, {}, (epoch,), best_epoch=0))
    return tmp_path


def asked(application: Any, method: str, path: str) -> tuple[str, bytes]:
    """Status and body of a request."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": BytesIO()}
    setup_testing_defaults(environ)
    status: list[str] = []
    body = application(environ, lambda line, headers, *_: status.append(line))
    return status[0], b"".join(body)


def test_deleting_in_the_dashboard_leaves_the_ledger_as_it_was(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is absent: it is in the `dashboard` extra")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with dashboard.copied_dashboard(run) as application:
        (study,) = json.loads(asked(application, "GET", "/api/studies")[1])["study_summaries"]
        status, _ = asked(application, "DELETE", f"/api/studies/{study['study_id']}")
        assert status.startswith("204")
        assert json.loads(asked(application, "GET", "/api/studies")[1])["study_summaries"] == []
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert [record.key for record in Ledger(run / LEDGER).records] == ["key"]


def test_a_folder_without_a_ledger_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not a run folder"), dashboard.copied_dashboard(tmp_path):
        pass


class ServedError(Exception):
    """In place of serving forever."""


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is absent: it is in the `dashboard` extra")

    def stop(*_: object) -> None:
        raise ServedError

    monkeypatch.setattr("socketserver.BaseServer.serve_forever", stop)
    return []


@pytest.mark.enable_socket
def test_only_this_machine_can_reach_it(run: Path, addresses: list[str]) -> None:
    with pytest.raises(ServedError):
        dashboard.serve(run, 0, addresses.append)
    assert addresses[0].startswith("http://127.0.0.1:")


@pytest.mark.enable_socket
def test_a_port_that_is_taken_is_one_line(run: Path, addresses: list[str]) -> None:
    import socket

    with socket.create_server((dashboard.HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OptionError, match=f"^`port` {port} cannot be used"):
            dashboard.serve(run, port, addresses.append)
