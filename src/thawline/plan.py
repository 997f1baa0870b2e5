"""The fine-tuning plan: which blocks train in which epochs, at which learning rates.

Pure data, standard library only. A strategy makes a plan, `model/apply.py` applies it, and nothing else decides what is
frozen. A learning rate of `None` means frozen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Literal, NotRequired, TypedDict, TypeVar, Unpack, cast, get_args

from thawline.errors import PlanError
from thawline.formatting import counted, nearest, rate
from thawline.plain_table import table_html, table_text
from thawline.pytorch_lines import distilled_lines, mean_output_lines, mean_weights_lines, pytorch_lines
from thawline.ranges import Range, first_fault, plain_number, shown
from thawline.reading import parse_json

FORMAT_VERSION = 1

Granularity = Literal["stage", "group", "layer"]
NormMode = Literal["train", "eval"]
Parts = Literal["all", "norms_and_biases"]
RateRule = Literal["constant", "relative_gradient"]
HeadStart = Literal["random", "probe", "kept"]
Statistics = Literal["stored", "recomputed"]
Kept = Literal["best", "last"]
PenaltyKind = Literal["l1_sp", "l2_sp"]
Mixed = Literal["weights", "outputs", "distilled"]

Value = TypeVar("Value")

RUNGS = (1 / 6, 1 / 3, 1.0)
"""Shares of the nominal epochs after which a search compares trainings."""
FEWEST_EPOCHS = 2
"""Epochs of a rung at least: after a single epoch scores say little."""

RATE = Range(0, 1e30, above=True)
STRENGTH = Range(0, 1e6)
SHARE = Range(0, 1)
HEAD_STARTS: Mapping[HeadStart, str] = {
    "random": "random weights",
    "probe": "the solved probe",
    "kept": "the head of the model that is fitted again",
}
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)


def rungs(nominal: int) -> tuple[int, ...]:
    """Numbers of epochs after which a search compares trainings, the nominal one last."""
    return tuple(sorted({min(nominal, max(FEWEST_EPOCHS, math.ceil(share * nominal))) for share in RUNGS}))


@dataclass(frozen=True)
class Block:
    """A part of the network that is frozen, or trained with one learning rate, as a whole.

    Blocks partition the network in order of execution: each parameter, buffer and leaf module is in exactly one.
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
    """Dotted prefixes that cover the block's parameters; of nested prefixes of two blocks, the longer one applies."""
    is_head: bool = False
    """Whether it is the new classifier: the last block, always trained."""


@dataclass(frozen=True)
class Phase:
    """A number of consecutive epochs with the same learning rates."""

    learning_rates: Mapping[str, float | None]
    """Learning rate of each block, by name, before warm-up and cosine; None = frozen."""
    epochs: Annotated[int | None, Range(1, 1_000_000)] = None
    """Number of epochs; None = until the end (last phase only)."""

    def __post_init__(self) -> None:
        _refuse("a phase's", self)
        rates = {name: _rate(name, rate) for name, rate in self.learning_rates.items()}
        object.__setattr__(self, "learning_rates", rates)

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the blocks that train in this phase."""
        return tuple(name for name, rate in self.learning_rates.items() if rate is not None)


@dataclass(frozen=True)
class Penalty:
    """Penalty on the distance to the pretrained weights, and on the head's norm; replaces weight decay."""

    kind: PenaltyKind
    """l2_sp: strength/2 x squared distance to the pretrained weights; l1_sp: strength x absolute distance."""
    strength: Annotated[float, STRENGTH]
    """Strength of the penalty on pretrained weights."""
    head_strength: Annotated[float, STRENGTH] = 1e-2
    """Strength of the penalty on the head: head_strength/2 x squared norm."""

    def __post_init__(self) -> None:
        _refuse("the penalty's", self)


@dataclass(frozen=True)
class Adapter:
    """Low-rank updates, trained instead of the weights and merged into them afterwards (LoRA)."""

    rank: Annotated[int, Range(1, 100_000)]
    scale: Annotated[float, Range(0, 1e9, above=True)]
    """Factor on the low-rank product (alpha / rank in the papers)."""

    def __post_init__(self) -> None:
        _refuse("the adapter's", self)


