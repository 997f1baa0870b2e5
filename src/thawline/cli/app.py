"""The command line: parses, calls `api`, prints. Imports nothing heavy until a command runs."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from rich.console import Console
from typer import Argument, Option
from typer.core import TyperGroup

from thawline.cli import listings, terminal
from thawline.cli import progress as live
from thawline.cli.interrupts import INTERRUPTS, Interrupted, WayOn, begun_or_not
from thawline.cli.options import Given, GroupedCommand, StrictCommand, as_flags, help_of, number_option, takes_options
from thawline.config import (
    MAKE_A_PLAN,
    PRESETS,
    CompareOptions,
    DashboardOptions,
    DataConfig,
    ExportFormat,
    ExportOptions,
    FitOptions,
    InspectOptions,
    OnBad,
    PredictOptions,
    Request,
    ServeOptions,
    WorkerOptions,
    read_option,
)
from thawline.config_file import Verb, read_config, template
from thawline.data.named import is_named, named_forms, require_there
from thawline.errors import OptionError, RunError, ThawlineError, cause, debugging, remedy, written_to
from thawline.field_docs import field_docs
from thawline.memory import within_memory
from thawline.plan import Granularity
from thawline.reading import is_there
from thawline.recipes.recipe import recipe_names
from thawline.records import RUN_FILES, write_text
from thawline.report import tables as console
from thawline.results import SkippedFile
from thawline.runs.workforce import expect_workers, opened_workers
from thawline.strategies.auto import with_answer, with_budget
from thawline.trackers import tracked
from thawline.version import __version__
from thawline.visible import visible

if TYPE_CHECKING:
    from thawline.outcomes import ComparisonRun, FitRun
    from thawline.prediction.predict import PredictCall
    from thawline.prediction.written import Form

HELP_WIDTH = 100
"""Columns of `--help` at most."""
STUDIES = "Published studies"
"""Group of the options of `compare` that are about recipes."""
RECIPE_OPTIONS = frozenset(
    {"model", "strategies", "limit", "image_size", "epochs", "seeds", "seed", "threads", "device", "weights"}
)
"""Options that `compare --recipe` takes."""

Data = Annotated[
    str, Argument(help=f"Image folder with class folders or train/val/test splits; .csv table; {named_forms()}.")
]
OptionalData = Annotated[
    str | None,
    Argument(
        help=(
            f"Image folder with class folders or train/val/test splits; .csv table; {named_forms()}. Required unless "
            "--config has it."
        )
    ),
]
ConfigFile = Annotated[
    Path | None,
    Option(
        "--config",
        help="TOML file of options, as `thawline init` writes it, or config.toml or run.json of a run. Options on the "
        "command line take precedence.",
    ),
]
DryRunFlag = Annotated[
    bool,
    Option(
        "--dry-run",
        help="Print what would be trained, on which images, and the maximum time; train nothing and create no folder.",
    ),
]
NEEDS_DATA = "{} needs DATA, a folder of images"
OUT_HELP = "New folder for all output of this run."
Out = Annotated[Path, Option(help=OUT_HELP)]
RunArgument = Annotated[Path, Argument(help="Run folder.")]
TrustCode = Annotated[
    bool, Option("--trust-code", help="Allow running the Python code that the folder names for its network.")
]
Code = Annotated[
    str | None,
    Option(help="Code that builds the network, file.py:factory, to run instead of the code that the folder names."),
]
Json = Annotated[bool, Option("--json", help="Print a single JSON object to standard output, and nothing else.")]


class _Commands(TyperGroup):
    """All commands: code of the user's that raises KeyboardInterrupt ends them like Ctrl-C."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # Typer's types: their home differs between versions
        """Write every command with its whole summary; Typer cuts it with dots where it does not fit on a line."""
        with formatter.section("Commands"):
            shown = [(name, command) for name, command in self.commands.items() if not command.hidden]
            formatter.write_dl([(name, summary(command.help)) for name, command in shown])

    def invoke(self, ctx: Any) -> Any:  # Typer's types: their home differs between versions
        """Run the command that the arguments name."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None


def summary(text: str | None) -> str:
    """First paragraph of a help text."""
    return " ".join((text or "").partition("\n\n")[0].split())


app = typer.Typer(
    cls=_Commands,
    help="Which blocks of a pretrained network should you train, and at what learning rate?",
    epilog="Exit codes: 0 success, 1 the run failed, 2 invalid input, 130 interrupted (143 SIGTERM, 129 SIGHUP).",
    no_args_is_help=True,
    context_settings={"max_content_width": HELP_WIDTH},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, Option("--debug", help="Show tracebacks, including those of a failed report.")] = False,
) -> None:
    if version:
        typer.echo(f"thawline {__version__}")
        raise typer.Exit


@app.command(cls=GroupedCommand)
@takes_options(FitOptions)
def fit(
    context: typer.Context,
    out: Out,
    given: Given,
    data: OptionalData = None,
    config: ConfigFile = None,
    dry_run: DryRunFlag = False,
    as_json: Json = False,
) -> None:
    """Find a fine-tuning plan, train it, and save the model.

    The result is compared with the usual baselines. The strategies auto and biotune search for a plan; all others tune
    batch norm and the arguments that you leave out, at 1e-3 or at --learning-rate.
    """
    data, given = _with_config("fit", config, data, given)
    if data is None:
        raise OptionError(f"{NEEDS_DATA.format('fit')}.")
    strategy = with_budget(given.get("strategy", FitOptions.strategy), given.get("budget"))
    strategy = with_answer(strategy, given.get("answer"))
    _run("fit", data, (strategy,), given, out, as_json, dry_run=dry_run)


@app.command(cls=GroupedCommand)
@takes_options(CompareOptions)
def compare(
    context: typer.Context,
    given: Given,
    out: Annotated[Path | None, Option(help=f"{OUT_HELP} Required unless --list is given.")] = None,
    data: Annotated[str | None, Argument(help="As for fit; with --recipe, use --data instead.")] = None,
    recipe: Annotated[
        str | None,
        Option(
            help=f"Published study to reproduce: {', '.join(recipe_names())}, or a .toml file.",
            rich_help_panel=STUDIES,
            autocompletion=lambda incomplete: [name for name in recipe_names() if name.startswith(incomplete)],
        ),
    ] = None,
    show_list: Annotated[
        bool, Option("--list", help="List the published studies and exit.", rich_help_panel=STUDIES)
    ] = False,
    recipe_data: Annotated[
        list[str] | None,
        Option(
            "--data",
            help="With --recipe, a dataset to run (repeatable): NAME as in the recipe's tables, NAME=FOLDER for your "
            "own images under that name, or just FOLDER. Default: all that can be downloaded.",
            rich_help_panel=STUDIES,
        ),
    ] = None,
    config: ConfigFile = None,
    dry_run: DryRunFlag = False,
    full_grid: Annotated[
        bool,
        Option(
            "--full-grid",
            help="Run every combination of a recipe's axes, instead of varying one axis at a time.",
            rich_help_panel=STUDIES,
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare strategies, or reproduce a published study.

    Every strategy is tuned by the same rule and trained on the same splits, with the same seeds and batches. A study
    runs its pairs of network and dataset one after another and forecasts the time of each; rerun the same command to
    continue an interrupted study.
    """
    from thawline.strategies.base import split_specs

    if show_list:
        _list_recipes(as_json)
        return
    if out is None:
        raise OptionError("compare needs `out`, a new folder for its output.")
    data, given = _with_config("compare", config, data, given)
    own = {**given, "strategies": split_specs(given["strategies"])} if "strategies" in given else dict(given)
    if recipe is not None:
        sources = [*(recipe_data or ()), *([data] if data else ())]
        track = own.pop("track", "")
        overrides = {**_of_recipe(own), "data": sources, "full_grid": full_grid}
        if dry_run:
            _list_cells(recipe, overrides, as_json)
        else:
            _repeat_study(recipe, out, overrides, track, as_json)
    elif data is None or recipe_data:
        raise OptionError(f"{NEEDS_DATA.format('compare')} (`data` is only for `recipe`).")
    else:
        rows = own.get("strategies", CompareOptions.strategies)
        _run("compare", data, rows, own, out, as_json, dry_run=dry_run)


