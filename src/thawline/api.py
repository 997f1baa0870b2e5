"""The commands as functions. Thin: each opens what it needs and passes it on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

from thawline.callback import Callback
from thawline.config import (
    BASE_RATE,
    FULL_DEPTH,
    CompareOptions,
    DataConfig,
    FitOptions,
    InspectOptions,
    OnBad,
    PredictOptions,
    Request,
    TrainConfig,
    TuningConfig,
)
from thawline.data.cache import user_cache
from thawline.data.check import USUAL_CROP, USUAL_SIZE
from thawline.data.check import check as check_images
from thawline.data.demo import demo_network, write_digits
from thawline.data.facts_cache import survey_again
from thawline.data.groups import with_groups
from thawline.data.pixels import found_bit_depth
from thawline.data.read import Data, absolute_name, name_of, read_named
from thawline.data.splits import refusal
from thawline.errors import InputError, OptionError, RunFolderError, ThawlineError
from thawline.explanation import explain as explaining
from thawline.export.timm_folder import CONFIG_FILE, read_timm_folder
from thawline.memory import within_memory
from thawline.model.blocks import partition
from thawline.model.load import build_on_meta
from thawline.model.own import is_own
from thawline.model.trust import Trust, code_to_run
from thawline.model.work import WorkTable
from thawline.plan import Granularity
from thawline.recipes.cells import Cell, Overrides, expand
from thawline.recipes.folder import keep_recipe, redraw, write_study
from thawline.recipes.recipe import load_recipe
from thawline.recipes.runs import is_study, run_cells
from thawline.records import FORMAT_VERSION, environment
from thawline.results import (
    CheckResult,
    Comparison,
    DryRun,
    Evaluation,
    Explanation,
    FitResults,
    InspectedBlock,
    InspectResult,
    Predictions,
    StudyResult,
)
from thawline.runs import classifier as serving
from thawline.runs.files import CHECK, REQUEST, read
from thawline.runs.folder import RunFolder
from thawline.runs.reporting import write_report
from thawline.runs.setup import Opened, open_experiment
from thawline.signatures import refuse_unknown, rename_listener, takes, takes_listener
from thawline.strategies.auto import with_answer, with_budget
from thawline.strategies.base import split_specs, variants
from thawline.studies import compare as compare_study
from thawline.studies import fit as fit_study
from thawline.studies.dry_run import dry_run as rehearse
from thawline.studies.finish import close, is_closed
from thawline.studies.forecast import forecast
from thawline.trackers import tracked
from thawline.training.device import require_threads

FREE_MEMORY = "free some memory, or use a smaller model or fewer images"
SMALLER = "start again with a smaller `image_size`, `batch_size` or `model`"


@dataclass(frozen=True, kw_only=True)
class _Call:
    """What `fit` and `compare` take besides the options of the command line."""

    data: Data = field(kw_only=False)
    out: str | Path = field(kw_only=False)
    train: TrainConfig | None = None
    images: DataConfig | None = None
    search: TuningConfig | None = None
    callback: Callback | None = None


@dataclass(frozen=True, kw_only=True)
class FitCall(FitOptions, _Call):
    """The parameters of `fit`, which are never instantiated: the options of the command line and the parts whole."""


@dataclass(frozen=True, kw_only=True)
class CompareCall(CompareOptions, _Call):
    """The parameters of `compare`."""


@takes(FitCall)
def fit(data: Data, out: str | Path, **options: Any) -> FitResults:
    """Find the plan, train it, score it beside the baselines, save the model; returns what results.json holds.

    Takes every option of `thawline fit` by name (`image_size=96, epochs=12, cache_memory="500M"`), as listed in
    docs/reference/options.md. `train=TrainConfig(...)`, `images=DataConfig(...)` and `search=TuningConfig(...)` give
    a part whole.
    `data`: a folder, a manifest, a named dataset such as hf:NAME, a list of (path, label), or a dataset of PIL images.
    `callback` is told of the progress. Raises `InputError` before anything is trained if something cannot be used.
    """
    rename_listener("fit", options)
    refuse_unknown("fit", options, FitCall)
    strategy = with_budget(options.get("strategy", FitOptions.strategy), options.get("budget"))
    strategy = with_answer(strategy, options.get("answer"))
    request = _request("fit", data, (strategy,), options)
    return cast(FitResults, run(request, out, tracked(options.get("track", ()), options.get("callback"))))


@takes(CompareCall)
def compare(data: Data, out: str | Path, **options: Any) -> Comparison:
    """Tune, train and score several strategies alike; returns what comparison.json holds.

    Takes every option of `thawline compare` by name; the rest as in `fit`.
    """
    rename_listener("compare", options)
    refuse_unknown("compare", options, CompareCall)
    rows = options.get("strategies", CompareOptions.strategies)
    strategies = split_specs(rows) if isinstance(rows, str) else tuple(rows) if isinstance(rows, Sequence) else rows
    request = _request("compare", data, strategies, options)
    return cast(Comparison, run(request, out, tracked(options.get("track", ()), options.get("callback"))))


def _request(
    verb: Literal["fit", "compare"], data: Data, strategies: tuple[str, ...], options: Mapping[str, Any]
) -> Request:
    return Request.from_options(verb, name_of(data, user_cache() / "data"), strategies, options)


def run(request: Request, out: str | Path, callback: Callback | None = None) -> FitResults | Comparison:
    """Do what `request` asks in the new folder `out`; returns what results.json or comparison.json holds.

    Raises `InputError` before anything is trained if an option, the data, the model or the folder cannot be used.
    Interrupted at any moment, it leaves a folder that `resume` continues.
    """
    request = _absolute(_with_rate(request))
    require_threads(request.train.threads)
    settings = environment(device=request.train.device, threads=request.train.threads)
    with RunFolder.create(Path(out), request, settings) as folder:
        try:
            return _work(folder, callback or Callback())
        except InputError:
            folder.discard()
            raise


def dry_run(request: Request, out: str | Path, callback: Callback | None = None) -> DryRun:
    """What `run` would do with the same arguments; nothing is trained, and nothing is written to `out`.

    Images are decoded and the model is loaded, since the forecast times a few real steps; the decoded images stay in
    the cache. Raises `InputError` as `run` does.
    """
    request = _absolute(_with_rate(request))
    require_threads(request.train.threads)
    RunFolder.require_free(Path(out), request)
    settings = environment(device=request.train.device, threads=request.train.threads)
    with (
        TemporaryDirectory(prefix="thawline-") as scratch,
        within_memory(f"{SMALLER}, or free some memory"),
        RunFolder.create(Path(scratch) / "run", request, settings) as folder,
    ):
        opened = open_experiment(folder, callback or Callback())
        return rehearse(opened.experiment, opened.facts, read(folder.file(CHECK), CheckResult))


@takes_listener
def resume(
    run_folder: str | Path,
    callback: Callback | None = None,
    *,
    add: Sequence[str] = (),
    trust_code: bool = False,
    code: str | None = None,
) -> FitResults | Comparison:
    """Continue an interrupted run: finished trainings are not repeated, and the result is as without a break.

    `add` = strategies to add to a comparison, finished or not; only they are trained. If the run's model is Python code
    (`file.py:factory`), it runs only with `trust_code=True`, or if `code` names the same file and function.
    """
    trust = Trust(trust_code, code)
    with RunFolder.open(Path(run_folder)) as folder:
        callback, before = callback or Callback(), folder.request()
        if add:
            _add_strategies(folder, add)
        finished = folder.results()
        if finished is not None:
            callback.note(f"{folder.path} is already finished; nothing is trained or scored again.")
            if not is_closed(folder):
                _require_trust(folder, trust)
                close(folder, callback)
            return finished
        if changed := ", ".join(folder.other_environment()):
            callback.note(f"Not what the run began with: {changed}; what is trained now may differ for that.")
        try:
            _require_trust(folder, trust)
            return _work(folder, callback)
        except InputError:
            folder.store(before)  # else a strategy that cannot be used would stand in the way of every resume
            raise


@takes_listener
def demo(out: str | Path, callback: Callback | None = None) -> FitResults:
    """`fit` on scikit-learn's handwritten digits, from a small network pretrained on printed letters; all embedded."""
    folder = Path(out)
    if folder.exists():
        raise RunFolderError(f"{folder} exists already; choose another `out`, or remove it.")
    write_digits(folder / "digits", train_per_class=20, val_per_class=40, seed=0)
    request = Request(
        verb="fit",
        data=str(folder / "digits"),
        model=f"local-dir:{demo_network()}",
        strategies=("auto",),
        # One thread: on images this small a second one mostly waits, and on a busy machine both do.
        train=TrainConfig(epochs=10, threads=1),
        images=DataConfig(augment="none"),
    )
    return cast(FitResults, run(request, folder / "run", callback))


