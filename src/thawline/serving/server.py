"""The web server of `serve`, for one person on this machine; whatever else reaches it is refused.

It listens on 127.0.0.1 alone. Other pages in the same browser can send requests there, so the URL has a token that only
the person knows, `Host` must name this machine (a foreign name may resolve to it), `Origin` must be this page, and
bodies have a type that no other page may send unasked. It opens no file by a name from the network.
"""

from __future__ import annotations

import hmac
import io
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from thawline.data.decode import UnreadableError
from thawline.errors import OptionError, ThawlineError
from thawline.results import plain
from thawline.serving.answers import Answers
from thawline.serving.page import PAGE_POLICY, REPORT_POLICY, page
from thawline.visible import visible

ADDRESS = "127.0.0.1"
BODY_LIMIT = 32 * 2**20
"""Largest photo in bytes."""
SECONDS_TO_ASK = 15.0
"""For a whole request, body included: what trickles in is cut off."""
SECONDS_TO_SEND = 15.0
SECONDS_FOR_REST = 1.0
"""For what a client still sends of a request that has its answer."""
CONNECTIONS = 16
"""At the same time."""
BODY_TYPE = "application/octet-stream"
"""A page of another origin needs permission to send this, which it does not get."""
_LEFT_OVER = 2**20
"""Bytes of a refused body that are read away, so that the refusal arrives."""


@dataclass(frozen=True)
class Reply:
    """What is sent back."""

    status: HTTPStatus
    content: bytes
    kind: str = "application/json"
    policy: str = "default-src 'none'; frame-ancestors 'none'"
    """Content-Security-Policy."""


class RefusedError(Exception):
    """A request that gets no answer but this."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class PhotoServer(ThreadingHTTPServer):
    """Serves one model, and the report beside it, until it is shut down."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 2 * CONNECTIONS

    def __init__(self, answers: Answers, title: str, report: Path | None, port: int = 0) -> None:
        """Listen on a port; 0 = any that is free. Raises `OptionError` if it is taken."""
        self.answers = answers
        self.report = report
        self.token = secrets.token_urlsafe(24)
        self.page = page(answers, title=title, report=report is not None).encode()
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        try:
            super().__init__((ADDRESS, port), Handler)
        except (OSError, OverflowError) as error:
            raise OptionError(
                f"cannot listen on `port` {port} ({error}); choose another, or 0 for any free one."
            ) from error

    @property
    def hosts(self) -> frozenset[str]:
        """What `Host` may be."""
        return frozenset({f"{ADDRESS}:{self.server_port}", f"localhost:{self.server_port}"})

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, unless too many are at work."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The work of such a thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that left, or sent nonsense; what fails here gets an answer in `Handler`."""


