"""What a search for a plan can be told; the fields are the arguments of the strategy that runs it. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from thawline.errors import OptionError

Encoding = Literal["biotune", "split", "depth"]
EvolutionPart = Literal["threshold", "exploitation", "momentum", "adoption", "rotation"]
SamplerName = Literal["biotune", "tpe", "gp", "cma", "random", "grid"]
Lever = Literal["decoupling", "norms", "starts", "rungs", "race", "thrift"]


@dataclass(frozen=True)
class EvolutionConfig:
    """An evolutionary search for a plan; the defaults are those of BioTune (Colan et al. 2025)."""

    population: int = 10
    """Plans that compete in a generation."""
    elites: int = 3
    """The best of them, kept and probed; the others are replaced by children."""
    generations: int = 10
    """After the initial one, which is drawn at random."""
    seeds: int = 3
    """Trainings of a plan in the search, and fresh ones of each of the top plans at its end."""
    folds: int = 2
    """Parts of the training split, stratified; a generation trains on one of them, each in turn."""
    exploration: float = 0.25
    """How far at most a probe of an elite moves one gene, which lies between 0 and 1."""
    top: int = 5
    """Plans that are trained on the full training split with fresh seeds in the end; the best on validation wins."""
    encoding: Encoding = "biotune"
    """Genes to plans: biotune as published, split without its tie between freezing and high rates, or depth alone."""
    without: str = "none"
    """Parts to leave out, joined by +: threshold (fixed instead of a gene), exploitation (probes of elites), momentum,
    adoption, rotation (of folds)."""

    def __post_init__(self) -> None:
        for name in ("population", "generations", "seeds", "folds", "top"):
            lowest = 2 if name == "population" else 1
            self._require(getattr(self, name) >= lowest, name, f"at least {lowest}", getattr(self, name))
        self._require(1 <= self.elites < self.population, "elites", "from 1 to population - 1", self.elites)
        self._require(0 < self.exploration <= 1, "exploration", "above 0 and at most 1", self.exploration)
        names = get_args(Encoding)
        self._require(self.encoding in names, "encoding", f"one of {', '.join(names)}", self.encoding)
        self._require(_are_parts(self.without, EvolutionPart), "without", _parts_rule(EvolutionPart), self.without)

    def has(self, part: EvolutionPart) -> bool:
        """Whether a part of the method is in use."""
        return part not in self.without.split("+")

    @property
    def evaluations(self) -> int:
        """Plans that are scored in the search, repetitions included, those trained again in the end apart."""
        probes = 2 * self.elites if self.has("exploitation") else 0
        return self.population + self.generations * (self.population + probes)

    @staticmethod
    def _require(condition: bool, name: str, rule: str, value: object) -> None:
        if not condition:
            raise OptionError(f"evolutionary search: {name} must be {rule}, got {value!r}.")


@dataclass(frozen=True)
class Budget:
    """How much a search may cost, everything up to the saved model included."""

    amount: float
    """Of `unit`; for minutes already in seconds."""
    unit: Literal["work", "seconds", "candidates"]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`5x` = units of work, `30m` (or 2h, 90s) = wall time, `40candidates`; `OptionError` if it is none of them."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?) *(x|s|m|h|candidates?)", str(text).strip())
        amount = float(found[1]) if found else 0.0
        candidates = found is not None and found[2].startswith("candidate")
        if found is None or amount <= 0 or (found[2] == "x" and amount < 1) or (candidates and amount % 1):
            raise OptionError(
                f"--budget must be full fine-tunings (5x, at least 1x), a time (30m, 2h) or 40candidates, got {text!r}."
            )
        if found[2] in _SECONDS:
            return cls(amount * _SECONDS[found[2]], "seconds")
        return cls(amount, "work" if found[2] == "x" else "candidates")


_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class AutoConfig:
    """The search of `auto`: what it may cost, who proposes, and which of its levers are off (for ablations)."""

    budget: str = "5x"
    """5x = as much work as five full fine-tunings, 30m = wall time, 40candidates."""
    sampler: str = "biotune"
    """Who proposes plans: biotune (its operators), tpe, gp, cma, random, grid."""
    without: str = "none"
    """Levers to leave out, joined by +: decoupling (rates apart from freezing; without it genes know no norms either),
    norms (statistics of norm layers kept), starts (the usual ways as first candidates), rungs (short trainings first),
    race (further seeds for the best), thrift (of plans as good, a usual one, then the cheapest)."""

    def __post_init__(self) -> None:
        Budget.parse(self.budget)
        names = get_args(SamplerName)
        if self.sampler not in names:
            raise OptionError(f"strategy 'auto': sampler must be one of {', '.join(names)}, got {self.sampler!r}.")
        if not _are_parts(self.without, Lever):
            raise OptionError(f"strategy 'auto': without must be {_parts_rule(Lever)}, got {self.without!r}.")

    def has(self, lever: Lever) -> bool:
        """Whether a lever is in use."""
        return lever not in self.without.split("+")


def with_budget(strategy: str, budget: str | None) -> str:
    """The strategy with its budget as an argument."""
    if budget is None:
        return strategy
    Budget.parse(budget)
    budget = budget.replace(" ", "")
    name, _, arguments = strategy.partition(":")
    if name != "auto":
        raise OptionError(f"--budget is for --strategy auto; {name} costs what its trainings cost.")
    if "budget=" in arguments:
        raise OptionError(
            f"the budget is given twice, as --budget {budget} and in --strategy {strategy}; leave one out."
        )
    return f"auto:{','.join(filter(None, (arguments, f'budget={budget}')))}"


def _are_parts(text: str, choices: object) -> bool:
    return all(part in (*get_args(choices), "none") for part in text.split("+"))


def _parts_rule(choices: object) -> str:
    return f"none, or some of {', '.join(get_args(choices))} joined by +"