def _list_recipes(as_json: bool) -> None:
    from thawline.recipes.listing import listed

    if as_json:
        _print_json(listed())
    else:
        listings.print_recipes(_console(), listed())


def _list_cells(recipe: str, overrides: Mapping[str, Any], as_json: bool) -> None:
    """A dry run of a study: which comparisons it consists of."""
    from thawline.recipes.cells import Overrides, expand
    from thawline.recipes.recipe import load_recipe

    expansion = expand(load_recipe(recipe), Overrides(**overrides))
    if as_json:
        _print_json([{"cell": cell.name, "request": cell.request.to_dict()} for cell in expansion.cells])
    else:
        listings.print_cells(_console(), expansion)


def _with_config(verb: Verb, config: Path | None, data: str | None, given: Given) -> tuple[str | None, dict[str, Any]]:
    """What the file says, and before it what the user gave: a plan in place of a strategy, and the other way round."""
    stored = {} if config is None else read_config(config, verb)
    beaten = MAKE_A_PLAN if "plan" in given else ("plan",) if given.keys() & set(MAKE_A_PLAN) else ()
    stored = {name: value for name, value in stored.items() if name not in beaten}
    named = stored.pop("data", None)
    return data or named, {**stored, **given}


def _of_recipe(given: Given) -> dict[str, Any]:
    """What the user set, as a recipe takes it."""
    if unusable := sorted(given.keys() - RECIPE_OPTIONS):
        raise OptionError(f"the recipe sets `{unusable[0]}`; leave it out.")
    return {**{name: value for name, value in given.items() if name != "model"}, **_models(given)}


