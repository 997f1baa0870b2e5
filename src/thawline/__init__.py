"""Which blocks of a pretrained network should you train, and at what learning rate? thawline measures it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thawline.version import __version__

if TYPE_CHECKING:
    from thawline.api import check, compare, demo, evaluate, explain, export, fit, inspect, predict, predict_to, resume
    from thawline.callback import Callback, Callbacks, Listener
    from thawline.config import DataConfig, SearchConfig, TrainConfig, TuningConfig
    from thawline.errors import InputError, RunError, ThawlineError
    from thawline.plan import FineTunePlan, Phase

_MODULES = {
    "check": "api",
    "demo": "api",
    "compare": "api",
    "evaluate": "api",
    "explain": "api",
    "export": "api",
    "fit": "api",
    "inspect": "api",
    "predict": "api",
    "predict_to": "prediction.predict",
    "resume": "api",
    "DataConfig": "config",
    "SearchConfig": "config",
    "TrainConfig": "config",
    "TuningConfig": "config",
    "InputError": "errors",
    "RunError": "errors",
    "ThawlineError": "errors",
    "FineTunePlan": "plan",
    "Phase": "plan",
    "Callback": "callback",
    "Callbacks": "callback",
    "Listener": "callback",
}

__all__ = [
    "Callback",
    "Callbacks",
    "DataConfig",
    "FineTunePlan",
    "InputError",
    "Listener",
    "Phase",
    "RunError",
    "SearchConfig",
    "ThawlineError",
    "TrainConfig",
    "TuningConfig",
    "__version__",
    "check",
    "compare",
    "demo",
    "evaluate",
    "explain",
    "export",
    "fit",
    "inspect",
    "predict",
    "predict_to",
    "resume",
]


def __getattr__(name: str) -> Any:
    """Load public names on first use: importing thawline imports no torch."""
    if name not in _MODULES:
        raise AttributeError(f"module 'thawline' has no attribute {name!r}")
    import warnings
    from importlib import import_module

    with warnings.catch_warnings():  # tqdm asks for a widget that thawline's progress in notebooks does without
        warnings.filterwarnings("ignore", message="IProgress not found")
        return getattr(import_module(f"thawline.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
