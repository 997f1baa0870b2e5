"""One network of every timm model module is divided as it was when somebody last looked (scripts/golden_blocks.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm

from thawline.model.blocks import partition
from thawline.model.load import build_on_meta

GOLDEN = json.loads((Path(__file__).parent / "golden_blocks.json").read_text(encoding="utf-8"))
FAMILIES: dict[str, Any] = GOLDEN["families"]
SMALL = 7_000_000
"""Parameters up to which a network belongs to the fast half."""


def _marked(family: str) -> Any:
    is_small = sum(FAMILIES[family]["blocks"].values()) < SMALL
    return pytest.param(family, marks=() if is_small else pytest.mark.slow)


@pytest.mark.parametrize("family", [_marked(family) for family in FAMILIES])
def test_blocks_are_as_recorded(family: str) -> None:
    expected = FAMILIES[family]
    structure = build_on_meta(expected["model"], 10)
    assert structure.preprocessing.image_size == expected["image_size"]
    blocks = partition(structure.module, "stage", expected["image_size"])
    assert [(block.name, block.size) for block in blocks] == list(expected["blocks"].items())


def test_every_timm_module_is_listed() -> None:
    listed = {*FAMILIES, *GOLDEN["not_divisible"]}
    modules = {timm.models._registry._model_to_module[name] for name in timm.list_models()}
    assert modules == listed, "timm has other model modules: run scripts/golden_blocks.py and read the diff"


def test_no_module_is_left_out() -> None:
    assert GOLDEN["not_divisible"] == {}, "name here each timm module that cannot be divided, and why"
