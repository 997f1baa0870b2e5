"""The explanation as a page: what `explain.json` says, beside the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def page(explanation: Mapping[str, Any], *, run: str) -> str:
    """HTML for the folder that the pictures are in; every word of the user is escaped."""
    return _TEMPLATES.get_template("page.html.jinja").render(found=explanation, run=run)


def _figure(value: float | None) -> str:
    """Three significant digits, or a dash for what there is not."""
    return "–" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _beside(path: str) -> str:
    return PurePosixPath(path).name


_TEMPLATES = Environment(
    loader=PackageLoader("thawline.explanation", "."),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(figure=_figure, share=_share, beside=_beside)
