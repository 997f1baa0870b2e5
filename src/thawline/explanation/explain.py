"""`explain`: where a run's network looks, before and after, and what its training changed; as pictures and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from thawline.callback import Callback
from thawline.data.sources import find_images
from thawline.data.walk import Ignored
from thawline.errors import RunFolderError
from thawline.explanation.changes import Known, known_images, probe_head, what_moved
from thawline.explanation.page import page
from thawline.explanation.pictures import FOLDER, View, look
from thawline.records import FORMAT_VERSION, environment, write_json, write_text
from thawline.report.draw import UNDRAWABLE, report
from thawline.report.reading import read_run
from thawline.report.thumbnails import EXAMPLES
from thawline.runs.finished import FinishedRun, open_finished
from thawline.runs.folder import RunFolder

RECORD = "explain.json"
PAGE = f"{FOLDER}/index.html"
_NO_IMAGES = "The run's training images are not where they were, so features could not be compared."
_FEW_IMAGES = "The run has too few validation images that can be read, so features could not be compared."


def explain(
    run: Path,
    images: Sequence[Path],
    *,
    layer: str | None = None,
    beside: Sequence[Path] = (),
    callback: Callback | None = None,
) -> dict[str, Any]:
    """Write `run`/explain.json, explain/index.html and the pictures, and draw report.html with them.

    Returns what explain.json holds.

    `layer`: the module whose output Grad-CAM weighs; None = found. `beside`: further runs of the same network and
    classes, a column each, such as the shares of a depth study. Raises `InputError` if a run, the layer or all images
    cannot be used; single images that cannot be read are listed.
    """
    callback = callback or Callback()
    paths, ignored = find_images(images)  # before anything takes time
    with RunFolder.open(run) as folder:
        explanation = _explain(folder, paths, ignored, layer, beside, callback)
        report(folder.path, callback)
    return explanation


def explain_examples(folder: RunFolder, callback: Callback) -> None:
    """Explain the images that the report of a finished `fit` shows; if that fails, say so and go on.

    The results are safe by then, and the report can be drawn without.
    """
    try:
        run = read_run(folder.path)
        if run.predictions is None:
            return
        shown = [*run.predictions.mistakes(EXAMPLES), *run.predictions.doubtful_hits(EXAMPLES)]
        root = Path(run.results["data"]["root"])
        paths = [path for one in shown if (path := root / one.path).is_file()]
        if paths:
            callback.note("Looking at what the network looks at, before and after (`explain=False` leaves it out) ...")
            _explain(folder, paths, (), None, (), Callback())
    except (*UNDRAWABLE, RuntimeError) as error:
        callback.note(
            f"Where the network looks could not be drawn ({type(error).__name__}: {error}); "
            f"`thawline explain {folder.path} IMAGES` tries again."
        )


def _explain(
    folder: RunFolder,
    paths: Sequence[Path],
    ignored: Sequence[Ignored],
    layer: str | None,
    beside: Sequence[Path],
    callback: Callback,
) -> dict[str, Any]:
    opened = open_finished(folder)
    others = [_alike(open_finished(RunFolder.open(path)), opened) for path in beside]
    known = known_images(opened)
    views, head_before = _views(opened, others, known)
    looked = look(views, paths, layer, folder.path)
    missing = _NO_IMAGES if known is None else "" if known.comparable else _FEW_IMAGES
    callback.note(missing or "Comparing the features of every block before and after ...")
    explanation = {
        "format_version": FORMAT_VERSION,
        "environment": environment(device="cpu", threads=torch.get_num_threads()),
        "head_before": head_before,
        **looked,
        "ignored": [one.to_dict() for one in ignored],
        "drift": what_moved(opened, known),
        "notes": [missing] if missing else [],
    }
    write_json(folder.path / RECORD, explanation)
    write_text(folder.path / PAGE, page(explanation, run=opened.name))
    return explanation


def _views(run: FinishedRun, others: Sequence[FinishedRun], known: Known | None) -> tuple[list[View], str]:
    """The columns of the pictures, and which head the pretrained network has in them.

    Its own classifier knows other classes, and the fine-tuned head was made for other features, so a linear probe of
    the pretrained features is the fairest stand-in; the fine-tuned head takes its place where none can be fitted.
    """
    probe = probe_head(run, known)
    views = [
        View("pretrained", run, (run.fine_tuned, run.pretrained, probe or {})),
        *(View(other.name, other, (other.fine_tuned,)) for other in others),
        View(run.name if others else "fine-tuned", run, (run.fine_tuned,)),
    ]
    return views, "linear_probe" if probe else "fine_tuned"


def _alike(other: FinishedRun, run: FinishedRun) -> FinishedRun:
    same = (
        other.results["model"]["architecture"] == run.results["model"]["architecture"]
        and other.classes == run.classes
        and other.preprocessing == run.preprocessing
    )
    if not same:
        raise RunFolderError(
            f"{other.path} cannot be shown beside {run.path}: its network, classes or image size are others."
        )
    return other
