"""`push` against a stand-in for the Hub on this machine, which speaks what huggingface_hub asks of it."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from pytest_socket import enable_socket

from tests.small_runs import save_model
from thawline.cli import app
from thawline.errors import ModelError, OptionError, RunError, RunFolderError
from thawline.exports.own_folder import OWN_FILE
from thawline.model.load import load_model
from thawline.runs.hub import send, shipment

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub, of its client
REPOSITORY = "thaw/flowers"
EXPECTED = ["README.md", "SHA256SUMS", "config.json", "labels.txt", "model.safetensors", "thawline.json"]


class StandIn(ThreadingHTTPServer):
    """A hub in memory."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[tuple[str, str]] = []
        self.tokens: set[str | None] = set()
        self.private: bool | None = None
        """None = the repository does not exist."""
        self.stored: dict[str, bytes] = {}
        """Large files by SHA-256."""
        self.files: dict[str, bytes] = {}
        """What the last commit holds."""
        self.forbids = False


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        self._note()
        self._json({"id": REPOSITORY, "private": self.server.private, "sha": "a" * 40, "siblings": [], "tags": []})

    def do_PUT(self) -> None:
        self._note()
        content = self._content()
        self.server.stored[hashlib.sha256(content).hexdigest()] = content
        self._json({})

    def do_POST(self) -> None:
        self._note()
        content = self._content()
        if self.path == "/api/repos/create":
            self._create(json.loads(content))
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(content)["files"]]
            modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
            self._json({"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(content)["objects"]
            upload = {"upload": {"href": f"{self.server.endpoint}/storage"}}
            self._json({"transfer": "basic", "objects": [{**each, "actions": upload} for each in objects]})
        elif "/commit/" in self.path:
            self._commit([json.loads(line) for line in content.splitlines()])
        else:
            self._json({"error": self.path}, 404)

    def _create(self, asked: dict[str, object]) -> None:
        if self.server.forbids:
            self._json({"error": "no right to write"}, 403)
        elif self.server.private is not None:
            self._json({"url": f"{self.server.endpoint}/{REPOSITORY}", "error": "exists"}, 409)
        else:
            self.server.private = asked.get("visibility") == "private" or asked.get("private") is True
            self._json({"url": f"{self.server.endpoint}/{REPOSITORY}", "id": REPOSITORY})

    def _commit(self, lines: list[dict[str, dict[str, str]]]) -> None:
        for line in lines[1:]:
            value = line["value"]
            is_large = "oid" in value
            content = self.server.stored[value["oid"]] if is_large else base64.b64decode(value["content"])
            self.server.files[value["path"]] = content
        self._json({"commitUrl": f"{self.server.endpoint}/{REPOSITORY}/commit/{'b' * 40}", "commitOid": "b" * 40})

    def _content(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(parts)

    def _note(self) -> None:
        self.server.asked.append((self.command, self.path))
        self.server.tokens.add(self.headers.get("Authorization"))

    def _json(self, value: object, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    enable_socket()  # for the stand-in on 127.0.0.1
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")


@pytest.fixture
def hub() -> Iterator[StandIn]:
    found = StandIn()
    threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "run" / "model"
    with torch.random.fork_rng(devices=[]):
        save_model(path, load_model("test_efficientnet", 2, weights="random", image_size=32), ("a", "b"))
    (path / ".lock.sums").write_text("")
    (path.parent / "splits.csv").write_text("path\nsecret.png\n")
    return path.parent


def test_exactly_the_model_is_sent_to_a_private_repository(hub: StandIn, saved: Path) -> None:
    what = shipment(saved, REPOSITORY, endpoint=hub.endpoint)
    assert [name for name, _ in what.files] == EXPECTED
    assert what.size == sum((saved / "model" / name).stat().st_size for name in EXPECTED)
    assert hub.asked == []
    assert send(what) == f"{hub.endpoint}/{REPOSITORY}"
    assert hub.private is True
    assert hub.files == {name: (saved / "model" / name).read_bytes() for name in EXPECTED}
    assert "Bearer hf_of_the_test" in hub.tokens


def test_a_public_repository_gets_nothing_private(hub: StandIn, saved: Path) -> None:
    hub.private = False
    with pytest.raises(OptionError, match=r"thaw/flowers is public, so everyone could see"):
        send(shipment(saved, REPOSITORY, endpoint=hub.endpoint))
    assert hub.files == {}
    send(shipment(saved, REPOSITORY, public=True, endpoint=hub.endpoint))
    assert "model.safetensors" in hub.files
    hub.private = None
    send(shipment(saved, REPOSITORY, public=True, endpoint=hub.endpoint))
    assert hub.private is False


def test_a_refusal_is_one_line(hub: StandIn, saved: Path) -> None:
    hub.forbids = True
    with pytest.raises(RunError, match=r"rejected thaw/flowers .*log in with `hf auth login`") as refused:
        send(shipment(saved, REPOSITORY, endpoint=hub.endpoint))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["flowers", "a/b/c", "../up", "a/b?", "", "http://x/y"])
def test_what_names_no_repository_is_refused(saved: Path, name: str) -> None:
    with pytest.raises(OptionError, match="is not the name of a Hub repository; write ORGANISATION/NAME"):
        shipment(saved, name)


def test_code_of_the_user_and_folders_without_a_model_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="does not contain a model"):
        shipment(tmp_path, REPOSITORY)
    shutil.copytree(saved / "model", tmp_path / "own")
    (tmp_path / "own" / OWN_FILE).write_text("{}")
    with pytest.raises(ModelError, match="needs your own Python code"):
        shipment(tmp_path / "own", REPOSITORY)


def test_links_are_not_followed(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "model", tmp_path / "model")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "model" / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert [name for name, _ in shipment(tmp_path, REPOSITORY).files] == EXPECTED


def run(arguments: list[object], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["thawline", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        app.main()
    return int(end.value.code or 0)


def test_the_command_lists_first_and_sends_nothing_without_a_yes(
    hub: StandIn, saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", hub.endpoint)
    assert run(["push", saved, REPOSITORY], monkeypatch) == 2
    said = capsys.readouterr()
    assert f"Upload to {hub.endpoint}/{REPOSITORY}, visible to only people with access (private):" in said.out
    assert [line.split()[-1] for line in said.out.splitlines()[1:-1]] == EXPECTED
    assert said.err == "thawline: nothing was uploaded; answer y, or pass --yes.\n"
    assert hub.asked == []
    assert run(["push", saved, REPOSITORY, "--yes"], monkeypatch) == 0
    assert capsys.readouterr().out.endswith(f"{hub.endpoint}/{REPOSITORY}\n")
    assert "model.safetensors" in hub.files