def _models(given: Given) -> dict[str, list[str]]:
    if isinstance(given.get("image_size"), list):
        raise OptionError(f"the recipe takes a single `image_size`, got {given['image_size']}.")
    models = given.get("model", [])
    return {"models": [models] if isinstance(models, str) else models} if models else {}


def _repeat_study(recipe: str, out: Path, overrides: Mapping[str, Any], track: str, as_json: bool) -> None:
    from thawline import api

    INTERRUPTS.way_on = lambda: "rerun the same command to continue"
    with _callback(as_json) as callback:
        study = api.repeat_study(recipe, out, overrides, tracked(track, callback))
    if as_json:
        _print_json(study.cells)
    else:
        sys.stdout.write(f"{study.tables}\nReport: {out / 'report.html'}\n")
        _is_kept(out)
    if study.failed:
        name, reason = next(iter(study.failed.items()))
        others = f" (the first of {len(study.failed)} failed comparisons)" if len(study.failed) > 1 else ""
        raise RunError(
            f"{name}{others}: {reason} All others are finished; rerun the same command to retry only those that failed."
        )


@app.command(cls=StrictCommand)
def resume(
    run: RunArgument,
    add: Annotated[str | None, Option(help="Strategies to add to a comparison; only these are trained.")] = None,
    trust_code: TrustCode = False,
    code: Code = None,
    track: Annotated[str | None, Option(help=help_of("track"))] = None,
    workers: Annotated[str | None, Option(help=help_of("workers"))] = None,
    ray: Annotated[str | None, Option(help=help_of("ray"))] = None,
    cpus_per_worker: Annotated[str | None, number_option(WorkerOptions, "cpus_per_worker")] = None,
    gpus_per_worker: Annotated[str, number_option(WorkerOptions, "gpus_per_worker")] = str(
        WorkerOptions.gpus_per_worker
    ),
    mixed_machines: Annotated[bool, Option("--mixed-machines", help=help_of("mixed_machines"))] = False,
    as_json: Json = False,
) -> None:
    """Continue an interrupted run, or add to a comparison."""
    asked: dict[str, Any] = {"workers": workers, "ray": ray, "mixed_machines": mixed_machines}
    numbers = {"cpus_per_worker": cpus_per_worker, "gpus_per_worker": gpus_per_worker}
    asked |= {name: read_option(WorkerOptions, name, text) for name, text in numbers.items() if text is not None}
    options = WorkerOptions(**asked)  # before anything heavy is imported
    expect_workers(options)
    from thawline import api
    from thawline.strategies.base import split_specs

    INTERRUPTS.way_on = lambda: f"run {_resuming(run, trust_code=trust_code, code=code)} to continue"
    with _callback(as_json) as callback:
        trusted: dict[str, Any] = {"trust_code": trust_code, "code": code}
        results = api.resume(run, callback, add=split_specs(add or ""), track=track or "", **trusted, **asked)
    _show(results, run, as_json)


