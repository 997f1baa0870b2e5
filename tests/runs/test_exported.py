"""An export is opened by its own runtime, in a fresh process, or there is none."""

from __future__ import annotations

import errno
import json
import sys
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import thawline
from benchmarks.exports import FAMILIES, measure_family
from tests.small_runs import save_model
from thawline.errors import DataError, MissingExtraError, ModelError, OptionError, RunError, RunFolderError
from thawline.exports import graph
from thawline.exports.timm_folder import CONFIG_FILE
from thawline.model.load import load_model
from thawline.runs import exported
from thawline.runs.listed import Listed

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))),
    reason="needs thawline[onnx]",
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A timm folder whose config has a temperature of 2."""
    folder = tmp_path / "model"
    network = load_model("test_efficientnet", 2, image_size=32, weights="random")
    head: Any = network.module.get_submodule("classifier")
    head.weight.data.normal_(std=3, generator=torch.Generator().manual_seed(0))
    save_model(folder, network, ("blue", "red"))
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["thawline"]["temperature"] = 2.0
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    (folder / "SHA256SUMS").unlink()
    return folder


@needs_onnx
@pytest.mark.slow  # PyTorch's exporter alone takes seconds
@pytest.mark.filterwarnings("ignore")  # those of the exporter's imports are not ours
def test_onnx_gives_what_predict_gives(model: Path, images: Path) -> None:
    import onnx
    import onnxruntime

    result = thawline.export(model, images=images / "val")
    assert result.largest_difference < 1e-5
    assert (result.agreeing, result.images, result.batches) == (12, 12, (1, 3, 8))
    assert (
        str(result)
        .splitlines()[0]
        .startswith("onnx, fp32, opset 18: 12 of 12 image files get the same class as from predict")
    )
    assert "<table" in result._repr_html_()
    folder = result.path
    assert folder == model / "exports" / "onnx"
    assert json.loads((folder / "export.json").read_text())["largest_difference"] == result.largest_difference
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["SHA256SUMS", "classify.py", "export.json", "labels.txt", "model.onnx", "preprocessing.json"]
    )
    stored = onnx.load(str(folder / "model.onnx"))
    (opset,) = [each.version for each in stored.opset_import if each.domain == ""]
    assert opset == result.opset == 18
    properties = {each.key: each.value for each in stored.metadata_props}
    assert json.loads(properties["labels"]) == ["blue", "red"]
    assert json.loads(properties["temperature"]) == 2
    assert str(Path(thawline.__file__).parent).encode() not in (folder / "model.onnx").read_bytes()

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    (entry,) = session.get_inputs()
    assert (entry.name, entry.type, entry.shape[1:]) == (graph.INPUT, "tensor(uint8)", [32, 32, 3])
    some = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(session.run(None, {graph.INPUT: some})[0].sum(axis=1), 1, rtol=1e-5)


@needs_onnx
@pytest.mark.filterwarnings("ignore")
def test_an_export_that_differs_leaves_nothing_behind(
    model: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported, "TOLERANCE", -1.0)
    monkeypatch.setattr(exported, "write_program", lambda to, folder, *_: (folder / "model.onnx").touch())
    rows = np.full((12, 2), 0.5)
    monkeypatch.setattr(exported, "_reopened", lambda *_: exported._Found(rows, [0] * 12, {}, {}))
    with pytest.raises(RunError, match=r"off that of PyTorch .* was not written"):
        thawline.export(model, images=images / "val")
    assert not (model / "exports").exists()


@needs_onnx
def test_a_runtime_that_cannot_open_it_is_told_in_one_line(
    model: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(to: str, folder: Path, *_: object) -> None:
        (folder / "model.onnx").write_bytes(b"no graph")

    monkeypatch.setattr(exported, "write_program", write)
    with pytest.raises(RunError, match="cannot be opened by its runtime"):
        thawline.export(model, images=images / "val")
    assert not (model / "exports").exists()


@needs_onnx
def test_input_errors(model: Path, images: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not belong to a run.*at least 8 image files"):
        thawline.export(model)
    with pytest.raises(DataError, match="at least 8"):
        thawline.export(model, images=sorted((images / "val" / "red").iterdir())[:7])
    with pytest.raises(OptionError, match="`to` must be"):
        thawline.export(model, to="tflite")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="`int8`"):
        thawline.export(model, to="torch", int8=True)
    with pytest.raises(OptionError, match="`int8` needs training and validation images"):
        thawline.export(model, images=images / "val", int8=True)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="did not write"):
        thawline.export(model, images=images / "val", out=foreign)
    (foreign / "export.json").write_text("{}")
    with pytest.raises(RunFolderError, match=r"thesis\.txt was not written by an export; move it away"):
        thawline.export(model, images=images / "val", out=foreign)
    assert (foreign / "thesis.txt").read_text() == "mine"


@needs_onnx
@pytest.mark.filterwarnings("ignore")
def test_a_full_disk_is_one_line_that_names_the_folder(
    model: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exported, "write_program", write)
    with pytest.raises(RunError, match=r"exports/onnx cannot be written \(No space left on device\); free some space"):
        thawline.export(model, images=images / "val")
    assert not (model / "exports").exists()


def test_int8_without_the_images_of_the_run_is_refused_at_once(tmp_path: Path) -> None:
    rows = [Listed(f"{split}.png", tmp_path / f"{split}.png", "red", split) for split in ("train", "val")]
    (tmp_path / "val.png").touch()
    with pytest.raises(DataError, match=r"1 of 2 are missing .*train\.png"):
        exported._require_images(rows)


def test_what_is_not_installed_is_named_with_its_extra(
    model: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'thawline\[onnx\]'"):
        thawline.export(model, images=images / "val")


def test_a_temperature_that_cannot_be_used_is_refused(model: Path, images: Path) -> None:
    config = json.loads((model / CONFIG_FILE).read_text())
    config["thawline"]["temperature"] = 0
    (model / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="the temperature must be a number above 0, got 0"):
        thawline.predict(model, images / "val")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_torch_program_holds_no_pickle(model: Path, images: Path) -> None:
    result = thawline.export(model, to="torch", images=images / "val")
    assert result.largest_difference < 1e-5
    with zipfile.ZipFile(model / "exports" / "torch" / "model.pt2") as archive:
        pickled = [name for name in archive.namelist() if archive.read(name)[:1] == b"\x80" and name.endswith(".pt")]
        samples = [name for name in archive.namelist() if "sample_inputs" in name and archive.getinfo(name).file_size]
    assert not pickled
    assert not samples


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_openvino_gives_what_predict_gives(model: Path, images: Path) -> None:
    pytest.importorskip("openvino")
    result = thawline.export(model, to="openvino", images=images / "val")
    assert result.largest_difference < 1e-4
    assert result.agreeing == result.images
    assert "f32" in (model / "exports" / "openvino" / "classify.py").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_the_same_in_timm_transformers_and_onnx(family: str, images: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    files = sorted((images / "test").glob("*/*.png"))[::2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells = measure_family(family, files, tmp_path, ("timm", "transformers", "onnx"))
    assert len(files) == 8
    for column, cell in cells.items():
        assert cell.get("difference", 1) <= 1e-4, (column, cell)
        assert cell["agreeing"] == 8, (column, cell)
