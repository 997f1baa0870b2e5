"""The command line: parses, calls `api`, prints. Imports nothing heavy until a command runs."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import typer
from rich.console import Console
from typer import Argument, Option

from thawline import __version__, console, live
from thawline.config import (
    DEFAULT_MODEL,
    DEFAULT_ROWS,
    CacheConfig,
    DataConfig,
    Request,
    SearchConfig,
    TrainConfig,
    parse_bytes,
    preset_values,
)
from thawline.errors import OptionError, ThawlineError
from thawline.plan import GRANULARITIES, Granularity
from thawline.strategies import STRATEGIES

Config = TypeVar("Config", TrainConfig, DataConfig, SearchConfig)

STRATEGY_LIST = "; ".join(f"{name} = {entry.help}" for name, entry in STRATEGIES.items())
STRATEGY_HELP = "`thawline strategies` lists their arguments"
RECIPE_OPTIONS = frozenset(
    {"models", "strategies", "limit", "image_size", "epochs", "seeds", "seed", "threads", "device", "weights"}
)
"""What `compare --recipe` lets the user change."""
INTERRUPTED = 130
PLAIN_WIDTH = 160
"""Columns where the output is no terminal."""

Data = Annotated[
    str, Argument(help="Folder of class or train/val/test folders; .csv table; hf:NAME; torchvision:NAME.")
]
Out = Annotated[Path, Option(help="New folder for everything that this run produces.")]
RunArgument = Annotated[Path, Argument(help="Run folder.")]
Json = Annotated[bool, Option("--json", help="Print one JSON object on standard output, and nothing else.")]

app = typer.Typer(
    help="Which blocks of a pretrained vision model should be trained on your images, and how fast each?",
    epilog="Exit codes: 0 done, 1 the run failed, 2 the input was wrong, 130 interrupted (resume continues).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_train, _images, _search = TrainConfig(), DataConfig(), SearchConfig()


@dataclass(frozen=True)
class RunOptions:
    """The options that `fit` and `compare` share; names, defaults and meanings are those of `config.py`."""

    model: Annotated[str, Option(help="timm name, local-dir:PATH, hf-hub:NAME, or file.py:factory.")] = DEFAULT_MODEL
    weights: Annotated[str | None, Option(help="File or folder of weights, or `random`; default: the model's.")] = None
    image_size: Annotated[int | None, Option(help="Side of the network's input in pixels; default: the model's.")] = (
        None
    )
    crop_pct: Annotated[
        float | None, Option(help="Side of the crop over that of the resized image; default: the model's.")
    ] = _images.crop_pct
    epochs: Annotated[int, Option(help="Epochs per training at most.")] = _train.epochs
    batch_size: Annotated[int, Option(help="Images per optimiser step.")] = _train.batch_size
    optimizer: Annotated[str, Option(help="adamw, adam, sgd (momentum 0.9) or rmsprop.")] = _train.optimizer
    learning_rate: Annotated[
        float | None, Option(help="Base learning rate; default: 1e-3 for `fit` of a named strategy, else tuned on val.")
    ] = _search.learning_rate
    weight_decay: Annotated[float, Option(help="Never applied to biases and norm layers.")] = _train.weight_decay
    warmup_share: Annotated[float, Option(help="Share of the steps with rising rates.")] = _train.warmup_share
    schedule_epochs: Annotated[
        int | None, Option(help="Epochs over which the cosine falls; default: --epochs. More = the rates fall less.")
    ] = _train.schedule_epochs
    patience: Annotated[int, Option(help="Epochs without a better val score before stopping; 0 = never.")] = (
        _train.patience
    )
    label_smoothing: Annotated[float, Option(help="Probability mass taken from the true class in the loss.")] = (
        _train.label_smoothing
    )
    clip_norm: Annotated[float | None, Option(help="Largest 2-norm of the gradient; default: no clipping.")] = None
    limit: Annotated[int | None, Option(help="Use a stratified draw of this many images; default: all.")] = None
    group_pattern: Annotated[
        str | None, Option(help="Regex over paths; images with the same first bracket (patient, camera) share a split.")
    ] = None
    on_bad: Annotated[str, Option(help="Unreadable images: error, or skip (listed, left out).")] = _images.on_bad
    balance: Annotated[str, Option(help="For unequal classes: none, loss (weights) or sampler.")] = _train.balance
    metric: Annotated[str, Option(help="Selects on val: accuracy or macro_f1.")] = _train.metric
    augment: Annotated[
        str, Option(help="none; mild: random crop, flip, small rotation; strong: also resized crop and colour jitter.")
    ] = _images.augment
    views: Annotated[int, Option(help="Pre-drawn augmented views per image; 0 = new ones every epoch.")] = _images.views
    test_share: Annotated[
        float | None, Option(help="Share carved off train as test, where the folder brings only train and val.")
    ] = _images.test_share
    precision: Annotated[str, Option(help="auto, fp32 or bf16.")] = _train.precision
    device: Annotated[str, Option(help="auto, cpu, cuda or mps.")] = _train.device
    threads: Annotated[int, Option(help="CPU threads; 0 = physical cores. Changes rounding: recorded.")] = (
        _train.threads
    )
    cache_memory: Annotated[
        str, Option(help="Memory for what frozen blocks compute, e.g. 500M; 0 = none. Changes no result.")
    ] = "1G"
    cache_disk: Annotated[str, Option(help="The same on disk, where memory does not suffice.")] = "4G"
    granularity: Annotated[str, Option(help=f"What a block is: {', '.join(GRANULARITIES)}.")] = "stage"
    seed: Annotated[int, Option(help="Draws splits, views, heads, batch order and dropout.")] = _images.seed
    seeds: Annotated[int, Option(help="Final trainings per strategy; more than one give a spread.")] = _search.seeds

    preset: Annotated[
        str | None, Option(help="paper: train as in the BioTune paper; other options given override it.")
    ] = None

    def request(self, verb: Literal["fit", "compare"], data: str, strategies: tuple[str, ...]) -> Request:
        """The request that these options make; `OptionError` names the option that cannot be used."""
        return Request(
            verb=verb,
            data=data,
            model=self.model,
            strategies=strategies,
            weights=self.weights,
            granularity=cast(Granularity, self.granularity),
            train=self._part(TrainConfig),
            images=self._part(DataConfig),
            search=self._part(SearchConfig),
            cache=CacheConfig(
                parse_bytes("cache-memory", self.cache_memory), parse_bytes("cache-disk", self.cache_disk)
            ),
        )

    def _part(self, config: type[Config]) -> Config:
        own = {field.name for field in fields(self)}
        return config(**{field.name: getattr(self, field.name) for field in fields(config) if field.name in own})


def takes_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's `options: RunOptions` by one option per field, so that they are declared once."""
    own = [one for one in inspect.signature(command, eval_str=True).parameters.values() if one.name != "options"]
    shared = list(inspect.signature(RunOptions, eval_str=True).parameters.values())

    @functools.wraps(command)
    def expanded(**given: Any) -> None:
        options = RunOptions(**{one.name: given.pop(one.name) for one in shared})
        command(**given, options=options)

    keyword = inspect.Parameter.KEYWORD_ONLY
    expanded.__signature__ = inspect.Signature([one.replace(kind=keyword) for one in [*own, *shared]])  # type: ignore[attr-defined]
    return expanded


