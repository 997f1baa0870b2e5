"""The layout is the architecture: imports go downwards only, and the command line starts without torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection
from graphlib import TopologicalSorter
from pathlib import Path

import thawline

PACKAGE = Path(thawline.__file__).parent

ROWS: tuple[set[str], ...] = (
    {"visible"},
    {"errors", "field_docs", "formatting", "version", "pytorch_lines", "ranges", "reading", "spreadsheet", "telemetry"},
    {"other_names", "plain_table"},
    {"plan"},
    {"results"},
    {"memory", "records", "signatures", "sums", "verdicts"},
    {"config", "callback"},
    {"strategies", "config_file", "trackers"},
    {"model", "data", "exports", "search", "workers"},
    {"training", "report"},
    {"runs"},
    {"explanation", "prediction"},
    {"serving", "studies"},
    {"recipes"},
    {"progress"},
    {"outcomes"},
    {"api", "testing"},
    {"cli"},
    {"__main__", "__init__"},
)
"""From the bottom up; parts of one row never import each other, but `__main__` and `__init__` do."""
PLAIN = frozenset.union(*map(frozenset, ROWS[:7]))
"""Parts that use the standard library only."""


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            parts |= {name.name.split(".")[1] for name in node.names if name.name.startswith("thawline.")}
        elif isinstance(node, ast.ImportFrom) and node.module == "thawline":
            parts |= {"__init__" if name.name == "__version__" else name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("thawline."):
            parts.add(str(node.module).split(".")[1])
    return parts


def test_every_part_has_a_row() -> None:
    parts = {part_of(path) for path in PACKAGE.rglob("*.py")}
    assert parts == set.union(*ROWS)


def test_imports_go_downwards_only() -> None:
    height = {part: row for row, parts in enumerate(ROWS) for part in parts}
    for path in PACKAGE.rglob("*.py"):
        own = part_of(path)
        for part in imported_parts(path) - {own}:
            allowed = height[part] < height[own] or (own, part) == ("__init__", "__main__")
            assert allowed, f"{path.relative_to(PACKAGE)} imports {part}"


def test_no_circles_between_files() -> None:
    names = {dotted(path): path for path in PACKAGE.rglob("*.py")}
    graph = {name: imported_files(path, names) - {name} for name, path in names.items()}
    assert set(TopologicalSorter(graph).static_order()) == set(names)


def dotted(path: Path) -> str:
    return ".".join(("thawline", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def imported_files(path: Path, names: Collection[str]) -> set[str]:
    """Files of the package that are imported when this one is; imports for types or inside functions are left out."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names} & set(names) or {node.module} & set(names)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names} & set(names)
    return found


def test_the_bottom_rows_use_the_standard_library_only() -> None:
    for path in [
        *(PACKAGE / f"{name}.py" for name in (*PLAIN, "config_file")),
        PACKAGE / "strategies" / "__init__.py",
        PACKAGE / "trackers" / "__init__.py",
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [str(node.module)]
            for module in modules:
                root = module.split(".")[0]
                assert root == "thawline" or root in sys.stdlib_module_names, f"{path.name} imports {module}"


def test_no_script_hides_a_module_of_python() -> None:
    """A script's folder is where Python looks first: benchmarks/profile.py once took the place of `profile`."""
    root = Path(__file__).parents[1]
    beside = [path for folder in ("benchmarks", "examples", "scripts") for path in (root / folder).iterdir()]
    assert beside
    assert not {path.stem for path in beside if path.suffix == ".py" or path.is_dir()} & set(sys.stdlib_module_names)


def test_help_imports_no_torch() -> None:
    script = (
        "import sys, runpy\n"
        "sys.argv = ['thawline', '--help']\n"
        "try:\n    runpy.run_module('thawline', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'timm', 'optuna', 'sklearn', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for arguments in ("['thawline', '--help']", "['thawline', 'fit', '--help']"):
        done = subprocess.run(
            [sys.executable, "-c", script.replace("['thawline', '--help']", arguments)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "Usage:" in done.stdout


def test_every_freeze_is_in_apply() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "apply.py":
            assert "requires_grad_(" not in text, path
            assert not re.search(r"\.requires_grad = (?!rates\[prefix\])", text), path
            assert not re.search(r"param_groups(\.append|\[)|add_param_group", text), path


def test_every_public_name_can_be_imported() -> None:
    assert sorted(thawline.__all__) == sorted({*thawline._MODULES, "__version__"})
    for name in thawline.__all__:
        assert getattr(thawline, name) is not None