@takes_listener
@within_memory(FREE_MEMORY)
def check(
    data: str | Path,
    *,
    model: str | None = None,
    image_size: int | None = None,
    crop_pct: float | None = None,
    group_pattern: str | None = None,
    on_bad: OnBad = "error",
    callback: Callback | None = None,
) -> CheckResult:
    """Audit a dataset: every file is decoded in full; the results are cached by file size and time.

    The images are looked at as `fit` would with the same `model`, `image_size` and `crop_pct`, to find those that
    cannot be resized; without a model, for 224 pixels and a crop of 0.875. It also says whether splits can be drawn.
    `on_bad`: as in `fit`, whether a class folder without usable images is an error ("error") or listed ("skip").
    """
    options = DataConfig(image_size=image_size, crop_pct=crop_pct, group_pattern=group_pattern, on_bad=on_bad)
    size, crop = _geometry(model, options)
    images = read_named(str(data), user_cache() / "data", on_bad=on_bad)
    if group_pattern is not None:
        images = with_groups(images, group_pattern)
    callback = callback or Callback()
    cache = user_cache() / "facts"
    look = partial(
        survey_again, images.paths, root=images.root, cache=cache, progress=callback.decoding, note=callback.note
    )
    facts = look()
    if (depth := found_bit_depth(facts)) < FULL_DEPTH:
        facts = look(bit_depth=depth)  # as a run decodes them
    found = check_images(images, facts=facts, image_size=size, crop_pct=crop)
    return replace(found, refusal=refusal(images, found.hashes, options, skip=found.unreadable)).result()


