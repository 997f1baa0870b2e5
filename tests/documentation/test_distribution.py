"""The wheel and the sdist: built, installed into an environment of their own, and used from there."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = ROOT / "src" / "thawline"

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path | None = None) -> str:
    """What a command prints; it must succeed. It sees nothing of this checkout."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "PIP_CONSTRAINT")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from it, as an index would have them."""
    pytest.importorskip("build", reason="build is absent: it is in the `dev` extra")
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel in it.

    What thawline depends on is not installed again: the environment also sees the packages of this one, after its own.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    return python


def test_the_wheel_has_everything_that_is_no_code_and_nothing_else(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        str(path.relative_to(ROOT / "src")) for path in SOURCES.rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in inside if ".dist-info/" not in name} == ours
    kinds = {Path(name).suffix for name in ours}
    assert {".py", ".j2", ".toml", ".safetensors", ".json", ".css", ".js"} <= kinds | {""}, kinds
    assert "thawline/py.typed" in inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_the_sdist_has_what_the_tests_read(built: Path) -> None:
    (found,) = built.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        folders = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    assert {"src", "tests", "scripts", "examples", "docs", "README.md", "LICENSE", "pyproject.toml"} <= folders


def test_the_demo_runs_from_the_wheel(python: Path, tmp_path: Path) -> None:
    place = run(python, "-I", "-c", "import thawline; print(thawline.__file__)", cwd=tmp_path).strip()
    assert Path(place).is_relative_to(python.parents[1]), place
    thawline = python.parent / "thawline"
    assert run(thawline, "--version", cwd=tmp_path).split()[-1] == PROJECT["version"]
    assert "accuracy" in run(thawline, "demo", "--out", "demo", cwd=tmp_path)
    results = json.loads((tmp_path / "demo" / "run" / "results.json").read_text(encoding="utf-8"))
    assert results["test"]["accuracy"]["mean"] > 0.9
    assert (tmp_path / "demo" / "run" / "report.html").stat().st_size > 100_000
    assert (tmp_path / "demo" / "run" / "model" / "model.safetensors").exists()


@pytest.mark.network
@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_every_extra_resolves(extra: str, wheel: Path, tmp_path: Path) -> None:
    """pip finds a set of versions that fits, into an empty environment; nothing is downloaded but metadata."""
    venv.create(tmp_path, with_pip=False)
    report = tmp_path / "report.json"
    run(
        *(sys.executable, "-m", "pip", "--python", tmp_path / "bin" / "python", "install", "--dry-run", "--quiet"),
        *("--ignore-installed", "--report", report, f"thawline[{extra}] @ file://{wheel}"),
    )
    chosen = {item["metadata"]["name"].lower() for item in json.loads(report.read_text())["install"]}
    assert {"thawline", "torch", "timm"} <= chosen
