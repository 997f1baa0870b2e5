"""docs/add-a-strategy.md, followed literally: its files, installed without a network, are found everywhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.small_runs import images, small_request
from thawline import api, strategies
from thawline.strategies.base import variants
from thawline.strategies.third_party import offers
from thawline.testing import check_strategy, tiny_model

__all__ = ["images"]  # a fixture

DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "add-a-strategy.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.+?)^```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL))
NAME = "first_blocks"


def install(site: Path) -> None:
    """What `pip install .` leaves in site-packages."""
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    for module in tomllib.loads(FILES["pyproject.toml"])["tool"]["setuptools"]["py-modules"]:
        (site / f"{module}.py").write_text(FILES[f"{module}.py"], encoding="utf-8")
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))


def in_a_new_process(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "THAWLINE_CACHE": str(site / "cache"), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, *command], cwd=site, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    install(folder)
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is importable in this process, and the table is read anew."""
    monkeypatch.syspath_prepend(site)
    for name, entry in strategies.with_offers(strategies.OWN_STRATEGIES, offers()).items():
        monkeypatch.setitem(strategies.STRATEGIES, name, entry)
    yield
    sys.modules.pop("thawline_first_blocks", None)


def test_the_document_has_the_files() -> None:
    assert set(FILES) == {"thawline_first_blocks.py", "pyproject.toml", "test_first_blocks.py"}


def test_the_help_lists_it_and_imports_no_torch(site: Path) -> None:
    script = (
        "import sys, runpy\n"
        "sys.argv = ['thawline', 'fit', '--help']\n"
        "try:\n    runpy.run_module('thawline', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert not {'torch', 'thawline_first_blocks'} & set(sys.modules)\n"
    )
    done = in_a_new_process(site, "-c", script)
    assert done.returncode == 0, done.stderr
    assert NAME in "".join(done.stdout.split())  # lines may break anywhere


def test_it_is_listed_in_its_own_words(site: Path) -> None:
    done = in_a_new_process(site, "-m", "thawline", "strategies", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = (one["help"] for one in json.loads(done.stdout) if one["name"] == NAME)
    words = re.search(r"shows what it is: `(.+?)`", DOCUMENT, re.DOTALL)
    assert words
    assert found == " ".join(words.group(1).split())


@pytest.mark.usefixtures("installed")
def test_it_meets_the_contract() -> None:
    plan = check_strategy(f"{NAME}:k=2", tiny_model("test_resnet"))
    assert [rate is not None for rate in plan.phases[0].learning_rates.values()].count(True) == 3


@pytest.mark.usefixtures("installed")
def test_its_grid_is_tuned_like_ours() -> None:
    assert [one.spec for one in variants(NAME)] == [f"{NAME}:k=1", f"{NAME}:k=2"]


@pytest.mark.usefixtures("installed")
def test_it_is_a_row_of_a_comparison(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    request = small_request(images, (f"{NAME}:k=1", "linear_probe"), learning_rate=1e-2)
    comparison = api.run(request, tmp_path / "run")
    ours = next(row for row in comparison["rows"] if row["strategy"] == f"{NAME}:k=1")
    rates = list(ours["plan"]["phases"][0]["learning_rates"].values())
    assert rates == [1e-2, *[None] * (len(rates) - 2), 1e-2]


@pytest.mark.slow
def test_its_commands_work_as_written(site: Path, images: Path) -> None:
    (command,) = re.findall(r"^thawline compare photos (.+)$", DOCUMENT, flags=re.MULTILINE)
    small = "--model test_efficientnet --weights random --image-size 32 --epochs 1 --learning-rate 0.01 --threads 1"
    done = in_a_new_process(site, "-m", "thawline", "compare", str(images), *command.split(), *small.split())
    assert done.returncode == 0, done.stderr
    rows = json.loads((site / "run" / "comparison.json").read_text())["rows"]
    assert [row["strategy"] for row in rows] == ["linear_probe", f"{NAME}:k=2", "full"]
    (site / "test_first_blocks.py").write_text(FILES["test_first_blocks.py"])
    done = in_a_new_process(site, "-m", "pytest", "-q", "test_first_blocks.py")
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
