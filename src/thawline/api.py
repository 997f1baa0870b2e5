"""The commands as functions. Thin: each opens what it needs and passes it on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

from torch import nn

from thawline.callback import Callback, SaidOnce
from thawline.config import (
    BASE_RATE,
    DEFAULT_MODEL,
    FULL_DEPTH,
    MAKE_A_PLAN,
    CompareOptions,
    DataConfig,
    ExportFormat,
    ExportOptions,
    FitOptions,
    InspectOptions,
    OnBad,
    PredictOptions,
    Request,
    TrainConfig,
    TuningConfig,
    WorkerOptions,
)
from thawline.data.cache import user_cache
from thawline.data.check import USUAL_CROP, USUAL_SIZE
from thawline.data.check import check as check_images
from thawline.data.demo import demo_network, write_digits
from thawline.data.facts_cache import survey_again
from thawline.data.groups import with_groups
from thawline.data.pixels import found_bit_depth
from thawline.data.python_objects import Images
from thawline.data.read import Data, absolute_name, name_of, read_named
from thawline.data.splits import refusal
from thawline.errors import InputError, OptionError, RunFolderError, ThawlineError
from thawline.explanation import explain as explaining
from thawline.exports.timm_folder import CONFIG_FILE, read_timm_folder
from thawline.memory import FREE_MEMORY, within_memory
from thawline.model.blocks import partition
from thawline.model.load import build_on_meta
from thawline.model.objects import source_of
from thawline.model.own import is_own
from thawline.model.trust import Trust, code_to_run
from thawline.model.work import WorkTable
from thawline.outcomes import (
    Blocks,
    Checked,
    ComparisonRun,
    Explained,
    Exported,
    FitRun,
    Guesses,
    Scores,
    Study,
    guesses,
    outcome,
    run_outcome,
)
from thawline.plan import FineTunePlan, Granularity
from thawline.prediction.opened import open_classifier
from thawline.prediction.predict import predict_to as predict_to
from thawline.progress import AUTO, Progress, shown
from thawline.recipes.cells import Cell, Overrides, expand
from thawline.recipes.folder import keep_recipe, redraw, write_study
from thawline.recipes.recipe import load_recipe
from thawline.recipes.runs import is_study, run_cells
from thawline.records import FORMAT_VERSION, environment
from thawline.results import CheckResult, Comparison, DryRun, FitResults, InspectedBlock
from thawline.runs import classifier as serving
from thawline.runs import exported as exporting
from thawline.runs.again import model_source
from thawline.runs.files import CHECK, REQUEST, find_plan, read, read_results
from thawline.runs.folder import RunFolder, free_folder
from thawline.runs.processes import joined
from thawline.runs.reporting import write_report
from thawline.runs.setup import Opened, open_experiment
from thawline.runs.workforce import Workers, opened_workers
from thawline.signatures import refuse_unknown, rename_listener, takes, takes_listener
from thawline.strategies.auto import with_answer, with_budget
from thawline.strategies.base import split_specs, variants
from thawline.studies import compare as compare_study
from thawline.studies import fit as fit_study
from thawline.studies.compared_networks import NetworkComparison
from thawline.studies.dry_run import dry_run as dry_run_strategies
from thawline.studies.dry_run import dry_run_networks
from thawline.studies.finish import close, is_closed
from thawline.studies.forecast import forecast
from thawline.studies.networks import settle_network
from thawline.trackers import tracked
from thawline.training.device import require_threads, settings_restored

SMALLER = "start again with a smaller `image_size`, `batch_size` or `model`"


@dataclass(frozen=True, kw_only=True)
class _Call:
    """What `fit` and `compare` take besides the options of the command line."""

    data: Data = field(kw_only=False)
    """A folder, a manifest, a named dataset such as hf:NAME, a list of (path, label), a dataset of PIL images (of
    PyTorch, torchvision or Hugging Face), or a dict with such a list or dataset for each of train, val and test."""
    out: str | Path | None = field(kw_only=False, default=None)
    """New folder for everything that the run produces; default: the first free one of thawline-runs/1, 2, ..."""
    train: TrainConfig | None = None
    """The options of training whole, in place of one by one."""
    images: DataConfig | None = None
    """The same of the options of data."""
    search: TuningConfig | None = None
    """The same of the options of tuning."""
    callback: Progress = AUTO
    """Receives the progress. "auto" = a live line on a terminal (standard error) or in a notebook, and a few lines
    elsewhere; None = silent."""
    executor: Executor | None = None
    """Any executor of `concurrent.futures` whose workers train in parallel, instead of `workers` and `ray`; it is not
    shut down. The result is the same as that of this process alone. Threads of one process take turns: use
    processes."""


@dataclass(frozen=True, kw_only=True)
class FitCall(FitOptions, _Call):
    """The parameters of `fit`, which are never instantiated: the options of the command line and the parts whole."""

    model: str | nn.Module | Sequence[str | nn.Module] = DEFAULT_MODEL  # type: ignore[assignment]  # objects, too
    plan: FineTunePlan | str | Path | None = None  # type: ignore[assignment]  # an object, too


@dataclass(frozen=True, kw_only=True)
class CompareCall(CompareOptions, _Call):
    """The parameters of `compare`."""

    model: str | nn.Module | Sequence[str | nn.Module] = DEFAULT_MODEL  # type: ignore[assignment]  # objects, too


@takes(FitCall)
def fit(data: Data, out: str | Path | None = None, **options: Any) -> FitRun:
    """Find the plan, train it, compare it with the baselines, save the model; returns the contents of results.json.

    Takes every option of `thawline fit` by name: `image_size=96, epochs=12, cache_memory="500M"`. The result prints
    itself, displays itself in a notebook, and has `.plan`, `.model`, `.predict(images)` and `.path`.
    Raises `InputError` before any training if something cannot be used.
    """
    rename_listener("fit", options)
    refuse_unknown("fit", options, FitCall)
    with shown(options.get("callback", AUTO)) as callback:
        return cast(FitRun, _run("fit", data, (_strategy(options),), options, out, callback))


@takes(CompareCall)
def compare(data: Data, out: str | Path | None = None, **options: Any) -> ComparisonRun:
    """Tune, train and score several strategies by the same rule; returns the contents of comparison.json.

    Takes every option of `thawline compare` by name; otherwise as in `fit`.
    """
    rename_listener("compare", options)
    refuse_unknown("compare", options, CompareCall)
    rows = options.get("strategies", CompareOptions.strategies)
    strategies = split_specs(rows) if isinstance(rows, str) else tuple(rows) if isinstance(rows, Sequence) else rows
    with shown(options.get("callback", AUTO)) as callback:
        return cast(ComparisonRun, _run("compare", data, strategies, options, out, callback))


def _run(
    verb: Literal["fit", "compare"],
    data: Data,
    strategies: tuple[str, ...],
    options: Mapping[str, Any],
    out: str | Path | None,
    callback: Callback,
) -> FitRun | ComparisonRun:
    plan = options.get("plan")
    given = {name: value for name, value in options.items() if name != "plan"}
    if "model" in given:
        given["model"] = _sources(given["model"])
    request = Request.from_options(verb, name_of(data, user_cache() / "data"), strategies, given)
    if plan is not None:
        request = with_plan(request, plan, given)
    callback = tracked(options.get("track", ()), callback)
    with opened_workers(WorkerOptions.among(options), options.get("executor")) as workers:
        return run(request, free_folder() if out is None else out, callback, workers)


def _sources(models: object) -> object:
    """The names of one network or of several, some of which may be objects."""
    folder = user_cache() / "models"
    if isinstance(models, Sequence) and not isinstance(models, str):
        return [source_of(model, folder) for model in models]
    return source_of(models, folder)


def run(
    request: Request, out: str | Path, callback: Callback | None = None, workers: Workers | None = None
) -> FitRun | ComparisonRun:
    """Do what `request` asks in the new folder `out`; returns what results.json or comparison.json holds.

    `workers` train what can be trained side by side.

    Raises `InputError` before anything is trained if an option, the data, the model or the folder cannot be used.
    Interrupted at any moment, it leaves a folder that `resume` continues.
    """
    request = _absolute(_with_rate(request))
    if workers is not None and request.train.threads == 0:  # not those of a process that has the machine to itself
        request = replace(request, train=replace(request.train, threads=workers.threads))
    require_threads(request.train.threads)

    def work() -> FitResults | Comparison:
        settings = environment(device=request.train.device, threads=request.train.threads)
        with RunFolder.create(Path(out), request, settings) as folder:
            try:
                return _work(folder, callback or Callback(), workers)
            except InputError:
                folder.discard()
                raise

    return run_outcome(*_together(work, Path(out), workers))


@settings_restored()
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
        if request.candidates is not None:
            return dry_run_networks(folder, SaidOnce(callback or Callback()))
        opened = open_experiment(folder, callback or Callback())
        return dry_run_strategies(opened.experiment, opened.facts, read(folder.file(CHECK), CheckResult))


@takes_listener
def resume(
    run_folder: str | Path,
    callback: Progress = AUTO,
    *,
    add: str | Sequence[str] = (),
    trust_code: bool = False,
    code: str | None = None,
    track: str | Sequence[str] = (),
    workers: str | int | None = None,
    ray: str | None = None,
    cpus_per_worker: int | None = None,
    gpus_per_worker: float = WorkerOptions.gpus_per_worker,
    mixed_machines: bool = False,
    executor: Executor | None = None,
) -> FitRun | ComparisonRun:
    """Continue an interrupted run: finished trainings are not repeated, and the result is as without a break.

    `add` = strategies to add to a comparison, finished or not; only they are trained. If the run's model is Python code
    (`file.py:factory`), it runs only with `trust_code=True`, or if `code` names the same file and function. `track`,
    `executor` and the options of workers, from `workers` to `mixed_machines`: as in `fit`; the answer does not depend
    on who trains.
    """
    trust = Trust(trust_code, code)
    asked = WorkerOptions(
        workers=workers,
        ray=ray,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        mixed_machines=mixed_machines,
    )
    with shown(callback) as told, opened_workers(asked, executor) as opened:
        run = Path(run_folder)
        found, place = _together(lambda: _resumed(run, tracked(track, told), add, trust, opened), run, opened)
        return run_outcome(found, place, trust)


def _resumed(
    run_folder: Path, callback: Callback, add: str | Sequence[str], trust: Trust, workers: Workers | None
) -> FitResults | Comparison:
    with RunFolder.open(run_folder) as folder:
        before = folder.request()
        if add:
            _add_strategies(folder, add)
        finished = folder.results()
        if finished is not None:
            callback.note(f"{folder.path} is already finished; there is nothing left to train or score.")
            if not is_closed(folder):
                _require_trust(folder, trust)
                close(folder, callback)
            return finished
        if changed := ", ".join(folder.other_environment()):
            callback.note(f"The environment has changed since the run started: {changed}; new trainings may differ.")
        try:
            _require_trust(folder, trust)
            return _work(folder, callback, workers)
        except InputError:
            folder.store(before)  # else a strategy that cannot be used would stand in the way of every resume
            raise


@takes_listener
def demo(out: str | Path = "thawline-demo", callback: Progress = AUTO) -> FitRun:
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
        calibrate=FitOptions.calibrate,
    )
    with shown(callback) as told:
        return cast(FitRun, run(request, folder / "run", told))


@takes_listener
@within_memory(FREE_MEMORY)
def check(
    data: Data,
    *,
    model: str | None = None,
    image_size: int | None = None,
    crop_pct: float | None = None,
    group_pattern: str | None = None,
    on_bad: OnBad = "error",
    callback: Progress = AUTO,
) -> Checked:
    """Audit a dataset: every file is decoded in full; the results are cached by file size and time.

    The images are checked as in `fit` with the same `model`, `image_size` and `crop_pct`, to find those that
    cannot be resized; without a model, for 224 pixels and a crop of 0.875. It also says whether splits can be drawn.
    `on_bad`: as in `fit`, whether a class folder without usable images is an error ("error") or listed ("skip").
    """
    options = DataConfig(image_size=image_size, crop_pct=crop_pct, group_pattern=group_pattern, on_bad=on_bad)
    size, crop = _geometry(model, options)
    images = read_named(name_of(data, user_cache() / "data"), user_cache() / "data", on_bad=on_bad)
    if group_pattern is not None:
        images = with_groups(images, group_pattern)
    cache = user_cache() / "facts"
    with shown(callback) as told:
        look = partial(
            survey_again, images.paths, root=images.root, cache=cache, progress=told.decoding, note=told.note
        )
        facts = look()
        if (depth := found_bit_depth(facts)) < FULL_DEPTH:
            facts = look(bit_depth=depth)  # as a run decodes them
    found = check_images(images, facts=facts, image_size=size, crop_pct=crop)
    found = replace(found, refusal=refusal(images, found.hashes, options, skip=found.unreadable))
    return outcome(Checked, found.result())


def _geometry(model: str | None, options: DataConfig) -> tuple[int, float]:
    """Side of the network's input in pixels, and that side over the shorter side of the resized image."""
    size, crop = options.image_size or USUAL_SIZE, USUAL_CROP
    if model is not None:
        source = model_source(model)
        preprocessing = build_on_meta(source, _classes_of(source), options.image_size).preprocessing
        size, crop = preprocessing.image_size, preprocessing.crop_pct
    return size, options.crop_pct or crop