@app.command(cls=StrictCommand)
def demo(
    out: Annotated[Path, Option(help="New folder for the demo's run.")] = Path("thawline-demo"), as_json: Json = False
) -> None:
    """Run fit on handwritten digits, in under a minute.

    Works offline: data and weights are bundled.
    """
    from thawline import api

    INTERRUPTS.way_on = _begun_or_not(out / "run")
    with _callback(as_json) as callback:
        results = api.demo(out, callback)
    _show(results, out / "run", as_json)


@app.command(cls=GroupedCommand)
def check(
    data: Data,
    out: Annotated[Path | None, Option(help="Also write all findings to this JSON file.")] = None,
    model: Annotated[str | None, Option(help=help_of("model", InspectOptions))] = None,
    image_size: Annotated[str | None, number_option(InspectOptions, "image_size")] = None,
    crop_pct: Annotated[str | None, number_option(DataConfig, "crop_pct")] = None,
    group_pattern: Annotated[str | None, Option(help=help_of("group_pattern"))] = None,
    on_bad: Annotated[str, Option(help=help_of("on_bad"))] = "error",
    as_json: Json = False,
) -> None:
    """Find problems in a dataset.

    Reports unreadable files, exact copies, images with two labels or in two splits, near-duplicates, and small or
    imbalanced classes. Pass the model and image size that you will train with to also find images they would reject.
    """
    _require_there(data)
    from thawline import api
    from thawline.records import write_json

    if out is not None and is_there(out) and not out.is_file():
        raise OptionError(f"`out` must be a file to write, got {str(out)!r}.")
    with _callback(as_json) as callback:
        found = api.check(
            data,
            model=model,
            image_size=_size(image_size),
            crop_pct=None if crop_pct is None else read_option(DataConfig, "crop_pct", crop_pct),
            group_pattern=group_pattern,
            on_bad=cast(OnBad, on_bad),
            callback=callback,
        )
    if as_json:
        _print_json(found)
    else:
        found.draw(_console())
    if out is not None:
        with written_to(out):
            write_json(out, found)


@app.command("inspect", cls=StrictCommand)
def inspect_model(
    model: Annotated[str, Argument(help=help_of("model", InspectOptions))],
    image_size: Annotated[str | None, number_option(InspectOptions, "image_size")] = None,
    granularity: Annotated[str, Option(help=help_of("granularity"))] = "stage",
    as_json: Json = False,
) -> None:
    """List a model's blocks and their cost.

    Shows parameters, FLOPs, bytes at each block boundary, and share of the work.
    """
    from thawline import api

    table = api.inspect(model, image_size=_size(image_size), granularity=cast(Granularity, granularity))
    if as_json:
        _print_json(table)
    else:
        table.draw(_console())


@app.command("strategies", cls=StrictCommand)
def list_strategies(as_json: Json = False) -> None:
    """List the strategies and their arguments.

    Shows what each one trains, its arguments with their defaults, and the values that tuning tries.
    """
    from thawline.strategies.base import listed

    if as_json:
        _print_json(listed())
    else:
        console.print_strategies(_console(), listed())


