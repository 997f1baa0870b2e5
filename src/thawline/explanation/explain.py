"""`explain`: Grad-CAM before and after fine-tuning, and the changes of every block, as images and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from thawline import verdicts
from thawline.callback import Callback
from thawline.data.sources import find_images
from thawline.data.walk import Ignored
from thawline.errors import RunFolderError, written_to
from thawline.explanation.changes import Known, block_changes, known_images, probe_head
from thawline.explanation.page import page
from thawline.explanation.panels import View, draw_maps
from thawline.model.trust import TRUSTED, Trust
from thawline.records import FORMAT_VERSION, environment, replacing, write_text
from thawline.report.thumbnails import EXAMPLES
from thawline.results import Explanation
from thawline.runs.files import EXPLANATION, EXPLANATION_FOLDER, read_run, write
from thawline.runs.finished import FinishedRun, open_finished
from thawline.runs.folder import RunFolder
from thawline.runs.reporting import report, results_are_safe
from thawline.runs.sealed import seal

PAGE = "index.html"
_NO_IMAGES = "The training images of this run can no longer be read, so features were not compared."
_FEW_IMAGES = "This run has too few readable validation images, so features were not compared."


def explain(
    run: Path,
    images: Sequence[Path],
    *,
    layer: str | None = None,
    beside: Sequence[Path] = (),
    callback: Callback | None = None,
    trust: Trust,
) -> Explanation:
    """Write `run`/explain.json, explain/index.html and its images, and draw report.html with them.

    `layer`: the module whose output Grad-CAM weighs; None = found. `beside`: further runs of the same network and
    classes, shown as one column each, such as the shares of a depth study. Raises `InputError` if a run, the layer or
    all images cannot be used; single unreadable images are listed in the result.
    """
    callback = callback or Callback()
    paths, ignored = find_images(images)  # before anything takes time
    with RunFolder.open(run) as folder:
        explanation = _explain(folder, paths, ignored, layer, beside, callback, trust)
        report(folder.path, callback)
    return explanation


def explain_examples(folder: RunFolder, callback: Callback) -> None:
    """Explain the images that the report of a finished `fit` shows; a failure is reported and does not end the run.

    The results are already written, and the report can be drawn without. Code that the run names runs: the same command
    has trained with it, or has been allowed to.
    """
    with results_are_safe(
        folder.path, callback, "Grad-CAM could not be computed", f"thawline explain {folder.path} IMAGES"
    ):
        run = read_run(folder.path)
        if run.predictions is None:
            return
        shown = [*run.predictions.mistakes(EXAMPLES), *run.predictions.least_confident(EXAMPLES)]
        root = Path(run.results.data.root)
        paths = [path for guess in shown if (path := root / guess.path).is_file()]
        if paths:
            callback.note("Computing Grad-CAM before and after fine-tuning (`explain=False` skips it) ...")
            _explain(folder, paths, (), None, (), Callback(), TRUSTED)


def _explain(
    folder: RunFolder,
    paths: Sequence[Path],
    ignored: Sequence[Ignored],
    layer: str | None,
    beside: Sequence[Path],
    callback: Callback,
    trust: Trust,
) -> Explanation:
    opened = open_finished(folder, trust)
    others = [_comparable(open_finished(RunFolder.open(path), trust), opened) for path in beside]
    known = known_images(opened)
    views, head_before = _views(opened, others, known)
    fitted = known.fitted if known and head_before == "linear_probe" else ()
    refitted = verdicts.REFITTED_CHANGES if opened.results.refit else ""
    missing = _NO_IMAGES if known is None else "" if known.comparable else _FEW_IMAGES
    with written_to(folder.path / EXPLANATION_FOLDER), replacing(folder.path / EXPLANATION_FOLDER) as pictures:
        maps = draw_maps(views, paths, layer, pictures, fitted)
        callback.note(missing or "Comparing the features of every block before and after fine-tuning ...")
        explanation = Explanation(
            format_version=FORMAT_VERSION,
            environment=environment(device="cpu", threads=torch.get_num_threads()),
            head_before=head_before,
            layer=maps.layer,
            images=maps.images,
            unreadable=maps.unreadable,
            ignored=[file.result() for file in ignored],
            drift=block_changes(opened, known),
            notes=[*filter(None, (opened.about_members, refitted, missing))],
        )
        write_text(pictures / PAGE, page(explanation, run=opened.name))
        seal(pictures)
        write(folder.path / EXPLANATION, explanation)
    return explanation


def _views(run: FinishedRun, others: Sequence[FinishedRun], known: Known | None) -> tuple[list[View], str]:
    """The columns of the panels, and which head the network before fine-tuning has in them.

    Its own classifier knows other classes, and the fine-tuned head was trained on other features, so a linear probe of
    the pretrained features is the fairest substitute; the fine-tuned head is used if none can be fitted.
    """
    probe = probe_head(run, known)
    views = [
        View("before", run, (run.fine_tuned, run.pretrained, probe or {})),
        *(View(other.name, other, (other.fine_tuned,)) for other in others),
        View(run.name if others else "fine-tuned", run, (run.fine_tuned,)),
    ]
    return views, "linear_probe" if probe else "fine_tuned"


def _comparable(other: FinishedRun, run: FinishedRun) -> FinishedRun:
    same = (
        other.results.pretrained.architecture == run.results.pretrained.architecture
        and other.classes == run.classes
        and other.preprocessing == run.preprocessing
    )
    if not same:
        raise RunFolderError(
            f"{other.path} cannot be shown beside {run.path}: its network, classes or image size differ."
        )
    return other