def repeat_study(
    recipe: str, out: str | Path, overrides: Mapping[str, Any] | None = None, callback: Callback | None = None
) -> Study:
    """Run a published study, cell by cell, and collect its tables; call it again to continue an interrupted one.

    `overrides` are fields of `recipes.cells.Overrides`. The tables show all finished cells in `out`, also those of
    earlier calls with other overrides; they are also written to `out`/tables.md and, with a verdict, to
    `out`/report.html. A cell whose data, model or trainings fail is left out and listed in `failed`; the error is
    raised only if no cell of this call could be run.
    """
    if joined() is not None:
        raise OptionError("a `recipe` cannot run in several processes; start it without torchrun.")
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
    return Study(cells=cells, tables=tables, failed=study_cells.failed)


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
def inspect(model: str, *, image_size: int | None = None, granularity: Granularity = "stage") -> Blocks:
    """The blocks of a model and their cost; builds the structure without reading weights.

    `model`: as in `fit`, so also the folder of a finished run.
    """
    image_size = InspectOptions(model=model, image_size=image_size, granularity=granularity).image_size
    source = model_source(model)
    built = build_on_meta(source, num_classes=_classes_of(source), image_size=image_size)
    size = built.preprocessing.image_size
    blocks = partition(built.module, granularity, size)
    table = WorkTable.measure(built.module, blocks, size)
    return Blocks(
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
    data: Data,
    *,
    trust_code: bool = False,
    code: str | None = None,
    callback: Progress = AUTO,
) -> Scores:
    """Score a run's saved model, or any timm folder, on labeled images; the scores are logged in the folder.

    `data`: as in `fit`, but it may have a single class, a single image, or nothing but a test split.
    `trust_code`, `code`: as in `predict`. `callback` is also told where the scores could not be logged.
    """
    with shown(callback) as told:
        name = name_of(data, user_cache() / "data", trainable=False)
        return outcome(Scores, serving.evaluate(Path(run_folder), name, Trust(trust_code, code), told))