@app.command(cls=StrictCommand)
def init(
    out: Annotated[Path, Option(help="New file.")] = Path("thawline.toml"),
    as_json: Json = False,
) -> None:
    """Write a config file with all options.

    It lists every option of fit and compare with its description and default, commented out. Edit it and pass it to
    --config.
    """
    if is_there(out):
        raise OptionError(f"{out} exists already; choose another `out`, or remove it.")
    with written_to(out):
        write_text(out, template())
    if as_json:
        _print_json({"config": str(out)})
    else:
        sys.stdout.write(f"{out}\n")


@app.command(cls=StrictCommand)
def evaluate(
    run: RunArgument,
    data: Annotated[str, Argument(help="Image folder; its test split is used if it has one, otherwise all images.")],
    trust_code: TrustCode = False,
    code: Code = None,
    as_json: Json = False,
) -> None:
    """Score a run's saved model on labeled images.

    Every evaluation is logged in the run folder.
    """
    from thawline import api

    with _callback(as_json) as callback:
        scores = api.evaluate(run, data, trust_code=trust_code, code=code, callback=callback)
    if as_json:
        _print_json(scores)
    else:
        scores.draw(_console())


@app.command(cls=StrictCommand)
def report(run: RunArgument, as_json: Json = False) -> None:
    """Regenerate report.html of a finished run.

    Uses the records of the run, without training or loading a model. For a study of `compare --recipe`, pass its --out
    folder to regenerate tables.md and report.html.
    """
    from thawline.recipes.runs import is_study

    if is_study(run):  # whose tables need scientific libraries, unlike a run's report
        from thawline.recipes.folder import redraw as draw
    else:
        from thawline.runs.reporting import write_report as draw
    path = draw(run)
    if as_json:
        _print_json({"report": str(path)})
    else:
        sys.stdout.write(f"{path}\n")
        _is_kept(path)


@app.command(cls=StrictCommand)
def predict(
    run: Annotated[Path, Argument(help="Run folder, timm model folder, or .onnx file (which needs no PyTorch).")],
    images: Annotated[
        list[Path],
        Argument(
            help="Image files, folders of images, .csv or .tsv tables with a path column, or .txt lists of paths."
        ),
    ],
    csv: Annotated[
        str | None,
        Option(
            metavar="FILE",
            help="Append predictions to this CSV file, with columns path, rank, class, probability, error. Images "
            "that are already in it are skipped, so rerunning the command resumes it. Use - to print the table "
            "instead.",
        ),
    ] = None,
    jsonl: Annotated[
        str | None,
        Option(metavar="FILE", help="Same as --csv, but in JSON Lines, with one object per image; - prints them."),
    ] = None,
    top: Annotated[str, number_option(PredictOptions, "top")] = str(PredictOptions.top),
    batch_size: Annotated[str | None, number_option(PredictOptions, "batch_size")] = None,
    trust_code: TrustCode = False,
    code: Code = None,
    as_json: Json = False,
) -> None:
    """Predict the classes of images.

    Prints the most likely classes with their probabilities, and lists files that cannot be read. Images are decoded in
    parallel with inference, and predictions are printed or written as they are made.
    """
    from thawline.prediction import predict as predicting
    from thawline.prediction.opened import open_classifier

    if csv is not None and jsonl is not None:
        raise OptionError("`csv` and `jsonl` cannot both be given; leave one of them out.")
    if as_json and "-" in (csv, jsonl):
        raise OptionError("--json cannot be combined with - for `csv` or `jsonl`; leave one of them out.")
    size = None if batch_size is None else int(read_option(PredictOptions, "batch_size", batch_size))
    options = PredictOptions(top=int(read_option(PredictOptions, "top", top)), batch_size=size)
    form: Form | None = "csv" if csv is not None else "jsonl" if jsonl is not None else None
    file = csv if csv is not None else jsonl
    # Standard output belongs to the answers, on a terminal too.
    with live.CommandCallback(terminal.console(sys.stderr)) as callback:
        if form is not None and file not in (None, "-"):
            INTERRUPTS.way_on = lambda: "rerun the same command to continue"
            given: dict[str, Any] = {"trust_code": trust_code, "code": code, "callback": callback}
            done = predicting.predict_to(run, images, str(file), form=form, **vars(options), **given)
        else:
            with within_memory(predicting.FREE_MEMORY):
                classifier = open_classifier(run, trust_code=trust_code, code=code)
                call = predicting.open_predict(classifier, images, options, callback)
                _print_answers(call, "json" if as_json else form)
            return
    if as_json:
        _print_json(done)
    else:
        console.print_prediction_file(_console(), done)


