"""The explanation as an HTML page beside its images."""

from __future__ import annotations

from pathlib import PurePosixPath

from jinja2 import Environment, PackageLoader, StrictUndefined

from thawline.results import Explanation
from thawline.verdicts import before_fine_tuning


def page(explanation: Explanation, *, run: str) -> str:
    """HTML for the folder that the images are in; all user text is escaped."""
    return _TEMPLATES.get_template("page.html.jinja").render(
        found=explanation, run=run, head_before=before_fine_tuning(explanation.head_before)
    )


def _figure(value: float | None) -> str:
    """Three significant digits, or a dash for None."""
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
