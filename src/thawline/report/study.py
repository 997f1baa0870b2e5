"""report.html of a published study: its verdict, the measured tables beside the published ones, and how it was run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from markupsafe import Markup, escape

from thawline.report.html import environment, packaged


class PageTable(Protocol):
    """A table of text; `**bold**` and an escaped asterisk are the only marks in it."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def rows(self) -> Sequence[Sequence[str]]: ...  # noqa: D102
    @property
    def notes(self) -> Sequence[str]: ...  # noqa: D102


@dataclass(frozen=True)
class StudyPage:
    """Everything that the page shows."""

    name: str
    paper: str
    answer: str
    """The verdict over all cells, one sentence."""
    findings: Sequence[str]
    """One sentence for each cell."""
    measured: Sequence[PageTable]
    published: Sequence[PageTable]
    settings: Sequence[str]
    """Those of the paper, one sentence each."""
    notes: Sequence[str]
    size: str
    """How much of the study is finished."""
    machines: Sequence[str]
    """Hardware and versions of the cells."""


def draw_study(page: StudyPage) -> str:
    """The page as text; it needs nothing but a browser."""
    style = Markup("".join(map(packaged, ("figures.css", "report.css"))))
    text = environment().get_template("study.html.j2").render(page=page, style=style, marked=_marked)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _marked(text: str) -> Markup:
    """The marks of a cell or a note as HTML, everything else escaped."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", str(escape(text)))
    return Markup(bold.replace("\\*", "*"))
