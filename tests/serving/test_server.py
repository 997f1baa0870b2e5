"""The server of `serve` against friends and enemies: over real sockets on the loopback interface."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pytest_socket import enable_socket

import thawline
from thawline.errors import OptionError
from thawline.serving import server as serving
from thawline.serving.serve import open_server
from thawline.serving.server import BODY_LIMIT, BODY_TYPE, PhotoServer

REPORT = b"<!doctype html><title>the report</title>"
SECRET = b"not for you"


@pytest.fixture(autouse=True)
def _loopback() -> None:
    enable_socket()  # every connection here is to 127.0.0.1


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhotoServer]:
    enable_socket()
    run = tmp_path_factory.mktemp("run")
    (run / "model").symlink_to(folder)
    (run / "report.html").write_bytes(REPORT)
    (run / "secret.txt").write_bytes(SECRET)
    found = open_server(run)
    threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def png() -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 black pixels, which would take 10 GB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    )


Answer = tuple[int, dict[str, str], bytes]


def ask(server: PhotoServer, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """A request with the token, and headers of a browser on the page, unless they are given."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)) as connection:
        given = {"Content-Type": BODY_TYPE} if body is not None else {}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"/{server.token}/{path}", body, given)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def send(server: PhotoServer, text: str, body: bytes = b"") -> bytes:
    """Raw bytes; what comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(text.replace("\n", "\r\n").encode() + body)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_photo_gets_the_classes_that_predict_gives(server: PhotoServer, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png())
    (image,) = thawline.predict(folder, tmp_path / "photo.png").predictions
    status, headers, content = ask(server, "POST", "classes", png(), Origin=f"http://127.0.0.1:{server.server_port}")
    assert (status, headers["content-type"]) == (200, "application/json"), content
    found = json.loads(content)["classes"]
    assert [each["class"] for each in found] == [guess.label for guess in image.top]
    assert [each["probability"] for each in found] == pytest.approx(
        [guess.probability for guess in image.top], abs=1e-5
    )


def test_grad_cam_is_a_picture(server: PhotoServer) -> None:
    status, headers, content = ask(server, "POST", "explanation", png())
    assert (status, headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(content)).size == (224, 224)


def test_the_page_and_the_report_are_shown_under_policies(server: PhotoServer) -> None:
    status, headers, content = ask(server, "GET", "")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"What is in your photo?" in content
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    status, headers, content = ask(server, "GET", "report")
    assert (status, content) == (200, REPORT)
    assert headers["content-security-policy"].startswith("sandbox allow-scripts")
    status, headers, content = ask(server, "HEAD", "")
    assert (status, content) == (200, b"")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "report"), ("POST", "classes"), ("GET", "gone")])
def test_every_answer_has_the_headers_that_keep_others_out(server: PhotoServer, method: str, path: str) -> None:
    _, headers, _ = ask(server, method, path, png() if method == "POST" else None)
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert not any(name.startswith("access-control") for name in headers)
    assert "python" not in headers["server"].lower()


HOSTILE: dict[str, tuple[int, dict[str, Any]]] = {
    "foreign host": (421, {"Host": "evil.example"}),
    "this machine under a foreign name": (421, {"Host": "evil.example:{port}"}),
    "another port": (421, {"Host": "127.0.0.1:1"}),
    "host with a user": (421, {"Host": "127.0.0.1:{port}@evil.example"}),
    "foreign origin": (403, {"Origin": "http://evil.example"}),
    "origin of another port": (403, {"Origin": "http://127.0.0.1:1"}),
    "origin null of a file or sandbox": (403, {"Origin": "null"}),
    "origin of another scheme": (403, {"Origin": "https://127.0.0.1:{port}"}),
    "another site, says the browser": (403, {"Sec-Fetch-Site": "cross-site"}),
    "a form of another page": (415, {"Content-Type": "multipart/form-data; boundary=x"}),
    "a simple request of another page": (415, {"Content-Type": "text/plain"}),
    "a gigabyte declared": (413, {"Content-Length": str(2**30)}),
    "a body without end": (411, {"Content-Length": None, "Transfer-Encoding": "chunked"}),
    "no length": (411, {"Content-Length": None}),
    "a negative length": (400, {"Content-Length": "-1"}),
    "a length of digits without end": (400, {"Content-Length": "9" * 500}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused(server: PhotoServer, case: str) -> None:
    status, changed = HOSTILE[case]
    headers = {
        "Host": f"127.0.0.1:{server.server_port}",
        "Content-Type": BODY_TYPE,
        "Content-Length": str(len(png())),
        **changed,
    }
    lines = [f"{name}: {value.format(port=server.server_port)}" for name, value in headers.items() if value is not None]
    head = "\n".join([f"POST /{server.token}/classes HTTP/1.1", *lines, "", ""])
    body = b"" if case == "a gigabyte declared" else png()
    answer = send(server, head, body)
    assert answer.startswith(f"HTTP/1.0 {status} ".encode()), answer[:200]
    assert b'"class"' not in answer


@pytest.mark.parametrize("double", ["Host: evil.example", "Content-Length: 5", "Content-Type: text/plain"])
def test_two_headers_of_one_name_are_refused(server: PhotoServer, double: str) -> None:
    host = f"Host: 127.0.0.1:{server.server_port}"
    head = f"POST /{server.token}/classes HTTP/1.1\n{host}\nContent-Type: {BODY_TYPE}\nContent-Length: 3\n{double}\n\n"
    assert send(server, head, b"abc").split()[1] in (b"421", b"411", b"415")


@pytest.mark.parametrize(
    "path",
    [
        "/", "/report", "/classes", "/wrong/", "/wrong/classes", "//", "/{token}", "/{token}x/",
        "/{token}/../report.html", "/{token}/%2e%2e/secret.txt", "/{token}/secret.txt", "/{token}/./secret.txt",
        "/{token}//etc/passwd", "/{token}/report/../../secret.txt", "/{token}/..\\secret.txt", "/{token}/report.html",
        "http://evil.example/{token}x/", "/{token}/classes%00",
    ],
)  # fmt: skip
def test_without_the_token_or_by_another_name_nothing_is_found(server: PhotoServer, path: str) -> None:
    place = path.format(token=server.token)
    answer = send(server, f"GET {place} HTTP/1.1\nHost: 127.0.0.1:{server.server_port}\n\n")
    assert answer.startswith(b"HTTP/1.0 404 ")
    assert SECRET not in answer
    assert server.token.encode() not in answer


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "POST", "BREW"])
@pytest.mark.parametrize("path", ["", "report"])
def test_other_methods_are_refused(server: PhotoServer, method: str, path: str) -> None:
    status, _, content = ask(server, method, path)
    assert status == (501 if method == "BREW" else 405)
    assert REPORT not in content
    assert ask(server, "GET", "classes")[0] == 405


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "cannot be read as an image (the file is empty)"),
        (b"no image", "not an image format that Pillow knows"),
        (png()[:200], "cannot be read as an image"),
        (bomb(), "cannot be read as an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image format"),
    ],
)
@pytest.mark.parametrize("path", ["classes", "explanation"])
def test_what_is_no_image_is_said(server: PhotoServer, path: str, body: bytes, said: str) -> None:
    status, _, content = ask(server, "POST", path, body)
    assert status == 422
    assert said.partition(" (")[0] in json.loads(content)["error"] or said in json.loads(content)["error"]


def test_a_large_photo_that_is_sent_gets_the_refusal(server: PhotoServer) -> None:
    begun = bytes(2**20)
    status, _, content = ask(server, "POST", "classes", begun, Content_Length=str(BODY_LIMIT + 1))
    assert status == 413
    assert json.loads(content)["error"] == "This file is larger than 32 MiB, the limit here."


def test_what_trickles_in_is_cut_off(server: PhotoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow loris: a byte now and then keeps a connection for `SECONDS_TO_ASK`, however often it comes."""
    monkeypatch.setattr(serving, "SECONDS_TO_ASK", 0.3)
    for head in ("GET / HT", f"POST /{server.token}/classes HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
                 f"Content-Type: {BODY_TYPE}\r\nContent-Length: 1000\r\n\r\n"):  # fmt: skip
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
            connection.sendall(head.encode())
            start = time.monotonic()
            while time.monotonic() - start < 3:
                try:
                    connection.sendall(b"x")
                    connection.settimeout(0.05)
                    if (answer := connection.recv(100)) in (b"",) or b"408" in answer:
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            assert 0.2 < time.monotonic() - start < 2