@within_memory(FREE_MEMORY)
def predict(
    run_folder: str | Path,
    images: Images,
    *,
    top: int = PredictOptions.top,
    batch_size: int | None = None,
    trust_code: bool = False,
    code: str | None = None,
    callback: Progress = AUTO,
) -> Guesses:
    """Predict the classes of images with a run's saved model, any timm folder, or an ONNX file that `export` wrote.

    `images`: files, folders of them, .csv or .tsv tables with a column `path`, .txt lists of paths, PIL images, uint8
    arrays, a list of any of these, or a dataset with or without labels. Images that are not files are called `image 0`,
    `image 1`, ... Files are in the order of their paths, each once. `batch_size`: images per batch; None = 64, fewer if
    they are large. For more images than fit into memory, use `predict_to`.

    If the folder names Python code that builds the network, it runs only with `trust_code=True`, or if `code`
    (`file.py:factory`) names the code to run in its place.
    """
    options = PredictOptions(top=top, batch_size=batch_size)
    classifier = open_classifier(Path(run_folder), trust_code=trust_code, code=code)
    with shown(callback) as told:
        return guesses(classifier, images, options, told)


@within_memory(FREE_MEMORY)
def report(run_folder: str | Path) -> Path:
    """Regenerate report.html of a finished run, or of a study, from its records; returns its path."""
    folder = Path(run_folder)
    return redraw(folder) if is_study(folder) else write_report(folder)


