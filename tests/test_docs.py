"""docs/reference is written from the code: pages have what the code has, and a stale page is found."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

import thawline
from scripts import generate_docs
from thawline import results
from thawline.config import RunOptions
from thawline.strategies import OWN_STRATEGIES

ROOT = Path(__file__).parents[1]
PACKAGE = Path(thawline.__file__).parent


def test_a_stale_or_missing_page_is_found_and_written(tmp_path: Path) -> None:
    assert generate_docs.stale_pages(tmp_path) == list(generate_docs.PAGES)
    generate_docs.stale_pages(tmp_path, write=True)
    assert generate_docs.stale_pages(tmp_path) == []
    (tmp_path / "options.md").write_text("old", encoding="utf-8")
    assert generate_docs.stale_pages(tmp_path) == ["options.md"]


def test_the_pages_have_every_option_strategy_and_key() -> None:
    options, strategies, keys = (
        page() for page in (generate_docs.options_page, generate_docs.strategies_page, generate_docs.results_page)
    )
    for field in dataclasses.fields(RunOptions):
        assert f"`--{field.name.replace('_', '-')}`" in options
    for name in OWN_STRATEGIES:
        assert f"## `{name}`" in strategies
    assert "| `k` | `1` | `1`, `2`, `3` | Blocks below the head that train. |" in strategies
    for field in dataclasses.fields(results.FitResults):
        assert f"| `{field.metadata.get('key', field.name)}` |" in keys


def test_the_glossary_has_every_word() -> None:
    page = generate_docs.glossary_page()
    for word, meaning in tomllib.loads(generate_docs.GLOSSARY.read_text(encoding="utf-8")).items():
        assert f"| **{word}** | {meaning} |" in page


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)*[\w.-]+(?:\.py|\.md|\.toml|\.j2|/))`", text)) | set(
        re.findall(r"\]\(([^)#]+)\)", text)
    )
    assert len(named) > 5
    places = (ROOT, PACKAGE, ROOT / "docs")
    assert [name for name in sorted(named) if not any((place / name).exists() for place in places)] == []


def test_every_test_that_reliability_names_is_there() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"\| `([\w/]+\.py)(?:::(\w+))?` \|", page)
    assert len(named) > 40
    for file, test in named:
        assert f"def {test}" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{test}"
