"""The options that `fit` and `compare` share, declared once. Imports nothing heavy."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, TypeVar, cast

import typer
from typer import Option

from thawline.config import (
    DEFAULT_MODEL,
    CacheConfig,
    DataConfig,
    Request,
    TrainConfig,
    TuningConfig,
    parse_bytes,
    preset_values,
)
from thawline.plan import GRANULARITIES, Granularity

Config = TypeVar("Config", TrainConfig, DataConfig, TuningConfig)

_train, _images, _search = TrainConfig(), DataConfig(), TuningConfig()


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
        str,
        Option(help="Memory for what frozen blocks compute, e.g. 500M; 0 = none. Changes results by rounding only."),
    ] = "1G"
    cache_disk: Annotated[str, Option(help="The same on disk, where memory does not suffice.")] = "4G"
    granularity: Annotated[str, Option(help=f"What a block is: {', '.join(GRANULARITIES)}.")] = "stage"
    seed: Annotated[int, Option(help="Draws splits, views, heads, batch order and dropout.")] = _images.seed
    seeds: Annotated[int, Option(help="Final trainings per strategy; more than one give a spread.")] = _search.seeds

    preset: Annotated[
        str | None, Option(help="paper: train as in the BioTune paper; other options given override it.")
    ] = None

    def request(
        self, verb: Literal["fit", "compare"], data: str, strategies: tuple[str, ...], *, explain: bool = False
    ) -> Request:
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
            search=self._part(TuningConfig),
            explain=explain,
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


def with_preset(context: typer.Context, options: RunOptions) -> RunOptions:
    """The preset's values where the user gave none."""
    if options.preset is None:
        return options
    values = preset_values(options.preset)
    return replace(options, **{name: value for name, value in values.items() if not is_set(context, name)})


def is_set(context: typer.Context, name: str) -> bool:
    """Whether the user gave an option, rather than its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
