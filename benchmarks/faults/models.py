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
from benchmarks.faults.outcomes import MUST_REFUSE, Trial, Verdict, failure
from benchmarks.faults.sandbox import Ran, run
from thawline.sums import SUMS_FILE

Change = Callable[[Path], object]
"""Makes a saved model hostile, in place."""

MARKER = "code-was-run"
READINGS = ("predict-model", "evaluate", "fit")
HEAD = "classifier.weight"
BODY = "conv_stem.weight"
NOT_FOR_FIT = ("head", "label", "classes", "own_model")
"""A new training replaces the classifier, and reads config.json only."""


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
