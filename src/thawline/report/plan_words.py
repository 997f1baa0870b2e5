"""A plan in words: what trains at which rate, what batch norm does, what the head starts from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from thawline.formatting import counted, rate, sentence
from thawline.plan import FineTunePlan, HeadStart, NormMode, Phase
from thawline.records import TrainingRecord
from thawline.results import ScoredCellRow, ScoredRow

BATCH_NORM = {
    "moving": "batch norm with batch statistics",
    "kept": "batch norm keeps its running statistics",
}
"""What the batch norm of trained blocks does, as a clause."""
NORM_OF: Mapping[NormMode, str] = {"train": "moving", "eval": "kept"}
"""The mode of a plan in the words of an argument."""
BATCH_NORM_DEFINED = {
    "moving": (
        "Batch norm of the trained blocks: moving. Training normalizes with batch statistics and updates the running "
        "statistics, which inference uses."
    ),
    "kept": (
        "Batch norm of the trained blocks: kept. Training and inference both normalize with the running statistics "
        "of the network it started from."
    ),
}
"""The same in full sentences."""
BATCH_NORM_SHORT = (
    "Batch norm of trained blocks: moving = batch statistics, which also update the running ones; kept = running "
    "statistics."
)
"""Below a table that has the words."""
SEVERAL = "several"
"""In a table, of a mixture whose members differ."""


def is_solved(row: ScoredRow | ScoredCellRow | TrainingRecord) -> bool:
    """Whether nothing of it trains by gradient descent: it is the solved linear probe."""
    if isinstance(row, ScoredCellRow) or not is_untrained(row):
        return is_untrained(row)
    plan = row.plan
    return (plan.head_start if isinstance(plan, FineTunePlan) else plan.get("head_start")) != "kept"


def is_untrained(row: ScoredRow | ScoredCellRow | TrainingRecord) -> bool:
    """Whether nothing of it trains by gradient descent: the solved probe, or the old network."""
    return row.learning_rate == 0 and not is_mixture(row)


def is_mixture(row: ScoredRow | ScoredCellRow | TrainingRecord) -> bool:
    """Whether it is made of several trainings; recipes have none."""
    if isinstance(row, ScoredRow):
        return row.plan.mixture is not None
    return isinstance(row, TrainingRecord) and "mixture" in row.plan


def is_distilled(row: ScoredRow | ScoredCellRow | TrainingRecord) -> bool:
    """Whether it is a training on the mean output of several others."""
    if isinstance(row, ScoredRow):
        return row.plan.is_distilled
    return isinstance(row, TrainingRecord) and FineTunePlan.from_dict(row.plan).is_distilled


def made_by(row: ScoredRow) -> str:
    """The strategy that makes its plan; of a mixture the search, as no strategy that it tried makes the whole."""
    return row.strategy if is_mixture(row) else row.chosen


def mixture_in_words(plan: FineTunePlan) -> str:
    """What a mixture is, in short: `mean weights of 3 trainings`; empty of a plan without one."""
    if plan.mixture is None:
        return ""
    if plan.is_distilled:
        return f"trained once more on the mean output of {counted(len(plan.members), 'candidate')}"
    if plan.is_ensemble:
        return f"mean output of {counted(len(plan.members), 'network')}"
    if len(plan.members) == 1:
        return f"trained weights mixed with a share of {plan.start_share:.3g} of those before training"
    return f"mean weights of {counted(len(plan.members), 'training')}{_start_in_words(plan)}"


def _start_in_words(plan: FineTunePlan) -> str:
    return f" and, with a share of {plan.start_share:.3g}, of the weights before training" if plan.start_share else ""


def head_start(row: ScoredRow) -> HeadStart:
    """What its head starts from, or is: random or probe."""
    return row.plan.head_start


def head_in_words(row: ScoredRow) -> str:
    """What its head starts from: random or probe, or several if the networks of a mixture differ."""
    return head_start(row) if is_distilled(row) else _heads_in_words(row)


def _heads_in_words(row: ScoredRow) -> str:
    """The same of all members, among them those that a distilled network learned from."""
    plan = row.plan
    return _one_or_several({member.plan.head_start for member in plan.members})


def batch_norm_in_words(row: ScoredRow) -> str:
    """Moving or kept, or several if the networks of a mixture differ; empty where no trained block has batch norm."""
    return row.batch_norm or "" if is_distilled(row) else _norms_in_words(row)


def _norms_in_words(row: ScoredRow) -> str:
    """The same of all members, among them those that a distilled network learned from."""
    plan = row.plan
    if not (row.batch_norm and plan.mixture):
        return row.batch_norm or ""
    return _one_or_several({NORM_OF[member.plan.norm] for member in plan.members if _trains_body(member.plan)})


def _one_or_several(words: set[str]) -> str:
    return next(iter(words)) if len(words) == 1 else SEVERAL


def _trains_body(plan: FineTunePlan) -> bool:
    """Whether a block below the head trains; its norm mode has no effect otherwise."""
    return bool(plan.trained - {plan.blocks[-1]})


def solved_head(plan: FineTunePlan) -> str | None:
    """The head, if its weights are those of the solved probe where it does not train."""
    return plan.blocks[-1] if plan.head_start == "probe" else None


def base_rate(row: ScoredRow | ScoredCellRow) -> str:
    """Its base rate, or how its head was solved: `3e-4`, `solved (L2 1e-2)`; `several` of several trainings."""
    if is_distilled(row):
        return rate(row.learning_rate)
    if is_mixture(row):
        return SEVERAL
    if not is_untrained(row):
        return rate(row.learning_rate)
    if not is_solved(row):
        return "none"
    return f"solved{_penalty(row.probe_strength, ' ({})')}"


def named(row: ScoredRow) -> str:
    """The strategy and its rate: `full:norm=kept at 3e-4`, `linear_probe, solved (L2 1e-2)`.

    Of a mixture, what it is: `auto, mean weights of 3 trainings`.
    """
    if is_mixture(row):
        return f"{row.strategy}, {mixture_in_words(row.plan)}"
    if is_untrained(row) and not is_solved(row):
        return row.chosen
    return f"{row.chosen}{', ' if is_solved(row) else ' at '}{base_rate(row)}"


def plan_in_words(row: ScoredRow) -> str:
    """`Train blocks.6 and the head at 1e-3, freeze the rest (head from random weights; batch norm keeps ...)`."""
    plan = row.plan
    if plan.mixture:
        return f"{answer_in_words(row)} ({mixed_from(row)})"
    if plan.is_solved:
        penalty = _penalty(row.probe_strength, " ({})")
        return f"Solve the head alone as a linear probe{penalty}, freeze the rest"
    if plan.is_untrained:
        return _untrained_in_words(plan)
    return f"{_rates_in_words(plan)} ({'; '.join(besides_rates(row))})"


def answer_in_words(row: ScoredRow) -> str:
    """The plan in words, but of a mixture only what it is: its trainings would fill a headline."""
    plan = row.plan
    if plan.is_ensemble:
        return f"Ensemble of {len(plan.members)} networks, mean of their probabilities"
    if plan.is_distilled:
        return f"Train one network once more on the mean output of {counted(len(plan.members), 'candidate')}"
    if plan.mixture and len(plan.members) == 1:
        return f"Mix the trained weights with a share of {plan.start_share:.3g} of those before training"
    if plan.mixture:
        return f"Average the weights of {counted(len(plan.members), 'training')}{_start_in_words(plan)}"
    return plan_in_words(row)


def mixed_from(row: ScoredRow) -> str:
    """What a mixture is made of, then what that shares: `1: everything at 1e-3; 2: ...; head from random weights`.

    Empty without a mixture.
    """
    return "; ".join((_members_in_words(row), *_shared(row))) if is_mixture(row) else ""


def besides_rates(row: ScoredRow) -> list[str]:
    """What its plan does that the rates of its blocks do not tell; nothing of a solved probe."""
    plan = row.plan
    if plan.mixture:
        return [f"{mixture_in_words(plan)} ({mixed_from(row)})"]
    return [] if plan.is_solved else [*_shared(row), *_further(plan)]


def _shared(row: ScoredRow) -> list[str]:
    """What its head starts from and what its batch norm does; of a mixture, as far as its members share it."""
    head, norm = _heads_in_words(row), _norms_in_words(row)
    words = [] if head == SEVERAL else [_start(head, row.probe_strength)]
    return [*words, BATCH_NORM[norm]] if norm in BATCH_NORM else words


def _further(plan: FineTunePlan) -> list[str]:
    """What a plan does besides its rates, its head start and its batch norm."""
    facts = list[str]()
    if len(plan.phases) > 1:
        facts.append(_phases_in_words(plan.phases))
    if plan.statistics == "recomputed":
        facts.append("statistics of batch norm recomputed on the new images before training")
    if plan.parts != "all":
        facts.append(f"only {plan.parts.replace('_', ' ')} of each block")
    if plan.adapter:
        facts.append("low-rank updates instead of full weights")
    if plan.penalty:
        facts.append("regularized toward the weights it started from")
    if plan.rate_rule == "relative_gradient":
        facts.append("each tensor's rate follows its relative gradient norm")
    if plan.interpolation:
        facts.append("interpolated with the weights it started from")
    return facts


def _members_in_words(row: ScoredRow) -> str:
    """The members of a mixture: `1: everything at 1e-3; 2: the same as 1 with another seed`."""
    plan = row.plan
    plans, total = [member.plan for member in plan.members], sum(plan.shares)
    words = []
    for number, member in enumerate(plans, start=1):
        first = plans.index(member) + 1
        own = f"the same as {first} with another seed" if first < number else _member_in_words(row, member)
        share = f", share {plan.shares[number - 1] / total:.3g}" if len(set(plan.shares)) > 1 else ""
        words.append(f"{number}: {own}{share}")
    return "; ".join(words)


def _member_in_words(row: ScoredRow, member: FineTunePlan) -> str:
    """A member of a mixture, with what not all of them share."""
    if member.is_solved:
        return "the solved linear probe"
    if member.is_untrained:
        words = _untrained_in_words(member)
        return f"{words[0].lower()}{words[1:]}"
    facts = [_short(member)]
    if _heads_in_words(row) == SEVERAL:
        facts.append(_start(member.head_start, None))
    if _norms_in_words(row) == SEVERAL and _trains_body(member):
        facts.append(BATCH_NORM[NORM_OF[member.norm]])
    return ", ".join((*facts, *_further(member)))


def _short(plan: FineTunePlan) -> str:
    """Which blocks train, at which rates: `blocks.4 and the head at 1e-3`."""
    return _rates_in_words(plan).removeprefix("Train ").removesuffix(", freeze the rest")


def defined(row: ScoredRow) -> list[str]:
    """What its head starts from, and what batch norm of its trained blocks does where any has it: full sentences.

    Of a mixture, first what it is made of; what its members do not share is said there.
    """
    plan = row.plan
    mixture = _mixture_defined(row) if plan.mixture else ""
    head = "" if is_distilled(row) or head_in_words(row) == SEVERAL else _head_defined(plan, row.probe_strength)
    doubt = sentence(mismatch(row)) if mismatch(row) else ""
    return list(filter(None, (mixture, head, BATCH_NORM_DEFINED.get(batch_norm_in_words(row)), doubt)))


def mismatch(row: ScoredRow) -> str:
    """What to know of a probe's head above batch norm that moves, as a clause; empty elsewhere."""
    if batch_norm_in_words(row) != "moving" or head_in_words(row) != "probe" or is_distilled(row):
        return ""
    return (
        "the head starts from a probe solved with the running statistics of batch norm, which may not match batch "
        "statistics; compare it with norm=kept or head_start=random"
    )


