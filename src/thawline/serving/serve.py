"""`serve`: opens the model and its report for the server."""

from __future__ import annotations

from pathlib import Path

from thawline.memory import within_memory
from thawline.serving.answers import Answers
from thawline.serving.server import PhotoServer

REPORT = "report.html"


@within_memory("free some memory, or use a smaller model")
def open_server(model: Path, *, port: int = 0, trust_code: bool = False, code: str | None = None) -> PhotoServer:
    """A server of a run folder, a timm folder or an ONNX file that listens already; `serve_forever` answers.

    Raises `InputError` if the model cannot be used or the port is taken.
    """
    answers = Answers.open(model, trust_code=trust_code, code=code)
    report = model / REPORT
    return PhotoServer(answers, model.resolve().name, report if report.is_file() else None, port)
