"""The README says what the program does, in its own words."""

from __future__ import annotations

import re
from pathlib import Path

from thawline.strategies import OWN_STRATEGIES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_strategies_is_that_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", README, flags=re.MULTILINE))
    assert rows == {name: entry.help for name, entry in OWN_STRATEGIES.items()}


def test_the_test_command_is_what_ci_runs() -> None:
    command = "scripts/install && scripts/check && scripts/test"
    assert command in README
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_file_the_readme_shows_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
