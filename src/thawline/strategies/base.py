"""What a strategy is, and how `last_blocks:k=3` becomes one."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from thawline.config import HeadOption, Norm
from thawline.errors import OptionError
from thawline.plan import FineTunePlan, Granularity, HeadStart, NormMode
from thawline.ranges import Fault, Kind, first_fault, kinds, read_number, shown
from thawline.strategies import STRATEGIES, UNLISTED
from thawline.strategies.context import StrategyContext, Tuned

_FAULTS_OF_A_MODULE = (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError)
"""What importing somebody's module raises where it is absent or wrong."""
_ARGUMENT_TYPES = (int, float, str)
MOST_COMBINATIONS = 4
"""Combinations of the values in a grid: tuning has six trainings for arguments and rate together."""


TUNED: Literal["tuned"] = "tuned"
NORM_MODES: Mapping[Norm, NormMode] = {"moving": "train", "kept": "eval"}
"""What batch norm of trained blocks does, in the words of an argument and in those of a plan."""
NORM_WORDS: Mapping[NormMode, Norm] = {mode: word for word, mode in NORM_MODES.items()}
"""The same from a plan to the words of an argument."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strategy:
    """Makes a plan. Subclasses are frozen dataclasses whose fields are the arguments, checked on creation.

    The range of a number stands in its annotation: `k: Annotated[int, Range(1, 100)] = 1`.
    """

    norm: Norm = TUNED
    """Batch norm of trained blocks: moving = normalize with batch statistics and update the running statistics; kept =
    use the running statistics of the pretrained network; tuned = whichever is better on validation."""
    head_start: HeadOption = "random"
    """Initial head: random = random weights; probe = the solved linear probe, as in LP-FT (Kumar et al. 2022); kept =
    the head of a model that is fitted again, the default if there is one; tuned = whichever is best on validation. The
    probe is solved with the running statistics, so with it the tuned `norm` is kept."""

    name: ClassVar[str]
    """The key in `STRATEGIES`."""
    granularity: ClassVar[Granularity | None] = None
    """The granularity it needs; None = whatever the run uses."""
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Values that tuning tries for an argument the user left open, at most `MOST_COMBINATIONS` of them all together."""
    unsaid: ClassVar[tuple[str, ...]] = ("norm", "head_start")
    """Arguments that `arguments` and `spec` leave out as long as they have their default."""

    def __post_init__(self) -> None:
        """Check the arguments against their types and ranges; `OptionError` for the first that cannot be used."""
        if fault := first_fault(self):
            raise OptionError(f"strategy {self.name!r}: {fault.name} {fault}")

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """A plan that covers every block of `context.blocks` and trains the head.

        Called once per learning rate that is tried, before any training with the plan; must not depend on anything but
        its arguments and the context. A strategy that searches overrides `search` instead.
        """
        return self.search(context).plan

    def search(self, context: StrategyContext) -> Tuned:
        """The plan that the strategy finds by training others through the context, rates included.

        Overridden by strategies that search; they are called once, and their rates are not tuned afterwards.
        """
        raise NotImplementedError(f"strategy {self.name!r} proposes a plan and does not search.")

    def plan(self, context: StrategyContext) -> FineTunePlan:
        """The proposed plan, with batch norm and the head's start as the arguments say."""
        return self.settled(self.propose(context))

    def settled(self, proposed: FineTunePlan) -> FineTunePlan:
        """A plan with batch norm and the head's start as the arguments say; without a word of theirs, as it is."""
        norm = NORM_MODES.get(self.norm, proposed.norm)
        # A strategy that proposes a head has its reasons: it solves the head, or leaves it as it is.
        asked: HeadStart = "random" if self.head_start == TUNED else self.head_start
        head_start = asked if proposed.head_start == "random" else proposed.head_start
        return dataclasses.replace(proposed, norm=norm, head_start=head_start)

    @property
    def searches(self) -> bool:
        """Whether it overrides `search`."""
        return type(self).search is not Strategy.search

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name, those that are `unsaid` only if they differ from their default, and last."""
        fields = sorted(dataclasses.fields(self), key=lambda field: field.name in self.unsaid)
        given = {field.name: getattr(self, field.name) for field in fields}
        usual = {field.name: field.default for field in fields if field.name in self.unsaid}
        return {name: value for name, value in given.items() if name not in usual or value != usual[name]}

    @property
    def spec(self) -> str:
        """Name and arguments, as the command line takes them: `last_blocks:k=3`.

        A search has many arguments, so only those that differ from their defaults are shown.
        """
        usual = {field.name: field.default for field in dataclasses.fields(self)} if self.searches else {}
        shown = [f"{name}={value}" for name, value in self.arguments.items() if value != usual.get(name)]
        return f"{self.name}:{','.join(shown)}" if shown else self.name


def parts_rule(text: str, parts: Sequence[str]) -> str | None:
    """What `text` (parts of a method joined by +, or none) must be; None if it is that."""
    if all(part in (*parts, "none") for part in text.split("+")):
        return None
    return f"none, or some of {', '.join(parts)} joined by +"


def variants(spec: str, norm: Norm = TUNED, head_start: HeadStart | None = None) -> tuple[Strategy, ...]:
    """Every strategy that tuning should try for `spec`: the grid of the arguments it leaves open, `norm` excepted.

    `norm` and `head_start` are those of a strategy whose spec does not say; a search that tunes the start goes on doing
    so. Raises `OptionError` for an unknown name or argument, or a value that cannot be used.
    """
    name, _, text = spec.partition(":")
    strategy = strategy_class(name)
    settled: dict[str, str] = {} if norm == TUNED else {"norm": norm}
    settled |= {} if head_start is None or strategy.head_start == TUNED else {"head_start": head_start}
    given = settled | _parse_arguments(strategy, text)
    open_arguments = {key: values for key, values in strategy.grid.items() if key not in given}
    combinations = itertools.product(*open_arguments.values())
    return tuple(strategy(**given, **dict(zip(open_arguments, values, strict=True))) for values in combinations)


def strategy_class(name: str) -> type[Strategy]:
    """Import the class behind a name of the table."""
    entry = STRATEGIES.get(name, UNLISTED.get(name))
    if entry is None:
        close = difflib.get_close_matches(name, STRATEGIES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(STRATEGIES)}."
        raise OptionError(f"strategy {shown(name)} is unknown; {hint}")
    if entry.rivals:
        raise OptionError(
            f"strategy {name!r} of {entry.package} is also offered by {', '.join(entry.rivals)}; "
            "rename it there, or uninstall that package."
        )
    try:
        found = _imported(entry.target)
    except _FAULTS_OF_A_MODULE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise OptionError(f"strategy {name!r} of {entry.package} cannot be imported: {reason}") from error
    if fault := _fault_of(found, name):
        raise OptionError(f"strategy {name!r} of {entry.package} cannot be used: {entry.target} {fault}")
    strategy: type[Strategy] = found
    return strategy


def listed() -> list[dict[str, Any]]:
    """Every strategy of the table with its arguments, their defaults and the values that tuning tries.

    One that cannot be used (another package's) has an `error` instead of arguments.
    """
    return [{"name": name, "help": entry.help, **_arguments_of(name)} for name, entry in STRATEGIES.items()]


def _arguments_of(name: str) -> dict[str, Any]:
    try:
        strategy = strategy_class(name)
    except OptionError as error:
        return {"error": str(error)}
    return {
        "arguments": strategy().arguments,
        "tuned": {argument: list(values) for argument, values in strategy.grid.items()},
    }


def split_specs(text: str) -> tuple[str, ...]:
    """Split `a:x=1,y=2,b` into `a:x=1,y=2` and `b`: a comma before `key=value` belongs to the strategy before it."""
    specs: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if "=" in part and ":" not in part and specs:
            specs[-1] += f",{part}"
        else:
            specs.append(part)
    return tuple(dict.fromkeys(specs))


def _imported(target: str) -> Any:
    """The object behind module:Class."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _fault_of(found: Any, name: str) -> str | None:
    """What keeps an imported object from being the strategy `name`; None if nothing does."""
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        return "is not a subclass of thawline.strategies.base.Strategy."
    if found.propose is Strategy.propose and found.search is Strategy.search:
        return "has neither a method `propose` nor `search`."
    if getattr(found, "name", None) != name:
        return f"must have the class attribute name = {name!r}, as in its entry point."
    if "__dataclass_fields__" not in vars(found):
        return "must be decorated with @dataclass(frozen=True)."
    for field in dataclasses.fields(found):
        if type(field.default) not in _ARGUMENT_TYPES:
            return f"must give its argument {field.name!r} a default that is a whole number, a number or a text."
    if math.prod(len(values) for values in found.grid.values()) > MOST_COMBINATIONS:
        return f"must have at most {MOST_COMBINATIONS} combinations of values in its grid."
    return None


def _parse_arguments(strategy: type[Strategy], text: str) -> dict[str, Any]:
    fields = {field.name: field for field in dataclasses.fields(strategy)}
    given: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, separator, value = part.partition("=")
        if not separator or key not in fields:
            known = ", ".join(
                f"{name}={fields[name].default}" for name in sorted(fields, key=strategy.unsaid.__contains__)
            )
            raise OptionError(
                f"strategy {strategy.name!r} has no argument {shown(part)}; its arguments and their defaults are: "
                f"{known}."
            )
        if key in given:
            raise OptionError(
                f"strategy {strategy.name!r}: {key} is given twice; repeat the name for another row: "
                f"{strategy.name}:{key}={given[key]},{strategy.name}:{part}."
            )
        given[key] = _argument(strategy, fields[key], value)
    return given


def _argument(strategy: type[Strategy], field: dataclasses.Field[Any], text: str) -> int | float | str:
    """An argument as the field holds it."""
    if isinstance(field.default, str):
        return text
    kind = int if isinstance(field.default, int) else float
    number = read_number(text, kind)
    if number is None:
        rule = kinds(strategy).get(field.name, Kind((kind,))).rule
        raise OptionError(f"strategy {strategy.name!r}: {field.name} {Fault(field.name, rule, text)}")
    return kind(number)
