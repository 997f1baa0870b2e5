"""Follow README.md from the top to the bottom in a new clone, as a newcomer would, and compare what it promises.

Every block of shell or Python runs in the folder of the clone. What a block of text shows must be in the output of the
block above it: `...` stands for lines that are left out, and where only numbers differ, that is said. The files that
the page promises must be there, and every command of its table must know itself.

The photos are the digits of the demo. `--model MODEL` is for machines without the Hugging Face Hub: it is added to
commands that name no network. `--here` uses the environment of this script and leaves out `pip install`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from unittest import SkipTest

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer

ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
COMMAND = re.compile(r"^thawline (?:fit|compare) photos", re.MULTILINE)
CALL = re.compile(r'thawline\.(?:fit|compare)\("photos", "[\w-]+"')


@dataclass
class Walk:
    """A newcomer on the way through the page."""

    clone: Path
    environment: Path
    """Virtual environment of the commands; the page itself installs thawline there, unless it is there already."""
    installs: bool
    model: str | None
    output: str = ""
    """Output of the last block that ran."""
    faults: int = 0

    def page(self) -> None:
        """All blocks in their order, then what the text promises."""
        parsers = [CodeBlockParser("shell", self.shell), CodeBlockParser("python", self.python)]
        document = Sybil([*parsers, CodeBlockParser("text", self.text), SkipParser(), self.given]).parse(
            self.clone / "README.md"
        )
        document.namespace.update(walked=True, fast=False)
        for example in document.examples():
            try:
                example.evaluate()
            except SkipTest as reason:
                print(f"line {example.line}: left out: {reason}")
        self.files(document.text)
        self.commands(document.text)

    def given(self, document: Document) -> Iterable[Region]:
        """What `<!-- given: ... -->` takes for granted: a photo; runs were made by the blocks above."""
        for found in DirectiveInHTMLCommentLexer("given")(document):
            yield Region(found.start, found.end, found.lexemes["arguments"], self.give)

    def give(self, example: Example) -> None:
        """Put a photo into the folder."""
        if "new.jpg" in example.parsed:
            shutil.copy(next((self.clone / "photos" / "test").rglob("*.png")), self.clone / "new.jpg")

    def shell(self, example: Example) -> None:
        """Run the commands of a block one by one; the photos appear where the first command asks for them."""
        self.output = ""
        if "photos" in example.parsed and not (self.clone / "photos").exists():
            shutil.copytree(self.clone / "thawline-demo" / "digits", self.clone / "photos")
        added = f" --model {self.model}" if self.model else ""
        for line in COMMAND.sub(lambda found: found[0] + added, example.parsed).splitlines():
            if line.startswith("pip install") and not self.installs:
                print(f"line {example.line}: left out, since thawline is there: {line}")
            else:
                self.run(example, line, ["sh", "-c", line])

    def python(self, example: Example) -> None:
        """Run a block of Python in a process of its own."""
        self.output = ""
        added = f", model={self.model!r}" if self.model else ""
        code = CALL.sub(lambda found: found[0] + added, example.parsed)
        self.run(example, "Python", [str(self.environment / "bin" / "python"), "-c", code])

    def run(self, example: Example, words: str, command: list[str]) -> None:
        """Run a command in the clone and keep what it prints."""
        began = time.monotonic()
        path = f"{self.environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command,
            cwd=self.clone,
            env={**os.environ, "PATH": path, "COLUMNS": "160"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.output += done.stdout
        print(f"line {example.line}: {words}: exit code {done.returncode} after {time.monotonic() - began:.0f} s")
        if done.returncode:
            self.fault(example.line, done.stdout)

    def text(self, example: Example) -> None:
        """Compare what the page shows with what was seen."""
        seen = squeezed(self.output)
        parts = map(squeezed, re.split(r"^\.\.\.$", example.parsed, flags=re.MULTILINE))
        for part in filter(None, parts):
            if part in seen:
                print(f"line {example.line}: as shown: {part[:70]}")
            elif NUMBER.sub("#", part) in NUMBER.sub("#", seen):
                print(f"line {example.line}: as shown but for numbers: {part[:70]}")
            else:
                self.fault(example.line, f"not seen: {part}")

    def files(self, page: str) -> None:
        """What the page says that `run` holds."""
        (promise,) = re.findall(r"`run` then holds (.+?)\. ", page, flags=re.DOTALL)
        names = re.findall(r"`([\w.]+/?)`", promise)
        missing = [name for name in names if not (self.clone / "run" / name).exists()]
        print(f"files of a run: {len(names)} promised, {len(missing)} missing")
        if missing:
            self.fault(0, f"missing in run: {missing}")

    def commands(self, page: str) -> None:
        """The commands of the table."""
        names = re.findall(r"^\| `thawline (\w+)", page, flags=re.MULTILINE)
        program = str(self.environment / "bin" / "thawline")
        unknown = [name for name in names if subprocess.run([program, name, "--help"], capture_output=True).returncode]
        print(f"commands: {len(names)} promised, {len(unknown)} unknown")
        if unknown:
            self.fault(0, f"unknown commands: {unknown}")

    def fault(self, line: int, words: str) -> None:
        """Something is not as the page says."""
        self.faults += 1
        print(f"FAULT in line {line}: {words}")


def squeezed(text: str) -> str:
    """The text in one line: where lines end depends on the width."""
    return " ".join(text.split())


def main() -> None:
    """Clone, walk, and exit with 1 if anything was not as promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="network for the commands that name none")
    parser.add_argument("--here", action="store_true", help="use the environment of this script")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone, environment = Path(folder) / "thawline", Path(folder) / "environment"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        if not given.here:
            venv.create(environment, with_pip=True)
        walk = Walk(clone, Path(sys.prefix) if given.here else environment, not given.here, given.model)
        walk.page()
    print(f"{walk.faults} faults")
    sys.exit(walk.faults > 0)


if __name__ == "__main__":
    main()
