"""The folder of a network from the user's own code: what is written is read again, and anything else is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from thawline.config import Preprocessing
from thawline.errors import RunFolderError
from thawline.exports.own_folder import OWN_FILE, OwnFolder, own_snippet, read_own_folder, save_own_folder
from thawline.exports.writing import LABELS_FILE, WEIGHTS_FILE

ABOUT = OwnFolder(
    "/code/net.py:build", ("cat", "two\nlines"), Preprocessing(64, "bilinear", 0.9, "center", (0.4,) * 3, (0.2,) * 3)
)


def changed(**values: Any) -> dict[str, Any]:
    stored = {"source": "net.py:build", "label_names": ["a"], "preprocessing": {**vars(ABOUT.preprocessing)}}
    return {**stored, **values}


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    module = nn.Linear(3, 2)
    save_own_folder(tmp_path / "model", module, ABOUT, {"strategy": "full"})
    assert read_own_folder(tmp_path / "model") == ABOUT
    assert (tmp_path / "model" / LABELS_FILE).read_text() == "cat\ntwo\\nlines\n"
    assert torch.equal(load_file(tmp_path / "model" / WEIGHTS_FILE)["weight"], module.weight)


def test_the_snippet_names_the_factory_and_the_number_of_classes(tmp_path: Path) -> None:
    lines = own_snippet(tmp_path, ABOUT.source, ABOUT.label_names).splitlines()
    assert lines[1:3] == ["from net import build", "model = build(2).eval()"]


@pytest.mark.parametrize(
    ("stored", "key"),
    [
        (changed(source=5), "source"),
        (changed(label_names="cat"), "label_names"),
        (changed(label_names=[1]), "label_names"),
        (changed(preprocessing={"image_size": 64}), "interpolation"),
        (changed(preprocessing={**vars(ABOUT.preprocessing), "mean": [0.5]}), "mean"),
        ({"label_names": ["a"]}, "source"),
        ([], "object"),
    ],
)
def test_a_damaged_description_is_one_line_that_names_the_key(tmp_path: Path, stored: object, key: str) -> None:
    (tmp_path / OWN_FILE).write_text(json.dumps(stored))
    with pytest.raises(RunFolderError, match=key) as caught:
        read_own_folder(tmp_path)
    assert str(tmp_path / OWN_FILE) in str(caught.value)
    assert "\n" not in str(caught.value)
