"""Files beside the user's own: each network gets its own helpers, however and whenever they are imported."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from thawline.errors import ModelError
from thawline.model.load import LoadedModel, load_model

HELPER = """
    from torch import nn
    FACTOR = {factor}
    class Net(nn.Module):
        default_cfg = {{"input_size": (3, 16, 16)}}
        def __init__(self, n):
            super().__init__()
            self.fc = nn.Linear(3, n)
        def forward(self, images):
            return self.fc(images.mean((2, 3))) * FACTOR
"""
FACTORIES = {
    "from": "from layers import Net\ndef build(n): return Net(n)",
    "import": "import layers\ndef build(n): return layers.Net(n)",
    "relative": "from .layers import Net\ndef build(n): return Net(n)",
    "in the factory": "def build(n):\n    from layers import Net\n    return Net(n)",
    "by name": "import importlib\ndef build(n): return importlib.import_module('layers').Net(n)",
    "package": "from nets.deep.layers import Net as Other\ndef build(n): return Other(n)",
    "package as a name": "import nets.deep.layers as own\ndef build(n): return own.Net(n)",
    "submodule": "from nets.deep import layers\ndef build(n): return layers.Net(n)",
    "through another": "from between import Net\ndef build(n): return Net(n)",
    "added folder": "import sys\nsys.path.append(FOLDER)\nfrom shelved import Net\ndef build(n): return Net(n)",
}


def write(folder: Path, factor: float, factory: str) -> str:
    """A folder with a factory and helpers of every kind; returns the source."""
    helper = dedent(HELPER.format(factor=factor))
    (folder / "nets" / "deep").mkdir(parents=True)
    (folder / "nets" / "deep" / "__init__.py").touch()
    (folder / "shelf").mkdir()
    for path in ("layers.py", "nets/deep/layers.py", "shelf/shelved.py"):
        (folder / path).write_text(helper)
    (folder / "between.py").write_text("from layers import *")
    (folder / "net.py").write_text(factory.replace("FOLDER", repr(str(folder / "shelf"))))
    return f"{folder / 'net.py'}:build"


def outputs(model: LoadedModel) -> torch.Tensor:
    found: torch.Tensor = model.module.eval()(torch.ones(1, 3, 16, 16))
    return found


@pytest.mark.parametrize("kind", FACTORIES)
def test_two_networks_get_their_own_helpers(tmp_path: Path, kind: str) -> None:
    modules, path = set(sys.modules), list(sys.path)
    first, second = (
        load_model(write(tmp_path / str(factor), factor, FACTORIES[kind]), 2, seed=1) for factor in (1.0, -3.0)
    )
    assert torch.allclose(outputs(first) * -3, outputs(second))
    assert all(name.startswith("_thawline_own_") for name in set(sys.modules) - modules)
    assert sys.path == path
    assert len(first.own_files) >= 2


def test_an_import_inside_forward_finds_its_own_file_later(tmp_path: Path) -> None:
    lazy = """
        import importlib
        import importlib.metadata as metadata
        from importlib import import_module
        from torch import nn
        assert metadata.version("torch") and importlib.metadata and importlib.util
        class Net(nn.Module):
            def __init__(self, n):
                super().__init__()
                self.fc = nn.Linear(3, n)
            def forward(self, images):
                from settings import FACTOR
                import settings as again
                for found in (importlib.import_module("settings"), import_module("settings"), __import__("settings")):
                    assert found is again
                return self.fc(images.mean((2, 3))) * FACTOR * again.FACTOR
        def build(n): return Net(n)
    """
    models = []
    for factor in (1.0, 2.0):
        (tmp_path / str(factor)).mkdir()
        (tmp_path / str(factor) / "settings.py").write_text(f"FACTOR = {factor}")
        (tmp_path / str(factor) / "net.py").write_text(dedent(lazy))
        models.append(load_model(f"{tmp_path / str(factor) / 'net.py'}:build", 2, image_size=16, seed=1))
    assert torch.allclose(outputs(models[0]) * 4, outputs(models[1]))
    assert [sorted(model.own_files) for model in models] == [["net.py", "settings.py"]] * 2


def test_a_module_of_the_same_name_that_is_already_imported_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = tmp_path / "session"
    session.mkdir()
    (session / "layers.py").write_text("Net = None")
    monkeypatch.syspath_prepend(session)
    import layers  # type: ignore[import-not-found]

    for kind in ("from", "by name"):
        load_model(write(tmp_path / kind, 1.0, FACTORIES[kind]), 2)
    assert sys.modules["layers"] is layers
    del sys.modules["layers"]


def test_a_folder_of_data_does_not_stand_in_the_way_of_an_installed_package(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "weights.pth").touch()
    (tmp_path / "net.py").write_text(
        "import torch\ndef build(n): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, n))"
    )
    assert load_model(f"{tmp_path / 'net.py'}:build", 2, image_size=16).num_classes == 2


def test_two_packages_of_one_dotted_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = []
    for factor in (1.0, 5.0):
        write(tmp_path / str(factor), factor, "")
        monkeypatch.chdir(tmp_path / str(factor))
        models.append(load_model("nets.deep.layers:Net", 2, seed=1))
    assert torch.allclose(outputs(models[0]) * 5, outputs(models[1]))


def test_a_helper_with_an_edit_of_equal_length_runs_as_edited(tmp_path: Path) -> None:
    source = write(tmp_path, 1.0, FACTORIES["from"])
    before = load_model(source, 2, seed=1)
    text = (tmp_path / "layers.py").read_text()
    (tmp_path / "layers.py").write_text(text.replace("FACTOR = 1.0", "FACTOR = 7.0"))
    after = load_model(source, 2, seed=1)
    assert torch.allclose(outputs(before) * 7, outputs(after))
    assert after.changed_files(before.own_files) == ["layers.py"]
    (tmp_path / "layers.py").write_text(text)
    assert load_model(source, 2).changed_files(before.own_files) == []


def test_helpers_run_once_in_a_process_as_those_that_register_operators_must(tmp_path: Path) -> None:
    code = (
        'from torch import library\nLIBRARY = library.Library("thawline_test", "DEF")\n'
        'LIBRARY.define("f(Tensor x) -> Tensor")'
    )
    (tmp_path / "operators.py").write_text(code)
    source = write(tmp_path, 1.0, "import operators\nfrom layers import Net\ndef build(n): return Net(n)")
    first, second = load_model(source, 2), load_model(source, 2)
    assert first.module is not second.module
    assert first.own_files == second.own_files


def test_messages_name_modules_as_the_user_wrote_them(tmp_path: Path) -> None:
    source = write(tmp_path, 1.0, "from nets.missing import Net")
    with pytest.raises(ModelError, match=r"No module named 'nets\.missing'"):
        load_model(source, 2)
