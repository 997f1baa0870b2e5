"""Build the documentation site: gather the pages and what they link to, then let Zensical build them strictly.

Pages link to one another as a forge reads them, relative to their place in the repository. In the site docs/ is the
root, and files beside docs/ keep their path: ARCHITECTURE.md, benchmarks/README.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).parents[1]
CONFIG = "zensical.toml"
_ASSETS = "docs/assets"
_INDEX = "index.md"
_UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
"""Head of a page that the navigation does not have: tables of single runs would crowd the pages that explain them."""
_LINK_OR_CODE = re.compile(
    r"^```.*?^```[ \t]*$|(?P<text>!?\[[^\]\n]*\]\()(?P<to>[^)\s#]+)(?P<rest>(?:#[^)\s]*)?\))|`[^`\n]+`",
    re.MULTILINE | re.DOTALL,
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NODE = re.compile(r'(\w+)\["([^"]+)"\]')
_ARROW = re.compile(r"^(\w+) -->(?:\|([^|]*)\|)? (\w+)$", re.MULTILINE)


class SiteError(Exception):
    """The pages do not make a site; the text says which page, and why."""


def build(root: Path = ROOT) -> Path:
    """Build the site of the repository in `root` and return its folder; `SiteError` says what is wrong with a page."""
    config = tomllib.loads((root / CONFIG).read_text(encoding="utf-8"))["project"]
    gather(root, config)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", str(root / CONFIG)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        said = _COLOURS.sub("", done.stdout + done.stderr)
        raise SiteError(said.partition("Traceback")[0])
    return root / str(config["site_dir"])


def gather(root: Path, config: Mapping[str, Any]) -> None:
    """Copy the pages of the navigation, and whatever they link to, with their links changed to the site's places."""
    pages = [source_of(place) for place in nav_places(config["nav"])]
    _require_complete(root, pages)
    target = root / str(config["docs_dir"])
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(root / _ASSETS, target / place_of(_ASSETS))
    waiting, known = list(pages), set(pages)
    while waiting:
        source = waiting.pop()
        for found in _copy(root, source, target, head="" if source in pages else _UNSEARCHED):
            if found not in known:
                known.add(found)
                waiting.append(found)


def nav_places(nav: list[Any]) -> Iterator[str]:
    """The pages of a navigation, in its order."""
    for entry in nav:
        for value in entry.values():
            yield from nav_places(value) if isinstance(value, list) else [value]


def place_of(source: str) -> str:
    """Where a file of the repository lies in the site."""
    return source.removeprefix("docs/")


def source_of(place: str) -> str:
    """Where a page of the navigation lies in the repository: in docs/, unless its name says that it lies beside it."""
    beside = place.isupper() or place.startswith("benchmarks/") or place.removesuffix(".md").isupper()
    return place if beside else f"docs/{place}"


def _require_complete(root: Path, pages: list[str]) -> None:
    there = {path.relative_to(root).as_posix() for path in (root / "docs").rglob("*.md")}
    if missing := sorted(there - {*pages}):
        raise SiteError(f"{', '.join(missing)}: no entry in the `nav` of {CONFIG}.")
    if absent := [page for page in pages if not (root / page).is_file()]:
        raise SiteError(f"{', '.join(absent)}: in the `nav` of {CONFIG}, but absent.")


def _copy(root: Path, source: str, target: Path, *, head: str) -> list[str]:
    """Copy one file, a page with `head` before it; returns the files that it links to."""
    place = target / place_of(source)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not source.endswith(".md"):
        shutil.copyfile(root / source, place)
        return []
    text, linked = relinked(root, source)
    place.write_text(head + _DIAGRAM.sub(lambda found: _as_table(found[1]), text), encoding="utf-8")
    return linked


def relinked(root: Path, source: str) -> tuple[str, list[str]]:
    """The text of a page with its links relative to the places in the site, and the files that it links to."""
    linked: list[str] = []

    def changed(link: re.Match[str]) -> str:
        if link["to"] is None:
            return _code(link)
        if re.match(r"[a-z]+:", link["to"]):
            return link[0]
        found = os.path.normpath(PurePosixPath(source).parent / link["to"])
        if (root / found).is_dir():
            found = f"{found}/{_INDEX}"
        if not (root / found).is_file():
            raise SiteError(f"{source} links to {link['to']}, which is absent.")
        linked.append(found)
        place = os.path.relpath(place_of(found), PurePosixPath(place_of(source)).parent)
        return f"{link['text']}{place}{link['rest']}"

    return _LINK_OR_CODE.sub(changed, (root / source).read_text(encoding="utf-8")), linked


def _code(found: re.Match[str]) -> str:
    """Code as it is. Only in a table is a bar written with a backslash, which Python-Markdown would show."""
    before = found.string[: found.start()].rpartition("\n")[2]
    return found[0].replace("\\|", "|") if before.startswith("|") else found[0]


def _as_table(diagram: str) -> str:
    """A flowchart as a table of its arrows: to draw it takes a script of 3 MB, and phones are too narrow for it."""
    names = {name: text.replace("<br>", " ") for name, text in _NODE.findall(diagram)}
    arrows = _ARROW.findall(_NODE.sub(r"\1", re.sub(r"^ +", "", diagram, flags=re.MULTILINE)))
    rows = "\n".join(f"| {names[start]} | {what.replace('<br>', ' ')} | {names[end]} |" for start, what, end in arrows)
    return f"| from | what goes on | to |\n| --- | --- | --- |\n{rows}"


if __name__ == "__main__":
    try:
        print(f"{build(Path(sys.argv[1]) if sys.argv[1:] else ROOT)} is built.")
    except SiteError as error:
        sys.exit(str(error))