@dataclass(frozen=True)
class Ingredient:
    """A training whose weights or outputs go into a mixture."""

    plan: FineTunePlan
    """What it trains; it has no mixture of its own."""
    seed_offset: Annotated[int, Range(0, 1_000_000)] = 0
    """Added to the seed of the training that the mixture goes with."""
    share: Annotated[float, Range(0, 1e6, above=True)] = 1.0
    """How much it counts, relative to the plan that has the mixture, which counts 1."""

    def __post_init__(self) -> None:
        _refuse("an ingredient's", self)


@dataclass(frozen=True)
class Mixture:
    """What a training is combined with: an average of weights or of outputs, or a further training on the latter.

    Model soups (Wortsman et al. 2022); distillation (Hinton et al. 2015), also of a network into itself (born-again
    networks, Furlanello et al. 2018).
    """

    of: Mixed
    """weights: one network with the mean of all weights; outputs: several networks, and the mean of their
    probabilities; distilled: the plan's own network, trained once more from its own weights, on the labels and on that
    mean."""
    ingredients: tuple[Ingredient, ...]
    """The other trainings."""
    start_share: Annotated[float, Range(0, 1)] = 0.0
    """Of weights: the share of what training started from in the average; the trained weights make up the rest."""
    output_share: Annotated[float, Range(0, 1)] = 0.7
    """For distilled: weight of the mean output in the loss; the labels have the rest."""
    temperature: Annotated[float, Range(1, 100)] = 2.0
    """For distilled: temperature at which the network is compared with the mean output."""

    def __post_init__(self) -> None:
        _refuse("the mixture's", self)
        if self.of != "weights" and self.start_share:
            raise PlanError(f"plan: start_share is for mixtures of weights; leave it out of one of {self.of!r}.")
        if self.of != "distilled" and (self.output_share, self.temperature) != (0.7, 2.0):
            raise PlanError(f"plan: output_share and temperature are for 'distilled'; leave them out of {self.of!r}.")


class PlanOptions(TypedDict, total=False):
    """Fields of a plan besides its phases and granularity."""

    norm: NormMode
    parts: Parts
    penalty: Penalty | None
    adapter: Adapter | None
    rate_rule: RateRule
    interpolation: tuple[float, ...]
    head_start: HeadStart
    statistics: Statistics
    kept_epoch: Kept
    mixture: Mixture | None


class _StoredPhase(TypedDict):
    epochs: int | None
    learning_rates: dict[str, float | None]


class _StoredPenalty(TypedDict):
    kind: PenaltyKind
    strength: float
    head_strength: NotRequired[float]


class _StoredAdapter(TypedDict):
    rank: int
    scale: float


class _StoredPlan(TypedDict, total=False):
    """The JSON of a plan, apart from the fields that are stored as they are."""

    phases: list[_StoredPhase]
    prefixes: dict[str, list[str]]
    penalty: _StoredPenalty | None
    adapter: _StoredAdapter | None
    interpolation: list[float]
    mixture: dict[str, Any] | None


class _StoredAsIs(TypedDict, total=False):
    granularity: Granularity
    norm: NormMode
    parts: Parts
    rate_rule: RateRule
    head_start: HeadStart
    statistics: Statistics
    kept_epoch: Kept