def test_a_crowd_is_turned_away_and_the_server_lives(server: PhotoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SECONDS_TO_ASK", 1.0)
    address = ("127.0.0.1", server.server_port)
    crowd = [socket.create_connection(address, timeout=5) for _ in range(serving.CONNECTIONS + 4)]
    try:
        assert [connection.recv(1) for connection in crowd[serving.CONNECTIONS :]] == [b""] * 4
    finally:
        for connection in crowd:
            connection.close()
    for _ in range(100):
        try:
            assert ask(server, "GET", "")[0] == 200
            break
        except OSError:
            time.sleep(0.02)
    else:
        pytest.fail("the server never answered again")


def test_a_request_that_was_answered_cannot_trickle_on(server: PhotoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SECONDS_FOR_REST", 0.3)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        start = time.monotonic()
        with suppress(OSError):  # reset, or a broken pipe
            while time.monotonic() - start < 3:
                connection.sendall(b"x")
                time.sleep(0.02)
        assert 0.2 < time.monotonic() - start < 2


def test_an_address_with_a_host_and_headers_behind_one_that_is_none_are_refused(server: PhotoServer) -> None:
    host = f"Host: 127.0.0.1:{server.server_port}"
    for place in ("http://[", f"http://evil.example/{server.token}/"):
        assert b" 404 " in send(server, f"GET {place} HTTP/1.1\n{host}\n\n")[:20]
    hidden = f"GET /{server.token}/ HTTP/1.1\n{host}\nno header\nOrigin: http://evil.example\n\n"
    assert b" 400 " in send(server, hidden)[:20]


def test_nonsense_is_refused(server: PhotoServer) -> None:
    for text in (
        "\n\n",
        "GET\n\n",
        "hello there general\n\n",
        "GET / HTTP/9.9\n\n",
        f"GET /{'x' * 70_000} HTTP/1.1\n\n",
    ):
        answer = send(server, text)
        assert b" 200 " not in answer[:20]
    many = "".join(f"X-{number}: y\n" for number in range(300))
    assert b" 431 " in send(server, f"GET / HTTP/1.1\n{many}\n")[:20]


def test_an_error_inside_is_said_and_the_next_photo_works(server: PhotoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(photo: bytes) -> None:
        raise RuntimeError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(server.answers, "classes", broken)
        status, _, content = ask(server, "POST", "classes", png())
    assert (status, json.loads(content)["error"]) == (500, "This photo failed (RuntimeError: no luck).")
    assert ask(server, "POST", "classes", png())[0] == 200


def test_it_listens_on_loopback_alone_and_a_port_that_is_taken_is_one_line(server: PhotoServer, folder: Path) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.token) >= 32
    with pytest.raises(OptionError, match=rf"cannot listen on `port` {server.server_port} "):
        open_server(folder, port=server.server_port)


@pytest.mark.slow
def test_the_command_prints_the_address_and_ends_with_ctrl_c(folder: Path) -> None:
    command = [sys.executable, "-m", "thawline", "serve", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("Stopped.\n")