@takes_listener
@within_memory(FREE_MEMORY)
def export(
    run_folder: str | Path,
    *,
    to: ExportFormat = "onnx",
    out: str | Path | None = None,
    images: str | Path | Sequence[str | Path] | None = None,
    int8: bool = False,
    max_loss: float = ExportOptions.max_loss,
    trust_code: bool = False,
    code: str | None = None,
    callback: Progress = AUTO,
) -> Exported:
    """Export a run's saved model, or any timm folder, to other runtimes and verify it there; returns export.json.

    `to`: onnx, torch (a .pt2 program) or openvino; `out`: the folder to write, default RUN/exports/FORMAT. It is opened
    in a fresh process and classifies at least eight image files, those of the run or `images`. Raises `RunError`, and
    leaves nothing behind, if a probability differs from `predict` by more than 1e-4, or if `int8` loses more than
    `max_loss` percentage points on validation. `trust_code`, `code`: as in `predict`.
    """
    options = ExportOptions(to=to, int8=int8, max_loss=max_loss)
    named = [images] if isinstance(images, str | Path) else images or ()
    folder = Path(run_folder)
    with shown(callback) as told:
        found = exporting.export(
            folder,
            Path(out) if out is not None else folder / "exports" / (f"{to}-int8" if int8 else to),
            options,
            images=[*map(Path, named)],
            trust=Trust(trust_code, code),
            callback=told,
        )
    return outcome(Exported, found)


