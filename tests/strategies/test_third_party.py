"""Strategies of other packages that are broken, or that use a name twice: one clear line, and the rest goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from thawline import strategies
from thawline.errors import OptionError
from thawline.strategies import StrategyEntry, with_offers
from thawline.strategies.base import strategy_class, variants
from thawline.strategies.third_party import Offer, offers

OURS = {"full": StrategyEntry("thawline.strategies.full:Full", "everything")}
STRATEGY = '''
from dataclasses import dataclass
from typing import ClassVar
from thawline.strategies.base import Strategy

@dataclass(frozen=True)
class Other(Strategy):
    """What it does.

    At length.
    """
    size: int = 1
    name: ClassVar[str] = "other"
    def propose(self, context): ...
'''


def write_package(site: Path, points: str, *, package: str = "somebody", version: str = "1.0", **modules: str) -> None:
    info = site / f"{package}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[thawline.strategies]\n{points}\n")
    for name, source in modules.items():
        (site / f"{name}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    return tmp_path


def from_somebody() -> list[Offer]:
    return [offer for offer in offers() if offer.package.startswith("somebody")]


def use(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, entry in with_offers(strategies.OWN_STRATEGIES, from_somebody()).items():
        monkeypatch.setitem(strategies.STRATEGIES, key, entry)
    variants(name)


def test_the_help_is_the_first_line_of_the_docstring_and_nothing_is_imported(site: Path) -> None:
    write_package(site, "other = theirs:Other", theirs="import no_such_module\n" + STRATEGY)
    (offer,) = from_somebody()
    assert offer == Offer("other", "theirs:Other", "somebody")
    assert offer.help == "What it does (from somebody)"
    assert "theirs" not in sys.modules


def test_the_help_is_found_in_a_package_whose_init_would_fail(site: Path) -> None:
    write_package(site, "other = deep.inside.theirs:Other")
    (site / "deep" / "inside").mkdir(parents=True)
    (site / "deep" / "__init__.py").write_text("raise RuntimeError('imported')")
    (site / "deep" / "inside" / "theirs.py").write_text(STRATEGY)
    assert from_somebody()[0].help == "What it does (from somebody)"


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("theirs:Other", "class Other: pass"),
        ("theirs:Other", "not python ("),
        ("theirs:Missing", STRATEGY),
        ("no_such_module:Other", ""),
        ("theirs", STRATEGY),
    ],
)
def test_where_there_is_no_docstring_the_help_says_whose_it_is(target: str, source: str, site: Path) -> None:
    write_package(site, f"other = {target}", theirs=source)
    assert from_somebody()[0].help == "from somebody"


def test_a_damaged_package_hides_no_other(site: Path) -> None:
    write_package(site, "no equals sign", package="somebody_damaged")
    write_package(site, "other = theirs:Other", theirs=STRATEGY)
    assert [offer.package for offer in from_somebody()] == ["somebody"]


def test_of_a_package_found_twice_the_first_on_the_path_counts(
    site: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(site, "other = theirs:Old")
    first = tmp_path_factory.mktemp("first")
    write_package(first, "other = theirs:New", version="2.0")
    monkeypatch.syspath_prepend(first)
    assert [offer.target for offer in from_somebody()] == ["theirs:New"]


def test_a_good_one_works(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(site, "other = theirs:Other", theirs=STRATEGY)
    use("other:size=3", monkeypatch)
    assert strategy_class("other").__module__ == "theirs"


@pytest.mark.parametrize(
    ("target", "source", "says"),
    [
        ("no_such_module:Other", "", "cannot be imported: ModuleNotFoundError"),
        ("theirs:Missing", STRATEGY, "cannot be imported: AttributeError"),
        ("theirs:Other", "not python (", "cannot be imported: SyntaxError"),
        ("theirs:Other", "undefined", "cannot be imported: NameError"),
        (
            "theirs:Other",
            "class Other: pass",
            "cannot be used: theirs:Other is not a subclass of thawline.strategies.base.Strategy",
        ),
        ("theirs:Other", "Other = 3", "cannot be used: theirs:Other is not a subclass"),
        (
            "theirs:Other",
            STRATEGY.replace("def propose", "def purpose"),
            "cannot be used: theirs:Other has neither a method `propose` nor `search`",
        ),
        (
            "theirs:Other",
            STRATEGY.replace('"other"', '"another"'),
            "cannot be used: theirs:Other must have the class attribute name = 'other'",
        ),
        (
            "theirs:Other",
            STRATEGY.replace("@dataclass(frozen=True)", ""),
            "cannot be used: theirs:Other must be decorated",
        ),
        (
            "theirs:Other",
            STRATEGY.replace("= 1", "= None"),
            "cannot be used: theirs:Other must give its argument 'size' a default",
        ),
        (
            "theirs:Other",
            STRATEGY.replace("size: int = 1", "size: int"),
            "cannot be used: theirs:Other must give its argument 'size' a default",
        ),
        (
            "theirs:Other",
            STRATEGY.replace("    name: ", "    grid: ClassVar = {'size': (1, 2, 3, 4, 5)}\n    name: "),
            "cannot be used: theirs:Other must have at most 4 combinations",
        ),
    ],
)
def test_a_broken_one_gets_one_clear_line_when_it_is_used(
    target: str, source: str, says: str, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(site, f"other = {target}", theirs=source)
    with pytest.raises(OptionError, match=f"strategy 'other' of somebody {says}") as error:
        use("other", monkeypatch)
    assert "\n" not in str(error.value)


def test_a_name_of_ours_stays_ours_and_using_it_says_who_else_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    table = with_offers(OURS, [Offer("full", "theirs:Full", "somebody")])
    assert (table["full"].target, table["full"].help) == (OURS["full"].target, OURS["full"].help)
    monkeypatch.setitem(strategies.STRATEGIES, "full", table["full"])
    with pytest.raises(OptionError, match="'full' of thawline is also offered by somebody; rename it there") as error:
        variants("full")
    assert "\n" not in str(error.value)
    assert variants("linear_probe")


def test_two_packages_with_one_name_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    table = with_offers(OURS, [Offer("other", "a:A", "one"), Offer("other", "b:B", "two")])
    monkeypatch.setitem(strategies.STRATEGIES, "other", table["other"])
    with pytest.raises(OptionError, match="'other' of one is also offered by two"):
        variants("other")
