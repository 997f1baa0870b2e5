"""The user's own network, `module.py:factory` or `package.module:factory`: built, checked, adapted to timm's interface.

`factory(num_classes: int) -> nn.Module` returns a network from images `[B, 3, S, S]` to logits `[B, num_classes]` and
loads any pretrained weights itself. The settings that timm has for its networks come from an optional attribute of the
module, `pretrained_cfg` or `default_cfg`: a dict with any of `input_size`, `mean`, `std`, `interpolation`, `crop_pct`,
`crop_mode` and `classifier` (dotted name of the head, or several; default: the last layer to run, and layers without
pretrained weights just before it). To tell which weights are pretrained, the factory runs twice.
"""

from __future__ import annotations

import importlib
import inspect
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import cast

import torch
from torch import Tensor, nn

from thawline.errors import ModelError
from thawline.formatting import shortened
from thawline.memory import raise_if_out_of_memory
from thawline.model.execution import is_layer, record_execution
from thawline.model.fresh import drawn_before_head, drawn_weights, nothing_is_pretrained
from thawline.model.head import declared_names, head_modules, named_tensors, seeded
from thawline.model.isolated import OwnPackage, is_beside, plain_names
from thawline.model.layout import in_channels_last, left_unchanged, structure

FACTORY = "FACTORY(num_classes) returns the network"
_PREFIXES = ("local-dir", "hf-hub", "hf_hub")
_IMAGES = 2
"""Images in the trial batch; two show that the first dimension of the output is the batch."""


def is_own(source: str) -> bool:
    """Whether `source` has the form `module.py:factory` or `package.module:factory`."""
    place, separator, name = source.rpartition(":")
    if not separator or place in _PREFIXES:
        return False
    is_dotted = all(part.isidentifier() for part in (*place.split("."), name))
    return place.endswith(".py") or is_dotted


@dataclass(frozen=True)
class OwnNetwork:
    """A network that a factory returned."""

    source: str
    """The name that the user gave."""
    module: nn.Module
    """The network in fp32 on the CPU, with a `pretrained_cfg` like timm's networks."""
    code: str
    """Source of the factory's file and the network's structure, because weights do not determine its function."""
    package: OwnPackage | None
    """The user's files that ran; None if the code is installed."""
    build_again: Callable[[], nn.Module]
    """Runs the factory once more, with whatever random numbers are drawn then."""


def build(source: str, num_classes: int) -> OwnNetwork:
    """Run the user's factory. Raises `ModelError` if the file, the factory or its result is invalid."""
    place, _, name = source.rpartition(":")
    package = _package_of(source, place)
    with _users_code(source, "its import", package):
        code = _import(source, place, package)
        factory = getattr(code, name, None)
    if not callable(factory):
        raise ModelError(f"{source}: {place} has no function {name!r}; {FACTORY}.")

    def run() -> nn.Module:
        with _users_code(source, f"{name}({num_classes})", package):
            return _require_trainable(source, _call(factory, num_classes)).to("cpu", torch.float32)

    module = run()
    module.pretrained_cfg = {"architecture": source, **_settings(module)}  # type: ignore[assignment]
    _own_memory(module)
    return OwnNetwork(source, module, f"{_text(code)}\n{structure(module)}", package, run)


def _require_trainable(source: str, module: object) -> nn.Module:
    """Raise `ModelError` unless it is a network of layers that can be trained one by one."""
    if not isinstance(module, nn.Module):
        raise ModelError(f"{source} returned {type(module).__name__}, not an nn.Module; {FACTORY}.")
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ModelError(f"{source} returned a TorchScript module, {_UNDIVIDED}.")
        if "_orig_mod" in part._modules or part._compiled_call_impl is not None:
            raise ModelError(f"{source} returned a compiled module (torch.compile), {_UNDIVIDED}.")
    if next(module.parameters(), None) is None:
        raise ModelError(f"{source} returned a network without parameters: there is nothing to train.")
    if complex_weights := [name for name, parameter in module.named_parameters() if parameter.is_complex()]:
        raise ModelError(f"{source}: its weight {complex_weights[0]} is complex; thawline trains real weights only.")
    return module


_UNDIVIDED = "whose layers cannot be trained or frozen individually; return the original network"