class _UntilDeadline(io.RawIOBase):
    """What comes from a socket, up to a moment."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        """It can."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes; raises `TimeoutError` once the time is over."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class Handler(BaseHTTPRequestHandler):
    """One request on a connection of its own."""

    server: PhotoServer
    server_version = "thawline"
    sys_version = ""

    def setup(self) -> None:
        """Read with a deadline for the whole request."""
        super().setup()
        self.rfile = io.BufferedReader(_UntilDeadline(self.connection, SECONDS_TO_ASK))

    def answer(self) -> None:
        """Check the request, answer it, and hide from the sender what went wrong inside."""
        try:
            reply = self._routed()
        except RefusedError as error:
            reply = _said(error.status, str(error))
        except TimeoutError:
            reply = _said(HTTPStatus.REQUEST_TIMEOUT, "the request took too long")
        except UnreadableError as error:
            reply = _said(HTTPStatus.UNPROCESSABLE_ENTITY, f"This file {error}.")
        except ThawlineError as error:
            reply = _said(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        except MemoryError:
            reply = _said(HTTPStatus.SERVICE_UNAVAILABLE, "This photo needs more memory than is available.")
        except Exception as error:  # noqa: BLE001  # the server goes on with the next photo, and the person is told
            reply = _said(HTTPStatus.INTERNAL_SERVER_ERROR, f"This photo failed ({type(error).__name__}: {error}).")
        self._send(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = answer  # noqa: N815

    def _routed(self) -> Reply:
        if self.headers.get_payload():  # lines after one that is no header, which may hide an Origin
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the headers cannot be read")
        self._require_this_machine()
        token, slash, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise RefusedError(HTTPStatus.NOT_FOUND, "not found")
        gets: dict[str, Callable[[], Reply]] = {"": self._page, "report": self._report}
        posts: dict[str, Callable[[bytes], Reply]] = {"classes": self._classes, "explanation": self._explanation}
        if name not in gets and name not in posts:
            raise RefusedError(HTTPStatus.NOT_FOUND, "not found")
        if name in gets and self.command in ("GET", "HEAD"):
            return gets[name]()
        if name in posts and self.command == "POST":
            return posts[name](self._body())
        raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed")

    def _require_this_machine(self) -> None:
        """Raise `RefusedError` if the request is for another host, or from another page."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            raise RefusedError(HTTPStatus.MISDIRECTED_REQUEST, "not the host of this page")
        origins = self.headers.get_all("Origin", [])
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            raise RefusedError(HTTPStatus.FORBIDDEN, "not from this page")
        sites = self.headers.get_all("Sec-Fetch-Site", [])
        if any(site not in ("same-origin", "none") for site in sites):
            raise RefusedError(HTTPStatus.FORBIDDEN, "not from this page")

    def _body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or len(lengths) != 1:
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "Content-Length is required, once")
        if not (lengths[0].isascii() and lengths[0].isdigit()) or len(lengths[0]) > 12:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number of bytes")
        if (length := int(lengths[0])) > BODY_LIMIT:
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"This file is larger than {BODY_LIMIT >> 20} MiB, the limit here."
            )
        if self.headers.get_all("Content-Type", []) != [BODY_TYPE]:
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type must be {BODY_TYPE}")
        content = self.rfile.read(length)
        if len(content) < length:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is shorter than Content-Length")
        return content

    def _page(self) -> Reply:
        return Reply(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8", PAGE_POLICY)

    def _report(self) -> Reply:
        try:
            content = self.server.report.read_bytes() if self.server.report else None
        except OSError:
            content = None
        if content is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "this model has no report.html")
        return Reply(HTTPStatus.OK, content, "text/html; charset=utf-8", REPORT_POLICY)

    def _classes(self, photo: bytes) -> Reply:
        top = [plain(each) for each in self.server.answers.classes(photo)]
        return Reply(HTTPStatus.OK, json.dumps({"classes": top}).encode())

    def _explanation(self, photo: bytes) -> Reply:
        if not self.server.answers.can_explain:
            raise RefusedError(HTTPStatus.NOT_FOUND, "an ONNX file has no Grad-CAM")
        return Reply(HTTPStatus.OK, self.server.answers.explanation(photo), "image/png")

    def _send(self, reply: Reply) -> None:
        self.connection.settimeout(SECONDS_TO_SEND)
        self.send_response(reply.status)
        headers = {
            "Content-Type": reply.kind,
            "Content-Length": str(len(reply.content)),
            "Content-Security-Policy": reply.policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",  # the address has the token
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        if reply.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD, POST")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.content)
        self._read_the_rest()

    def _read_the_rest(self) -> None:
        """A connection that is closed with unread bytes is reset, and the reply may be lost."""
        try:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            rest = _UntilDeadline(self.connection, SECONDS_FOR_REST)
            left = _LEFT_OVER
            while left > 0 and (part := rest.read(2**16)):
                left -= len(part)
        except OSError:
            pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is not HTTP, without a word of what was sent."""
        self.command = self.command or "GET"
        self._send(_said(HTTPStatus(code), HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: object) -> None:
        """Keep the token, which every request line has, out of logs."""


def _said(status: HTTPStatus, reason: str) -> Reply:
    return Reply(status, json.dumps({"error": visible(reason)}).encode())
