"""Where results are drawn besides a terminal: as text, and as HTML for a notebook. Both draw what a terminal shows."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from thawline.plain_table import BOX, CELL, CODE, DIM, HEAD, LINE, TABLE
from thawline.visible import visible_lines

PLAIN_WIDTH = 160
"""Columns where the output is not a terminal."""
UNBOUNDED = 10_000
"""Columns: wider than any table."""

Draw = Callable[[Console], None]
"""Draws something on a console."""


class Code(str):
    """Text whose columns align: lines of Python, or a table of characters."""

    __slots__ = ()


class PlainConsole(Console):
    """Rich without markup: only it sends control characters, none of the text that it prints does."""

    def __init__(self, **settings: Any) -> None:
        """Take what Rich's console takes. In a notebook it prints to its stream, not into an output of its own."""
        super().__init__(force_jupyter=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible_lines(segment.text), segment.style)


class HtmlConsole(PlainConsole):
    """A console whose lines and tables become HTML: escaped, without scripts and addresses, whole at any width."""

    def __init__(self) -> None:
        super().__init__(file=io.StringIO(), width=UNBOUNDED, markup=False, highlight=False, emoji=False)
        self.parts: list[str] = []

    def print(self, *objects: Any, style: str | Style | None = None, **_: Any) -> None:  # as Rich's console
        """Add lines of text, or a table."""
        for each in objects:
            self.parts.append(_table(self, each) if isinstance(each, Table) else _line(self, each, style))

    @property
    def html(self) -> str:
        """Everything printed so far."""
        return f'<div class="thawline" style="{BOX}">{"".join(self.parts)}</div>'


def as_text(draw: Draw) -> str:
    """What is drawn, as wide as the terminal, or `PLAIN_WIDTH` without one."""
    stream = io.StringIO()
    width = shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else PLAIN_WIDTH
    draw(PlainConsole(file=stream, width=width, markup=False, highlight=False, emoji=False, color_system=None))
    return "\n".join(line.rstrip() for line in stream.getvalue().strip("\n").splitlines())


def as_html(draw: Draw) -> str:
    """What is drawn, as HTML for a notebook."""
    console = HtmlConsole()
    draw(console)
    return console.html


def _line(console: Console, content: str | Text, style: str | Style | None) -> str:
    if isinstance(content, Code):
        return f'<pre style="{CODE}">{escape(visible_lines(content))}</pre>'
    text = content if isinstance(content, Text) else Text(content)
    return f'<div style="{LINE}{_css(console, style)}">{_spans(console, text)}</div>'


def _table(console: Console, table: Table) -> str:
    """An HTML table; Rich's columns hold their cells."""
    columns = [(column, [_text(cell) for cell in column.cells]) for column in table.columns]
    head = "".join(
        f'<th style="{HEAD};text-align:{column.justify}">{_spans(console, _text(column.header))}</th>'
        for column, _ in columns
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td style="{CELL};text-align:{column.justify}">{_spans(console, cells[number])}</td>'
            for column, cells in columns
        )
        + "</tr>"
        for number in range(table.row_count)
    )
    header = f"<thead><tr>{head}</tr></thead>" if table.show_header else ""
    return f'<div style="overflow-x:auto"><table style="{TABLE}">{header}<tbody>{rows}</tbody></table></div>'


def _text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))


def _spans(console: Console, text: Text) -> str:
    """The text, escaped; a blank line keeps its height."""
    whole = text.copy()
    whole.end = ""
    parts = []
    for segment in whole.render(console):
        css = _css(console, segment.style)
        shown = escape(visible_lines(segment.text))
        parts.append(f'<span style="{css.lstrip(";")};border-radius:2px">{shown}</span>' if css else shown)
    return "".join(parts) or "&nbsp;"


def _css(console: Console, style: str | Style | None) -> str:
    """A style as CSS, a semicolon in front; empty for plain text."""
    found = console.get_style(style) if isinstance(style, str) else style or Style.null()
    css = Style(color=found.color, bgcolor=found.bgcolor, bold=found.bold, italic=found.italic).get_html_style()
    return "".join(f";{part}" for part in (css, DIM if found.dim else "") if part)