def examine(network: OwnNetwork, num_classes: int, image_size: int, *, is_filled: bool) -> tuple[str, ...]:
    """Check the output in both modes and find the head; the network is left unchanged, without timm's checkpointing.

    Returns what the user should know, about layers without pretrained weights above all; nothing of these if the
    network `is_filled` from a file afterwards. Raises `ModelError` if two images of `image_size` do not give
    `[2, num_classes]`, if a weight is not finite, or if the network has nothing that can be its head.
    """
    _require_logits(network, num_classes, image_size)
    module = network.module
    if damaged := [name for name, weight in module.named_parameters() if not weight.isfinite().all()]:
        raise ModelError(f"{network.source}: its weight {damaged[0]} has NaN or infinite values; check what it loads.")
    settings = cast("dict[str, object]", module.pretrained_cfg)
    is_named = "classifier" in settings
    if not is_named:
        settings["classifier"] = _last_layer(network, num_classes, image_size)
    _require_head(network)
    notes = _without_checkpointing(network)
    if is_filled:
        return notes
    with seeded(_OTHER_SEED):
        drawn = drawn_weights(module, network.build_again())
    if nothing_is_pretrained(module, drawn):
        return (*notes, f"{network.source}: all its layers start from random weights, so freezing them makes no sense.")
    return (*notes, *_about_drawn(network, drawn, [] if is_named else _enlarge_head(network, drawn, image_size)))


def _without_checkpointing(network: OwnNetwork) -> tuple[str, ...]:
    """Switch timm's gradient checkpointing off, which would run frozen blocks whose outputs are cached."""
    checkpointed = [module for module in network.module.modules() if getattr(module, "grad_checkpointing", False)]
    for module in checkpointed:
        vars(module)["grad_checkpointing"] = False
    if not checkpointed:
        return ()
    return (f"{network.source}: its gradient checkpointing is switched off; smaller batches save memory instead.",)


_OTHER_SEED = 2**31 + 7
"""Beyond the seeds of runs."""


def _require_logits(network: OwnNetwork, num_classes: int, image_size: int) -> None:
    module, doing = network.module, f"a batch {[_IMAGES, 3, image_size, image_size]}"
    with _users_code(network.source, doing, network.package), left_unchanged(module):
        outputs = {mode: _trial(module, image_size, training=mode == "training") for mode in ("evaluation", "training")}
    for mode, output in outputs.items():
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if found != [_IMAGES, num_classes]:
            raise ModelError(
                f"{network.source}: in {mode} mode its output for {_IMAGES} images is {found} instead of logits "
                f"{[_IMAGES, num_classes]}; fix its forward method or its last layer."
            )
    _require_channels_last(network, image_size)


def _enlarge_head(network: OwnNetwork, drawn: frozenset[str], image_size: int) -> list[str]:
    """Make layers that run just before the head and are drawn at random part of it; returns their names."""
    settings = cast("dict[str, object]", network.module.pretrained_cfg)
    head = cast("str", settings["classifier"])
    if added := drawn_before_head(network.module, head, drawn, image_size):
        settings["classifier"] = [*added, head]
        _require_head(network)
    return added


def _about_drawn(network: OwnNetwork, drawn: frozenset[str], added: Sequence[str]) -> tuple[str, ...]:
    heads = tuple(f"{name}." for name in head_modules(network.module))
    notes = []
    if added:
        notes.append(f"{network.source}: {', '.join(added)} have no pretrained weights, so they train with the head.")
    if others := sorted(name for name in drawn if not name.startswith(heads)):
        notes.append(
            f"{network.source}: {shortened(others)} have no pretrained weights, but are not in the head: strategies "
            "that freeze them freeze random weights. Name them with the head in default_cfg = {'classifier': [...]}."
        )
    return tuple(notes)


def _package_of(source: str, place: str) -> OwnPackage | None:
    """The package of the factory's files; None for a module that is not in the working directory."""
    if place.endswith(".py"):
        path = Path(place).expanduser()
        if not path.is_file():
            raise ModelError(f"{source}: the file {path} does not exist.")
        return OwnPackage.of(path.resolve().parent, path.name)
    return OwnPackage.of(Path.cwd(), place) if is_beside(place.partition(".")[0], [str(Path.cwd())]) else None


def _import(source: str, place: str, package: OwnPackage | None) -> ModuleType:
    if package is not None and place.endswith(".py"):
        return package.run(Path(place).expanduser().resolve())
    try:
        return importlib.import_module(place) if package is None else package.find(place)
    except ModuleNotFoundError as error:
        if error.name and f"{place}.".startswith(f"{plain_names(error.name)}."):
            raise ModelError(f"{source}: module {place} does not exist; for a file write {place}.py:...") from error
        raise


