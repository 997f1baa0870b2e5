"""Resolves a model's name to its architecture, its settings and the location of its weights, without building it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import timm
from timm.models import get_arch_pretrained_cfgs, resolve_model_input_args
from timm.models._registry import split_model_name_tag

from thawline.config import Preprocessing
from thawline.errors import ModelError, RunFolderError
from thawline.model.head import declared_names
from thawline.model.hub import hub_folder, published_weights, repository_weights
from thawline.model.own import FACTORY, is_own
from thawline.records import read_json
from thawline.sums import check_sums

RANDOM = "random"
_PREFERRED_FILES = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
_AFTER_THE_COLON = {"local-dir": "FOLDER", "hf-hub": "ORGANISATION/NAME", "hf_hub": "ORGANISATION/NAME"}
_NOT_OF_THE_ARCHITECTURE = frozenset(
    {"checkpoint_path", "cache_dir", "exportable", "features_only", "pretrained_cfg_overlay", "scriptable"}
)
"""Arguments of timm's `create_model` that load other weights or return something else than the network."""
_EXTENSIONS = (".safetensors", ".pth", ".pt", ".pth.tar", ".bin")


@dataclass(frozen=True)
class Origin:
    """A model's name, resolved."""

    source: str
    """The name that the user gave."""
    architecture: str
    """timm's name without a tag."""
    pretrained_cfg: dict[str, object]
    model_args: dict[str, object]
    """Keyword arguments of the architecture; JSON types only."""
    locate_weights: Callable[[], Path | None]
    """Returns the weights file, downloading it if necessary; None = random weights."""
    from_user: bool
    """Whether the weights are the user's file or folder rather than published ones."""
    is_timm: bool = True
    """Whether timm can build it by name; False for the user's own network."""


def resolve(source: str, weights: str | None, image_size: int | None) -> Origin:
    """Resolve `source` and `weights`. Raises `ModelError` with what is wrong and what to do.

    Only `hf-hub:` accesses the network here, for a `config.json`.
    """
    origin = _resolve_source(source, image_size)
    if weights is None:
        return origin
    if not origin.is_timm and (weights == RANDOM or Path(weights).expanduser().is_dir()):
        raise ModelError(
            f"`weights` {weights} cannot be used with {source}, whose code loads its weights; omit it or pass a file."
        )
    if weights == RANDOM:
        return _with_weights(origin, _no_weights)
    path = Path(weights).expanduser()
    if path.is_dir():
        return _resolve_weights_folder(origin, path, image_size)
    if not path.is_file():
        raise ModelError(f"`weights` {weights} is neither a file, nor a folder, nor {RANDOM}.")
    if not path.name.endswith(_EXTENSIONS):
        raise ModelError(f"`weights` {weights}: the file must end in one of {', '.join(_EXTENSIONS)}.")
    return _with_weights(origin, partial(Path, path))


def _no_weights() -> None:
    """Where random weights are. A named function, so that a network can be pickled and sent to another machine."""


def _with_weights(origin: Origin, locate: Callable[[], Path | None]) -> Origin:
    return replace(origin, locate_weights=locate, from_user=True)


def _resolve_weights_folder(origin: Origin, folder: Path, image_size: int | None) -> Origin:
    """Use the folder's settings (padding, sizes, mean) together with its weights."""
    saved = _resolve_folder(str(folder), folder, image_size)
    if saved.architecture != origin.architecture:
        raise ModelError(f"`weights` {folder} contains a {saved.architecture}, but the model is {origin.architecture}.")
    return replace(saved, source=origin.source)


def _resolve_source(source: str, image_size: int | None) -> Origin:
    kind, separator, identifier = source.partition(":")
    if separator and not identifier.strip():
        raise ModelError(
            f"{source!r} has nothing after its colon; write {kind}:{_AFTER_THE_COLON.get(kind, 'FACTORY')}."
        )
    if separator and kind == "local-dir":
        return _resolve_folder(source, Path(identifier).expanduser(), image_size)
    if separator and kind in ("hf-hub", "hf_hub"):
        folder = hub_folder(identifier)
        return _resolve(source, f"local-dir:{folder}", image_size, partial(repository_weights, identifier))
    if is_own(source):
        return Origin(source, source, {}, {}, _no_weights, from_user=True, is_timm=False)
    _require_registered(source)
    return _resolve(source, source, image_size, None)


def _resolve_folder(source: str, folder: Path, image_size: int | None) -> Origin:
    if not folder.is_dir():
        raise ModelError(f"{source}: the folder {folder} does not exist.")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{source}: {folder} has no config.json, so it is not a model folder of timm or thawline.")
    check_sums(folder, ("config.json",))
    _require_json(source, folder / "config.json")
    return _resolve(source, f"local-dir:{folder}", image_size, partial(_weights_in, folder), from_user=True)