@takes_listener
@within_memory(FREE_MEMORY)
def explain(
    run_folder: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    layer: str | None = None,
    beside: str | Path | Sequence[str | Path] = (),
    callback: Progress = AUTO,
    trust_code: bool = False,
    code: str | None = None,
) -> Explained:
    """Compute Grad-CAM before and after fine-tuning, and the changes of every block; returns what explain.json holds.

    Draws Grad-CAM of images, files or folders of them, into the run folder. `layer`: the module to weigh; None = found.
    `beside`: further runs of the same network, a column each: `depth:share=25` and `depth:share=50` beside `full`.
    `trust_code`, `code`: as in `predict`.
    """
    paths = [images] if isinstance(images, str | Path) else images
    with shown(callback) as told:
        found = explaining.explain(
            Path(run_folder),
            [*map(Path, paths)],
            layer=layer,
            beside=[*map(Path, [beside] if isinstance(beside, str | Path) else beside)],
            callback=told,
            trust=Trust(trust_code, code),
        )
    return outcome(Explained, found, path=Path(run_folder))


def with_plan(request: Request, plan: FineTunePlan | str | Path, options: Mapping[str, Any]) -> Request:
    """The request to train a given plan as it is; raises `OptionError` for options that would make another plan."""
    if clash := [name for name in MAKE_A_PLAN if name in options]:
        raise OptionError(f"`plan` and `{clash[0]}` cannot both be given; leave one of them out.")
    if not isinstance(plan, FineTunePlan | str | Path):
        raise OptionError(
            f"`plan` must be a FineTunePlan, a plan.json or a run folder, got {type(plan).__name__}; pass "
            "`results.plan`, or read a dict with `FineTunePlan.from_dict`."
        )
    found = plan if isinstance(plan, FineTunePlan) else find_plan(Path(plan))
    if options.get("granularity", found.granularity) != found.granularity:
        raise OptionError(f"`granularity` must be {found.granularity}, as in `plan`; leave it out.")
    stored = found.to_dict()
    return replace(request, strategies=("given",), granularity=found.granularity, plan=stored)


def _strategy(options: Mapping[str, Any]) -> str:
    """The strategy of `fit` with its arguments."""
    strategy = with_budget(options.get("strategy", FitOptions.strategy), options.get("budget"))
    return with_answer(strategy, options.get("answer"))


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
    models = folder.request().models
    if len(models) > 1 and trust.code is not None:
        raise OptionError(f"`code` names a single network, and {folder.path} has several; use `trust_code` instead.")
    for model in models:
        if (named := code_to_run(model, folder.file(REQUEST), trust)) != model:
            raise OptionError(f"`code` must be {model}, which {folder.path} was started with, got {named}.")