def _print_answers(call: PredictCall, form: Form | Literal["json"] | None) -> None:
    """The answers as they come: as a table for programs, or a line each and at the end what could not be read."""
    from thawline.prediction.written import WRITERS, header

    if form == "json":
        _print_json(call.result())
        return
    if form is not None:
        stream = terminal.for_programs(sys.stdout)
        stream.write(header(form).decode())
        for answers in call.answers():
            stream.write(WRITERS[form](answers))
        return
    skipped: list[SkippedFile] = []
    screen = _console()
    for answers in call.answers():
        console.print_predictions(screen, answers)
        skipped += [answer for answer in answers if isinstance(answer, SkippedFile)]
    console.print_skipped(screen, skipped, call.ignored)


@app.command(cls=StrictCommand)
def serve(
    run: Annotated[Path, Argument(help="Run folder, timm model folder, or .onnx file.")],
    port: Annotated[str, number_option(ServeOptions, "port")] = str(ServeOptions.port),
    trust_code: TrustCode = False,
    code: Code = None,
) -> None:
    """Try a model in the browser.

    Drop photos onto a page to see their predicted classes and Grad-CAM. The page is reachable only from this machine,
    at a secret address; it also links to the run's report. Press Ctrl-C to stop.
    """
    from thawline.serving.serve import open_server

    number = ServeOptions(port=int(read_option(ServeOptions, "port", port))).port
    server = open_server(run, port=number, trust_code=trust_code, code=code)
    sys.stdout.write(f"{server.url}\nOpen this address in a browser on this machine. Press Ctrl-C to stop.\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except (KeyboardInterrupt, Interrupted) as end:
        if isinstance(end, Interrupted) and end.number != signal.SIGINT:
            raise
        sys.stdout.write("\nStopped.\n")
    finally:
        server.server_close()


@app.command(cls=StrictCommand)
def push(
    run: Annotated[Path, Argument(help="Run folder, or timm model folder.")],
    repository: Annotated[
        str, Argument(metavar="ORG/NAME", help="Hugging Face Hub repository; created if it does not exist.")
    ],
    public: Annotated[bool, Option("--public", help="Make the repository public; default: private.")] = False,
    yes: Annotated[bool, Option("--yes", help="Upload without asking for confirmation, as in scripts.")] = False,
    as_json: Json = False,
) -> None:
    """Upload a saved model to the Hugging Face Hub.

    Uploads the files in model/, and no images, paths or logs. Lists the files and asks first. Log in with `hf auth
    login` or HF_TOKEN; set HF_ENDPOINT to use another hub.
    """
    from thawline.runs.hub import send, shipment

    what = shipment(run, repository, public=public)
    listed = _console() if not as_json else terminal.console(sys.stderr)
    console.print_shipment(listed, f"{what.endpoint}/{what.repository}", what.files, public=public)
    if not yes and not _agreed():
        raise OptionError("nothing was uploaded; answer y, or pass `yes`.")
    url = send(what)
    if as_json:
        _print_json({"url": url, "files": [name for name, _ in what.files]})
    else:
        sys.stdout.write(f"{url}\n")


def _agreed() -> bool:
    """Whether the user, asked on the terminal, says yes; without a terminal nobody does."""
    if not sys.stdin.isatty():
        return False
    sys.stderr.write("Upload? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@app.command(cls=StrictCommand)
def export(
    run: Annotated[Path, Argument(help="Run folder, or timm model folder.")],
    to: Annotated[
        str, Option(help=as_flags(field_docs(ExportOptions)["to"]), metavar="[onnx|torch|openvino]")
    ] = ExportOptions.to,
    out: Annotated[Path | None, Option(help="Output folder; default: RUN/exports/FORMAT.")] = None,
    images: Annotated[
        list[Path] | None, Option(help="Image files or folders to verify with; default: the run's own images.")
    ] = None,
    int8: Annotated[bool, Option("--int8", help=as_flags(field_docs(ExportOptions)["int8"]))] = False,
    max_loss: Annotated[str, number_option(ExportOptions, "max_loss")] = str(ExportOptions.max_loss),
    trust_code: TrustCode = False,
    code: Code = None,
    as_json: Json = False,
) -> None:
    """Export a model for ONNX Runtime, PyTorch or OpenVINO.

    The exported model takes uint8 images and returns class probabilities; normalization and softmax are included. It is
    verified on image files in a fresh process: if its probabilities differ from those of predict, nothing is written.
    The classify.py next to it needs only the runtime, NumPy and Pillow.
    """
    options = ExportOptions(  # before anything heavy is imported
        to=cast(ExportFormat, to), int8=int8, max_loss=read_option(ExportOptions, "max_loss", max_loss)
    )
    from thawline import api

    with _callback(as_json) as callback:
        exported = api.export(
            run,
            to=options.to,
            out=out,
            images=images,
            int8=options.int8,
            max_loss=options.max_loss,
            trust_code=trust_code,
            code=code,
            callback=callback,
        )
    if as_json:
        _print_json(exported)
    else:
        console.print_exported(_console(), exported)
        _is_kept(Path(exported.folder))


@app.command(cls=StrictCommand)
def explain(
    run: RunArgument,
    images: Annotated[list[Path], Argument(help="Image files or folders of images.")],
    layer: Annotated[
        str | None, Option(help="Module whose output Grad-CAM uses; default: the last suitable one.")
    ] = None,
    beside: Annotated[
        list[Path] | None,
        Option(help="Another run of the same network, shown as a column; repeatable."),
    ] = None,
    trust_code: TrustCode = False,
    code: Code = None,
    as_json: Json = False,
) -> None:
    """Show what fine-tuning changed: Grad-CAM, blocks.

    Computes Grad-CAM before and after fine-tuning, and the changes in every block. Writes explain.json and
    explain/index.html to the run folder. Features are compared on training and validation images only.
    """
    from thawline import api

    with _callback(as_json) as callback:
        explained = api.explain(
            run, images, layer=layer, beside=beside or (), callback=callback, trust_code=trust_code, code=code
        )
    if as_json:
        _print_json(explained)
    else:
        explained.draw(_console())
        _is_kept(run)


@app.command(cls=StrictCommand)
def dashboard(
    run: RunArgument,
    port: Annotated[str, number_option(DashboardOptions, "port")] = str(DashboardOptions.port),
) -> None:
    """Show every training of a run in the browser.

    Opens optuna-dashboard on a copy of the run's ledger, so nothing that you change or delete there affects the run. It
    is reachable only from this machine. Press Ctrl-C to stop.
    """
    from thawline.runs.dashboard import serve

    number = DashboardOptions(port=int(read_option(DashboardOptions, "port", port))).port
    INTERRUPTS.way_on = lambda: "the run is unchanged"
    serve(
        run, number, lambda address: sys.stdout.write(f"Showing a copy of {run} at {address}. Press Ctrl-C to stop.\n")
    )


def main() -> None:
    """Entry point: whatever ends a command is one line and its exit code, with a traceback only under --debug."""
    if "--debug" in sys.argv[1:]:
        os.environ["THAWLINE_DEBUG"] = "1"
    with terminal.standard_streams() as output, _told_once():
        code = _exit_code()
        if code == 0 and (lost := output.tell_loss()):
            code = _say(lost, 1)
    sys.exit(code)


@contextmanager
def _told_once() -> Iterator[None]:
    """Under torchrun, only process 0 writes results to standard output."""
    if os.environ.get("RANK", "0") == "0":
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


def _exit_code() -> int:
    """Run the command that the arguments name."""
    try:
        with INTERRUPTS.raised(), within_memory("free some memory"):
            app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Interrupted as end:
        sys.stderr.write(INTERRUPTS.line(end.number))
        return end.exit_code
    except (ThawlineError, OSError) as error:
        if debugging():
            raise
        return _tell(error)
    return 0


def _tell(error: ThawlineError | OSError) -> int:
    """What went wrong, and the exit code."""
    if isinstance(error, ThawlineError):
        return _say(str(error), error.exit_code)
    return _say(f"{cause(error)}; {remedy(error)}.", 2 if error.errno == errno.ENAMETOOLONG else 1)


def _say(message: str, code: int) -> int:
    """One line on standard error."""
    sys.stderr.write(f"thawline: {as_flags(visible(message))}\n")
    return code


def _run(
    verb: Verb,
    data: str,
    strategies: tuple[str, ...],
    given: Given,
    out: Path,
    as_json: bool,
    *,
    dry_run: bool,
) -> None:
    request = Request.from_options(verb, data, strategies, given)  # before anything heavy is imported
    _require_there(data)
    workers = WorkerOptions.among(given)
    if not dry_run:
        expect_workers(workers)
    from thawline import api
    from thawline.model.own import is_own

    if "plan" in given:
        request = api.with_plan(request, given["plan"], given)
    if note := preset_note(given):
        sys.stderr.write(f"{as_flags(note)}\n")
    if dry_run:
        with _callback(as_json) as callback:
            planned = api.dry_run(request, out, callback)
        if as_json:
            _print_json(planned)
        else:
            listings.print_dry_run(_console(), planned)
        return
    INTERRUPTS.way_on = _begun_or_not(out, own_code=any(map(is_own, request.models)))
    with _callback(as_json) as callback, opened_workers(workers) as opened:
        results = api.run(request, out, tracked(given.get("track", ()), callback), opened)
    _show(results, out, as_json)


def _require_there(data: str) -> None:
    """What is wrong most often is said at once, before anything heavy is imported."""
    if not is_named(data):
        require_there(data)


def preset_note(given: Given) -> str:
    """What a preset sets, without the options that the user set; empty without a preset."""
    if (name := given.get("preset")) is None:
        return ""
    values = [f"`{option}={value}`" for option, value in PRESETS[name].items() if option not in given]
    return f"`preset={name}` sets {', '.join(values)}."


def _show(results: FitRun | ComparisonRun, run: Path, as_json: bool) -> None:
    if as_json:
        _print_json(results)
    else:
        results.draw(_console())
        _is_kept(run)


def _is_kept(where: Path) -> None:
    """What standard output lost stands in a file, too: a word, and the command has done its work."""
    if isinstance(sys.stdout, terminal.Screen) and (lost := sys.stdout.tell_loss(kept=f"everything is in {where}")):
        _say(lost, 0)


def _begun_or_not(run: Path, *, own_code: bool = False) -> WayOn:
    return begun_or_not(_resuming(run, trust_code=own_code), run / RUN_FILES[0])


def _resuming(run: Path, *, trust_code: bool = False, code: str | None = None) -> str:
    """The command that continues a run; the model's code, if it has any, was named by the user."""
    return f"`thawline resume {run}{' --trust-code' if trust_code else ''}{f' --code {code}' if code else ''}`"


def _size(image_size: str | None) -> int | None:
    return None if image_size is None else int(read_option(DataConfig, "image_size", image_size))


def _console() -> Console:
    return terminal.console(sys.stdout)


def _callback(as_json: bool) -> live.CommandCallback:
    """Progress goes to standard error when standard output belongs to JSON."""
    return live.CommandCallback(terminal.console(sys.stderr if as_json else sys.stdout))


def _print_json(value: object) -> None:
    sys.stdout.write(terminal.json_text(value, sys.stdout.encoding))
