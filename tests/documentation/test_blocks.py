"""Every Python and shell block of README.md and docs/ runs, from the top of its page to the bottom, without a network.

HTML comments in the pages, which no reader sees, steer it (Sybil reads them):

- `<!-- given: run new.jpg -->` puts what the blocks below take for granted into the folder (see `conftest.py`).
- `<!-- skip: next "the reason" -->` is for a block that cannot run here.
- `<!-- skip: next if(fast, "the reason") -->` is for one that takes long: it runs with `-m slow`.
- `<!-- skip: next if(not walked, "the reason") -->` is for one that only scripts/walk_readme.py runs.
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from unittest import SkipTest

import pytest
from packaging.requirements import Requirement
from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer

from tests.documentation.conftest import Prepared
from thawline.cli import app as cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"python", "shell", "text", "toml", "json", "csv", "html", "mermaid"}
SLOW = "if(fast"


def run_shell(example: Example) -> None:
    """Run the commands of a block in this process: thawline's alone, without pipes or loops."""
    for line in example.parsed.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["pip", "install"]:
            require_extras(words[2:])
        elif words:
            assert words[0] == "thawline", f"{line!r} is no command of thawline; skip the block, with a reason"
            assert (code := run_command(words)) == 0, f"{line!r} ended with exit code {code}"


def require_extras(requirements: list[str]) -> None:
    """Assert that what a page installs exists; `test_distribution.py` installs it."""
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for requirement in map(Requirement, requirements):
        assert requirement.name == "thawline", requirement
        assert requirement.extras <= set(offered), requirement


def run_command(words: list[str]) -> int:
    """Exit code of a command of thawline, run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def given(document: Document) -> Iterable[Region]:
    """The comments `<!-- given: NAMES -->`."""
    for found in DirectiveInHTMLCommentLexer("given")(document):
        yield Region(found.start, found.end, found.lexemes["arguments"].split(), put)


def put(example: Example) -> None:
    for name in example.parsed:
        if not Path(name).exists():  # a slow block above may have made it
            example.namespace["prepared"].put(name, Path())


SYBIL = Sybil([PythonCodeBlockParser(), CodeBlockParser("shell", run_shell), SkipParser(), given])


def run_page(page: Path, prepared: Prepared, *, fast: bool) -> None:
    """Run the blocks of a page in the current folder."""
    document = SYBIL.parse(page)
    document.namespace.update(prepared=prepared, fast=fast, walked=False, __name__="page")
    for example in document.examples():
        try:
            example.evaluate()
        except SkipTest:
            continue


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.thorough
@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("page", [page for page in PAGES if "```" in text_of(page)], ids=name_of)
def test_the_blocks_run(page: Path, prepared: Prepared) -> None:
    run_page(page, prepared, fast=True)


@pytest.mark.slow
@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("page", [page for page in PAGES if SLOW in text_of(page)], ids=name_of)
def test_the_slow_blocks_run_too(page: Path, prepared: Prepared) -> None:
    run_page(page, prepared, fast=False)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_names_its_language(page: Path) -> None:
    fences = re.findall(r"^ *```(.*)$", text_of(page), flags=re.MULTILINE)
    assert [language for language in fences[::2] if language not in LANGUAGES] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_that_is_left_out_says_why(page: Path) -> None:
    for arguments in re.findall(r"<!-- skip: (?:next|start)(.*?)-->", text_of(page)):
        assert re.search(r'"[^"]{6,}"', arguments), arguments


def test_a_block_that_fails_turns_the_test_red(tmp_path: Path, prepared: Prepared) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nassert 1 == 2\n```\n")
    with pytest.raises(AssertionError):
        run_page(page, prepared, fast=True)
    page.write_text("```shell\nthawline fit nowhere\n```\n")
    with pytest.raises(AssertionError, match="exit code 2"):
        run_page(page, prepared, fast=True)
    page.write_text('<!-- skip: next "it is wrong on purpose" -->\n\n```python\nassert 1 == 2\n```\n')
    run_page(page, prepared, fast=True)
