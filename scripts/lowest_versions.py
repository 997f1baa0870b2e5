"""Print pip constraints that pin every dependency of thawline to its lower bound in pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
USED_BY_THE_PACKAGE = ("hf", "cma", "onnx", "openvino", "tensorboard", "mlflow", "dashboard", "ray")
"""Extras that `src` imports from; the tools for tests and benchmarks are left as new as they come."""
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?>=([\w.]+)")


def constraints(pyproject: Path = PYPROJECT) -> list[str]:
    """One `name==version` for every requirement; `ValueError` for a requirement without a lower bound."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    required = [*project["dependencies"], *(entry for extra in USED_BY_THE_PACKAGE for entry in extras[extra])]
    return [_lowest(entry) for entry in required]


def _lowest(requirement: str) -> str:
    found = _REQUIREMENT.match(requirement)
    if found is None:
        raise ValueError(f"{requirement!r} in pyproject.toml has no lower bound.")
    return f"{found[1]}=={found[2]}"


if __name__ == "__main__":
    print("\n".join(constraints()))
