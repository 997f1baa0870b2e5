"""Family `names`: class folders and files whose names are terminal escapes, formulas, other spellings, or too long."""

from __future__ import annotations

import csv
import io
import random
import re
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.faults.base import OPTIONS, Base
from benchmarks.faults.outcomes import GOOD, Trial, Verdict, failure
from benchmarks.faults.sandbox import Ran, run

ESCAPES = ("\x1b[31mred", "\x1b]0;title\x07", "a\x1b[2Jb", "\x9b31m", "bell\x07", "back\x08\x08\x08", "\x7f")
FORMULAS = ("=1+1", "@SUM(A1)", "+1", "-1", "=cmd|'calc'!A0", "\t=1", "\r=1")
SPELLINGS = ("caf\u00e9", "cafe\u0301", "CAFE\u0301", "caf\u00e9 ", "Caf\u00e9")
ODD = (
    *("two\nlines", "carriage\rreturn", "\u2028", "a,b", 'quote"', "'", "semi;colon", "back\\slash", " ", "trailing "),
    *("\u202eevil", "\u200b", "$(touch x)", "`x`", "<img src=x onerror=alert(1)>", "[bold]x", "%s%n", "{0}", "*"),
    *("n" * 255, "\u732b" * 85, "-rf", "--json", "CON", "nul.txt", "1", "nan", "None", "\udcff\udcfe"),
)
HIDDEN = (".hidden", "._mac", "__MACOSX", "Thumbs.db", ".DS_Store", "lost+found", "train", "run.json")
KINDS: dict[str, Sequence[str]] = {
    "escapes": ESCAPES,
    "formulas": FORMULAS,
    "spellings": SPELLINGS,
    "odd": ODD,
    "hidden": HIDDEN,
}
READINGS = ("check", "fit", "predict", "predict-csv", "evaluate", "report", "explain", "resume", "json")
_SAYS_ALIKE = re.compile(
    r"normal form|unicode|spell|by case|letter case|upper case|letters|merged|look the same|trailing|space", re.I
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def draw(base: Base, number: int, seed: int) -> Trial:
    """The trial of that number."""
    name = f"names-{seed}-{number}"
    rng = random.Random(name)
    kind = list(KINDS)[number % len(KINDS)]
    first, second = rng.sample(KINDS[kind], 2)
    return make(base, name, kind, (first, second), rng.choice(READINGS), of_files=rng.random() < 0.3)


def make(base: Base, name: str, kind: str, names: tuple[str, str], reading: str, *, of_files: bool = False) -> Trial:
    """Two classes, or two images, with these names, read by one command."""

    def attempt(scratch: Path) -> Verdict:
        root = scratch / "data"
        _write(root, names, of_files)
        ran = _prepared(base, scratch, reading)
        alike = not of_files and len({_folded(name) for name in names}) == 1
        return _verdict(ran, scratch, alike=alike)

    what = f"{'files' if of_files else 'classes'} called {names[0]!r:.60} and {names[1]!r:.60}, {reading}"
    return Trial(name, f"{kind}/{reading}", what, attempt, GOOD)


def _prepared(base: Base, scratch: Path, reading: str) -> Ran:
    """The command, and the run that it looks into."""
    begin = ["fit", "data", "--out", "run", *OPTIONS, "--strategy", "linear_probe", "--no-explain"]
    if reading == "fit":
        return run(begin, scratch)
    if reading == "check":
        return run(["check", "data"], scratch)
    ran = run(begin, scratch)
    if ran.code:
        return ran
    commands = {
        "predict": ["predict", "run", "data"],
        "predict-csv": ["predict", "run", "data", "--csv", "-"],
        "evaluate": ["evaluate", "run", "data"],
        "report": ["report", "run"],
        "explain": ["explain", "run", "data"],
        "resume": ["resume", "run"],
        "json": ["predict", "run", "data", "--json"],
    }
    return run(commands[reading], scratch)


def _verdict(ran: Ran, scratch: Path, *, alike: bool) -> Verdict:
    """No escape on screen, no formula in a table, no traceback, and a line where two names look the same."""
    command = shlex.join(["thawline", *ran.argv])
    if harm := _escapes(ran) or _formulas(ran, scratch):
        return Verdict("silent", harm, command)
    if (failed := failure(ran)) is not None:
        return failed
    text = ran.said + ran.out.decode("utf-8", "replace")
    if alike and ran.argv[0] in ("check", "fit") and not _SAYS_ALIKE.search(text):
        return Verdict("silent", "two class names that look the same, and no line about it", command)
    return Verdict("held", "", command)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def _escapes(ran: Ran) -> str:
    """Control characters on the screen, other than line ends; of Rich's own, none is printed to a file."""
    # A table for other programs holds names as they are.
    text = ("" if "--csv" in ran.argv else ran.out.decode("utf-8", "replace")) + ran.said
    bad = {letter for letter in text if unicodedata.category(letter) == "Cc" and letter not in "\n\r\t"}
    return f"control characters on the screen: {sorted(bad)!r}" if bad else ""


def _formulas(ran: Ran, scratch: Path) -> str:
    tables = {path.name: path.read_text("utf-8", "surrogateescape") for path in scratch.glob("run/*.csv")}
    if "--csv" in ran.argv:
        tables["standard output"] = ran.out.decode("utf-8", "surrogateescape")
    for name, text in tables.items():
        for row in csv.reader(io.StringIO(text, newline="")):
            if cell := next((cell for cell in row if cell.startswith(_FORMULA_STARTS) and not _number(cell)), None):
                return f"a spreadsheet would run {cell!r:.60} in {name}"
    return ""


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _write(root: Path, names: tuple[str, str], of_files: bool) -> None:
    """A third class, or further images, have ordinary names."""
    generator = np.random.default_rng(1)
    folders = ("red", "blue") if of_files else (*names, "plain")
    for folder in folders:
        stems = [*(names if of_files else ()), *map(str, range(10))]
        (root / folder).mkdir(parents=True, exist_ok=True)
        for stem in stems:
            pixels = generator.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{stem[: 240 if stem.isascii() else 80]}.png")
