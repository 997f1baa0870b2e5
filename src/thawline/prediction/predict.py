"""`predict`: the likeliest classes of images, as a result or in a file that grows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from thawline.callback import Callback
from thawline.config import PredictOptions
from thawline.data.walk import Ignored, as_text
from thawline.errors import OptionError
from thawline.memory import within_memory
from thawline.prediction import written
from thawline.prediction.images import image_files
from thawline.prediction.opened import PixelClassifier, open_classifier
from thawline.prediction.stream import Answer, predict_each
from thawline.prediction.written import Form, Found
from thawline.records import FORMAT_VERSION
from thawline.results import Prediction, PredictionFile, Predictions, SkippedFile

FREE_MEMORY = "free some memory, or use a smaller model or fewer images at once (`batch_size`)"
Images = str | Path | Sequence[str | Path]

_SAME = 1e-3
"""Probabilities of one image under one model differ by less, whatever the batch."""
_BETWEEN_REPORTS = 0.2
"""Seconds between two words of progress."""


@dataclass
class PredictCall:
    """A model and images, opened; images are predicted when `answers` is run through."""

    classifier: PixelClassifier
    paths: list[str]
    ignored: list[Ignored]
    options: PredictOptions
    callback: Callback
    failures: list[SkippedFile] = field(default_factory=list)

    @property
    def model(self) -> str:
        """The folder or file of the model."""
        return str(self.classifier.folder)

    @property
    def ranks(self) -> int:
        """Classes per image."""
        return min(self.options.top, len(self.classifier.classes))

    def answers(self, paths: Sequence[str] | None = None) -> Generator[list[Answer]]:
        """The answers for all images, or for `paths` of them, a list at a time."""
        chosen = self.paths if paths is None else paths
        done, last = len(self.paths) - len(chosen), time.monotonic()
        self.callback.predicting(done, len(self.paths))
        for answers in predict_each(self.classifier, chosen, top=self.options.top, batch_size=self.options.batch_size):
            yield answers
            done += len(answers)
            if (now := time.monotonic()) - last > _BETWEEN_REPORTS or done == len(self.paths):
                last = now
                self.callback.predicting(done, len(self.paths))

    def result(self) -> Predictions:
        """All answers."""
        answers = [answer for some in self.answers() for answer in some]
        return Predictions(
            format_version=FORMAT_VERSION,
            model=self.model,
            predictions=[answer for answer in answers if isinstance(answer, Prediction)],
            unreadable=[answer for answer in answers if isinstance(answer, SkippedFile)],
            ignored=[file.result() for file in self.ignored],
        )


@within_memory(FREE_MEMORY)
def open_predict(
    classifier: PixelClassifier, images: Images, options: PredictOptions, callback: Callback | None = None
) -> PredictCall:
    """Find the images; raises `InputError` if they cannot be used."""
    given = [images] if isinstance(images, str | Path) else images
    paths, ignored = image_files([*map(Path, given)])
    return PredictCall(classifier, paths, ignored, options, callback or Callback())


@within_memory(FREE_MEMORY)
def predict_to(
    run_folder: str | Path,
    images: Images,
    file: str | Path,
    *,
    form: Form | None = None,
    top: int = PredictOptions.top,
    batch_size: int | None = None,
    trust_code: bool = False,
    code: str | None = None,
    callback: Callback | None = None,
) -> PredictionFile:
    """Append predictions to a .csv or .jsonl file as they are made; images that are in it are skipped.

    Memory does not grow with the number of images but by their paths. Killed and called again, it goes on, and every
    image is in the file once. `form` ("csv" or "jsonl"): where the ending of `file` does not say it. `images` are
    files, folders, tables or lists of paths; an ONNX file is run without importing torch. The rest as in `predict`.
    Raises `OptionError` if the file holds something else, or predictions of another model or `top`.
    """
    path = Path(file)
    form = form or _form_of(path)
    options = PredictOptions(top=top, batch_size=batch_size)
    classifier = open_classifier(Path(run_folder), trust_code=trust_code, code=code)
    call = open_predict(classifier, images, options, callback)
    unreadable = count = 0
    with written.opened(path) as stream:
        found = written.take_up(stream, path, form, call.ranks)
        _require_same_model(call, found, path)
        written.cut_off(stream, form, found)
        left = [name for name in call.paths if as_text(name) not in found.paths] if found.paths else call.paths
        there = len(call.paths) - len(left)
        found.paths.clear()
        for answers in call.answers(left):
            written.append(stream, form, answers)
            count += len(answers)
            unreadable += sum(isinstance(answer, SkippedFile) for answer in answers)
        written.sync(stream)
    return PredictionFile(
        format_version=FORMAT_VERSION,
        model=call.model,
        file=str(path),
        predicted=count - unreadable,
        unreadable=unreadable,
        there_before=there,
        ignored=Counter(file.reason for file in call.ignored),
    )


def _form_of(path: Path) -> Form:
    ending = path.suffix.lower().removeprefix(".")
    if ending not in get_args(Form):
        raise OptionError(f"{path} must end in .csv or .jsonl, or pass `form`.")
    return cast(Form, ending)


def _require_same_model(call: PredictCall, found: Found, path: Path) -> None:
    """Raise `OptionError` if the file was written with another model: predict its first image again, if it is there."""
    if found.first is None:
        return
    likeliest = found.first.top[0]
    if likeliest.label in call.classifier.classes:
        ((again,),) = predict_each(call.classifier, [found.first.path], top=len(call.classifier.classes))
        if isinstance(again, SkippedFile):
            return
        now = next(guess.probability for guess in again.top if guess.label == likeliest.label)
        if abs(now - likeliest.probability) < _SAME:
            return
    raise OptionError(
        f"{path} holds predictions of another model ({found.first.path}: {likeliest.label} "
        f"{likeliest.probability:.3f}), or that image has changed; give another file, or move this one away."
    )
