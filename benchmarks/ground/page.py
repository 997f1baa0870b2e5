"""Tables and pictures of the cells that are there: a page in markdown, and SVG files beside the cells.

    python -m benchmarks.ground.page --results benchmarks/results/ground

writes results/ground.md from the published splits and results/ground-development.md from the others. Every table says
how many data sets it rests on, so it can be written while the benchmark runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.ground.board import REFERENCE, Board, read_boards
from benchmarks.ground.pictures import pictures
from benchmarks.ground.regimes import depth_table, regime_table
from benchmarks.ground.splits import is_development
from benchmarks.ground.study import study_table
from benchmarks.ground.tables import accuracy_table, duel_tables, share_table, summary_table
from thawline.formatting import counted
from thawline.recipes.recipe import Table
from thawline.records import write_text

RESULTS = Path(__file__).parents[1] / "results" / "ground"


def main() -> None:
    """Write the pages that there are cells for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the cells")
    write_pages(parser.parse_args().results)


def write_pages(results: Path) -> None:
    """Write one page for the published splits and one for the development splits, never both in one."""
    boards = [board for board in read_boards(results) if board.row(REFERENCE)]
    for development, suffix in ((False, ""), (True, "-development")):
        chosen = [board for board in boards if is_development(board.split) == development]
        if chosen:
            write_text(results.with_name(f"{results.name}{suffix}.md"), page(chosen, results))


def page(boards: Sequence[Board], results: Path) -> str:
    """The page of boards of one kind; writes their pictures into `results`."""
    parts = ["# The proving ground\n", "Written by `python -m benchmarks.ground.page`; one JSON per cell in ground/.\n"]
    return "\n".join([*parts, *(part for board in boards for part in _section(board, results))])


def _section(board: Board, results: Path) -> Iterator[str]:
    kind = "development" if is_development(board.split) else "published"
    yield f"## {board.backbone}, split {board.split} ({kind}), {counted(len(board.sets), 'data set')}\n"
    yield f"At {', '.join(board.commits)}.\n"
    for picture in pictures(board):
        write_text(results / picture.file_name, picture.svg)
        yield f"![{picture.title}]({results.name}/{picture.file_name})\n"
    yield from (table.to_markdown() for table in tables(board))
    if board.failures:
        yield "### Failed\n"
        yield from (f"- `{method}` on {data}: {error}" for (method, data), error in board.failures.items())
        yield ""


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
