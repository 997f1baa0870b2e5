"""A network in memory is written to the cache once, however many ask for it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import timm
from timm.models import save_for_hf

from thawline.model import objects


def test_a_network_that_several_save_at_once_is_written_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def slow(model: Any, folder: str, **options: Any) -> None:
        written.append(Path(folder))
        time.sleep(0.1)  # so that without the lock all of them would be here
        save_for_hf(model, folder, **options)

    monkeypatch.setattr(objects, "save_for_hf", slow)
    network = timm.create_model("test_resnet", num_classes=3)
    with ThreadPoolExecutor(4) as threads:
        names = set(threads.map(lambda _: objects.source_of(network, tmp_path / "cache"), range(4)))
    assert len(written) == 1
    (name,) = names
    saved = Path(str(name).removeprefix("local-dir:"))
    assert {file.name for file in saved.iterdir()} == {"config.json", "model.safetensors"}
