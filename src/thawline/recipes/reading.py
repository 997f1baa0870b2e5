"""What the tables of a study read from its stored cells."""

from __future__ import annotations

from collections.abc import Sequence

from thawline.config import DataConfig, TrainConfig, TuningConfig
from thawline.errors import OptionError, RunFolderError
from thawline.results import RecipeCell, ScoredCellRow, TestScores


def by(cells: Sequence[RecipeCell], *names: str) -> dict[str, list[RecipeCell]]:
    """Cells grouped by these fields of their settings."""
    groups: dict[str, list[RecipeCell]] = {}
    for cell in cells:
        groups.setdefault(", ".join(getattr(cell.setting, name) for name in names), []).append(cell)
    return groups


def scored(cell: RecipeCell) -> list[ScoredCellRow]:
    """Rows that could be trained."""
    return [row for row in cell.rows if isinstance(row, ScoredCellRow)]


def failures(cell: RecipeCell) -> dict[str, str]:
    """Strategy -> why it could not be trained."""
    return {row.strategy: row["error"] for row in cell.rows if not isinstance(row, ScoredCellRow)}


def title(cell: RecipeCell) -> str:
    """Network and dataset."""
    return f"{cell.setting.model} on {cell.setting.data}"


def sizes(cells: Sequence[RecipeCell]) -> list[str]:
    """How small the study was run: a note for every dataset."""
    return list(dict.fromkeys(size(cell) for cell in cells))


def size(cell: RecipeCell) -> str:
    """Images, pixels, epochs, seeds."""
    train, images, search = options_of(cell)
    counts = ", ".join(f"{count:,} {split}" for split, count in cell.data.images.items())
    pixels = f" at {images.image_size} px" if images.image_size else ""
    plural = "s" if search.seeds > 1 else ""
    return f"{cell.setting.data}: {counts} images{pixels}; up to {train.epochs} epochs, {search.seeds} seed{plural}."


def options_of(cell: RecipeCell) -> tuple[TrainConfig, DataConfig, TuningConfig]:
    """The options that every training of a cell had; `RunFolderError` if they cannot be read."""
    stored = cell.request
    try:
        return TrainConfig(**stored["train"]), DataConfig(**stored["images"]), TuningConfig(**stored["search"])
    except (KeyError, TypeError, OptionError) as error:
        raise RunFolderError(f"{cell.cell}.json: its options cannot be read ({error}); run the cell again.") from error


def on_test(row: ScoredCellRow) -> TestScores:
    """The scores on test, which every cell of a study has."""
    if row.test is None:
        raise RunFolderError(f"the row {row.strategy} of a cell has no test scores; run the cell again.")
    return row.test


def percent(value: float) -> str:
    """A share in percent, with one decimal and no sign."""
    return f"{100 * value:.1f}"


def spread(row: ScoredCellRow) -> str:
    """Test accuracy in percent: the mean, and its standard error if there are several seeds."""
    accuracy = on_test(row).accuracy
    error = accuracy.standard_error
    return f"{100 * accuracy.mean:.2f}" + (f" ± {100 * error:.2f}" if error is not None else "")


def interval(row: ScoredCellRow) -> str:
    """The 95 % interval of the test accuracy in percent."""
    low, high = on_test(row).interval95
    return f"{percent(low)} to {percent(high)}"
