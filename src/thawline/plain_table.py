"""A table as aligned text and as HTML. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from thawline.visible import visible

BOX = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.5;overflow-x:auto;max-width:100%"
TABLE = (
    "border-collapse:collapse;margin:.4em 0;font-size:12px;font-variant-numeric:tabular-nums;color:inherit;"
    "background:none"
)
CELL = "white-space:nowrap;padding:2px 14px 2px 0;border:0;background:none;color:inherit;text-align:left"
HEAD = f"{CELL};border-bottom:1px solid #8886;font-weight:600"
LINE = "white-space:pre-wrap;overflow-wrap:anywhere;margin:0"
CODE = (
    "margin:.4em 0;overflow-x:auto;background:none;color:inherit;font:12px/1.45 ui-monospace,monospace;white-space:pre"
)
DIM = "opacity:.7"
"""Styles of HTML. Colors are those of the page, so that a light notebook and a dark one can both be read."""

Rows = Sequence[Sequence[str]]


def table_text(header: Sequence[str], rows: Rows, notes: Sequence[str]) -> str:
    """Columns as wide as their cells, then the notes."""
    lines = [[visible(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = ("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([*(line.rstrip() for line in aligned), *map(visible, notes)])


def table_html(header: Sequence[str], rows: Rows, notes: Sequence[str]) -> str:
    """The same for a notebook: escaped, without scripts and addresses."""
    head = "".join(f'<th style="{HEAD}">{_escaped(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>" + "".join(f'<td style="{CELL}">{_escaped(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    below = "".join(f'<div style="{LINE};{DIM}">{_escaped(note)}</div>' for note in notes)
    return (
        f'<div class="thawline" style="{BOX}"><table style="{TABLE}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>{below}</div>"
    )


def _escaped(text: str) -> str:
    return escape(visible(text))
