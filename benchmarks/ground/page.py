"""Tables and pictures of the cells that are there: a page in markdown, and SVG files beside the cells.

    python -m benchmarks.ground.page                                   results/ground.md
    python -m benchmarks.ground.page --into README.md ...              and the short forms that these files ask for

A file asks for the form `summary` or `table` (`FORMS`) by two lines, between which it is written:

    <!-- proving ground, summary: written by benchmarks.ground.page -->
    <!-- end of the proving ground -->

The published splits are on results/ground.md, the others on results/ground-development.md. Every table says how many
data sets it rests on, so all this can be written while the benchmark runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.ground.board import REFERENCE, Board, read_boards
from benchmarks.ground.duels import duel_tables
from benchmarks.ground.pictures import Picture, pictures
from benchmarks.ground.regimes import backbone_table, depth_table, regime_table
from benchmarks.ground.splits import is_development, purpose
from benchmarks.ground.study import study_table
from benchmarks.ground.tables import AUTO, accuracy_table, readme_table, share_table, summary_table, versus_table
from benchmarks.ground.trial import trial_tables
from thawline.errors import InputError
from thawline.formatting import counted
from thawline.recipes.recipe import Table
from thawline.records import write_text

RESULTS = Path(__file__).parents[1] / "results" / "ground"
BEGIN = "<!-- proving ground, {}: written by benchmarks.ground.page -->"
END = "<!-- end of the proving ground -->"


def main() -> None:
    """Write the pages that there are cells for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the cells")
    parser.add_argument("--into", type=Path, nargs="+", default=[], help="files that ask for a short form")
    options = parser.parse_args()
    try:
        write_all(options.results, options.into)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def write_all(results: Path, into: Sequence[Path] = ()) -> None:
    """Write pages and pictures, and short forms of the published page `into` files; `InputError` without cells."""
    boards = read_boards(results)
    if not boards:
        raise InputError(
            f"{results} has no data set with a cell of {REFERENCE}; `python -m benchmarks.ground` makes them."
        )
    published = [board for board in boards if not is_development(board.split)]
    first = [board for board in published if purpose(board.split) == "published"]
    short = {path: spliced(path, first, os.path.relpath(results, path.parent)) for path in into}
    for picture in (picture for board in boards for picture in pictures(board)):
        write_text(results / picture.file_name, picture.svg)
    for some, suffix in ((published, ""), ([board for board in boards if board not in published], "-development")):
        if some:
            write_text(results.with_name(f"{results.name}{suffix}.md"), page(some, results.name))
    for path, text in short.items():
        write_text(path, text)


def spliced(path: Path, boards: Sequence[Board], link: str) -> str:
    """The file with the form it asks for between its two lines; `InputError` if it asks for none."""
    text = path.read_text(encoding="utf-8")
    for name, form in FORMS.items():
        before, begin, rest = text.partition(f"{BEGIN.format(name)}\n")
        _, end, after = rest.partition(f"{END}\n")
        if begin and end:
            return "\n".join([before + begin, *form(boards, link), end + after])
    asked = " or ".join(f"{BEGIN.format(name)!r}" for name in FORMS)
    raise InputError(f"{path} must have the line {asked}, and below it {END!r}.")


def page(boards: Sequence[Board], link: str) -> str:
    """Everything about boards of one kind; `link`: the folder of the pictures, seen from the page."""
    intro = "Written by `python -m benchmarks.ground.page`; one JSON per cell in ground/.\n"
    parts = [part for board in boards for part in _section(board, link)]
    regimes = [board for board in boards if board.reference == REFERENCE]
    both = [backbone_table(regimes).to_markdown()] if len(regimes) > 1 else []
    return "\n".join(["# The proving ground\n", intro, *both, *parts])


def _section(board: Board, link: str) -> Iterator[str]:
    yield f"## {title(board)}\n"
    yield f"{counted(len(board.commits), 'commit')}: {', '.join(board.commits)}. {' '.join(board.machines)}\n"
    yield from (_shown(picture, link) for picture in pictures(board))
    yield from (table.to_markdown() for table in tables(board))
    if board.failures:
        yield "### Failed\n"
        yield from (f"- `{method}` on {data}: {error}" for (method, data), error in board.failures.items())
        yield ""


def _summary(board: Board, link: str) -> str:
    """What a reader of the benchmarks should see first."""
    ranks, *plans = [_shown(picture, link) for picture in pictures(board)] or [""]
    some = [summary_table, accuracy_table, study_table, regime_table, share_table]
    parts = [f"### {title(board)}\n", ranks, *(table.to_markdown() for make in some if (table := make(board))), *plans]
    return "\n".join(parts).replace("\n### ", "\n#### ")


FORMS: Mapping[str, Callable[[Sequence[Board], str], list[str]]] = {
    "summary": lambda boards, link: [_summary(board, link) for board in boards],
    "table": lambda boards, _: [readme_table(board).to_markdown() for board in boards[:1]],  # the one of most data sets
}
"""What is written into other files, from the boards and the folder of their pictures seen from there."""


def title(board: Board) -> str:
    """Heading of a board."""
    return f"{board.backbone}, split {board.split} ({purpose(board.split)}), {counted(len(board.sets), 'data set')}"


def _shown(picture: Picture, link: str) -> str:
    return f"![{picture.title}]({link}/{picture.file_name})\n"


def tables(board: Board) -> Iterator[Table]:
    """All tables of a board that are not empty."""
    yield summary_table(board)
    if board.row(AUTO):
        yield versus_table(board, AUTO)
    yield accuracy_table(board)
    yield from filter(None, [study_table(board)])
    if board.reference == REFERENCE:
        yield depth_table(board)
        yield regime_table(board)
    yield from duel_tables(board)
    yield share_table(board)
    yield from trial_tables(board)


if __name__ == "__main__":
    main()
