"""Networks from files that a user might write: right ones of many shapes, and every way to get them wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from torch import nn

from thawline.errors import ModelError
from thawline.model.blocks import partition
from thawline.model.head import head_modules, named_tensors
from thawline.model.load import LoadedModel, build_on_meta, load_model
from thawline.model.own import build, is_own
from thawline.plan import GRANULARITIES

SMALL = """
    import torch
    from torch import nn

    class Net(nn.Module):
        default_cfg = {"input_size": (3, 16, 16), "mean": (0.1, 0.2, 0.3), "crop_pct": 1.0}

        def __init__(self, num_classes):
            super().__init__()
            self.classifier = nn.Linear(8, num_classes)  # registered first, runs last
            self.features = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
            self.nested = nn.ModuleDict({"inner": nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))})
            self.register_buffer("scale", torch.tensor(2.0).expand(4), persistent=False)

        def forward(self, images):
            return self.classifier(self.nested["inner"](self.features(images).mean((2, 3)) * self.scale))

    def build(num_classes: int) -> nn.Module:
        return Net(num_classes)
"""


def write(folder: Path, code: str, name: str = "net.py") -> str:
    path = folder / name
    path.write_text(dedent(code), encoding="utf-8")
    return str(path)


@pytest.fixture
def small(tmp_path: Path) -> str:
    return f"{write(tmp_path, SMALL)}:build"


def tensors(model: LoadedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named_tensors(model.module)}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def error_of(folder: Path, code: str, source: str = "net.py:build", num_classes: int = 3) -> str:
    write(folder, code)
    with pytest.raises(ModelError) as caught:
        load_model(f"{folder}/{source}", num_classes, image_size=16)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "own"),
    [
        ("net.py:build", True),
        ("../my nets/net.py:build", True),
        ("package.module:factory", True),
        ("net.py:", True),
        ("resnet50", False),
        ("net.py", False),
        ("local-dir:model", False),
        ("hf-hub:timm/resnet18", False),
        ("hf_hub:resnet18", False),
    ],
)
def test_which_sources_are_the_users_code(source: str, own: bool) -> None:
    assert is_own(source) == own


def test_the_head_is_the_layer_that_runs_last_and_the_module_says_how_images_are_prepared(small: str) -> None:
    model = load_model(small, 3)
    assert not model.is_timm
    assert model.architecture == model.source == small
    assert list(head_modules(model.module)) == ["classifier"]
    assert model.preprocessing.image_size == 16
    assert model.preprocessing.mean == (0.1, 0.2, 0.3)
    assert model.preprocessing.interpolation == "bicubic"
    assert load_model(small, 3, image_size=24).preprocessing.image_size == 24


def test_without_settings_they_are_imagenets(tmp_path: Path) -> None:
    place = write(tmp_path, SMALL.replace("default_cfg", "other"))
    preprocessing = load_model(f"{place}:build", 3).preprocessing
    assert (preprocessing.image_size, preprocessing.crop_pct) == (224, 0.875)
    assert preprocessing.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_every_tensor_is_in_one_block_and_the_head_comes_last(small: str, granularity: str) -> None:
    blocks = partition(load_model(small, 3).module, granularity, 16)  # type: ignore[arg-type]
    assert blocks[-1].parameters == ("classifier.weight", "classifier.bias")
    assert [block.layers for block in blocks] == [1, 1, 1]
    assert "features.1.running_mean" in blocks[0].buffers
    assert "nested.inner.1.running_mean" in blocks[1].buffers


def test_loading_and_trying_leaves_no_trace(small: str) -> None:
    state, path = torch.get_rng_state(), list(sys.path)
    model = load_model(small, 3, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert sys.path == path
    assert model.module.get_buffer("features.1.num_batches_tracked") == 0
    assert changed(tensors(model), tensors(load_model(small, 3, seed=5))) == set()


def test_restore_draws_the_head_from_the_seed_and_brings_the_rest_back(small: str) -> None:
    model = load_model(small, 3, seed=1)
    before = tensors(model)
    model.module.train()(torch.randn(4, 3, 16, 16)).sum().backward()
    with torch.no_grad():
        for _, tensor in named_tensors(model.module):
            tensor.add_(1)
    model.restore(2)
    assert changed(before, tensors(model)) == {"classifier.weight", "classifier.bias"}
    assert set(model.pristine()) == set(before) - {"classifier.weight", "classifier.bias"}
    model.restore(1)
    assert changed(before, tensors(model)) == set()


def test_the_fingerprint_covers_the_code(tmp_path: Path) -> None:
    place = write(tmp_path, SMALL)
    loaded, same = (load_model(f"{place}:build", 3, seed=0).weights_fingerprint for _ in range(2))
    other = write(tmp_path, SMALL.replace("ReLU()", "GELU()"), "other.py")
    assert loaded == same != load_model(f"{other}:build", 3, seed=0).weights_fingerprint


def test_weights_from_a_file_but_no_random_ones(small: str, tmp_path: Path) -> None:
    saved = load_model(small, 7, seed=9).module
    torch.save(saved.state_dict(), tmp_path / "saved.pth")
    model = load_model(small, 3, weights=str(tmp_path / "saved.pth"))
    assert torch.equal(model.module.get_parameter("features.0.weight"), saved.get_parameter("features.0.weight"))
    with pytest.raises(ModelError, match="whose code loads its weights"):
        load_model(small, 3, weights="random")


def test_structure_for_inspect_is_on_the_meta_device(small: str) -> None:
    structure = build_on_meta(small, 10)
    assert all(tensor.is_meta for _, tensor in named_tensors(structure.module))
    assert len(partition(structure.module, "stage", 16)) == 3


@pytest.mark.parametrize(
    ("name", "head"),
    [("resnet18", "fc"), ("mobilenet_v3_small", "classifier.3"), ("squeezenet1_1", "classifier.1")],
)
def test_torchvisions_functions_are_factories(name: str, head: str) -> None:
    model = load_model(f"torchvision.models:{name}", 5, image_size=64)
    assert list(head_modules(model.module)) == [head]
    assert model.module.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


def test_a_package_beside_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "thawline_test_package"
    package.mkdir()
    write(package, SMALL, "nets.py")
    monkeypatch.chdir(tmp_path)
    assert load_model("thawline_test_package.nets:build", 3).preprocessing.image_size == 16
    with pytest.raises(ModelError, match=r"module thawline_test_package\.nest does not exist;"):
        load_model("thawline_test_package.nest:build", 3)


def test_files_beside_it_can_be_imported_and_its_parameter_may_have_any_name(tmp_path: Path) -> None:
    write(tmp_path, SMALL, "thawline_test_layers.py")
    place = write(tmp_path, "def build(n):\n    from thawline_test_layers import Net\n    return Net(n)")
    assert load_model(f"{place}:build", 3).num_classes == 3


def test_a_head_of_several_modules_is_named_in_the_settings(tmp_path: Path) -> None:
    code = SMALL.replace('"crop_pct": 1.0', '"classifier": ["nested", "classifier"]')
    model = load_model(f"{write(tmp_path, code)}:build", 3)
    blocks = partition(model.module, "stage", 16)
    assert [block.prefixes for block in blocks] == [("features",), ("nested", "classifier")]


def test_lazy_layers_are_filled_in(tmp_path: Path) -> None:
    code = "from torch import nn\ndef build(n): return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.LazyLinear(n))"
    loaded, other = (load_model(f"{write(tmp_path, code)}:build", 3, image_size=16, seed=seed) for seed in (1, 1))
    assert isinstance(loaded.module.get_submodule("2"), nn.Linear)
    assert changed(tensors(loaded), tensors(other)) == set()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def other(n): pass", "has no function 'build'"),
        ("import torch\ndef build(n:\n    pass", "net.py, line 2: SyntaxError"),
        ("import torch_that_is_not_there", "No module named 'torch_that_is_not_there' (net.py, line 1)"),
        ("import sys\nsys.exit(3)", "its import failed with SystemExit: 3 (net.py, line 2)"),
        (
            "def build(n):\n    x = {}\n    return x['weights']",
            "build(3) failed with KeyError: 'weights' (net.py, line 3)",
        ),
        ("def build():\n    pass", "build(3) failed with TypeError"),
        ("def build(n):\n    raise ValueError('two\\nlines')", "two lines"),
        ("import torch\ndef build(n): return torch.jit.script(torch.nn.Linear(3, n))", "returned a TorchScript module"),
        (
            "import torch\ndef build(n): return torch.nn.Sequential(torch.jit.script(torch.nn.Linear(3, n)))",
            "TorchScript",
        ),
        ("import torch\ndef build(n): return torch.compile(torch.nn.Linear(3, n))", "returned a compiled module"),
        ("import torch\ndef build(n):\n    net = torch.nn.Linear(3, n)\n    net.compile()\n    return net", "compiled"),
        (
            SMALL.replace(
                "bias=False)", "bias=False).requires_grad_(False).apply(lambda c: c.weight.fill_(torch.inf))"
            ),
            "its weight features.0.weight has NaN or infinite values",
        ),
        ("import torch\ndef build(n): return torch.nn.Linear(3, n, device='meta')", "Cannot copy out of meta tensor"),
        ("import torch\ndef build(n): return torch.nn.Linear(3, n, dtype=torch.cfloat)", "weight is complex"),
        ("def build(n): pass", "returned NoneType, not an nn.Module"),
        ("from torch import nn\ndef build(n): return nn.Flatten()", "without parameters"),
        (SMALL.replace("nn.Linear(8, num_classes)", "nn.Linear(8, 7)"), "is [2, 7] instead of logits [2, 3]"),
        (SMALL.replace("* self.scale))", "* self.scale)).sum(0)"), "is [3] instead of logits [2, 3]"),
        (SMALL.replace("return self.c", "return {}, self.c"), "is tuple instead of logits"),
        (SMALL.replace("return self.c", "return None if self.training else self.c"), "in training mode its output"),
        (SMALL.replace("nn.Linear(4, 8)", "nn.Linear(5, 8)"), "a batch [2, 3, 16, 16] failed with RuntimeError"),
        (SMALL.replace("images).mean", "images).mena"), "failed with AttributeError"),
        (SMALL.replace("0.3)", "0.3, 0.4)"), "mean must be 3 values (RGB)"),
        (SMALL.replace('"crop_pct": 1.0', '"crop_pct": "all"'), "invalid preprocessing settings in its pretrained_cfg"),
        (SMALL.replace('"crop_pct": 1.0', '"interpolation": "cubic"'), "interpolation must be one of"),
        (SMALL.replace('"crop_pct": 1.0', '"classifier": "fc"'), "'fc' is not a module"),
        (SMALL.replace('"crop_pct": 1.0', '"classifier": "features.2"'), "'features.2' has no weights"),
        (
            SMALL.replace("nn.Linear(8, num_classes)", "nn.utils.parametrizations.weight_norm(nn.Linear(8, 3))"),
            "cannot be reinitialized from a seed",
        ),
    ],
)
def test_every_mistake_is_one_line(code: str, expected: str, tmp_path: Path) -> None:
    assert expected in error_of(tmp_path, code)


def test_places_that_are_not_there(tmp_path: Path) -> None:
    assert "does not exist" in error_of(tmp_path, SMALL, "nowhere.py:build")
    assert "net.py:FACTORY" in error_of(tmp_path, SMALL, "net.py:")
    assert "write" in error_of(tmp_path, SMALL, "net.py")
    assert ":FACTORY, where" in error_of(tmp_path, SMALL, "net.py")


def test_a_head_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    code = SMALL.replace("self.scale))", "self.scale)).repeat(1, 2)[:, :3]").replace("(8, num_classes)", "(8, 2)")
    assert "'classifier' with 2 outputs, not 3); name it in default_cfg" in error_of(tmp_path, code)


def test_a_head_that_shares_weights_is_refused(tmp_path: Path) -> None:
    code = """
        from torch import nn

        class Tied(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = nn.Linear(3, 3)
                self.last = nn.Linear(3, 3)
                self.last.weight = self.first.weight

            def forward(self, images):
                return self.last(self.first(images.mean((2, 3))))

        def build(num_classes):
            return Tied()
    """
    assert "shares weights with other layers" in error_of(tmp_path, code)


def test_a_network_that_needs_another_memory_layout_is_told_what_to_do(tmp_path: Path) -> None:
    code = SMALL.replace("self.features(images).mean((2, 3))", "self.features(images).view(len(images), -1)[:, :4]")
    assert "use reshape or flatten in place of view" in error_of(tmp_path, code)
    weights = SMALL.replace(
        "self.features(images)", "(self.features[0].weight.view(4, -1).sum() + self.features(images))"
    )
    assert "use reshape or flatten in place of view" in error_of(tmp_path, weights)


def test_gradient_checkpointing_is_switched_off_and_said(tmp_path: Path) -> None:
    code = """
        import timm
        def build(n):
            net = timm.create_model("test_vit", num_classes=n, img_size=32)
            net.set_grad_checkpointing()
            return net
    """
    model = load_model(f"{write(tmp_path, code)}:build", 3, image_size=32)
    assert not model.module.grad_checkpointing
    assert any("gradient checkpointing is switched off" in note for note in model.notes)


def test_addresses_in_memory_are_no_part_of_the_code(tmp_path: Path) -> None:
    """They differ in every process, and so would the fingerprint that `resume` compares."""
    code = """
        from torch import nn
        class Apply(nn.Module):
            def __init__(self, function):
                super().__init__()
                self.function = function
            def extra_repr(self): return repr(self.function)
            def forward(self, images): return self.function(images)
        def build(n): return nn.Sequential(Apply(lambda x: x.mean((2, 3))), nn.Linear(3, 8), nn.Linear(8, n))
    """
    source = f"{write(tmp_path, code)}:build"
    network = build(source, 3)
    assert " at 0x" in str(network.module)
    assert " at 0x" not in network.code
