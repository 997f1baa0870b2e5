from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thawline.exports.escaping import markdown, one_line


@given(st.text(st.characters(exclude_categories=[])))
def test_one_line_is_one_line_and_reversible(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    line.encode("utf-8")
    assert ast.literal_eval('"' + line.replace('"', r"\"") + '"') == text


@pytest.mark.parametrize("text", ["cat", "two words", "日本", "שלום", "emoji 🦉", "../up", 'say "hi"', "family 👨‍👩‍👧"])
def test_one_line_leaves_readable_text_alone(text: str) -> None:
    assert one_line(text) == text


def test_text_direction_cannot_be_turned() -> None:
    assert one_line("\u202egpj.exe") == r"\u202egpj.exe"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a|b", r"a\|b"),
        ("*bold* _it_ `code`", r"\*bold\* \_it\_ \`code\`"),
        ("[link](javascript:x)", r"\[link\](javascript:x)"),
        ("![image](x)", r"!\[image\](x)"),
        ("cats & dogs", "cats &amp; dogs"),
        ("# head\n---", r"\# head\\n---"),
    ],
)
def test_markdown_shows_text_literally(text: str, escaped: str) -> None:
    assert markdown(text) == escaped