def _with_preset(context: typer.Context, options: RunOptions) -> RunOptions:
    """The preset's values where the user gave none."""
    if options.preset is None:
        return options
    values = preset_values(options.preset)
    return replace(options, **{name: value for name, value in values.items() if not _is_set(context, name)})


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, Option("--debug", help="Show a traceback for errors, too.")] = False,
) -> None:
    if version:
        typer.echo(f"thawline {__version__}")
        raise typer.Exit
    context.obj = {"debug": debug}


@app.command()
@takes_run_options
def fit(
    context: typer.Context,
    data: Data,
    out: Out,
    options: RunOptions,
    strategy: Annotated[
        str, Option(help=f"{STRATEGY_LIST}. With arguments: last_blocks:k=3; {STRATEGY_HELP}.")
    ] = "auto",
    budget: Annotated[
        str | None,
        Option(
            help="What auto may cost, the saved model included: 5x (as much work as five full fine-tunings; its "
            "default), 30m (two runs may then decide differently), or 40candidates."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the plan, train it, score it beside the baselines, save the model.

    auto searches blocks and rates within its budget. A named strategy trains at 1e-3 unless told otherwise.
    """
    chosen = _with_budget(strategy, budget)
    _run(_with_preset(context, options).request("fit", data, (chosen,)), out, as_json)


def _with_budget(strategy: str, budget: str | None) -> str:
    """The strategy with its budget as an argument."""
    if budget is None:
        return strategy
    name, _, arguments = strategy.partition(":")
    if name != "auto":
        raise OptionError(f"--budget is for --strategy auto; {name} costs what its trainings cost.")
    if "budget=" in arguments:
        raise OptionError(
            f"the budget is given twice, as --budget {budget} and in --strategy {strategy}; leave one out."
        )
    return f"auto:{','.join(filter(None, (arguments, f'budget={budget}')))}"


@app.command()
@takes_run_options
def compare(
    context: typer.Context,
    out: Out,
    options: RunOptions,
    data: Annotated[str | None, Argument(help="As for fit; with --recipe, leave it out and use --data.")] = None,
    strategies: Annotated[str, Option(help=f"Comma-separated, of: {STRATEGY_LIST}; {STRATEGY_HELP}.")] = ",".join(
        DEFAULT_ROWS
    ),
    recipe: Annotated[str | None, Option(help="A published study: its name, or a .toml file.")] = None,
    recipe_data: Annotated[
        list[str] | None, Option("--data", help="Where a recipe's data is: COLUMN=SOURCE, or SOURCE alone; repeatable.")
    ] = None,
    full_grid: Annotated[bool, Option("--full-grid", help="Every combination of a recipe's axes.")] = False,
    as_json: Json = False,
) -> None:
    """Compare strategies, or repeat a published study.

    Every strategy is tuned by the same rule and trained on the same splits, seeds and batches.
    """
    from thawline.strategies.base import split_specs

    if recipe is not None:
        own = _given(context, options, strategies=split_specs(strategies))
        sources = [*(recipe_data or ()), *([data] if data else ())]
        _repeat_study(recipe, out, {**own, "data": sources, "full_grid": full_grid}, as_json)
    elif data is None or recipe_data:
        raise OptionError("compare needs DATA, a folder of images (--data is for --recipe).")
    else:
        _run(_with_preset(context, options).request("compare", data, split_specs(strategies)), out, as_json)


def _given(context: typer.Context, options: RunOptions, **others: Any) -> dict[str, Any]:
    """What the user set on the command line, as a recipe takes it; the defaults must not replace the recipe's."""
    values = {**asdict(options), **others, "models": [options.model]}
    names = {"model": "models"}
    given = [name for name in values if _is_set(context, name)]
    chosen = {names.get(name, name) for name in given}
    if unusable := sorted(chosen - RECIPE_OPTIONS):
        raise OptionError(f"a recipe settles --{unusable[0].replace('_', '-')} itself; leave it out.")
    return {name: values[name] for name in chosen}


def _is_set(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _repeat_study(recipe: str, out: Path, overrides: Mapping[str, Any], as_json: bool) -> None:
    from thawline import api

    with _interruptible(out), _listener(as_json) as listener:
        study = api.repeat_study(recipe, out, overrides, listener)
    if as_json:
        _print_json(study["cells"])
    else:
        sys.stdout.write(f"{study['tables']}\n")


@app.command()
def resume(
    run: RunArgument,
    add: Annotated[str | None, Option(help="Strategies to add to a comparison; only they are trained.")] = None,
    as_json: Json = False,
) -> None:
    """Continue an interrupted run, or add to a comparison."""
    from thawline import api
    from thawline.strategies.base import split_specs

    with _interruptible(run), _listener(as_json) as listener:
        results = api.resume(run, listener, add=split_specs(add or ""))
    _show(results, run, as_json)


@app.command()
def demo(
    out: Annotated[Path, Option(help="New folder for the demo's run.")] = Path("thawline-demo"), as_json: Json = False
) -> None:
    """Do the main job on embedded data and weights, offline, in under a minute: handwritten digits."""
    from thawline import api

    with _interruptible(out / "run"), _listener(as_json) as listener:
        results = api.demo(out, listener)
    _show(results, out / "run", as_json)


@app.command()
def check(
    data: Data,
    out: Annotated[Path | None, Option(help="Also write everything found to this JSON file.")] = None,
    group_pattern: Annotated[
        str | None, Option(help="Regex over paths; images with the same first bracket belong together.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find what is wrong with a data set.

    Unreadable files, copies, one image under two labels or in two splits, look-alikes, tiny or unequal classes.
    """
    from thawline import api
    from thawline.records import write_json

    with _listener(as_json) as listener:
        found = api.check(data, group_pattern=group_pattern, listener=listener)
    if out is not None:
        write_json(out, found)
    if as_json:
        _print_json(found)
    else:
        console.print_check(_console(), found)


@app.command("inspect")
def inspect_model(
    model: Annotated[str, Argument(help="timm name, or local-dir:PATH of a timm folder.")],
    image_size: Annotated[int | None, Option(help="Side of the input in pixels; default: the model's own.")] = None,
    granularity: Annotated[str, Option(help=f"What a block is: {', '.join(GRANULARITIES)}.")] = "stage",
    as_json: Json = False,
) -> None:
    """List a model's blocks: parameters, FLOPs, bytes at each boundary, share of the work."""
    from thawline import api

    table = api.inspect(model, image_size=image_size, granularity=cast(Granularity, granularity))
    if as_json:
        _print_json(table)
    else:
        console.print_blocks(_console(), table)


@app.command("strategies")
def list_strategies(as_json: Json = False) -> None:
    """List the strategies: what each trains, its arguments with their defaults, and the values that tuning tries."""
    from thawline.strategies.base import listed

    if as_json:
        _print_json(listed())
    else:
        console.print_strategies(_console(), listed())


@app.command()
def evaluate(
    run: RunArgument,
    data: Annotated[str, Argument(help="Folder of images; its test split if it has one, else all of it.")],
    as_json: Json = False,
) -> None:
    """Score a run's saved model on labelled images: your explicit act, logged in the run folder."""
    from thawline import api

    scores = api.evaluate(run, data)
    if as_json:
        _print_json(scores)
    else:
        console.print_scores(_console(), scores)


@app.command()
def report(run: RunArgument, as_json: Json = False) -> None:
    """Draw report.html of a finished run again, from its records; trains and loads nothing."""
    from thawline.report.html import write_report

    path = write_report(run)
    if as_json:
        _print_json({"report": str(path)})
    else:
        sys.stdout.write(f"{path}\n")


@app.command()
def predict(
    run: Annotated[Path, Argument(help="Run folder, or any timm folder of a model.")],
    images: Annotated[list[Path], Argument(help="Image files, or folders of them.")],
    as_csv: Annotated[bool, Option("--csv", help="Print CSV: path, rank, class, probability.")] = False,
    top: Annotated[int, Option(help="Classes per image.", min=1)] = 5,
    as_json: Json = False,
) -> None:
    """Name what is in images, with probabilities; files that cannot be read are listed."""
    from thawline import api

    predictions = api.predict(run, images, top=top)
    if as_json:
        _print_json(predictions)
    elif as_csv:
        console.write_predictions_csv(sys.stdout, predictions)
    else:
        console.print_predictions(_console(), predictions)


@app.command()
def explain(
    run: RunArgument,
    images: Annotated[list[Path], Argument(help="Image files, or folders of them.")],
    layer: Annotated[str | None, Option(help="Module whose output Grad-CAM weighs; default: found.")] = None,
    beside: Annotated[
        list[Path] | None, Option(help="Another run of the same network, as a further column; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show where the network looks, before and after fine-tuning, and what that changed in every block.

    Writes explain.json and explain/index.html into the run folder. Only training and validation images are compared.
    """
    from thawline import api

    with _listener(as_json) as listener:
        explained = api.explain(run, images, layer=layer, beside=beside or (), listener=listener)
    if as_json:
        _print_json(explained)
    else:
        console.print_explained(_console(), explained, run)


def main() -> None:
    """Entry point: errors of ours become one line and their exit code, a traceback only with --debug."""
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except ThawlineError as error:
        if debug:
            raise
        sys.stderr.write(f"thawline: {error}\n")
        sys.exit(error.exit_code)


def _run(request: Request, out: Path, as_json: bool) -> None:
    from thawline import api

    with _interruptible(out), _listener(as_json) as listener:
        results = api.run(request, out, listener)
    _show(results, out, as_json)


@contextmanager
def _interruptible(run: Path) -> Iterator[None]:
    """Ctrl-C says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"thawline: interrupted; `thawline resume {run}` continues it.\n")
        raise typer.Exit(INTERRUPTED) from None


def _show(results: Mapping[str, Any], run: Path, as_json: bool) -> None:
    if as_json:
        _print_json(results)
    elif "rows" in results:
        console.print_comparison(_console(), results, run)
    else:
        from thawline.studies.saving import MODEL_FOLDER, opening_lines

        console.print_fit(_console(), results, run, opening_lines(run / MODEL_FOLDER))


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def _listener(as_json: bool) -> live.ConsoleListener:
    """Progress goes to standard error when standard output belongs to JSON."""
    return live.ConsoleListener(Console(stderr=True) if as_json else _console())


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
