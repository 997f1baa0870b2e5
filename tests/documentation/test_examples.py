"""examples/: short, and run as they are."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tests.documentation.conftest import Prepared

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))
FAST = {"own_network"}
LONGEST = 40


@pytest.mark.thorough
@pytest.mark.parametrize(
    "example",
    [
        pytest.param(example, marks=() if example.stem in FAST else pytest.mark.slow, id=example.stem)
        for example in EXAMPLES
    ],
)
def test_it_runs(example: Path, desk: Path, prepared: Prepared, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("new.jpg", "new-photos"):
        prepared.put(name, desk)
    runpy.run_path(str(example), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) > 1


def test_they_are_short_and_say_what_they_show() -> None:
    assert len(EXAMPLES) > 5
    for example in EXAMPLES:
        text = example.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= LONGEST, example
        assert text.startswith('"""'), example
