"""Tables and pictures of the cells that are there: a page in markdown, and SVG files beside the cells.

    python -m benchmarks.ground.page                                   results/ground.md
    python -m benchmarks.ground.page --readme benchmarks/README.md     and its short form between two lines of a file

The published splits are on results/ground.md, the others on results/ground-development.md. Every table says how many
data sets it rests on, so all this can be written while the benchmark runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.ground.board import REFERENCE, Board, read_boards
from benchmarks.ground.pictures import Picture, pictures
from benchmarks.ground.regimes import backbone_table, depth_table, regime_table
from benchmarks.ground.splits import is_development
from benchmarks.ground.study import study_table
from benchmarks.ground.tables import accuracy_table, duel_tables, share_table, summary_table
from thawline.errors import InputError
from thawline.formatting import counted
from thawline.recipes.recipe import Table
from thawline.records import write_text

RESULTS = Path(__file__).parents[1] / "results" / "ground"
BEGIN, END = "<!-- proving ground: written by benchmarks.ground.page -->", "<!-- end of the proving ground -->"


def main() -> None:
    """Write the pages that there are cells for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the cells")
    parser.add_argument("--readme", type=Path, help=f"file with the lines {BEGIN} and {END}")
    options = parser.parse_args()
    try:
        write_all(options.results, options.readme)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def write_all(results: Path, readme: Path | None = None) -> None:
    """Write pages and pictures, and the short form of the published page into `readme`; `InputError` without cells."""
    boards = read_boards(results)
    if not boards:
        raise InputError(
            f"{results} has no data set with a cell of {REFERENCE}; `python -m benchmarks.ground` makes them."
        )
    for picture in (picture for board in boards for picture in pictures(board)):
        write_text(results / picture.file_name, picture.svg)
    for development, suffix in ((False, ""), (True, "-development")):
        some = [board for board in boards if is_development(board.split) == development]
        if some:
            write_text(results.with_name(f"{results.name}{suffix}.md"), page(some, results.name))
    if readme is not None:
        published = [board for board in boards if not is_development(board.split)]
        link = os.path.relpath(results, readme.parent)
        write_text(readme, spliced(readme, "\n".join(short(board, link) for board in published)))


def spliced(path: Path, text: str) -> str:
    """The file with `text` between the lines `BEGIN` and `END`; `InputError` if it lacks them."""
    whole = path.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"{END}\n")
    if not (begin and end):
        raise InputError(f"{path} lacks the lines that the short form stands between: {BEGIN} and {END}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def page(boards: Sequence[Board], link: str) -> str:
    """Everything about boards of one kind; `link`: the folder of the pictures, seen from the page."""
    intro = "Written by `python -m benchmarks.ground.page`; one JSON per cell in ground/.\n"
    parts = [part for board in boards for part in _section(board, link)]
    both = [backbone_table(boards).to_markdown()] if len(boards) > 1 else []
    return "\n".join(["# The proving ground\n", intro, *both, *parts])


def _section(board: Board, link: str) -> Iterator[str]:
    yield f"## {title(board)}\n"
    yield f"At {', '.join(board.commits)}.\n"
    yield from (_shown(picture, link) for picture in pictures(board))
    yield from (table.to_markdown() for table in tables(board))
    if board.failures:
        yield "### Failed\n"
        yield from (f"- `{method}` on {data}: {error}" for (method, data), error in board.failures.items())
        yield ""


def short(board: Board, link: str) -> str:
    """What a reader should see first."""
    ranks, *plans = [_shown(picture, link) for picture in pictures(board)] or [""]
    some = [summary_table(board), study_table(board), regime_table(board), share_table(board)]
    parts = [f"### {title(board)}\n", ranks, *(table.to_markdown() for table in some if table), *plans]
    return "\n".join(parts).replace("\n### ", "\n#### ")


def title(board: Board) -> str:
    """Heading of a board."""
    kind = "development" if is_development(board.split) else "published"
    return f"{board.backbone}, split {board.split} ({kind}), {counted(len(board.sets), 'data set')}"


def _shown(picture: Picture, link: str) -> str:
    return f"![{picture.title}]({link}/{picture.file_name})\n"


def tables(board: Board) -> Iterator[Table]:
    """All tables of a board that are not empty."""
    yield summary_table(board)
    yield accuracy_table(board)
    yield from filter(None, [study_table(board)])
    yield depth_table(board)
    yield regime_table(board)
    yield from duel_tables(board)
    yield share_table(board)


if __name__ == "__main__":
    main()
