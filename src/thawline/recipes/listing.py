"""The published studies that come with thawline, as `compare --list` shows them."""

from __future__ import annotations

from thawline.formatting import counted
from thawline.recipes.cells import points
from thawline.recipes.recipe import Recipe, load_recipe, recipe_names


def listed() -> list[dict[str, object]]:
    """Every study: its paper, what it runs on, and how large it is."""
    return [_summary(load_recipe(name)) for name in recipe_names()]


def _summary(recipe: Recipe) -> dict[str, object]:
    run, year = recipe.run, f" ({recipe.paper.year})" if recipe.paper.year else ""
    given = [column.name for column in recipe.columns if not column.source]
    models = list(dict.fromkeys(column.model or "" for column in recipe.columns if column.model)) or [*run.models]
    return {
        "name": recipe.name,
        "paper": f"{recipe.paper.authors}{year}: {recipe.paper.title}",
        "reference": recipe.paper.reference,
        "data": [column.name for column in recipe.columns],
        "data_to_give": given,
        "models": models,
        "comparisons": _cells(recipe),
        "strategies": _rows(recipe),
        "seeds": run.seeds,
        "epochs": recipe.train.epochs,
        "cost": size_in_words(recipe),
    }


def size_in_words(recipe: Recipe) -> str:
    """How much is trained: `36 comparisons of 9 strategies, 3 seeds, up to 30 epochs each`."""
    return (
        f"{counted(_cells(recipe), 'comparison')} of {counted(_rows(recipe), 'strategy', 'strategies')}, "
        f"{counted(recipe.run.seeds, 'seed')}, up to {counted(recipe.train.epochs, 'epoch')} each"
    )


def _cells(recipe: Recipe) -> int:
    networks = sum(1 if column.model else len(recipe.run.models) for column in recipe.columns)
    return networks * len(list(points(recipe)))


def _rows(recipe: Recipe) -> int:
    return 1 if recipe.axes else len(recipe.run.strategies)
