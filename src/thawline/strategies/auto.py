"""Measure the baselines and search beyond them, within a budget; the default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from thawline.config import Answer as Answer
from thawline.config import HeadOption, Norm
from thawline.errors import OptionError
from thawline.ranges import Range, as_text, first_fault, shown
from thawline.strategies.base import TUNED, Strategy, parts_rule
from thawline.strategies.context import StrategyContext, Tuned

SamplerName = Literal["biotune", "tpe", "gp", "cma", "random", "grid"]
Component = Literal["decoupling", "norms", "probe_start", "baselines", "rungs", "extra_seeds", "parsimony"]

OLD_NAMES: Mapping[str, Component] = {"starts": "baselines", "race": "extra_seeds", "thrift": "parsimony"}
"""Names of components before 0.2. Still read, and kept as they were written: ledgers hold them."""
AMOUNTS = Range(0, 1_000_000, above=True)
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Budget:
    """How much a search may cost, everything up to the saved model included."""

    amount: float
    """The budget, in `unit`."""
    unit: Literal["work", "seconds", "candidates"]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`5x` = units of work, `30m` (or 2h, 90s) = wall time, `40candidates`; `OptionError` if it is none of them."""
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *(x|s|m|h|candidates?)", as_text(text).strip())
        amount = float(found[1]) if found else 0.0
        candidates = found is not None and found[2].startswith("candidate")
        if found is None or amount not in AMOUNTS or (found[2] == "x" and amount < 1) or (candidates and amount % 1):
            raise OptionError(
                "`budget` must be full fine-tunings (5x, at least 1x), a time (30m, 2h) or 40candidates, with a number "
                f"{AMOUNTS}, got {shown(text)}."
            )
        if found[2] in _SECONDS:
            return cls(amount * _SECONDS[found[2]], "seconds")
        return cls(amount, "work" if found[2] == "x" else "candidates")


@dataclass(frozen=True)
class AutoConfig:
    """The search of `auto`: its budget, its sampler, and which of its components are off (for ablations)."""

    budget: str = "5x"
    """5x = as much work as five full fine-tunings, 30m = wall time, 40candidates = number of plans."""
    sampler: SamplerName = "biotune"
    """Sampler that proposes candidates: biotune (its evolutionary operators), tpe, gp, cma, random or grid."""
    norm: Norm = TUNED
    """Batch norm of trained blocks: tuned = chosen for each candidate; moving or kept = the same for all."""
    head_start: HeadOption = "tuned"
    """Initial head of every candidate: random weights, the solved linear probe, or the kept head of a model that is
    fitted again; tuned = random and probe, or, if a head is kept, kept and probe."""
    answer: Answer = "average"
    """The model that `auto` returns: pick = the best candidate; average = one network with the averaged weights of the
    best candidates that start from the same probe, if it has a lower validation loss than the pick; ensemble = up to
    three networks with averaged probabilities; distilled = the best candidate, trained further to match both the
    labels and the averaged outputs of up to three candidates; if its validation loss ends up higher than that of the
    pick, the result of average is returned instead. The budget includes that training."""
    without: str = "none"
    """Components to disable, joined by +: decoupling (rates independent of freezing; also disables norms and
    probe_start), norms (pretrained batch-norm statistics), probe_start (heads that start from the solved probe),
    baselines (initial candidates), rungs (short trainings first), extra_seeds (for the best candidates if they cannot
    be told apart), parsimony (one-standard-error rule)."""

    def __post_init__(self) -> None:
        Budget.parse(self.budget)
        if fault := first_fault(self):
            raise OptionError(f"strategy 'auto': {fault.name} {fault}")
        if parts_rule(self.without, (*get_args(Component), *OLD_NAMES)):
            rule = parts_rule("", get_args(Component))
            raise OptionError(f"strategy 'auto': without must be {rule}, got {self.without!r}.")

    def has(self, component: Component) -> bool:
        """Whether a component is in use."""
        return component not in {OLD_NAMES.get(part, part) for part in self.without.split("+")}


@dataclass(frozen=True)
class Auto(AutoConfig, Strategy):
    """The best plan on validation within the budget; the arguments are those of the search."""

    name: ClassVar[str] = "auto"

    def search(self, context: StrategyContext) -> Tuned:
        """Successive halving; the test split is never used."""
        return context.halve(self)


def with_budget(strategy: str, budget: str | None) -> str:
    """The strategy with its budget as an argument."""
    _require_text(strategy)
    if budget is None:
        return strategy
    Budget.parse(budget)
    return _with(strategy, "budget", str(budget).replace(" ", ""), "{} costs what its trainings cost")


def with_other_budget(strategy: str, budget: str) -> str:
    """The strategy with another budget in place of its own."""
    name, _, arguments = strategy.partition(":")
    others = (each for each in arguments.split(",") if not each.startswith("budget="))
    return f"{name}:{','.join(filter(None, (*others, f'budget={budget}')))}"


def with_answer(strategy: str, answer: str | None) -> str:
    """The strategy with what it hands over as an argument."""
    _require_text(strategy)
    if answer is None:
        return strategy
    if answer not in (answers := get_args(Answer)):
        raise OptionError(f"`answer` must be one of {', '.join(answers)}, got {shown(answer)}.")
    return _with(strategy, "answer", answer, "{} returns the model it trains")


def _require_text(strategy: object) -> None:
    if not isinstance(strategy, str):
        raise OptionError(f"`strategy` must be a string, got {shown(strategy)}.")


def _with(strategy: str, option: str, value: str, otherwise: str) -> str:
    """The strategy with one more argument; `otherwise` = why other strategies do not take it."""
    name, _, arguments = strategy.partition(":")
    if name != "auto":
        raise OptionError(f"`{option}` is for `strategy` auto; {otherwise.format(name)}.")
    if f"{option}=" in arguments:
        raise OptionError(
            f"the {option} is given twice, as `{option}` {value} and in `strategy` {strategy}; leave one out."
        )
    return f"auto:{','.join(filter(None, (arguments, f'{option}={value}')))}"