def _require_json(source: str, config: Path) -> None:
    """Read config.json as plain JSON first, because timm's own reader may raise anything on other content."""
    try:
        found = read_json(config)
    except RunFolderError as error:
        raise ModelError(f"{source}: invalid model settings ({str(error).removesuffix('.')}).") from error
    if not isinstance(found, dict):
        raise ModelError(f"{source}: invalid model settings ({config} is not a JSON object).")


def _resolve(
    source: str,
    timm_source: str,
    image_size: int | None,
    locate: Callable[[], Path] | None,
    *,
    from_user: bool = False,
) -> Origin:
    size = None if image_size is None else {"img_size": image_size}
    try:
        arguments = resolve_model_input_args(timm_source, args=size)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, AssertionError) as error:
        raise ModelError(f"{source}: invalid model settings ({type(error).__name__}: {error}).") from error
    architecture, pretrained_cfg = arguments.pop("model_name"), arguments.pop("pretrained_cfg")
    arguments.pop("pretrained_model_args", None)
    arguments.pop("num_classes", None)
    if image_size is not None and "img_size" in arguments:
        arguments["img_size"] = image_size  # timm makes a tuple of it, which JSON turns into a list
    seen = pretrained_cfg.get("input_size")
    channels = arguments.get("in_chans") or (seen[0] if isinstance(seen, list | tuple) and seen else 3)
    if channels != 3:
        raise ModelError(f"{source} expects images with {channels} channels; thawline supports RGB images only.")
    _require_known(source, architecture, pretrained_cfg, arguments)
    return Origin(
        source=source,
        architecture=architecture,
        pretrained_cfg=pretrained_cfg,
        model_args=arguments,
        locate_weights=locate or partial(published_weights, pretrained_cfg, source),
        from_user=from_user,
    )


@dataclass(frozen=True)
class _Settings:
    """What a `pretrained_cfg` says of the images and of the classifier, with types checked."""

    input_size: tuple[int, int, int]
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classifier: str | list[str] | None = None

    def __post_init__(self) -> None:
        for side in self.input_size[1:]:
            Preprocessing(side, self.interpolation, self.crop_pct, self.crop_mode, self.mean, self.std)


def _require_known(
    source: str, architecture: object, pretrained_cfg: Mapping[str, object], arguments: Mapping[str, object]
) -> None:
    """Raise `ModelError` for settings of a folder that timm takes, and that no network can use or that change it."""
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise ModelError(f"{source}: timm has no architecture {architecture!r}; correct it in config.json.")
    if foreign := sorted(_NOT_OF_THE_ARCHITECTURE & arguments.keys()):
        raise ModelError(f"{source}: model_args must not hold {foreign[0]!r}; remove it from config.json.")
    try:
        settings = msgspec.convert(pretrained_cfg, _Settings)
    except msgspec.ValidationError as error:
        raise ModelError(f"{source}: its pretrained_cfg cannot be used ({str(error).removesuffix('.')}).") from error
    known = {declared_names(cfg.classifier or ()) for cfg in get_arch_pretrained_cfgs(architecture).values()}
    found = declared_names(settings.classifier or ())
    if known and found and found not in known:
        names = ", ".join(sorted(known)[0])
        raise ModelError(f"{source}: the classifier of {architecture} is {names}, and not {', '.join(found)!r}.")


def _require_registered(name: str) -> None:
    if name.endswith(".py"):
        raise ModelError(f"{name!r} is a Python file; write {name}:FACTORY, where {FACTORY}.")
    if any(character in name for character in "/\\:") or (Path(name).exists() and not timm.is_model(name)):
        raise ModelError(
            f"{name!r} looks like a path or a Hub repository; write local-dir:{name} for a folder "
            f"or hf-hub:{name} for the Hugging Face Hub."
        )
    architecture, tag = split_model_name_tag(name)
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "see `timm.list_models()` for the names."
        raise ModelError(f"timm has no model {architecture!r}; {hint}")
    tagged = timm.list_models(f"{architecture}.*", pretrained=True, include_tags=True)
    if tag and name not in tagged:
        close = difflib.get_close_matches(name, tagged, n=3, cutoff=0.0)
        raise ModelError(f"{architecture} has no weights tagged {tag!r}; it has {', '.join(close) or 'none'}, ...")


def _weights_in(folder: Path) -> Path:
    """The weights file that timm would load from a model folder."""
    preferred = [folder / name for name in _PREFERRED_FILES]
    others = [path for extension in _EXTENSIONS for path in sorted(folder.glob(f"*{extension}"))]
    found = next((path for path in [*preferred, *others] if path.is_file()), None)
    if found is None:
        raise ModelError(f"{folder} contains no weights, such as {_PREFERRED_FILES[0]}.")
    return found
