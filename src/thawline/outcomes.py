"""What the functions return: their results, which show themselves in a shell and in a notebook and lead to the model.

The keys are those of the classes in `results.py`; what is added here is not in the JSON.
"""

from __future__ import annotations

import dataclasses
import textwrap
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from torch import nn

from thawline.callback import Callback
from thawline.config import PredictOptions
from thawline.data.python_objects import Images, as_files
from thawline.errors import RunError
from thawline.formatting import counted
from thawline.memory import FREE_MEMORY, within_memory
from thawline.model.trust import TRUSTED, Trust
from thawline.plan import FineTunePlan
from thawline.prediction.opened import PixelClassifier
from thawline.prediction.predict import open_predict
from thawline.progress import AUTO, Progress, shown
from thawline.report import tables
from thawline.report.consoles import Code, as_html, as_text
from thawline.report.summary import best_row
from thawline.results import (
    HIDDEN,
    CheckResult,
    Comparison,
    Evaluation,
    Explanation,
    ExportResult,
    FitResults,
    InspectResult,
    Prediction,
    Predictions,
    Result,
    SkippedFile,
    StudyResult,
)
from thawline.runs.classifier import Classifier
from thawline.runs.model_folder import MODEL_FOLDER, opening_lines

MOST_LINES = 100
"""Images that `str` and a notebook list at most."""
_REPR_WIDTH = 120

R = TypeVar("R", bound=Result)
File = TypeVar("File", Prediction, SkippedFile)


class Shown(Result):
    """A result that shows itself as the command line does."""

    def draw(self, console: Console) -> None:
        """Print it on a console."""
        raise NotImplementedError

    def __str__(self) -> str:
        return as_text(self.draw)

    def __repr__(self) -> str:
        first = str(self).partition("\n")[0]
        return f"<{type(self).__name__}: {textwrap.shorten(first, _REPR_WIDTH, placeholder=' ...')}>"

    def _repr_html_(self) -> str:
        return as_html(self.draw)


@dataclass(frozen=True, kw_only=True, repr=False)
class FitRun(Shown, FitResults):
    """What `fit`, `demo` and `resume` return: results.json, the run folder, the plan and the trained model."""

    path: Path = field(metadata=HIDDEN)
    """The run folder."""
    home: Path = field(default_factory=Path.cwd, metadata=HIDDEN, compare=False)
    """The working folder when it was made, which `path` is relative to."""
    trust: Trust = field(default=TRUSTED, metadata=HIDDEN, compare=False)
    """Whether the code of a network of one's own may run."""

    @property
    def model(self) -> nn.Module:
        """The trained network in eval mode on the CPU, loaded on first use: a timm module, unless it is your own code.

        Logits [B, classes] of images [B, 3, S, S], normalized; `predict` takes images as they are. Of an ensemble, one
        module that gives the logarithm of the mean probabilities.
        """
        return self._classifier.network

    def predict(self, images: Images, *, top: int = PredictOptions.top, callback: Progress = AUTO) -> Guesses:
        """The likeliest classes of images by the trained model; see `thawline.predict`."""
        with within_memory(FREE_MEMORY), shown(callback) as told:
            return guesses(self._classifier, images, PredictOptions(top=top), told)

    @cached_property
    def _classifier(self) -> Classifier:
        return Classifier(self.home / self.path, self.trust)

    def draw(self, console: Console) -> None:
        """The sentence, the network, the table, where it all is, and the lines that open the model."""
        tables.print_fit(console, self, self.path, opening_lines(self.home / self.path / MODEL_FOLDER))


@dataclass(frozen=True, kw_only=True, repr=False)
class ComparisonRun(Shown, Comparison):
    """What `compare` and `resume` return: comparison.json, the run folder and the best plan."""

    path: Path = field(metadata=HIDDEN)
    """The run folder."""

    @property
    def plan(self) -> FineTunePlan:
        """The plan that is best on validation; `RunError` if no strategy could be trained."""
        best = best_row(self)
        if best is None:
            raise RunError(f"{self.path} has no plan: no strategy could be trained.")
        return best.plan

    def draw(self, console: Console) -> None:
        """The sentence, the table, where the rest is, and how to get a model."""
        tables.print_comparison(console, self, self.path)


class Checked(Shown, CheckResult):
    """What `check` returns."""

    def draw(self, console: Console) -> None:
        """What to look at first, then the files that it is about."""
        tables.print_check(console, self)


class Blocks(Shown, InspectResult):
    """What `inspect` returns."""

    def draw(self, console: Console) -> None:
        """The table of blocks."""
        tables.print_blocks(console, self)


class Scores(Shown, Evaluation):
    """What `evaluate` returns."""

    def draw(self, console: Console) -> None:
        """The scores in a sentence, then the classes."""
        tables.print_scores(console, self)


class Guesses(Shown, Predictions):
    """What `predict` returns."""

    def draw(self, console: Console, most: int | None = MOST_LINES) -> None:
        """One line per image; `most` = lines at most, None = all."""
        tables.print_predictions(console, self.predictions[:most])
        if more := len(self.predictions[most:]) if most is not None else 0:
            console.print(f"and {counted(more, 'more image')}", highlight=False)
        tables.print_skipped(console, self.unreadable, self.ignored)


@dataclass(frozen=True, kw_only=True, repr=False)
class Explained(Shown, Explanation):
    """What `explain` returns."""

    path: Path = field(metadata=HIDDEN)
    """The run folder."""

    def draw(self, console: Console) -> None:
        """Predictions before and after, the changes of the blocks, where the page is."""
        tables.print_explained(console, self, self.path)


class Exported(Shown, ExportResult):
    """What `export` returns."""

    @property
    def path(self) -> Path:
        """Where the export is."""
        return Path(self.folder)

    def draw(self, console: Console) -> None:
        """That it is the same model, what it takes, where it is and how to use it."""
        tables.print_exported(console, self)


class Study(Shown, StudyResult):
    """What `repeat_study` returns."""

    def draw(self, console: Console) -> None:
        """The tables of the study, then what failed."""
        console.print(Code(self.tables), soft_wrap=True)
        for name, reason in self.failed.items():
            console.print(f"{name}: {reason}", soft_wrap=True)


def outcome(kind: type[R], found: Result, **others: object) -> R:
    """A result as the class that shows itself; `others` are the fields that this class adds."""
    return kind(**{each.name: getattr(found, each.name) for each in dataclasses.fields(found)}, **others)


def guesses(classifier: PixelClassifier, images: Images, options: PredictOptions, callback: Callback) -> Guesses:
    """The likeliest classes of images; images in memory are listed under the names that `as_files` gives them."""
    with as_files(images) as (paths, names):
        found = open_predict(classifier, paths, options, callback).result()
    called = {str(path): name for path, name in names.items()}

    def named(file: File) -> File:
        return dataclasses.replace(file, path=called.get(file.path, file.path))

    predictions, unreadable = map(named, found.predictions), map(named, found.unreadable)
    return outcome(Guesses, dataclasses.replace(found, predictions=[*predictions], unreadable=[*unreadable]))


def run_outcome(found: FitResults | Comparison, path: Path, trust: Trust = TRUSTED) -> FitRun | ComparisonRun:
    """The results of a run with its folder."""
    if isinstance(found, FitResults):
        return outcome(FitRun, found, path=path, trust=trust)
    return outcome(ComparisonRun, found, path=path)