def _geometry(model: str | None, options: DataConfig) -> tuple[int, float]:
    """Side of the network's input in pixels, and that side over the shorter side of the resized image."""
    size, crop = options.image_size or USUAL_SIZE, USUAL_CROP
    if model is not None:
        preprocessing = build_on_meta(model, _classes_of(model), options.image_size).preprocessing
        size, crop = preprocessing.image_size, preprocessing.crop_pct
    return size, options.crop_pct or crop


def repeat_study(
    recipe: str, out: str | Path, overrides: Mapping[str, Any] | None = None, callback: Callback | None = None
) -> StudyResult:
    """Run a published study, cell by cell, and gather its tables; call it again to continue an interrupted one.

    `overrides` are fields of `recipes.cells.Overrides`. The tables show all finished cells in `out`, also those of
    earlier calls with other overrides; they are also written to `out`/tables.md and, with a verdict, to
    `out`/report.html. A cell whose data, model or trainings fail is left out and listed in `failed`; the error is
    raised only if no cell of this call could be run.
    """
    callback, folder = callback or Callback(), Path(out)
    study = load_recipe(recipe)
    expansion = expand(study, Overrides(**(overrides or {})))
    for note in expansion.notes:
        callback.note(note)
    _require_named(recipe, {cell.request.model for cell in expansion.cells} - {*(overrides or {}).get("models", ())})

    study_cells = _Cells(expansion.cells, callback)
    run_cells(study, expansion.cells, folder, study_cells.execute, failed=study_cells.fail)
    keep_recipe(recipe, folder)  # now that no other study is known to be there
    cells, tables = write_study(study, folder)
    return StudyResult(cells=cells, tables=tables, failed=study_cells.failed)


