"""A model that is fitted again: what its folder is, which rows of its head are kept, which images it knows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import timm

from thawline import verdicts
from thawline.config import Request
from thawline.data.layout import some
from thawline.errors import OptionError, RunFolderError
from thawline.exports.ensemble_folder import is_ensemble
from thawline.exports.own_folder import OWN_FILE
from thawline.exports.timm_folder import CONFIG_FILE, TimmFolder, read_timm_folder
from thawline.exports.writing import WEIGHTS_FILE
from thawline.model.head import linear_head
from thawline.model.kept_head import KeptHead
from thawline.model.load import LoadedModel, load_saved
from thawline.results import FitAgain, FitResults
from thawline.runs.files import REQUEST, RESULTS, read
from thawline.runs.folder import RunFolder
from thawline.runs.listed import Listed, listed
from thawline.runs.model_folder import MODEL_FOLDER
from thawline.runs.sealed import is_expected

LOCAL = "local-dir"


def model_source(model: str) -> str:
    """The name of a model; of the folder of a run, or of a saved model given by its path, `local-dir:PATH`.

    Raises `RunFolderError` for a run whose model cannot be fitted again. A name that timm knows stays that.
    """
    kind, separator, rest = model.partition(":")
    if not model or (separator and kind != LOCAL) or (not separator and timm.is_model(model)):
        return model
    folder = Path(rest if separator else model).expanduser()
    is_run = (folder / REQUEST).is_file()
    if is_run:
        _require_finished(folder)
    if (folder / MODEL_FOLDER).is_dir():
        folder = folder / MODEL_FOLDER
    if is_ensemble(folder):
        raise RunFolderError(f"{folder} is an ensemble; pass one of its networks, such as {folder / '1'}.")
    if (folder / OWN_FILE).is_file():
        raise RunFolderError(
            f"{folder} was built by custom code; pass the code, `model='file.py:factory'`, with "
            f"`weights='{folder / WEIGHTS_FILE}'`."
        )
    return f"{LOCAL}:{folder.absolute()}" if is_run or (folder / CONFIG_FILE).is_file() else model


def _require_finished(run: Path) -> None:
    if RunFolder(run).request().verb != "fit":
        raise RunFolderError(f"{run} is a comparison, which saves no model; give `model` the folder of a finished fit.")
    if not is_expected(run / RESULTS["fit"]) or not (run / MODEL_FOLDER).is_dir():
        raise RunFolderError(f"{run} is not finished, so it has no model to fit again; `thawline resume {run}` first.")


@dataclass(frozen=True)
class OldModel:
    """The saved model that is fitted again."""

    folder: Path
    """A timm folder."""
    about: TimmFolder

    @property
    def run(self) -> Path | None:
        """The run that trained it; None if the folder does not lie in one."""
        run = self.folder.parent
        return run if self.folder.name == MODEL_FOLDER and is_expected(run / RESULTS["fit"]) else None

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.run or self.folder)

    def images(self, *splits: str) -> list[Listed]:
        """The images of some splits of its run; none without a run."""
        if self.run is None:
            return []
        root = Path(read(self.run / RESULTS["fit"], FitResults).data.root)
        return [row for row in listed(self.run, root) if row.split in splits]


def old_model(request: Request) -> OldModel | None:
    """The folder that the request's model and its weights come from; None if they come from elsewhere."""
    kind, separator, rest = request.model.partition(":")
    folder = Path(rest)
    if not separator or kind != LOCAL or request.weights is not None or not (folder / CONFIG_FILE).is_file():
        return None
    return OldModel(folder, read_timm_folder(folder))


def fit_again(request: Request, model: LoadedModel, classes: Sequence[str]) -> FitAgain | None:
    """Give `model` the rows of the old head that are kept; None if the model is no trained classifier, or new anyway.

    Raises `OptionError` where `head` keep was asked for and cannot be had.
    """
    old = old_model(request)
    names = old.about.label_names if old else None
    refusal = _refusal(request, old, names, classes)
    if refusal is None and old is not None and names is not None and request.head != "new":
        network = load_saved(old.folder, len(names), old.about.preprocessing.image_size)
        head = linear_head(network, old.about.preprocessing.image_size)
        if head is None:
            refusal = f"the head of {model.architecture} is not a single linear layer, so its rows cannot be kept"
        else:
            model.kept_head = KeptHead.mapped(head, names, classes)
    if refusal is not None and request.head == "keep":
        raise OptionError(f"`head` keep: {refusal}; use `head` new, or another `model`.")
    if old is None or names is None or (model.kept_head is None and old.run is None):
        return None
    facts = FitAgain(
        source=old.name,
        head="new" if model.kept_head is None else "kept",
        kept=[name for name in classes if name in names],
        new=[name for name in classes if name not in names],
        vanished=[name for name in names if name not in classes],
        words="",
    )
    return facts.with_words(verdicts.fitted_again(facts, "" if request.head == "new" else refusal or ""))


def _refusal(request: Request, old: OldModel | None, names: Sequence[str] | None, classes: Sequence[str]) -> str | None:
    """Why no row can be kept; None if some can."""
    if request.weights is not None:
        return "the head of the model does not belong to the given `weights`"
    if old is None:
        return f"{request.model} is neither the folder of a run nor a timm folder with label names"
    if names is None:
        return f"{old.folder} does not name its classes (label_names in {CONFIG_FILE})"
    if not set(names) & set(classes):
        return f"none of the classes of {old.name} ({some(names, 5)}) occurs in these images"
    return None


def seen_before(old: OldModel | None, paths: Sequence[Path], hashes: Sequence[str]) -> list[str]:
    """For every image the split of the old run that has the same file, `train` or `val`; empty if there is none.

    Compared by content, so that copies under other names are found, too. A refit trained on both splits.
    """
    if old is None or old.run is None:
        return [""] * len(paths)
    sizes = {size for path in paths if (size := _size(path)) is not None}
    known: dict[str, str] = {}
    for row in old.images("train", "val"):
        if _size(row.path) in sizes:
            known.setdefault(hashlib.sha256(row.path.read_bytes()).hexdigest(), row.split)
    if read(old.run / RESULTS["fit"], FitResults).refit:
        known = dict.fromkeys(known, "train")
    return [known.get(digest, "") if digest else "" for digest in hashes]


def with_seen(facts: FitAgain, found: Sequence[str], splits: Sequence[str | None]) -> FitAgain:
    """The facts with the images that trained or selected the old model; `splits` are those of the new run."""
    counts = Counter(filter(None, found))
    tested = sum(bool(old) and split == "test" for old, split in zip(found, splits, strict=True))
    return facts.with_seen({split: counts[split] for split in ("train", "val") if counts[split]}, tested)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None