def _start(head_start: str, strength: float | None) -> str:
    if head_start == "random":
        return "head from random weights"
    if head_start == "kept":
        return "head from the old model"
    return f"head from the linear probe{_penalty(strength, ', {}')}"


def _mixture_defined(row: ScoredRow) -> str:
    """What a mixture is, in full sentences."""
    plan = row.plan
    if plan.mixture is not None and plan.is_distilled:
        share = plan.mixture.output_share
        return (
            f"The network was {mixture_in_words(plan)} ({_members_in_words(row)}). It started from the trained "
            "weights of 1, with the same learning rates and a restarted schedule; in the loss, the mean output has a "
            f"weight of {share:.3g} and the labels of {1 - share:.3g}."
        )
    made = f"The network has {'' if len(plan.members) == 1 else 'the '}{mixture_in_words(plan)}"
    if plan.is_ensemble:
        made = f"{len(plan.members)} networks were trained, and their class probabilities are averaged"
    return f"{made}: {_members_in_words(row)}. Learning rates of blocks are the highest of any of them."


def _head_defined(plan: FineTunePlan, strength: float | None) -> str:
    if plan.head_start == "random":
        return "The head starts from random weights."
    if plan.head_start == "kept":
        start = "is" if plan.highest_rate(plan.blocks[-1]) is None else "starts from"
        return f"The head {start} that of the old model, with random rows for any new classes."
    how = (
        "a logistic regression on the features of the network before training, solved exactly with an L2 "
        f"penalty{'' if strength is None else f' of {rate(strength)}'} chosen on validation"
    )
    if plan.is_solved:
        return f"The head is the linear probe: {how}. It has no learning rate."
    return f"The head starts from the linear probe: {how}."