@dataclass(frozen=True, repr=False)
class FineTunePlan:
    """Learning rates of all blocks in each phase.

    Compare with `==`, print it as a table, edit it with `freeze` and `train`, and train what you edited with
    `thawline.fit(data, plan=edited)`. `to_json` stores it.
    """

    phases: tuple[Phase, ...]
    granularity: Granularity = "stage"
    norm: NormMode = "train"
    """Norm layers of trained blocks: "train" uses and updates batch statistics, "eval" keeps the pretrained ones."""
    parts: Parts = "all"
    """Which parameters of trained blocks train; the head is always trained in full."""
    penalty: Penalty | None = None
    adapter: Adapter | None = None
    rate_rule: RateRule = "constant"
    """relative_gradient: at the start of each epoch, each tensor's learning rate is scaled by the ratio of its gradient
    norm to its weight norm, relative to the largest ratio (Auto-RGN)."""
    interpolation: tuple[float, ...] = ()
    """Coefficients for interpolating from the weights at the start of the last phase (0) to the trained ones (1); the
    best on validation is kept. Empty = no interpolation."""
    head_start: HeadStart = "random"
    """What the head starts from: random weights; the solved linear probe of the pretrained network, which makes full
    fine-tuning LP-FT (Kumar et al. 2022); or the head of the model that is fitted again, whose rows are kept for
    classes of the same name. With the probe or a kept head, the head need not train at all."""
    statistics: Statistics = "stored"
    """What batch norm starts from: the stored statistics, or statistics recomputed on the training images, without
    labels, in all blocks, before anything trains."""
    kept_epoch: Kept = "best"
    """Which epoch's weights are kept: the best one on validation, or the last one, whatever the validation says. The
    last one has the lowest learning rate and was not picked for its score; training then never stops early."""
    mixture: Mixture | None = None
    """What the trained network is combined with; None = nothing."""
    prefixes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    """Parameter name prefixes of each block, for `to_pytorch`; they do not affect training."""

    def __post_init__(self) -> None:
        _check_phases(self.phases)
        for name, value, choices in (
            ("granularity", self.granularity, get_args(Granularity)),
            ("norm", self.norm, get_args(NormMode)),
            ("parts", self.parts, get_args(Parts)),
            ("rate_rule", self.rate_rule, get_args(RateRule)),
            ("head_start", self.head_start, get_args(HeadStart)),
            ("statistics", self.statistics, get_args(Statistics)),
            ("kept_epoch", self.kept_epoch, get_args(Kept)),
            ("penalty kind", self.penalty and self.penalty.kind, (None, *get_args(PenaltyKind))),
        ):
            if value not in choices:
                raise PlanError(f"plan: {name} must be one of {', '.join(filter(None, choices))}, got {shown(value)}.")
        shares = [plain_number(share, float) for share in self.interpolation]
        if any(share is None or share not in SHARE for share in shares):
            raise PlanError(f"plan: interpolation must be numbers {SHARE}, got {shown(self.interpolation)}.")
        if self.adapter and self.rate_rule == "relative_gradient":
            raise PlanError("plan: an adapter starts at zero and has no relative gradient; use rate_rule 'constant'.")
        if self.head_start == "probe" and self.statistics == "recomputed":
            raise PlanError("plan: the probe is solved with the stored statistics; use statistics 'stored' with it.")
        if self.mixture:
            _check_mixture(self, self.mixture)

    def __getitem__(self, key: str) -> Any:
        """A part of the plan by its name in the JSON: `plan["phases"][0]["learning_rates"]`."""
        return self.to_dict()[key]

    @classmethod
    def constant(
        cls,
        blocks: Sequence[Block],
        learning_rates: Mapping[str, float | None],
        *,
        granularity: Granularity = "stage",
        **others: Unpack[PlanOptions],
    ) -> FineTunePlan:
        """A plan with one phase. Blocks that are not in `learning_rates` are frozen.

        `others` are the fields of `PlanOptions`.
        """
        return cls.phased(blocks, [(None, learning_rates)], granularity=granularity, **others)

    @classmethod
    def phased(
        cls,
        blocks: Sequence[Block],
        phases: Sequence[tuple[int | None, Mapping[str, float | None]]],
        *,
        granularity: Granularity = "stage",
        **others: Unpack[PlanOptions],
    ) -> FineTunePlan:
        """A plan from pairs of (epochs, learning rates); the last number of epochs is None, until the end."""
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
        """Blocks that train in at least one phase, and a solved or kept head; the others keep their pretrained weights.

        Of a mixture: those that any ingredient trains, unless these only teach.
        """
        head = () if self.head_start == "random" else self.blocks[-1:]
        others = () if self.is_distilled else self.others
        mixed = (name for ingredient in others for name in ingredient.plan.trained)
        return frozenset((*head, *mixed, *(name for phase in self.phases for name in phase.trained)))

    @property
    def is_solved(self) -> bool:
        """Whether nothing trains by gradient descent: the plan is the solved probe itself."""
        return self.is_untrained and self.head_start == "probe"

    @property
    def is_untrained(self) -> bool:
        """Whether nothing trains by gradient descent: it is the solved probe, or the network with its own head."""
        return self.mixture is None and not any(phase.trained for phase in self.phases)

    @property
    def is_ensemble(self) -> bool:
        """Whether the result is several networks, whose probabilities are averaged."""
        return self.mixture is not None and self.mixture.of == "outputs"

    @property
    def is_distilled(self) -> bool:
        """Whether the result is one network, trained once more on the mean output of the members."""
        return self.mixture is not None and self.mixture.of == "distilled"

    @property
    def as_ensemble(self) -> FineTunePlan:
        """The plan of the mean output of its members; itself without a mixture."""
        return replace(self, mixture=Mixture("outputs", self.others)) if self.mixture else self

    @property
    def others(self) -> tuple[Ingredient, ...]:
        """The ingredients of its mixture besides itself; none without a mixture."""
        return self.mixture.ingredients if self.mixture else ()

    @property
    def members(self) -> tuple[Ingredient, ...]:
        """All trainings of its mixture, the plan's own first; without a mixture, its own alone."""
        return Ingredient(self.single), *self.others

    @property
    def single(self) -> FineTunePlan:
        """The plan without its mixture, which is one to edit: of `auto`'s averages of trainings, the first one's."""
        return replace(self, mixture=None)

    @property
    def shares(self) -> tuple[float, ...]:
        """How much each of the members counts."""
        return tuple(member.share for member in self.members)

    @property
    def start_share(self) -> float:
        """The share in its weights of what training started from, apart from training itself."""
        return self.mixture.start_share if self.mixture else 0.0

    @property
    def united(self) -> FineTunePlan:
        """The plan in one phase that moves what a mixture moves: every block that any member trains.

        Of a distilled network: what it trains itself.
        """
        if self.is_distilled:
            return self.members[0].plan.united
        rates = {name: max(_rates_of(self.members, name), default=None) for name in self.blocks}
        return FineTunePlan(
            (Phase(rates),),
            self.granularity,
            self.norm,
            head_start=self.head_start,
            statistics=self.statistics,
            prefixes=self.prefixes,
        )

    def phase_at(self, epoch: int) -> Phase:
        """The phase of `epoch` (from 0)."""
        start = 0
        for phase in self.phases:
            if phase.epochs is None or epoch < start + phase.epochs:
                return phase
            start += phase.epochs
        return self.phases[-1]

    def is_validated(self, epoch: int, nominal: int) -> bool:
        """Whether a validation follows `epoch` (from 0) of `nominal` ones.

        Where the best epoch is kept, after every one; else where a search compares trainings, and at the end.
        """
        return self.kept_epoch == "best" or epoch + 1 in rungs(nominal)

    def in_last_phase(self, epoch: int) -> bool:
        """Whether `epoch` (from 0) is in the last phase."""
        return self.phase_at(epoch) is self.phases[-1]

    def starts_last_phase(self, epoch: int) -> bool:
        """Whether `epoch` (from 0) is the first of the last phase."""
        return epoch == sum(phase.epochs or 0 for phase in self.phases[:-1])

    def highest_rate(self, block: str) -> float | None:
        """The highest learning rate of `block` in any phase; None if it is always frozen."""
        rates = [rate for phase in self.phases if (rate := phase.learning_rates[block]) is not None]
        return max(rates, default=None)

    def check(self, blocks: Sequence[Block]) -> None:
        """Raise `PlanError` unless the plan has exactly the blocks of a model and trains its head."""
        expected = [block.name for block in blocks]
        if sorted(self.blocks) != sorted(expected):
            missing = [name for name in expected if name not in self.blocks]
            unknown = [name for name in self.blocks if name not in expected]
            raise PlanError(
                f"plan: its blocks differ from those of the model at granularity {self.granularity!r} "
                f"(missing: {missing or 'none'}, unknown: {unknown or 'none'}); `thawline inspect` lists them."
            )
        for ingredient in self.others:
            ingredient.plan.check(blocks)
        for number, phase in enumerate(self.phases, start=1):
            for block in blocks:
                if block.is_head and self.head_start == "random" and phase.learning_rates[block.name] is None:
                    raise PlanError(
                        f"plan: phase {number} freezes the head {block.name!r}, which is new and must be trained; "
                        "give it a learning rate."
                    )

    def freeze(self, *blocks: str) -> FineTunePlan:
        """The same plan with these blocks frozen from the first epoch to the last.

        Raises `PlanError` for a name that is not one of `blocks`, for a head that starts from random weights, and for a
        plan that combines several trainings (edit `single`, or another of its `members`, instead).
        """
        self._require(blocks)
        if self.head_start == "random" and self.blocks[-1] in blocks:
            raise PlanError(f"plan: {self.blocks[-1]!r} is the head, which is new and must train.")
        return self._with_rates(dict.fromkeys(blocks))

    def train(self, block: str, learning_rate: float) -> FineTunePlan:
        """The same plan with a block trained at this learning rate from the first epoch to the last.

        Raises `PlanError` as `freeze` does, and for a rate that is not a number above 0.
        """
        self._require([block])
        if learning_rate is None:
            raise PlanError(f"plan: the learning rate of block {block!r} must be a number {RATE}, got None.")
        return self._with_rates({block: learning_rate})

    def _require(self, blocks: Iterable[object]) -> None:
        """Raise `PlanError` if the plan combines several trainings, or if one of `blocks` is not a block of it."""
        if self.mixture:
            raise PlanError(
                f"plan: it combines {counted(len(self.members), 'training')}; edit the first, `plan.single`, or "
                "another of `plan.members`."
            )
        for name in blocks:
            if not isinstance(name, str):
                raise PlanError(f"plan: blocks are given by their names, one by one, got {shown(name)}.")
            if name not in self.blocks:
                known = nearest(name, self.blocks) or f"; the blocks are {', '.join(self.blocks)}."
                raise PlanError(f"plan: it has no block {name!r}{known}")

    def _with_rates(self, changed: Mapping[str, float | None]) -> FineTunePlan:
        phases = (replace(phase, learning_rates={**phase.learning_rates, **changed}) for phase in self.phases)
        return replace(self, phases=tuple(phases))

    def __str__(self) -> str:
        return table_text(*self._table())

    def __repr__(self) -> str:
        kind = f", {self.mixture.of} of {len(self.members)} trainings" if self.mixture else ""
        return f"<FineTunePlan: {len(self.trained)} of {len(self.blocks)} blocks train{kind}>"

    def _repr_html_(self) -> str:
        return table_html(*self._table())

    def _table(self) -> tuple[Sequence[str], Sequence[Sequence[str]], Sequence[str]]:
        """Header, one row per block, and notes below; a column for every phase of every training."""
        spans = [(member, phase) for member in self.members for phase in member.plan.phases]
        rows = [(name, *(self._cell(name, each.plan, phase) for each, phase in spans)) for name in self.blocks]
        titles = [title for number, member in enumerate(self.members, 1) for title in self._titles(number, member)]
        return ("block", *titles), rows, self._notes()

    def _titles(self, number: int, member: Ingredient) -> Iterator[str]:
        """Above the columns of one training."""
        which = f"training {number}, " if len(self.members) > 1 else ""
        first = 1
        for phase in member.plan.phases:
            last = None if phase.epochs is None else first + phase.epochs - 1
            span = "" if last is None and first == 1 else f", epochs {first} to {last or 'the end'}"
            yield f"{which}learning rate{span}"
            first = (last or first) + 1

    def _cell(self, block: str, plan: FineTunePlan, phase: Phase) -> str:
        found = phase.learning_rates[block]
        if found is not None:
            return rate(found)
        return "solved" if block == self.blocks[-1] and plan.head_start == "probe" else "frozen"

    def _notes(self) -> list[str]:
        """Everything besides the rates that is not as in plain fine-tuning, and how norm layers and head begin."""
        facts = [f"blocks: {self.granularity}", f"norm layers of trained blocks: {self.norm}"]
        facts.append(f"head starts from {HEAD_STARTS[self.head_start]}")
        facts += [f"{name.replace('_', ' ')}: {value}" for name, value in self._unusual().items()]
        return ["; ".join(facts)]

    def _unusual(self) -> dict[str, object]:
        others = ("parts", "penalty", "adapter", "rate_rule", "interpolation", "statistics", "kept_epoch")
        usual = {each.name: each.default for each in fields(self)}
        found = {name: getattr(self, name) for name in others if getattr(self, name) != usual[name]}
        return found | ({"combined": f"mean {self.mixture.of}"} if self.mixture else {})

    def to_json(self) -> str:
        """JSON text; `from_json` is the inverse."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_dict(self) -> dict[str, object]:
        """The plan as plain JSON types."""
        return self._to_dict() | ({"mixture": _stored_mixture(self.mixture)} if self.mixture else {})

    def _to_dict(self) -> dict[str, object]:
        """All but the mixture."""
        return {
            "format_version": FORMAT_VERSION,
            "granularity": self.granularity,
            "norm": self.norm,
            "parts": self.parts,
            "penalty": asdict(self.penalty) if self.penalty else None,
            "adapter": asdict(self.adapter) if self.adapter else None,
            "rate_rule": self.rate_rule,
            "interpolation": list(self.interpolation),
            "head_start": self.head_start,
            "statistics": self.statistics,
            "kept_epoch": self.kept_epoch,
            "phases": [{"epochs": phase.epochs, "learning_rates": dict(phase.learning_rates)} for phase in self.phases],
            "prefixes": {name: list(prefixes) for name, prefixes in self.prefixes.items()},
        }

    @classmethod
    def from_json(cls, text: str) -> FineTunePlan:
        """Read the JSON of `to_json`, or a hand-edited copy. Raises `PlanError` if it is invalid."""
        try:
            stored = parse_json(text)
        except ValueError as error:
            raise PlanError(f"plan: not JSON ({error}).") from error
        return cls.from_dict(stored)

    @classmethod
    def from_dict(cls, data: object) -> FineTunePlan:
        """Inverse of `to_dict`. Raises `PlanError` if `data` is invalid."""
        if not isinstance(data, Mapping):
            raise PlanError(f"plan: must be a JSON object, got {type(data).__name__}.")
        version = data.get("format_version")
        if plain_number(version, int) != FORMAT_VERSION:
            raise PlanError(f"plan: format_version must be {FORMAT_VERSION}, got {shown(version)}.")
        known = {"format_version", *(each.name for each in fields(cls))}
        if unknown := sorted(set(data) - known):
            raise PlanError(f"plan: unknown keys {unknown}; the keys are {sorted(known)}.")
        stored = cast("_StoredPlan", data)
        try:
            phases = tuple(Phase(_object(phase["learning_rates"]), phase.get("epochs")) for phase in stored["phases"])
            prefixes = {name: _names(names) for name, names in _object(stored.get("prefixes", {})).items()}
            penalty = None if (given := stored.get("penalty")) is None else Penalty(**given)
            adapter = None if (factors := stored.get("adapter")) is None else Adapter(**factors)
            interpolation = _list(stored.get("interpolation", ()))
            mixture = None if (mixed := stored.get("mixture")) is None else _read_mixture(mixed)
        except (KeyError, TypeError, AttributeError) as error:
            raise PlanError(
                "plan: every phase needs `learning_rates` (block name -> rate, or null = frozen), and "
                f"`prefixes` maps block names to lists of names; could not read {error}."
            ) from error
        plain = cast("_StoredAsIs", {name: data[name] for name in _StoredAsIs.__annotations__ if name in data})
        return cls(
            phases,
            penalty=penalty,
            adapter=adapter,
            interpolation=interpolation,
            mixture=mixture,
            prefixes=prefixes,
            **plain,
        )

    @property
    def sets_rates_only(self) -> bool:
        """Whether the learning rates and the norm mode describe the last phase completely, from a random head on."""
        return (
            self.parts == "all"
            and self.rate_rule == "constant"
            and self.head_start == "random"
            and self.statistics == "stored"
            and not (self.penalty or self.adapter or self.interpolation or self.mixture)
        )

    def to_pytorch(self, optimizer: str = "adamw", weight_decay: float = 1e-4) -> str:
        """Plain PyTorch code that rebuilds the optimizer groups of the last phase without thawline.

        Penalties and everything else that `sets_rates_only` excludes are not included. Of a mixture: code that averages
        what its members, trained one by one, have as weights or outputs, or that trains on the mean output.
        """
        if self.mixture is not None and self.is_ensemble:
            return mean_output_lines(self.shares)
        if self.mixture is not None and not self.is_distilled:
            return mean_weights_lines(self.shares, self.start_share, keeps_statistics=self.norm == "eval")
        rates = {
            prefix: rate
            for name, rate in self.phases[-1].learning_rates.items()
            for prefix in self.prefixes.get(name, (name,))
        }
        lines = pytorch_lines(
            rates, keeps_statistics=self.norm == "eval", optimizer=optimizer, weight_decay=weight_decay
        )
        if self.mixture is None:
            return lines
        return lines + distilled_lines(self.shares, self.mixture.output_share, self.mixture.temperature)


def _check_phases(phases: tuple[Phase, ...]) -> None:
    if not phases:
        raise PlanError("plan: at least one phase is required.")
    for number, phase in enumerate(phases, start=1):
        if set(phase.learning_rates) != set(phases[0].learning_rates):
            raise PlanError(f"plan: phase {number} has other blocks than phase 1; every phase must have all blocks.")
        is_last = number == len(phases)
        if phase.epochs is None and not is_last:
            raise PlanError(f"plan: phase {number} has no number of epochs; only the last phase may omit it.")


def _check_mixture(plan: FineTunePlan, mixture: Mixture) -> None:
    """Raise `PlanError` unless the ingredients fit together."""
    if not mixture.ingredients and not mixture.start_share:
        raise PlanError("plan: a mixture needs ingredients or a start_share above 0; leave it out otherwise.")
    if mixture.of == "distilled":
        _check_distilled(plan)
    for number, ingredient in enumerate(mixture.ingredients, start=1):
        other = ingredient.plan
        if other.mixture:
            raise PlanError(f"plan: ingredient {number} has a mixture itself; list its ingredients instead.")
        if set(other.blocks) != set(plan.blocks) or other.granularity != plan.granularity:
            raise PlanError(f"plan: ingredient {number} has other blocks than the plan; they must be the same.")
        if mixture.of == "weights" and _start_of(other) != _start_of(plan):
            raise PlanError(
                f"plan: ingredient {number} has another norm, head_start or statistics than the plan; weights can be "
                "averaged only if training started from the same ones."
            )


def _check_distilled(plan: FineTunePlan) -> None:
    """Raise `PlanError` unless the plan can train once more from its own weights."""
    if not any(phase.trained for phase in plan.phases):
        raise PlanError("plan: a solved probe cannot be 'distilled', because nothing of it trains.")
    if plan.penalty:
        raise PlanError(
            "plan: a penalty pulls towards the pretrained weights, and a 'distilled' network starts from trained ones; "
            "leave one of them out."
        )


def _start_of(plan: FineTunePlan) -> tuple[str, ...]:
    return plan.norm, plan.head_start, plan.statistics


def _read_mixture(stored: Mapping[str, Any]) -> Mixture:
    try:
        ingredients = tuple(
            Ingredient(**{**_object(each), "plan": FineTunePlan.from_dict(each["plan"])})
            for each in _list(_object(stored)["ingredients"])
        )
        return Mixture(**{**stored, "ingredients": ingredients})
    except (KeyError, TypeError) as error:
        raise PlanError(
            "plan: a mixture needs `of` (weights, outputs or distilled) and `ingredients`, each with a `plan` and, if "
            f"need be, `seed_offset` and `share`; could not read {_without_python(error)}."
        ) from error


def _without_python(error: Exception) -> str:
    """The message of a missing key or an unknown argument, without the name of the function."""
    return str(error).rpartition("() ")[2]


def _stored_mixture(mixture: Mixture) -> dict[str, object]:
    ingredients = [
        {"plan": each.plan.to_dict(), "seed_offset": each.seed_offset, "share": each.share}
        for each in mixture.ingredients
    ]
    own: dict[str, object] = {"start_share": mixture.start_share}
    if mixture.of == "distilled":
        own = {"output_share": mixture.output_share, "temperature": mixture.temperature}
    return {"of": mixture.of, **own, "ingredients": ingredients}


def _rates_of(members: Iterable[Ingredient], block: str) -> Iterator[float]:
    """The highest rate of a block in each of the plans that train it."""
    return (rate for member in members if (rate := member.plan.highest_rate(block)) is not None)


def _refuse(what: str, part: Phase | Penalty | Adapter | Ingredient | Mixture) -> None:
    if fault := first_fault(part):
        raise PlanError(f"plan: {what} {fault.name} {fault}")


def _rate(block: str, rate: object) -> float | None:
    number = plain_number(rate, float)
    if rate is None or (number is not None and number in RATE):
        return number
    raise PlanError(
        f"plan: the learning rate of block {block!r} must be a number {RATE}, or null = frozen; got {shown(rate)}."
    )


def _object(value: Mapping[str, Value]) -> dict[str, Value]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{shown(value)}, which is not an object")
    return dict(value)


def _list(value: Sequence[Value]) -> tuple[Value, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{shown(value)}, which is not a list")
    return tuple(value)


def _names(value: Sequence[str]) -> tuple[str, ...]:
    if not all(isinstance(name, str) for name in _list(value)):
        raise TypeError(f"{shown(value)}, which is not a list of names")
    return tuple(value)