def _add_strategies(folder: RunFolder, add: str | Sequence[str]) -> None:
    request = folder.request()
    if request.verb != "compare":
        raise OptionError(f"{folder.path} is not a comparison, so strategies cannot be added; start one with compare.")
    added = split_specs(add) if isinstance(add, str) else add
    for spec in added:
        variants(spec)
    folder.store(replace(request, strategies=tuple(dict.fromkeys((*request.strategies, *added)))))


def _absolute(request: Request) -> Request:
    """The same with paths that hold wherever the run is resumed from."""
    weights, candidates = request.weights, request.candidates
    if weights not in (None, "random"):
        weights = str(Path(str(weights)).expanduser().absolute())
    if candidates is not None:
        candidates = replace(candidates, models=tuple(map(_absolute_model, candidates.models)))
    model, data = _absolute_model(request.model), absolute_name(request.data)
    return replace(request, data=data, model=model, weights=weights, candidates=candidates)


def _absolute_model(name: str) -> str:
    model = model_source(name)
    kind, separator, rest = model.partition(":")
    if kind == "local-dir":
        return f"{kind}:{Path(rest).expanduser().absolute()}"
    if separator and kind.endswith(".py"):
        return f"{Path(kind).expanduser().absolute()}:{rest}"
    return model


@settings_restored()
def _together(
    work: Callable[[], FitResults | Comparison], out: Path, workers: Workers | None
) -> tuple[FitResults | Comparison, Path]:
    """Do the work, or help the process that does it if torchrun started several; returns what was found, and where.

    A helping process may have been called with another folder than the one that leads.
    """
    processes = joined()
    if processes is None:
        return work(), out
    if workers is not None:
        raise OptionError(
            "workers cannot be used under torchrun, whose processes share the final trainings; leave `workers`, `ray` "
            "and `executor` out, or start thawline without torchrun."
        )
    if processes.rank == 0:
        with processes.leading(out.absolute()):
            return work(), out
    place = processes.follow(open_experiment)
    return read_results(place), place


def _work(folder: RunFolder, callback: Callback, workers: Workers | None) -> FitResults | Comparison:
    """Do what a run folder asks for; an error of the disk ends it with one line and leaves the rest for `resume`."""
    try:
        with within_memory(f"{SMALLER}, or free some memory and `thawline resume {folder.path}`"):
            if folder.request().candidates is not None:
                callback = SaidOnce(callback)
                if folder.request().verb == "compare":
                    return _compare_networks(folder, callback, workers)
                settle_network(folder, callback, workers)
            opened = open_experiment(folder, callback, workers, processes=joined())
            expected = forecast(opened.experiment, opened.experiment.request.strategies)
            callback.forecast(expected.seconds, expected.units, expected.trainings, expected.memory_bytes)
            if opened.experiment.request.refit:
                searches = variants(opened.experiment.request.strategies[0])[0].searches
                beyond = ", which is not part of the search budget" if searches else ""
                callback.note(f"The forecast includes the refit on train and val{beyond}.")
            return _train(opened, callback)
    except OSError as error:
        raise folder.stopped_by(error) from error


def _train(opened: Opened, callback: Callback) -> FitResults | Comparison:
    """The work itself, whose beginning and end callbacks are told of."""
    study = fit_study.fit if opened.experiment.request.verb == "fit" else compare_study.compare
    try:
        return _told(opened.experiment.folder, callback, partial(study, opened.experiment, opened.facts, opened.paths))
    finally:
        opened.experiment.close()


def _compare_networks(folder: RunFolder, callback: Callback, workers: Workers | None) -> FitResults | Comparison:
    comparison = NetworkComparison(folder, callback, workers)
    comparison.look()
    return _told(folder, callback, comparison.run)


def _told(
    folder: RunFolder, callback: Callback, study: Callable[[], FitResults | Comparison]
) -> FitResults | Comparison:
    results: FitResults | Comparison | None = None
    callback.run_started(folder.path, folder.request().to_dict())
    try:
        results = study()
    finally:
        callback.run_ended(results)
    return results