@contextmanager
def _users_code(source: str, doing: str, package: OwnPackage | None) -> Iterator[None]:
    """Turn any error of the user's code into a one-line `ModelError` that names the file and line."""
    try:
        with package.importing() if package else nullcontext():
            yield
    except ModelError:
        raise
    except SyntaxError as error:
        where = f"{Path(error.filename).name if error.filename else source}, line {error.lineno}"
        raise ModelError(f"{source}: {where}: {type(error).__name__}: {error.msg}.") from error
    except (Exception, SystemExit) as error:  # not our code: it may raise anything
        raise_if_out_of_memory(error)
        reason = plain_names(" ".join(f"{type(error).__name__}: {error}".split()))[:200]
        raise ModelError(f"{source}: {doing} failed with {reason}{_where(error)}.") from error


def _where(error: BaseException) -> str:
    """The innermost line outside Python, installed packages and thawline, most likely in the user's code."""
    others = (*map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), str(Path(__file__).parents[1]), "<")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(others)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _call(factory: Callable[..., object], num_classes: int) -> object:
    """Pass the number of classes by keyword if possible, which torchvision's functions require, else by position."""
    try:
        inspect.signature(factory).bind(num_classes=num_classes)
    except (TypeError, ValueError):  # the parameter has another name, or a builtin has no signature
        return factory(num_classes)
    return factory(num_classes=num_classes)


def _own_memory(module: nn.Module) -> None:
    """Give buffers made by `expand` their own memory, because expanded tensors cannot be written to."""
    for part in module.modules():
        for name, buffer in part._buffers.items():
            if buffer is not None and 0 in buffer.stride():
                part._buffers[name] = buffer.contiguous()


def _settings(module: nn.Module) -> dict[str, object]:
    found = (getattr(module, name, None) for name in ("pretrained_cfg", "default_cfg"))
    return dict(next((settings for settings in found if isinstance(settings, Mapping)), {}))


def _text(code: ModuleType) -> str:
    path = getattr(code, "__file__", None)
    return Path(path).read_text(encoding="utf-8", errors="replace") if path else ""


@torch.no_grad()
def _trial(module: nn.Module, image_size: int, *, training: bool) -> object:
    return module.train(training)(torch.zeros(_IMAGES, 3, image_size, image_size))


@torch.no_grad()
def _require_channels_last(network: OwnNetwork, image_size: int) -> None:
    """Raise `ModelError` if the network cannot run in the memory layout of training, [B, H, W, C]."""
    module = network.module
    images = torch.zeros(_IMAGES, 3, image_size, image_size).contiguous(memory_format=torch.channels_last)
    doing = "a batch in channels-last memory layout, as in training (use reshape or flatten in place of view),"
    with _users_code(network.source, doing, network.package), left_unchanged(module):
        if not in_channels_last(module):
            return
        try:
            module.eval()(images)
        finally:
            module.to(memory_format=torch.contiguous_format)


def _last_layer(network: OwnNetwork, num_classes: int, image_size: int) -> str:
    """The layer that runs last, which is not always the one registered last."""
    layers = {name: part for name, part in network.module.named_modules() if is_layer(part)}
    ran = [name for name in record_execution(network.module, image_size).order if name in layers]
    found = f"its last layer is {ran[-1]!r} with {len(layers[ran[-1]].weight)} outputs" if ran else "no layer ran"
    if not ran or len(layers[ran[-1]].weight) != num_classes:
        raise ModelError(
            f"{network.source}: its head cannot be identified ({found}, not {num_classes}); "
            "name it in default_cfg = {'classifier': 'dotted.name'} on the network."
        )
    return ran[-1]


def _require_head(network: OwnNetwork) -> None:
    """Check that the head exists and shares no weights with other layers, so that it can be reinitialized."""
    names = declared_names(cast("dict[str, str | Sequence[str]]", network.module.pretrained_cfg)["classifier"])
    modules = dict(network.module.named_modules())
    if unknown := [name for name in names if name not in modules]:
        raise ModelError(f"{network.source}: its 'classifier' {unknown[0]!r} is not a module of the network.")
    heads = {id(tensor) for name in names for _, tensor in named_tensors(modules[name])}
    inside = {id(part) for name in names for part in modules[name].modules()}
    others = {
        id(tensor)
        for part in network.module.modules()
        if id(part) not in inside
        for tensor in (*part._parameters.values(), *part._buffers.values())
        if tensor is not None
    }
    if not heads or heads & others:
        problem = "shares weights with other layers" if heads else "has no weights"
        raise ModelError(f"{network.source}: its head {names[0]!r} {problem}, so it cannot be reinitialized.")
