"""Family `models`: folders that look like a saved model and hold what no network can use, or code."""

from __future__ import annotations

import json
import random
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.faults.base import OPTIONS, Base
from benchmarks.faults.damage import a_folder
from benchmarks.faults.outcomes import MUST_REFUSE, Trial, Verdict, failure
from benchmarks.faults.sandbox import Ran, run
from thawline.sums import SUMS_FILE

Change = Callable[[Path], object]
"""Makes a saved model hostile, in place."""

MARKER = "code-was-run"
READINGS = ("predict-model", "evaluate", "fit")
HEAD = "classifier.weight"
BODY = "conv_stem.weight"
MEAN = "bn1.running_mean"
COUNTER = "bn1.num_batches_tracked"
NOT_FOR_FIT = ("head", "label", "classes", "own_model", "model_args_pool")
"""Cases that `fit` may take: a new training replaces the classifier, and reads config.json only."""


def _config(**values: Any) -> Change:
    """Keys of config.json, or of its `pretrained_cfg` where it has them."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        for name, value in values.items():
            owner = config["pretrained_cfg"] if name in config["pretrained_cfg"] else config
            owner[name] = value
        path.write_text(json.dumps(config))

    return change


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def changed(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return changed


def _filled(value: float) -> Change:
    return _tensors(lambda tensors: tensors.update({BODY: torch.full_like(tensors[BODY], value)}))


def _cast(kind: torch.dtype) -> Change:
    return _tensors(lambda tensors: tensors.update({name: tensor.to(kind) for name, tensor in tensors.items()}))


def _cast_head(kind: torch.dtype) -> Change:
    return _tensors(lambda tensors: tensors.update({HEAD: tensors[HEAD].to(kind)}))


def _written(name: str, content: bytes) -> Change:
    return lambda folder: folder.joinpath(name).write_bytes(content)


def _own_code(folder: Path) -> None:
    """Somebody else's folder that names a Python file."""
    (folder / "code.py").write_text(f"open({MARKER!r}, 'w').close()\ndef make(classes):\n    raise SystemExit(3)\n")
    config = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    about = {
        "format_version": 1,
        "source": f"{folder.resolve() / 'code.py'}:make",
        "label_names": ["blue", "red"],
        "preprocessing": {
            "image_size": 32,
            **{key: config[key] for key in ("interpolation", "crop_pct", "crop_mode", "mean", "std")},
        },
    }
    (folder / "own_model.json").write_text(json.dumps(about))
    (folder / "config.json").unlink()


PREPARED: Mapping[str, object] = {
    "image_size": 32,
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "crop_mode": "center",
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
}


def _own_model(**values: object) -> Change:
    """A folder of a network of one's own, whose description has these values."""
    about = {
        "format_version": 1,
        "source": "nowhere.py:make",
        "label_names": ["blue", "red"],
        "preprocessing": PREPARED,
    }
    return _written("own_model.json", json.dumps({**about, **values}).encode())


