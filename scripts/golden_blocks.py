"""Write tests/model/golden_blocks.json: the stage blocks of the smallest network of every timm model module.

Run it after a change to the partition or to timm, and read the diff: would an engineer agree with the blocks?
It builds every timm model on the meta device, which takes a few minutes and no memory.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch

from thawline.errors import ModelError
from thawline.model.blocks import partition
from thawline.model.load import ModelStructure, build_on_meta
from thawline.records import write_json

GOLDEN = Path(__file__).parents[1] / "tests" / "model" / "golden_blocks.json"
CLASSES = 10
_NEVER_SMALLEST = re.compile(r"^test_|giant|gigantic|enormous|huge|large|_xl|so400|_1b|_3b|_7b")


def names_of(module: str) -> list[str]:
    """Models of one timm module, without timm's own toys and the giants, unless there is nothing else."""
    names = timm.list_models(module=module)
    return [name for name in names if not _NEVER_SMALLEST.search(name)] or names


def smallest(module: str) -> tuple[ModelStructure | None, str]:
    """The model with the fewest parameters that has a classifier; None and the reason if none has."""
    best, fewest, reason = None, float("inf"), ""
    for name in names_of(module):
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in timm.create_model(name, num_classes=CLASSES).parameters())
        if size >= fewest:
            continue
        try:
            structure = build_on_meta(name, CLASSES)
            partition(structure.module, "stage", structure.preprocessing.image_size)
        except ModelError as error:
            reason = str(error)
            continue
        best, fewest = structure, size
    return best, reason


def describe(structure: ModelStructure) -> dict[str, Any]:
    """What the golden file holds of one model: block names in order of execution, with their parameters."""
    size = structure.preprocessing.image_size
    blocks = partition(structure.module, "stage", size)
    return {
        "model": structure.architecture,
        "image_size": size,
        "blocks": {block.name: block.size for block in blocks},
    }


def main() -> None:
    """Write the golden file and say what changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=GOLDEN)
    out: Path = parser.parse_args().out
    before: Mapping[str, Any] = json.loads(out.read_text()) if out.exists() else {"families": {}}
    families, not_divisible = {}, {}
    for module in sorted({timm.models._registry._model_to_module[name] for name in timm.list_models()}):
        structure, reason = smallest(module)
        if structure is None:
            not_divisible[module] = reason
        else:
            families[module] = describe(structure)
    changed = [module for module, found in families.items() if before["families"].get(module) != found]
    write_json(out, {"timm": timm.__version__, "families": families, "not_divisible": not_divisible})
    print(f"{len(families)} families, {len(changed)} changed: {', '.join(changed)}")
    print(f"not divisible: {not_divisible}")


if __name__ == "__main__":
    main()