@dataclass
class _Cells:
    """Runs the cells of a study, tells which one it is at, and keeps what failed."""

    cells: Sequence[Cell]
    callback: Callback
    failed: dict[str, str] = field(default_factory=dict)

    def execute(self, request: Request, folder: Path) -> Comparison:
        """Run the comparison in `folder`, or resume the one that is there."""
        names = [cell.name for cell in self.cells]
        name = folder.parent.name
        self.callback.note(f"Cell {names.index(name) + 1} of {len(names)}: {name}")
        if not (folder / REQUEST).exists():
            return cast(Comparison, run(request, folder, self.callback))
        # `repeat_study` has refused code that a recipe names
        return cast(Comparison, resume(folder, self.callback, trust_code=True))

    def fail(self, cell: Cell, error: ThawlineError) -> None:
        """Keep the reason, and go on; raise the error if nothing else is left of the study."""
        self.failed[cell.name] = str(error)
        if len(self.failed) == len(self.cells):
            raise error
        self.callback.note(f"{cell.name} failed: {error}")


@within_memory(FREE_MEMORY)
def inspect(model: str, *, image_size: int | None = None, granularity: Granularity = "stage") -> InspectResult:
    """The blocks of a model and their cost; builds the structure without reading weights."""
    image_size = InspectOptions(model=model, image_size=image_size, granularity=granularity).image_size
    built = build_on_meta(model, num_classes=_classes_of(model), image_size=image_size)
    size = built.preprocessing.image_size
    blocks = partition(built.module, granularity, size)
    table = WorkTable.measure(built.module, blocks, size)
    return InspectResult(
        format_version=FORMAT_VERSION,
        model=model,
        architecture=built.architecture,
        image_size=size,
        granularity=granularity,
        blocks=[
            InspectedBlock(**asdict(row), step_from_here=table.step_share([block.name for block in blocks[position:]]))
            for position, row in enumerate(table.blocks)
        ],
    )


def _classes_of(model: str) -> int:
    """Outputs of a saved model's head; ImageNet's thousand where the name says nothing."""
    kind, _, path = model.partition(":")
    saved = kind == "local-dir" and (Path(path) / CONFIG_FILE).is_file()
    return max(2, read_timm_folder(Path(path)).num_classes or 1000) if saved else 1000


@within_memory(FREE_MEMORY)
def evaluate(
    run_folder: str | Path,
    data: str | Path,
    *,
    trust_code: bool = False,
    code: str | None = None,
    callback: Callback | None = None,
) -> Evaluation:
    """Score a run's saved model, or any timm folder, on labelled images; the scores are logged in the folder.

    Unlike data for training, `data` may have a single class, a single image, or nothing but a test split.
    `trust_code`, `code`: as in `predict`. `callback` is told where the scores could not be logged.
    """
    return serving.evaluate(Path(run_folder), str(data), Trust(trust_code, code), callback or Callback())


@within_memory(FREE_MEMORY)
def predict(
    run_folder: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    top: int = 5,
    trust_code: bool = False,
    code: str | None = None,
) -> Predictions:
    """The likeliest classes of images, files or folders of them, by a run's saved model or any timm folder.

    If the folder names Python code that builds the network, it runs only with `trust_code=True`, or if `code`
    (`file.py:factory`) names the code to run in its place.
    """
    paths = [images] if isinstance(images, str | Path) else images
    chosen = PredictOptions(top=top).top
    return serving.predict(Path(run_folder), [*map(Path, paths)], top=chosen, trust=Trust(trust_code, code))


@within_memory(FREE_MEMORY)
def report(run_folder: str | Path) -> Path:
    """Draw report.html of a finished run, or of a study, again from its records; returns its path."""
    folder = Path(run_folder)
    return redraw(folder) if is_study(folder) else write_report(folder)


