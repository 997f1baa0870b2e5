"""The folder of a study: its cells, a copy of the recipe, and the tables and the page that are drawn from them."""

from __future__ import annotations

from pathlib import Path

from thawline.errors import RunFolderError, written_to
from thawline.recipes.listing import size_in_words
from thawline.recipes.recipe import Recipe, load_recipe, parse_recipe, recipe_text
from thawline.recipes.runs import RECIPE, name_of_study, read_cells
from thawline.recipes.tables import gather, markdown
from thawline.recipes.verdict import findings, headline
from thawline.records import write_text
from thawline.report.study import StudyPage, draw_study
from thawline.results import RecipeCell

TABLES = "tables.md"
PAGE = "report.html"


def keep_recipe(name: str, folder: Path) -> None:
    """Copy the recipe into the folder."""
    with written_to(folder / RECIPE):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / RECIPE, recipe_text(name))


def write_study(recipe: Recipe, folder: Path) -> tuple[list[RecipeCell], str]:
    """Write the tables and the page of all finished cells; returns the cells and the tables."""
    cells = read_cells(recipe, folder)
    said = [headline(recipe, cells), *findings(recipe, cells)]
    tables = markdown(recipe, cells, said)
    with written_to(folder / TABLES):
        write_text(folder / TABLES, tables)
    with written_to(folder / PAGE):
        write_text(folder / PAGE, draw_study(_page(recipe, cells, said)))
    return cells, tables


def redraw(folder: Path) -> Path:
    """Draw the tables and the page of a study again; `RunFolderError` if the folder holds none."""
    if (path := folder / RECIPE).is_file():
        recipe = parse_recipe(path.read_text(encoding="utf-8"), str(path))
    elif (name := name_of_study(folder)) is not None:
        recipe = load_recipe(name)
    else:
        raise RunFolderError(f"{folder} holds no study.")
    write_study(recipe, folder)
    return folder / PAGE


def _page(recipe: Recipe, cells: list[RecipeCell], said: list[str]) -> StudyPage:
    paper = recipe.paper
    year = f" ({paper.year})" if paper.year else ""
    machines = dict.fromkeys(
        f"{cell.environment.processor}, device {cell.environment.device}, thawline "
        f"{cell.environment.packages.get('thawline')}, torch {cell.environment.packages.get('torch')}"
        for cell in cells
    )
    return StudyPage(
        name=recipe.name,
        paper=f"{paper.authors}{year}: {paper.title}. {paper.reference}.",
        answer=said[0],
        findings=said[1:] if said[1:] != said[:1] else [],
        measured=gather(recipe, cells),
        published=recipe.expected,
        settings=paper.settings,
        notes=paper.notes,
        size=f"{len(cells)} finished; the whole study is {size_in_words(recipe)}",
        machines=list(machines),
    )