def _penalty(strength: float | None, around: str) -> str:
    """`L2 1e-2` in a format; empty where it is not known."""
    return "" if strength is None else around.format(f"L2 {rate(strength)}")


def _phases_in_words(phases: Sequence[Phase]) -> str:
    spans = [counted(phase.epochs, "epoch") if phase.epochs else "the rest" for phase in phases]
    return f"{len(phases)} phases, from the top: {', '.join(spans)}"


def _rates_in_words(plan: FineTunePlan) -> str:
    *below, head = plan.blocks
    rates = {name: value for name in plan.blocks if (value := plan.highest_rate(name)) is not None}
    body = {name: rates[name] for name in below if name in rates}
    if not rates and plan.head_start == "kept":
        return _untrained_in_words(plan)
    if not rates:
        return "Solve the head alone as a linear probe, freeze the rest"
    if not body:
        return f"Train the head alone at {rate(rates[head])}, freeze the rest"
    trained, frozen = _span(plan.blocks, list(body)), ", freeze the rest" if len(body) < len(below) else ""
    if head not in rates:
        return f"Train {trained} at {_extent(body.values())}, keep the head{frozen}"
    if len(set(rates.values())) > 1:
        return f"Train {trained} at {_extent(body.values())} and the head at {rate(rates[head])}{frozen}"
    return f"Train {f'{trained} and the head' if frozen else 'everything'} at {rate(rates[head])}{frozen}"


def _untrained_in_words(plan: FineTunePlan) -> str:
    if plan.statistics == "recomputed":
        return "Keep the old model, with the statistics of batch norm recomputed on the new images"
    return "Keep the old model as it is"


def _extent(rates: Collection[float]) -> str:
    low, high = min(rates), max(rates)
    return rate(low) if low == high else f"{rate(low)} to {rate(high)}"


def _span(blocks: Sequence[str], body: Sequence[str]) -> str:
    """Names of trained blocks: `everything`, `blocks.4 to blocks.6`, or a list."""
    if len(body) == len(blocks) - 1:
        return "everything" if len(body) > 1 else body[0]
    positions = [index for index, name in enumerate(blocks) if name in body]
    contiguous = positions == list(range(positions[0], positions[-1] + 1))
    if contiguous and len(body) > 2:
        return f"{body[0]} to {body[-1]}"
    return ", ".join(body)
