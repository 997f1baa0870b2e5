"""The fine-tuning plan: which block trains in which epoch, at which rate.

Pure data, standard library only. A strategy makes a plan, `model/apply.py` obeys it, and nothing else decides what is
frozen. `None` as a rate means frozen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from thawline.errors import PlanError
from thawline.pytorch_lines import pytorch_lines

FORMAT_VERSION = 1

Granularity = Literal["stage", "group", "layer"]
NormMode = Literal["train", "eval"]
Parts = Literal["all", "norms_and_biases"]
RateRule = Literal["constant", "relative_gradient"]
PenaltyKind = Literal["l1_sp", "l2_sp"]

GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)


@dataclass(frozen=True)
class Block:
    """A part of the network that is frozen or given a learning rate as a whole.

    Blocks are ordered by execution and partition the network: each parameter, buffer and leaf module is in one of them.
    """

    name: str
    modules: tuple[str, ...]
    """Leaf modules (and modules that own parameters directly), in order of execution."""
    parameters: tuple[str, ...]
    """Names as in `model.named_parameters()`."""
    buffers: tuple[str, ...]
    """Names as in `model.named_buffers()`."""
    size: int
    """Number of trainable scalars."""
    layers: int
    """Convolutions and linear layers; the unit in which depth is counted."""
    prefixes: tuple[str, ...]
    """Few dotted names that cover the block's parameters; where two blocks' prefixes nest, the longer one owns."""
    is_head: bool = False
    """The new classifier: the last block, always trained."""


@dataclass(frozen=True)
class Phase:
    """A span of epochs with one row of the plan."""

    learning_rates: Mapping[str, float | None]
    """Block name -> learning rate of the optimiser before warm-up and cosine; None = frozen."""
    epochs: int | None = None
    """Number of epochs; None = until the end (only in the last phase)."""

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the blocks that train in this phase."""
        return tuple(name for name, rate in self.learning_rates.items() if rate is not None)


@dataclass(frozen=True)
class Penalty:
    """Pulls trained weights back to where they were pretrained, and the head to zero; replaces weight decay."""

    kind: PenaltyKind
    """l2_sp: strength/2 x squared distance to the pretrained weights; l1_sp: strength x absolute distance."""
    strength: float
    """Of the pull on pretrained weights."""
    head_strength: float = 1e-2
    """Of the pull on the head: half of it x its squared norm."""

    def __post_init__(self) -> None:
        for name, value in (("strength", self.strength), ("head_strength", self.head_strength)):
            if not (_is_number(value) and value >= 0):
                raise PlanError(f"plan: the penalty's {name} must be a number of 0 or more, got {value!r}.")


@dataclass(frozen=True)
class Adapter:
    """Low-rank updates instead of the weights themselves; merged into them after training."""

    rank: int
    scale: float
    """Factor on the product of the two factors (alpha / rank in the papers)."""

    def __post_init__(self) -> None:
        if not (_is_count(self.rank) and self.rank >= 1):
            raise PlanError(f"plan: the adapter's rank must be a whole number of at least 1, got {self.rank!r}.")
        if not (_is_number(self.scale) and self.scale > 0):
            raise PlanError(f"plan: the adapter's scale must be a number above 0, got {self.scale!r}.")


