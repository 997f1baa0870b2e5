"""Escape class names, paths and other user text so that it cannot break a line or a page."""

from __future__ import annotations

import html
import re

from thawline.visible import visible

_MARKDOWN = re.compile(r"[\\`*_\[\]#|~$]")


def markdown(text: str) -> str:
    """`text` as markdown that shows it literally, also inside a table cell."""
    return _MARKDOWN.sub(r"\\\g<0>", html.escape(one_line(text), quote=False))


def one_line(text: str) -> str:
    r"""`text` on one visible line: control, line-ending and text-direction characters become \n, \x1b or \u202e.

    A backslash becomes two, so the escaping is reversible: it is that of Python's string literals.
    """
    return visible(text.replace("\\", r"\\"))
