"""A copy of what the documentation site is built from, and its build without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FILES = ("zensical.toml", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
_FOLDERS = ("docs", "benchmarks")


def copy_sources(target: Path) -> Path:
    """Copy the sources of the site to a folder, in which a page can be broken."""
    for name in _FOLDERS:
        # No page links to the cells of the proving ground, of which there are hundreds.
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "mobilenetv2_050"))
    for name in _FILES:
        shutil.copyfile(ROOT / name, target / name)
    return target


@cache
def without_network() -> tuple[str, ...]:
    """What to put before a command so that it has no network, nor even a loopback; empty where that is impossible."""
    command = ("unshare", "--map-root-user", "--net")
    if shutil.which(command[0]) and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
        return command
    return ()


def build_in(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the build on a copy, in a process without a network where the system allows it."""
    command = [*without_network(), sys.executable, "-m", "scripts.build_site", str(root)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
