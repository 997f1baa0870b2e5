"""optuna-dashboard on a copy of a run's ledger: its pages can delete studies and edit trials."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from thawline.errors import MissingExtraError, OptionError, RunFolderError
from thawline.runs.files import LEDGER

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

HOST = "127.0.0.1"
"""Loopback only: the pages have no password."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not news."""


@contextmanager
def copied_dashboard(run: Path) -> Iterator[WSGIApplication]:
    """The web application on a copy of the ledger, which is removed at the end.

    Raises `RunFolderError` for a folder without a ledger, `MissingExtraError` without optuna-dashboard.
    """
    if not (run / LEDGER).is_file():
        raise RunFolderError(f"{run} is not a run folder ({LEDGER} is missing).")
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise MissingExtraError(
            "the dashboard needs optuna-dashboard, which is not installed: pip install 'thawline[dashboard]'"
        ) from error
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with TemporaryDirectory(prefix="thawline-") as scratch:
        copy = Path(scratch) / LEDGER
        shutil.copyfile(run / LEDGER, copy)
        yield wsgi(JournalStorage(JournalFileBackend(str(copy))))


def serve(run: Path, port: int, started: Callable[[str], object]) -> None:
    """Serve the dashboard of `run` on this machine until an interrupt; `started` is told the address."""
    with copied_dashboard(run) as application:
        try:
            server = make_server(HOST, port, application, handler_class=_Quiet)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise OptionError(f"`port` {port} cannot be used ({error.strerror}); choose another one.") from error
        with server:
            started(f"http://{HOST}:{server.server_port}")
            sys.stdout.flush()
            server.serve_forever()
