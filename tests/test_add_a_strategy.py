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

import optuna
import pytest

from tests.small_runs import Stop, images, small_request
from thawline import api, strategies
from thawline.callback import Callback
from thawline.plan import FineTunePlan
from thawline.runs.ledger import Ledger
from thawline.strategies.base import variants
from thawline.strategies.third_party import offers
from thawline.testing import check_strategy, tiny_model

__all__ = ["images"]  # a fixture

DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "add-a-strategy.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.+?)^```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL))
NAME = "lower_blocks"
SEARCH, SEARCH_MODULE = "random_search", "thawline_random_search"
TRIALS = 3
SPECIAL = {"auto", "biotune", "full", "linear_probe", "last_blocks", "depth", "full_10x_head", "l1_sp", "l2_sp"}
SPECIAL |= {"first_blocks", "norm_only", "norm_statistics", "unchanged"}
"""Rows of a default comparison, searches with an engine of their own, names that plans use, too, and what `auto` tries
first with a model that is fitted again."""


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
    sys.modules.pop("thawline_lower_blocks", None)


def test_the_document_has_the_files() -> None:
    own = {"thawline_lower_blocks.py", "pyproject.toml", "test_lower_blocks.py"}
    assert set(FILES) == own | {f"{SEARCH_MODULE}.py"}


def test_the_help_lists_it_and_imports_no_torch(site: Path) -> None:
    script = (
        "import sys, runpy\n"
        "sys.argv = ['thawline', 'fit', '--help']\n"
        "try:\n    runpy.run_module('thawline', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert not {'torch', 'thawline_lower_blocks'} & set(sys.modules)\n"
    )
    done = in_a_new_process(site, "-c", script)
    assert done.returncode == 0, done.stderr
    assert NAME in "".join(done.stdout.split())  # lines may break anywhere


def test_it_is_listed_in_its_own_words(site: Path) -> None:
    done = in_a_new_process(site, "-m", "thawline", "strategies", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = (strategy["help"] for strategy in json.loads(done.stdout) if strategy["name"] == NAME)
    words = re.search(r"shows what it is: `(.+?)`", DOCUMENT, re.DOTALL)
    assert words
    assert found == " ".join(words.group(1).split())


@pytest.mark.usefixtures("installed")
def test_it_meets_the_contract() -> None:
    plan = check_strategy(f"{NAME}:k=2", tiny_model("test_resnet"))
    assert [rate is not None for rate in plan.phases[0].learning_rates.values()].count(True) == 3


@pytest.mark.usefixtures("installed")
def test_its_grid_is_tuned_like_ours() -> None:
    assert [variant.spec for variant in variants(NAME)] == [f"{NAME}:k=1", f"{NAME}:k=2"]


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
    (site / "test_lower_blocks.py").write_text(FILES["test_lower_blocks.py"])
    done = in_a_new_process(site, "-m", "pytest", "-q", "test_lower_blocks.py")
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


@pytest.fixture
def searching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The searching strategy of the document, known by nothing but its entry point."""
    site = tmp_path / "searching"
    info = site / f"{SEARCH_MODULE}-1.0.dist-info"
    info.mkdir(parents=True)
    (target,) = re.findall(rf'`{SEARCH} = "({SEARCH_MODULE}:\w+)"`', DOCUMENT)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {SEARCH_MODULE}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[thawline.strategies]\n{SEARCH} = {target}\n")
    (site / f"{SEARCH_MODULE}.py").write_text(FILES[f"{SEARCH_MODULE}.py"], encoding="utf-8")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(strategies.STRATEGIES, SEARCH, strategies.with_offers({}, offers())[SEARCH])
    yield f"{SEARCH}:trials={TRIALS}"
    sys.modules.pop(SEARCH_MODULE, None)


def test_the_searching_strategy_is_short_and_meets_the_contract(searching: str) -> None:
    body = FILES[f"{SEARCH_MODULE}.py"]
    assert len(body[body.index("@dataclass") :].splitlines()) <= 25
    assert check_strategy(searching, tiny_model("test_resnet")).trained
    assert variants(searching)[0].searches


def test_a_searching_strategy_is_a_row_of_a_comparison(searching: str, images: Path, tmp_path: Path) -> None:
    row, probe = api.run(small_request(images, (searching, "linear_probe")), tmp_path / "run")["rows"]
    records = [record for record in Ledger(tmp_path / "run" / "ledger.journal").records if record.strategy == searching]
    trials = [record for record in records if record.purpose == "tuning"]
    assert len(trials) == TRIALS
    best = max(trials, key=lambda record: record.score)
    assert (row["chosen"], row["plan"]) == (searching, FineTunePlan.from_dict(best.plan))
    assert row["cost"]["trainings"] == TRIALS + 1
    assert probe["test"]


@pytest.mark.thorough
def test_a_searching_strategy_is_forecast_fitted_interrupted_and_resumed(
    searching: str, images: Path, tmp_path: Path
) -> None:
    class Forecast(Callback):
        trainings = 0

        def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
            self.trainings = trainings

    whole = api.run(small_request(images, (searching,), "fit"), tmp_path / "whole", expected := Forecast())
    assert expected.trainings == TRIALS + 1
    with pytest.raises(KeyboardInterrupt):
        api.run(small_request(images, (searching,), "fit"), tmp_path / "run", Stop(2))
    resumed = api.resume(tmp_path / "run", left := Forecast())
    assert left.trainings == TRIALS + 1 - 2
    assert resumed["digest"] == whole["digest"]
    assert resumed["plan"] == whole["plan"]
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("search", ["context.halve(AutoConfig(budget='1x'))", "context.evolve(SMALL)"])
def test_a_strategy_can_run_our_searches_more_than_once(
    search: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two searches of one strategy have ledgers of their own, and both count as its cost."""
    (tmp_path / "twice.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\n"
        "from thawline.strategies.auto import AutoConfig\nfrom thawline.strategies.base import Strategy\n"
        "from thawline.strategies.biotune import EvolutionConfig\n"
        "SMALL = EvolutionConfig(population=2, elites=1, generations=1, seeds=1, top=1)\n"
        "@dataclass(frozen=True)\nclass Twice(Strategy):\n    name: ClassVar[str] = 'twice'\n"
        f"    def search(self, context):\n        return max(({search}, {search}), key=lambda found: found.score)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(strategies.STRATEGIES, "twice", strategies.StrategyEntry("twice:Twice", "two searches"))
    (row,) = api.run(small_request(images, ("twice",)), tmp_path / "run")["rows"]
    sys.modules.pop("twice", None)
    assert row["search"]["candidates"]
    records = Ledger(tmp_path / "run" / "ledger.journal").records
    assert {record.strategy for record in records if record.purpose == "search"} == {"twice"}
    names = optuna.get_all_study_names(Ledger(tmp_path / "run" / "ledger.journal").storage)
    assert {"thawline-search:twice", "thawline-search:twice#2"} <= set(names)


@pytest.mark.parametrize("name", sorted({*strategies.OWN_STRATEGIES} - SPECIAL))
def test_a_strategy_of_ours_is_its_file_and_a_line_of_the_table(name: str) -> None:
    """Only rows that others are measured by and searches with an engine of their own are named elsewhere."""
    package = Path(strategies.__file__).parents[1]
    naming = {
        str(path.relative_to(package)) for path in package.rglob("*.py") if re.search(rf'"{name}\b', path.read_text())
    }
    assert naming == {"strategies/__init__.py", f"strategies/{name}.py"}
