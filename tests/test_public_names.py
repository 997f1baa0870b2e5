"""What `thawline.NAME` means stays the same whatever has been imported: no submodule takes the place of a verb."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import thawline

VERBS = sorted(name for name in thawline._MODULES if name.islower())


@pytest.fixture(scope="module")
def submodules() -> list[str]:
    """The names of all modules of the package, every one of them imported."""
    names = [module.name for module in pkgutil.walk_packages(thawline.__path__, "thawline.")]
    for name in names:
        importlib.import_module(name)
    return names


def test_no_submodule_has_a_public_name(submodules: list[str]) -> None:
    assert len(submodules) > 100
    assert not {name.split(".")[1] for name in submodules} & set(thawline.__all__)


@pytest.mark.parametrize("name", thawline.__all__)
def test_no_public_name_is_a_module(submodules: list[str], name: str) -> None:
    assert not isinstance(getattr(thawline, name), ModuleType)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_can_be_called(submodules: list[str], name: str) -> None:
    verb = getattr(thawline, name)
    assert inspect.isfunction(verb)
    with pytest.raises(TypeError, match=rf"\b{name}\(\).*argument"):
        verb(nonsense=True)


@pytest.mark.parametrize("name", sorted({*thawline._MODULES} - {*VERBS}))
def test_every_other_public_name_is_a_class(submodules: list[str], name: str) -> None:
    assert inspect.isclass(getattr(thawline, name))