def _linked(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


class _Code:
    """What a pickle runs when it is loaded."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (MARKER, "w")


def _moved_to_pickle(folder: Path) -> None:
    """Weights in the older format, with code among them."""
    weights = folder / "model.safetensors"
    torch.save({**load_file(weights), "code": _Code()}, folder / "pytorch_model.bin")
    weights.unlink()


CASES: Mapping[str, Change] = {
    "nan_weights": _filled(float("nan")),
    "inf_weights": _filled(float("inf")),
    "int32_tensors": _cast(torch.int32),
    "bool_tensors": _cast(torch.bool),
    "int32_head": _cast_head(torch.int32),
    "bool_head": _cast_head(torch.bool),
    "missing_head": _tensors(lambda tensors: tensors.pop(HEAD)),
    "missing_tensor": _tensors(lambda tensors: tensors.pop(BODY)),
    "extra_tensor": _tensors(lambda tensors: tensors.update(stranger=torch.zeros(3))),
    "head_of_other_shape": _tensors(lambda tensors: tensors.update({HEAD: tensors[HEAD][:1].contiguous()})),
    "flat_head": _tensors(lambda tensors: tensors.update({HEAD: tensors[HEAD].flatten()})),
    "no_tensors": _tensors(lambda tensors: tensors.clear()),
    "weights_empty": _written("model.safetensors", b""),
    "weights_pickled": _written("model.safetensors", b"\x80\x04cos\nsystem\n(S'true'\ntR."),
    "weights_lost": lambda folder: folder.joinpath("model.safetensors").unlink(),
    "mean_nan": _config(mean=[float("nan")] * 3),
    "mean_text": _config(mean="grey"),
    "mean_of_one": _config(mean=[0.5]),
    "std_zero": _config(std=[0.0, 0.0, 0.0]),
    "std_inf": _config(std=[float("inf")] * 3),
    "std_negative": _config(std=[-1.0, 0.2, 0.2]),
    "crop_pct_zero": _config(crop_pct=0),
    "crop_pct_fifty": _config(crop_pct=50),
    "crop_pct_negative": _config(crop_pct=-0.5),
    "crop_pct_nan": _config(crop_pct=float("nan")),
    "crop_mode_unknown": _config(crop_mode="spiral"),
    "crop_mode_number": _config(crop_mode=5),
    "interpolation_unknown": _config(interpolation="psychic"),
    "interpolation_list": _config(interpolation=["bilinear"]),
    "input_size_grey": _config(input_size=[1, 32, 32]),
    "input_size_zero": _config(input_size=[3, 0, 0]),
    "input_size_huge": _config(input_size=[3, 10**6, 10**6]),
    "input_size_text": _config(input_size="224"),
    "num_classes_text": _config(num_classes="two"),
    "num_classes_huge": _config(num_classes=10**12),
    "num_classes_other": _config(num_classes=7),
    "label_names_short": _config(label_names=["blue"]),
    "label_names_numbers": _config(label_names=[1, 2]),
    "label_names_text": _config(label_names="ab"),
    "architecture_unknown": _config(architecture="resnet_of_nowhere"),
    "architecture_number": _config(architecture=5),
    "architecture_other": _config(architecture="test_vit"),
    "architecture_path": _config(architecture="../../etc/passwd"),
    "model_args_unknown": _config(model_args={"wings": 2}),
    "model_args_list": _config(model_args=[1, 2]),
    "model_args_nonsense": _config(model_args={"drop_rate": "much"}),
    "pretrained_cfg_list": _config(pretrained_cfg=[]),
    "pretrained_cfg_unknown_key": lambda folder: _in_cfg(folder, {"wings": 2}),
    "pretrained_cfg_null": _config(pretrained_cfg=None),
    "input_size_number": _config(input_size=5),
    "input_size_empty": _config(input_size=[]),
    "input_size_fractions": _config(input_size=[3, 32.5, 32.5]),
    "input_size_not_square_huge": _config(input_size=[3, 32, 10**5]),
    "mean_of_bytes": _config(mean=[124, 116, 104]),
    "mean_nested": _config(mean=[[0.5, 0.5, 0.5]]),
    "std_of_nothing": _config(std=[1e-30] * 3),
    "std_text": _config(std=["a", "b", "c"]),
    "crop_pct_text": _config(crop_pct="most"),
    "crop_pct_list": _config(crop_pct=[0.9]),
    "num_classes_head_fraction": _config(num_classes=2.5),
    "num_classes_head_negative": _config(num_classes=-2),
    "num_classes_head_none": _config(num_classes=0),
    "label_names_twice": _config(label_names=["blue", "blue"]),
    "label_names_nested": _config(label_names=[["blue"], ["red"]]),
    "architecture_list": _config(architecture=["test_efficientnet"]),
    "architecture_empty": _config(architecture=""),
    "architecture_own_code": _config(architecture="code.py:make"),
    "architecture_hub": _config(architecture="hf-hub:timm/resnet18"),
    "model_args_checkpoint": _config(model_args={"checkpoint_path": "/etc/passwd"}),
    "model_args_overlay": _config(model_args={"pretrained_cfg_overlay": {"url": "http://localhost/x"}}),
    "model_args_features": _config(model_args={"features_only": True}),
    "model_args_module": _config(model_args={"norm_layer": "os.system"}),
    "model_args_stem": _config(model_args={"stem_size": 10**3}),
    "model_args_name": _config(model_args={"model_name": "resnet18"}),
    "model_args_text": _config(model_args="wings"),
    "model_args_pool_head": _config(model_args={"global_pool": ""}),
    "classifier_other": _config(classifier=BODY.removesuffix(".weight")),
    "classifier_number": _config(classifier=5),
    "classifier_nested": _config(classifier=[["classifier"]]),
    "bit_depth_head_odd": _config(thawline={"bit_depth": 9}),
    "bit_depth_head_list": _config(thawline={"bit_depth": [8]}),
    "double_overflow": _tensors(lambda tensors: tensors.update({BODY: tensors[BODY].double() * 1e300})),
    "complex_tensor": _tensors(lambda tensors: tensors.update({BODY: tensors[BODY].to(torch.complex64)})),
    "one_nan": _tensors(lambda tensors: tensors[BODY].flatten()[:1].fill_(float("nan"))),
    "nan_in_head": _tensors(lambda tensors: tensors.update({HEAD: torch.full_like(tensors[HEAD], float("nan"))})),
    "nan_statistics": _tensors(lambda tensors: tensors.update({MEAN: torch.full_like(tensors[MEAN], float("nan"))})),
    "large_statistics_head": _tensors(lambda tensors: tensors.update({MEAN: torch.full_like(tensors[MEAN], -3e38)})),
    "counter_of_other_type": _tensors(lambda tensors: tensors.update({COUNTER: torch.tensor(0.5)})),
    "counter_of_other_shape": _tensors(lambda tensors: tensors.update({COUNTER: torch.zeros(3, dtype=torch.int64)})),
    "empty_tensor": _tensors(lambda tensors: tensors.update({BODY: tensors[BODY][:0]})),
    "scalar_tensor": _tensors(lambda tensors: tensors.update({BODY: torch.tensor(1.0)})),
    "weights_of_another": lambda folder: save_file({"weight": torch.ones(2)}, folder / "model.safetensors"),
    "weights_text": _written(
        "model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    ),
    "weights_header_huge": _written("model.safetensors", b"\xff" * 8 + b"{}"),
    "weights_header_deep": _written("model.safetensors", (100_000).to_bytes(8, "little") + b"[" * 100_000),
    "weights_of_a_device": lambda folder: _linked(folder / "model.safetensors", "/dev/zero"),
    "weights_of_a_loop": lambda folder: _linked(folder / "model.safetensors", "model.safetensors"),
    "weights_a_folder": lambda folder: a_folder(folder / "model.safetensors"),
    "weights_pickled_elsewhere": lambda folder: _moved_to_pickle(folder),
    "config_twice": _written("config.json", b'{"architecture": "test_vit", "architecture": "test_vit"}'),
    "config_of_nothing": _written("config.json", b"{}"),
    "config_of_a_device": lambda folder: _linked(folder / "config.json", "/dev/zero"),
    "config_of_a_loop": lambda folder: _linked(folder / "config.json", "config.json"),
    "sums_empty": _written(SUMS_FILE, b""),
    "sums_binary": _written(SUMS_FILE, b"\xff\x00"),
    "sums_of_others": _written(SUMS_FILE, b"0" * 64 + b"  config.json\n"),
    "sums_outside": _written(SUMS_FILE, b"0" * 64 + b"  ../../../etc/passwd\n"),
    "own_model_empty": _written("own_model.json", b""),
    "own_model_timm_source": _own_model(source="resnet18"),
    "own_model_folder_source": _own_model(source="local-dir:."),
    "own_model_lines_source": _own_model(source="a\nb.py:make"),
    "own_model_module": _own_model(source="os:system"),
    "own_model_labels_twice": _own_model(label_names=["blue", "blue"]),
    "own_model_label_alone": _own_model(label_names=["blue"]),
    "own_model_crop": _own_model(preprocessing={**PREPARED, "crop_pct": 0}),
    "own_model_mean": _own_model(preprocessing={**PREPARED, "mean": [9, 9, 9]}),
    "own_model_size": _own_model(preprocessing={**PREPARED, "image_size": 10**6}),
    "own_model_files": _own_model(files={"../../etc/passwd": 5}),
    "own_model_files_device": _own_model(files={"/dev/zero": "0" * 64}),
    "config_lost": lambda folder: folder.joinpath("config.json").unlink(),
    "config_empty": _written("config.json", b""),
    "config_list": _written("config.json", b"[]"),
    "config_number": _written("config.json", b"5"),
    "config_binary": _written("config.json", b"\xff\xfe\x00"),
    "config_deep": _written("config.json", b"[" * 100_000),
    "own_model_source_number": _written("own_model.json", b'{"format_version": 1, "source": 5}'),
    "own_model_list": _written("own_model.json", b"[]"),
    "own_model_code": _own_code,
}
"""Every one of them must be refused in one line."""


def draw(base: Base, number: int, seed: int) -> Trial:
    """Every case with every reading in turn; from 3 x the number of cases on they repeat."""
    names = list(CASES)
    case = names[number % len(names)]
    readings = READINGS[:-1] if any(part in case for part in NOT_FOR_FIT) else READINGS
    offset = random.Random(f"models-{seed}-{case}").randrange(len(readings))
    reading = readings[(number // len(names) + offset) % len(readings)]
    return make(base, f"models-{seed}-{number}", case, reading)


def make(base: Base, name: str, case: str, reading: str, kind: str = "auto") -> Trial:
    """One case, made of a finished run's model, read by one command."""

    def attempt(scratch: Path) -> Verdict:
        base.copy(scratch, kind)
        (scratch / "run" / "model" / SUMS_FILE).unlink()  # a hostile author writes none, or right ones
        CASES[case](scratch / "run" / "model")
        ran = run(_command(base, reading), scratch)
        if (scratch / MARKER).exists():
            return Verdict("silent", "the code that the folder names was run", shlex.join(("thawline", *ran.argv)))
        return failure(ran) or Verdict("silent", f"accepted: {_said(ran)}", shlex.join(("thawline", *ran.argv)))

    return Trial(name, case, f"{case}, then {reading}", attempt, MUST_REFUSE)


def _command(base: Base, reading: str) -> list[str]:
    if reading != "fit":
        return list(base.reading(reading).argv)
    model = ("--model", "local-dir:run/model", *OPTIONS[4:])
    return ["fit", str(base.images), "--out", "second", *model, "--strategy", "linear_probe", "--no-explain", "--json"]


def _said(ran: Ran) -> str:
    """What was printed, on one line."""
    return " ".join(ran.out.decode("utf-8", "replace").split())[:200]


def _in_cfg(folder: Path, values: Mapping[str, Any]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["pretrained_cfg"] |= values
    path.write_text(json.dumps(config))
