"""Gray values of fewer bits in 16-bit files, as X-ray, thermal and microscope cameras write them."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.small_runs import Stop, small_request
from thawline import api
from thawline.callback import Callback
from thawline.config import Request
from thawline.errors import DataError
from thawline.records import digest
from thawline.runs.classifier import Classifier
from thawline.runs.files import LEDGER
from thawline.runs.ledger import Ledger


class Notes(Callback):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def _write(root: Path, bits: int) -> Path:
    """Two classes of noise: the same pictures at any depth, in 16-bit files."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for name, low in (("dark", 0.0), ("light", 0.5)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                values = low + 0.5 * generator.random((40, 40))
                values[0, 0] = 1.0
                gray = (values * ((1 << bits) - 1)).round().astype(np.uint16)
                Image.fromarray(gray).save(folder / f"{number}.png")
    return root


def _request(data: Path, **options: Any) -> Request:
    request = small_request(data, ("linear_probe",), verb="fit", learning_rate=1e-2)
    return replace(request, images=replace(request.images, **options))


def _depth(run: Path) -> str:
    stored = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return str(stored["request"]["images"]["bit_depth"])


@pytest.mark.thorough
@pytest.mark.parametrize("bits", [10, 12])
def test_the_range_over_the_dataset_decides_and_predict_decodes_alike(tmp_path: Path, bits: int) -> None:
    data, notes = _write(tmp_path / "images", bits), Notes()
    api.run(_request(data), tmp_path / "run", notes)
    assert any(f"hold {bits}-bit values (at most {(1 << bits) - 1:,} of 65,535)" in line for line in notes.lines)
    assert _depth(tmp_path / "run") == str(bits)
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["thawline"]["bit_depth"] == bits

    pictures = json.loads((tmp_path / "run" / "thumbnails.json").read_text(encoding="utf-8"))["images"]
    grays = [np.asarray(Image.open(io.BytesIO(base64.b64decode(picture)))).max() for picture in pictures.values()]
    assert min(grays) > 120

    _write(tmp_path / "whole", 16)
    ours = Classifier(tmp_path / "run")
    assert ours.preprocessing.bit_depth == bits
    paths = sorted((data / "test").rglob("*.png"))
    narrow = ours.probabilities(paths)[0]
    ours.preprocessing = replace(ours.preprocessing, bit_depth=16)
    whole = ours.probabilities([tmp_path / "whole" / path.relative_to(data) for path in paths])[0]
    assert np.abs(narrow - whole).max() < 0.02
    assert len(np.unique(narrow.round(4))) > 2

    brighter = tmp_path / "brighter.png"
    Image.fromarray(np.full((40, 40), 1 << bits, np.uint16)).save(brighter)
    found = api.predict(tmp_path / "run", brighter)
    assert found.predictions == []
    assert f"more than {bits} bits hold" in found.unreadable[0].reason


@pytest.mark.thorough
def test_a_resumed_run_keeps_the_depth(tmp_path: Path) -> None:
    request = replace(_request(_write(tmp_path / "images", 12)), strategies=("last_blocks:k=1",))
    api.run(request, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        api.run(request, tmp_path / "run", Stop(0))
    assert _depth(tmp_path / "run") == "12"
    api.resume(tmp_path / "run")
    assert len({digest(Ledger(tmp_path / name / LEDGER).records) for name in ("whole", "run")}) == 1


@pytest.mark.thorough
def test_the_option_decides_against_the_range(tmp_path: Path) -> None:
    data = _write(tmp_path / "images", 12)
    api.run(_request(data, bit_depth="16"), tmp_path / "whole")
    config = json.loads((tmp_path / "whole" / "model" / "config.json").read_text(encoding="utf-8"))
    assert "bit_depth" not in config["thawline"]
    api.run(_request(data, bit_depth="14"), tmp_path / "fourteen")
    assert Classifier(tmp_path / "fourteen").preprocessing.bit_depth == 14
    with pytest.raises(DataError, match=r"has 16-bit values up to 4095, more than 10 bits hold"):
        api.run(_request(data, bit_depth="10"), tmp_path / "ten")


@pytest.mark.thorough
def test_whole_16_bit_and_8_bit_images_are_as_before(images: Path, tmp_path: Path) -> None:
    for data in (images, _write(tmp_path / "whole", 16)):
        notes = Notes()
        api.run(_request(data), tmp_path / f"run of {data.name}", notes)
        assert _depth(tmp_path / f"run of {data.name}") == "auto"
        assert not any("16-bit" in line for line in notes.lines)


def test_check_says_it_and_looks_as_the_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    data = _write(tmp_path / "images", 12)
    found = api.check(data)
    assert any("hold 12-bit values" in line for line in found.warnings)
    assert api.check(data) == found
    api.run(_request(data), tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "check.json").read_text(encoding="utf-8"))
    assert found.to_dict() == stored