@dataclass(frozen=True)
class FineTunePlan:
    """Block -> learning rate for every phase. Compare with `==`, store with `to_json`, edit by hand."""

    phases: tuple[Phase, ...]
    granularity: Granularity = "stage"
    norm: NormMode = "train"
    """Norm layers of trained blocks: "train" uses and updates batch statistics, "eval" keeps the pretrained ones."""
    parts: Parts = "all"
    """Which parameters of trained blocks train; the head always trains whole."""
    penalty: Penalty | None = None
    adapter: Adapter | None = None
    rate_rule: RateRule = "constant"
    """relative_gradient: at the start of every epoch each tensor's rate is scaled by its gradient's norm over its own,
    the largest being 1 (Auto-RGN)."""
    interpolation: tuple[float, ...] = ()
    """Shares of the way from the weights at the start of the last phase to the trained ones; the best on validation is
    kept. Empty = all the way."""
    prefixes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    """Block name -> parameter name prefixes: what `to_pytorch` prints; for reading only."""

    def __post_init__(self) -> None:
        _check_phases(self.phases)
        for name, value, choices in (
            ("granularity", self.granularity, get_args(Granularity)),
            ("norm", self.norm, get_args(NormMode)),
            ("parts", self.parts, get_args(Parts)),
            ("rate_rule", self.rate_rule, get_args(RateRule)),
            ("penalty kind", self.penalty and self.penalty.kind, (None, *get_args(PenaltyKind))),
        ):
            if value not in choices:
                raise PlanError(f"plan: {name} must be one of {', '.join(filter(None, choices))}, got {value!r}.")
        if any(not (_is_number(share) and 0 <= share <= 1) for share in self.interpolation):
            raise PlanError(f"plan: interpolation must be shares from 0 to 1, got {self.interpolation!r}.")
        if self.adapter and self.rate_rule == "relative_gradient":
            raise PlanError("plan: an adapter starts at zero and has no relative gradient; take rate_rule 'constant'.")

    @classmethod
    def constant(
        cls,
        blocks: Sequence[Block],
        learning_rates: Mapping[str, float | None],
        *,
        granularity: Granularity = "stage",
        **others: Any,
    ) -> FineTunePlan:
        """One phase for the whole training. Blocks that `learning_rates` does not name are frozen.

        `others` are further fields of the plan: norm, parts, penalty, adapter, rate_rule, interpolation.
        """
        return cls.phased(blocks, [(None, learning_rates)], granularity=granularity, **others)

    @classmethod
    def phased(
        cls,
        blocks: Sequence[Block],
        phases: Sequence[tuple[int | None, Mapping[str, float | None]]],
        *,
        granularity: Granularity = "stage",
        **others: Any,
    ) -> FineTunePlan:
        """One row of rates for each span of epochs; the last span is None, until the end."""
        rows = tuple(Phase({block.name: rates.get(block.name) for block in blocks}, span) for span, rates in phases)
        plan = cls(rows, granularity, prefixes={block.name: block.prefixes for block in blocks}, **others)
        plan.check(blocks)
        return plan

    @property
    def blocks(self) -> tuple[str, ...]:
        """Block names in order of execution."""
        return tuple(self.phases[0].learning_rates)

    @property
    def trained(self) -> frozenset[str]:
        """Blocks that train in at least one phase; the others stay as they were pretrained."""
        return frozenset(name for phase in self.phases for name in phase.trained)

    def phase_at(self, epoch: int) -> Phase:
        """The phase that `epoch` (from 0) falls into."""
        start = 0
        for phase in self.phases:
            if phase.epochs is None or epoch < start + phase.epochs:
                return phase
            start += phase.epochs
        return self.phases[-1]

    def in_last_phase(self, epoch: int) -> bool:
        """Whether `epoch` (from 0) falls into the last phase."""
        return self.phase_at(epoch) is self.phases[-1]

    def starts_last_phase(self, epoch: int) -> bool:
        """Whether `epoch` (from 0) is the first of the last phase."""
        return epoch == sum(phase.epochs or 0 for phase in self.phases[:-1])

    def highest_rate(self, block: str) -> float | None:
        """The highest rate that `block` gets in any phase; None if it is always frozen."""
        rates = [rate for phase in self.phases if (rate := phase.learning_rates[block]) is not None]
        return max(rates, default=None)

    def check(self, blocks: Sequence[Block]) -> None:
        """Raise `PlanError` unless the plan covers every block of a model exactly once and trains its head."""
        expected = [block.name for block in blocks]
        if sorted(self.blocks) != sorted(expected):
            missing = [name for name in expected if name not in self.blocks]
            unknown = [name for name in self.blocks if name not in expected]
            raise PlanError(
                f"plan: its blocks are not those of the model at granularity {self.granularity!r} "
                f"(missing: {missing or 'none'}, unknown: {unknown or 'none'}); `thawline inspect` lists them."
            )
        for number, phase in enumerate(self.phases, start=1):
            for block in blocks:
                if block.is_head and phase.learning_rates[block.name] is None:
                    raise PlanError(
                        f"plan: phase {number} freezes the head {block.name!r}, which is new and must always train; "
                        "give it a learning rate."
                    )

    def to_json(self) -> str:
        """JSON text that `from_json` reads back to an equal plan."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON types."""
        return {
            "format_version": FORMAT_VERSION,
            "granularity": self.granularity,
            "norm": self.norm,
            "parts": self.parts,
            "penalty": asdict(self.penalty) if self.penalty else None,
            "adapter": asdict(self.adapter) if self.adapter else None,
            "rate_rule": self.rate_rule,
            "interpolation": list(self.interpolation),
            "phases": [{"epochs": phase.epochs, "learning_rates": dict(phase.learning_rates)} for phase in self.phases],
            "prefixes": {name: list(prefixes) for name, prefixes in self.prefixes.items()},
        }

    @classmethod
    def from_json(cls, text: str) -> FineTunePlan:
        """Read what `to_json` wrote, or a hand-edited copy; `PlanError` says what does not fit."""
        try:
            return cls.from_dict(json.loads(text))
        except json.JSONDecodeError as error:
            raise PlanError(f"plan: not JSON ({error}).") from error

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FineTunePlan:
        """The inverse of `to_dict`."""
        if not isinstance(data, Mapping):
            raise PlanError(f"plan: must be a JSON object, got {type(data).__name__}.")
        version = data.get("format_version")
        if version != FORMAT_VERSION:
            raise PlanError(f"plan: format_version must be {FORMAT_VERSION}, got {version!r}.")
        known = {"format_version", *(one.name for one in fields(cls))}
        if unknown := sorted(set(data) - known):
            raise PlanError(f"plan: unknown keys {unknown}; known are {sorted(known)}.")
        try:
            phases = tuple(Phase(dict(phase["learning_rates"]), phase.get("epochs")) for phase in data["phases"])
            prefixes = {name: tuple(names) for name, names in data.get("prefixes", {}).items()}
            penalty = Penalty(**data["penalty"]) if data.get("penalty") else None
            adapter = Adapter(**data["adapter"]) if data.get("adapter") else None
            interpolation = tuple(data.get("interpolation", ()))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise PlanError(
                "plan: every phase needs `learning_rates` (block name -> rate, or null = frozen), "
                f"`prefixes` maps block names to lists; could not read {error}."
            ) from error
        plain = {name: data[name] for name in ("granularity", "norm", "parts", "rate_rule") if name in data}
        return cls(phases, prefixes=prefixes, penalty=penalty, adapter=adapter, interpolation=interpolation, **plain)

    @property
    def sets_rates_only(self) -> bool:
        """Whether the last phase is told by a rate for every block and what norm layers do."""
        return (
            self.parts == "all"
            and self.rate_rule == "constant"
            and not (self.penalty or self.adapter or self.interpolation)
        )

    def to_pytorch(self, optimizer: str = "adamw", weight_decay: float = 1e-4) -> str:
        """Lines of plain PyTorch that rebuild the optimiser groups of the last phase, without thawline.

        Nothing in them stands for what `sets_rates_only` rules out.
        """
        rates = {
            prefix: rate
            for name, rate in self.phases[-1].learning_rates.items()
            for prefix in self.prefixes.get(name, (name,))
        }
        return pytorch_lines(
            rates, keeps_statistics=self.norm == "eval", optimizer=optimizer, weight_decay=weight_decay
        )


def _check_phases(phases: tuple[Phase, ...]) -> None:
    if not phases:
        raise PlanError("plan: it needs at least one phase.")
    for number, phase in enumerate(phases, start=1):
        if set(phase.learning_rates) != set(phases[0].learning_rates):
            raise PlanError(f"plan: phase {number} names other blocks than phase 1; every phase covers every block.")
        is_last = number == len(phases)
        if phase.epochs is None and not is_last:
            raise PlanError(f"plan: phase {number} has no number of epochs; only the last phase may leave it open.")
        if phase.epochs is not None and not (_is_count(phase.epochs) and phase.epochs > 0):
            raise PlanError(f"plan: phase {number} must last at least 1 epoch, got {phase.epochs!r}.")
        for name, rate in phase.learning_rates.items():
            if rate is not None and not (_is_number(rate) and rate > 0):
                raise PlanError(
                    f"plan: the rate of block {name!r} must be a number above 0, or null = frozen; got {rate!r}."
                )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
