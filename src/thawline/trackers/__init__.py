"""Experiment trackers as callbacks, one file each, imported when they are used. This file is standard library only.

Nothing is tracked unless it is asked for, nothing is sent anywhere, and a tracker that fails never ends a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

from thawline.callback import Callback, Callbacks
from thawline.errors import OptionError
from thawline.formatting import nearest
from thawline.ranges import shown
from thawline.trackers.base import Tracker, figures_of

TRACKERS: Mapping[str, str] = {
    "tensorboard": "thawline.trackers.tensorboard:TensorBoard",
    "mlflow": "thawline.trackers.mlflow:MLflow",
}
"""Name on the command line -> module:Class."""

__all__ = ["TRACKERS", "Tracker", "figures_of", "tracked"]


def tracked(names: str | Sequence[str], callback: Callback | None = None) -> Callback:
    """A callback that tells `callback` and these trackers of everything; `names` may be comma-separated.

    Raises `OptionError` for an unknown name and `MissingExtraError` if what a tracker needs is not installed.
    """
    callback = callback or Callback()
    if not isinstance(names, str | Sequence):
        raise OptionError(f"`track` must be one or more of {', '.join(TRACKERS)}, got {shown(names)}.")
    wanted = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
    trackers = [_tracker(name) for name in dict.fromkeys(wanted) if name]
    for tracker in trackers:
        tracker.tell = callback.note
    return Callbacks(callback, *trackers) if trackers else callback


def _tracker(name: str) -> Tracker:
    if name not in TRACKERS:
        hint = nearest(str(name), TRACKERS) or f"; choose from {', '.join(TRACKERS)}."
        raise OptionError(f"`track` {name!r} is unknown{hint}")
    module, _, kind = TRACKERS[name].partition(":")
    tracker: Tracker = getattr(import_module(module), kind)()
    return tracker