@takes_listener
@within_memory(FREE_MEMORY)
def explain(
    run_folder: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    layer: str | None = None,
    beside: Sequence[str | Path] = (),
    callback: Callback | None = None,
    trust_code: bool = False,
    code: str | None = None,
) -> Explanation:
    """Compute Grad-CAM before and after fine-tuning, and the changes of every block; returns what explain.json holds.

    Draws Grad-CAM of images, files or folders of them, into the run folder. `layer`: the module to weigh; None = found.
    `beside`: further runs of the same network, a column each: `depth:share=25` and `depth:share=50` beside `full`.
    `trust_code`, `code`: as in `predict`.
    """
    paths = [images] if isinstance(images, str | Path) else images
    return explaining.explain(
        Path(run_folder),
        [*map(Path, paths)],
        layer=layer,
        beside=[*map(Path, beside)],
        callback=callback,
        trust=Trust(trust_code, code),
    )


def _with_rate(request: Request) -> Request:
    """Check the strategies; `fit` of a named strategy trains at `BASE_RATE` if no learning rate is given."""
    searching = [variants(spec)[0].searches for spec in request.strategies]
    if request.verb == "compare" or all(searching) or request.search.learning_rate is not None:
        return request
    return replace(request, search=replace(request.search, learning_rate=BASE_RATE))


def _require_named(recipe: str, models: Collection[str]) -> None:
    """Raise `OptionError` if any of the recipe's own models is code: a file must not decide what runs."""
    if code := [model for model in models if is_own(model)]:
        raise OptionError(
            f"{recipe} names Python code, {code[0]!r}; read it first, then name it yourself with `model`."
        )


def _require_trust(folder: RunFolder, trust: Trust) -> None:
    """Raise `InputError` if the run's model is code that the user does not allow to run, or names other code."""
    model = folder.request().model
    if (named := code_to_run(model, folder.file(REQUEST), trust)) != model:
        raise OptionError(f"`code` must be {model}, with which {folder.path} began, got {named}.")


def _add_strategies(folder: RunFolder, add: Sequence[str]) -> None:
    request = folder.request()
    if request.verb != "compare":
        raise OptionError(f"{folder.path} is not a comparison, so strategies cannot be added; start one with compare.")
    for spec in add:
        variants(spec)
    folder.store(replace(request, strategies=tuple(dict.fromkeys((*request.strategies, *add)))))


def _absolute(request: Request) -> Request:
    """The same with paths that hold wherever the run is resumed from."""
    kind, separator, rest = request.model.partition(":")
    model, weights = request.model, request.weights
    if kind == "local-dir":
        model = f"{kind}:{Path(rest).expanduser().absolute()}"
    elif separator and kind.endswith(".py"):
        model = f"{Path(kind).expanduser().absolute()}:{rest}"
    if weights not in (None, "random"):
        weights = str(Path(str(weights)).expanduser().absolute())
    return replace(request, data=absolute_name(request.data), model=model, weights=weights)


def _work(folder: RunFolder, callback: Callback) -> FitResults | Comparison:
    """Do what a run folder asks for; an error of the disk ends it with one line and leaves the rest for `resume`."""
    try:
        with within_memory(f"{SMALLER}, or free some memory and `thawline resume {folder.path}`"):
            opened = open_experiment(folder, callback)
            expected = forecast(opened.experiment, opened.experiment.request.strategies)
            callback.forecast(expected.seconds, expected.units, expected.trainings, expected.memory_bytes)
            if opened.experiment.request.refit:
                searches = variants(opened.experiment.request.strategies[0])[0].searches
                beyond = ", which comes on top of the budget of the search" if searches else ""
                callback.note(f"The forecast includes the refit on train and val{beyond}.")
            return _train(opened, callback)
    except OSError as error:
        raise folder.stopped_by(error) from error


def _train(opened: Opened, callback: Callback) -> FitResults | Comparison:
    """The work itself, whose beginning and end callbacks are told of."""
    study = fit_study.fit if opened.experiment.request.verb == "fit" else compare_study.compare
    results: FitResults | Comparison | None = None
    callback.run_started(opened.experiment.folder.path, opened.experiment.request.to_dict())
    try:
        results = study(opened.experiment, opened.facts, opened.paths)
    finally:
        callback.run_ended(results)
    return results
