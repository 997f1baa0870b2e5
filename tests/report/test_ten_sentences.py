"""docs/reliability.md shows what thawline says today, not what somebody once wrote down."""

from __future__ import annotations

from pathlib import Path

from tests.report.ten_sentences import BEFORE, sentences, table

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def test_the_page_has_the_sentences_that_the_code_makes() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "python -m tests.report.ten_sentences prints them"


def test_no_sentence_says_more_than_was_measured() -> None:
    said = sentences()
    assert len(BEFORE) == len(said) == 10
    for name, words in said.items():
        assert "p = 1" not in words, name
        assert "±" not in words.replace("± 2 points", ""), name
        if " accuracy 0." in words:
            assert "95 % interval over" in words, name
            assert "training" in words, name
    assert "60 test images are too few: about 3,400" in said["60 test images"]
    assert said["guessing"].startswith("Nothing to recommend")
    assert "another seed may differ" in said["one seed"]
    assert "another seed" not in said["three seeds"]
    assert said["a clear loss"].startswith("On these test images full fine-tuning did better")
