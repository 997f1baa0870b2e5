"""What src imports is what pyproject.toml declares, each with a lower bound that can be tested."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import thawline
from scripts.lowest_versions import constraints

PACKAGE = Path(thawline.__file__).parent
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
DISTRIBUTIONS = {"mlflow": "mlflow-skinny"}
"""Modules that more than one distribution has -> the one that is declared."""
OF_THE_TYPE_CHECKER = {"_typeshed"}


def imported() -> set[str]:
    """Modules outside the standard library that the package imports, at the top of a file or inside a function."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                found |= {str(name.value) for name in node.args if isinstance(name, ast.Constant)}
    return found - set(sys.stdlib_module_names) - OF_THE_TYPE_CHECKER - {"thawline"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.thorough
def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    pinned = {normal(line.partition("==")[0]) for line in constraints()}
    homes = packages_distributions()
    assert {normal(DISTRIBUTIONS.get(module) or homes.get(module, [module])[0]) for module in imported()} == pinned


def test_a_requirement_without_a_lower_bound_is_refused(tmp_path: Path) -> None:
    text = PYPROJECT.read_text(encoding="utf-8").replace('"optuna>=5"', '"optuna"')
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"'optuna' in pyproject\.toml has no lower bound"):
        constraints(tmp_path / "pyproject.toml")


def test_timm_whose_private_function_is_replaced_is_bounded_above() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    (timm,) = [entry for entry in project["dependencies"] if entry.startswith("timm")]
    assert re.fullmatch(r"timm>=[\d.]+,<[\d.]+", timm)
