r"""Text from elsewhere, names of files and words of libraries, as it may stand on a screen.

A control character that reaches a terminal can recolor, overwrite or hide what is there; shown as `\x1b`, it cannot.
"""

from __future__ import annotations

import re

# Control characters, line ends, text directions (they reorder whatever follows on the line), and bytes of names that
# are not valid UTF-8. Marks and joiners, which people write with, stay.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_HIDDEN_IN_LINES = re.compile(r"(?![\n\r\t])" + _HIDDEN.pattern)


def visible(text: str) -> str:
    r"""`text` on one line, with every hidden character as Python writes it: \n, \x1b, \u202e. Twice is once."""
    return _HIDDEN.sub(_escape, text)


def visible_lines(text: str) -> str:
    """The same for text of several lines, with tabs and the carriage returns of progress bars."""
    return _HIDDEN_IN_LINES.sub(_escape, text)


def visible_json(text: str) -> str:
    """The same for JSON, whose strings keep their values: hidden characters are escaped as JSON escapes them."""
    return _HIDDEN_IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
