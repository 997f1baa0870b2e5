"""Pictures of made-up boards: well-formed, complete, and without anything from elsewhere."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from benchmarks.ground.pictures import Picture, pictures, weights
from tests.ground.made_up import BLOCKS, board, cell

DATA = {"dtd10": 0.5, "isic5": 0.6}
RATES = {"stem": None, "blocks.0": 1e-4, "blocks.1": None, "head": 5e-3}


def drawn() -> list[Picture]:
    cells = [
        cell(name, data, own + lead)
        for name, lead in (("full", 0.0), ("depth", 0.1), ("lora", 0.2))
        for data, own in DATA.items()
    ]
    searched = [cell("biotune:population=6", "dtd10", 0.5, learning_rates=RATES, trainable_share=0.125)]
    return list(pictures(board([*cells, *searched])))


def test_every_picture_is_a_file_of_its_own() -> None:
    names = [picture.file_name for picture in drawn()]
    assert names == ["ranks-tiny-200.svg", "plans-biotune-tiny-200.svg"]
    for picture in drawn():
        ElementTree.fromstring(picture.svg)
        assert "http" not in picture.svg.replace("http://www.w3.org/2000/svg", "")
        assert "prefers-color-scheme: dark" in picture.svg


def test_the_ranking_has_complete_methods_from_the_best() -> None:
    ranks = drawn()[0].svg
    places = [ranks.index(f">{name}</text>") for name in ("lora", "depth", "full")]
    assert places == sorted(places)
    assert ">biotune</text>" not in ranks
    assert ranks.count('class="alike"') == 1, "two data sets tell nothing apart"


def test_a_plan_has_a_flake_for_every_frozen_block_and_the_weights_of_the_others() -> None:
    plan = drawn()[1].svg
    assert plan.count('class="flake" x=') == 2
    assert "blocks.0: weight on the base rate 0.1" in plan
    assert "head: weight on the base rate 5" in plan
    assert "12.5 % of parameters" in plan


def test_weights_are_relative_to_the_base_rate_or_else_to_the_highest() -> None:
    assert weights(cell("auto", "mnist", 0.5, learning_rates=RATES)) == dict(
        zip(BLOCKS, (None, 0.1, None, 5), strict=True)
    )
    assert weights(cell("auto", "mnist", 0.5, learning_rates=RATES, learning_rate=None))["head"] == 1
    solved = cell("auto", "mnist", 0.5, learning_rates={"stem": None, "head": 0.0}, learning_rate=None)
    assert weights(solved) == {"stem": None, "head": 0.0}
