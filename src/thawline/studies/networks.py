"""Which network, at which image size: several pairs of a model and a size share the budget of one `fit`.

First every pair is looked at without training: what it costs in use, a solved linear probe, nearest neighbors. Those
that may still be the best train the first candidates of `auto` for a few epochs, and the better half of them further,
to the end. The run goes on with the pair that is chosen, whose trainings are the first of its search. All of it is
decided on validation images and counted in work, so that the same seed decides alike on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace

import numpy as np

from thawline.callback import Callback
from thawline.config import Candidates, Request
from thawline.errors import ModelError, OptionError, PlanError, RunError, TooLittleMemoryError
from thawline.formatting import counted, figure, interval
from thawline.records import FORMAT_VERSION, TrainingRecord, digest, environment, fingerprint
from thawline.report.networks import choice_in_words, doubled_in_words, milliseconds, name_of, network_facts_in_words
from thawline.results import (
    AugmentationChoice,
    ImageAccuracy,
    NetworkChoice,
    NetworkDifference,
    NetworkFacts,
    NetworkTrial,
)
from thawline.runs.experiment import Experiment
from thawline.runs.files import CHECKPOINTS, LEDGER, MODELS, MODELS_FOLDER, read_if_there, write
from thawline.runs.folder import RunFolder
from thawline.runs.ledger import Ledger
from thawline.runs.setup import Opened
from thawline.runs.workforce import Workers
from thawline.search.networks import Standing, chosen, promoted, ranked, within_reach
from thawline.strategies.auto import AMOUNTS, AutoConfig, Budget, with_other_budget
from thawline.strategies.base import variants
from thawline.studies.auto import least_work
from thawline.studies.pairs import Comparable, Pair, Screening, accuracy_of, measure, pairs_of, right_of, screened
from thawline.training.evaluation import bootstrap_interval

SHARE = 0.5
"""Share of the budget that choosing the network may take; the rest goes to the search of its plan."""


def settle_network(folder: RunFolder, callback: Callback, workers: Workers | None = None) -> None:
    """Narrow the request of a run to one of its candidates, whose trainings become those of the run.

    `workers` train for several of them side by side; in this process one network is in memory at a time. Interrupted at
    any moment, it goes on from there. Raises `InputError` if no candidate can be had, or if all of them break a limit.
    """
    request = folder.request()
    if request.candidates is None:
        return
    pairs = pairs_of(request, folder.path / MODELS_FOLDER)
    choice = read_if_there(folder.path / MODELS, NetworkChoice)
    if choice is None:
        try:
            choice = _Contest(folder, request, request.candidates, pairs, callback, workers).run()
        finally:
            for pair in pairs:
                pair.drop()
        write(folder.file(MODELS), choice)
        callback.note(choice.words)
    _narrow(folder, request, next(pair for pair in pairs if _is_of(choice.best, pair)), choice)


def _is_of(trial: NetworkTrial, pair: Pair) -> bool:
    return (trial.model, trial.asked_size) == (pair.model, pair.asked_size)


def _narrow(folder: RunFolder, request: Request, pair: Pair, choice: NetworkChoice) -> None:
    """Go on with a pair: its weights first, then its ledger, then the request, which says that all is done."""
    for path in sorted((pair.path / CHECKPOINTS).glob("*.safetensors")):
        path.replace(folder.file(CHECKPOINTS, path.name))
    ledger, own = Ledger(folder.file(LEDGER)), pair.ledger
    ledger.adopt(own, variants(choice.strategy, request.search.norm)[0].spec)
    if (augmentation := own.augmentation) is not None and ledger.augmentation is None:
        ledger.keep_augmentation(augmentation)
    settled = RunFolder(pair.path).request()  # with the device and whatever else was `auto`
    changes = {"strategies": (choice.strategy,), "explain": request.explain, "refit": request.refit}
    folder.store(replace(settled, **changes))  # type: ignore[arg-type]


@dataclass
class _Entrant:
    """A pair, and what is known of it so far."""

    pair: Pair
    facts: NetworkFacts | None = None
    probe: TrainingRecord | None = None
    screening: Screening | None = None
    refusal: tuple[str, str] | None = None
    """Why it is left out: the outcome and the reason."""
    trained: dict[int, TrainingRecord] = field(default_factory=dict)
    """Its training up to each rung, unless it failed."""
    work: float = 0.0
    """Units of its own that its trainings took."""
    seconds: float = 0.0
    tried: int = 0
    """Number of candidates."""
    least: float = 0.0
    """Units of its own that the search must be left with if it is chosen."""

    @property
    def name(self) -> str:
        """As messages and tables call it."""
        return name_of(self.pair.name, self.facts, self.pair.asked_size)

    def at(self, rung: int) -> TrainingRecord | None:
        """Its training up to a rung; -1 = the probe."""
        if rung < 0:
            return self.probe
        return self.trained.get(rung)

    @property
    def rung(self) -> int:
        """The last rung that it was trained to."""
        return max(self.trained, default=-1)

    def known_facts(self) -> NetworkFacts:
        """What was measured; only for pairs that were opened."""
        assert self.facts is not None
        return self.facts


@dataclass
class _Contest:
    """Looks at all pairs, trains some of them, and chooses."""

    folder: RunFolder
    request: Request
    limits: Candidates
    pairs: Sequence[Pair]
    callback: Callback
    workers: Workers | None = None
    augmentation: AugmentationChoice | None = None
    """What the first pair settled on, for all of them."""
    mirror_flops: float = 0.0
    validation_images: int = 0
    epochs: Sequence[int] = ()
    """Of the rungs."""
    spent: float = 0.0
    """In the unit of the budget."""

    def __post_init__(self) -> None:
        strategy = variants(self.request.strategies[0], self.request.search.norm)[0]
        assert isinstance(strategy, AutoConfig)
        self.settings = strategy
        self.budget = Budget.parse(strategy.budget)
        self.environment = environment(device=self.request.train.device, threads=self.request.train.threads)
        self.ledger = Ledger(self.folder.file(LEDGER))
        self.ledger.bind_choice(self.request.to_dict())
        self.entrants = [_Entrant(pair) for pair in self.pairs]

    def run(self) -> NetworkChoice:
        """The choice, with everything that led to it."""
        self.callback.note(
            f"Choosing among {counted(len(self.pairs), 'network')}: all are measured and probed without training; "
            "those that may be the best are trained for a few epochs, and the better ones further."
        )
        if self.workers is not None:
            for entrant in self.entrants:
                self._begin_look(entrant)
        for entrant in self.entrants:
            self._look_at(entrant)
        able = self._able()
        self.costliest = max(entrant.known_facts().unit_flops for entrant in able)
        self.spent = self._spent_on_probes()
        winner = self._contest(able)
        return self._result(winner)

    def _able(self) -> list[_Entrant]:
        """Those that can be trained; raises `InputError` if there are none."""
        able = [entrant for entrant in self.entrants if entrant.refusal is None]
        if able:
            return able
        reasons = "; ".join(f"{each.name}: {each.refusal[1].rstrip('.')}" for each in self.entrants if each.refusal)
        outcomes = {each.refusal[0] for each in self.entrants if each.refusal}
        if outcomes == {"missing"}:
            raise ModelError(f"none of the {counted(len(self.entrants), 'network')} can be used. {reasons}")
        if "excluded" in outcomes:
            raise OptionError(f"no network is within `latency` and `parameters`. {reasons}")
        raise RunError(f"no network could be used. {reasons}")

    def _look_at(self, entrant: _Entrant) -> None:
        """Measure and probe a pair; what cannot be had is said, kept, and left out."""
        kept = f"missing:{entrant.pair.path.name}"
        try:
            if self.ledger.is_settled(kept):
                raise ModelError(self.ledger.settled(kept, NetworkTrial, lambda: _left_out(entrant)).words)
            with self._opened(entrant) as opened:
                experiment = opened.experiment
                facts = self._measured(entrant, experiment)
                self.validation_images = len(experiment.data.val)
                if reason := broken_limit(self.limits, facts):
                    entrant.refusal = ("excluded", reason)
                else:
                    comparable = Comparable.of(experiment, self.settings)
                    self.epochs = comparable.trainings.rungs
                    entrant.least = least_work(experiment, self.settings)
                    entrant.probe, entrant.screening = screened(experiment, comparable)
        except (ModelError, PlanError) as error:
            entrant.refusal = ("missing", str(error))
            self.ledger.settled(kept, NetworkTrial, lambda: _left_out(entrant))
            RunFolder(entrant.pair.path).discard()
        except TooLittleMemoryError as error:
            entrant.refusal = ("failed", str(error))
        if entrant.probe is not None and entrant.probe.error:
            entrant.refusal = ("failed", entrant.probe.error)
        self.callback.note(f"{entrant.name}: {self._first_look(entrant)}")

    def _begin_look(self, entrant: _Entrant) -> None:
        """Have workers solve the probe of a pair; what is wrong with it, `_look_at` will say."""
        if self.ledger.is_settled(f"missing:{entrant.pair.path.name}"):
            return
        with suppress(ModelError, PlanError, TooLittleMemoryError), self._opened(entrant) as opened:
            if not broken_limit(self.limits, self._measured(entrant, opened.experiment)):
                comparable = Comparable.of(opened.experiment, self.settings)
                if comparable.solved is not None:
                    comparable.begin(comparable.solved, comparable.last_rung)

    def _opened(self, entrant: _Entrant) -> AbstractContextManager[Opened]:
        return entrant.pair.opened(self.environment, self.callback, self.augmentation, self.workers)

    def _measured(self, entrant: _Entrant, experiment: Experiment) -> NetworkFacts:
        """What the network costs, measured once; the augmentation that it settled on is that of all."""
        timed = self.budget.unit == "seconds"
        facts = experiment.ledger.settled("network", NetworkFacts, lambda: measure(experiment, timed=timed))
        self._share_augmentation(experiment.ledger.augmentation, facts)
        entrant.facts = facts
        return facts

    def _first_look(self, entrant: _Entrant) -> str:
        """What was found without training, in one line."""
        if entrant.refusal:
            return f"left out, {entrant.refusal[1]}"
        cost = network_facts_in_words(entrant.facts)
        if entrant.probe is None:
            return f"no linear probe, because the head is not a single linear layer; {cost}."
        probe = self._accuracy(entrant.probe)
        neighbors = entrant.screening.neighbors if entrant.screening else None
        beside = f", nearest neighbors {figure(neighbors.accuracy)}" if neighbors else ""
        return f"linear probe {figure(probe.accuracy)} ({interval(probe.interval95)}){beside}; {cost}."

    def _share_augmentation(self, found: AugmentationChoice | None, facts: NetworkFacts) -> None:
        """Whether images are mirrored is a question about them: the first network that can say so does for all."""
        if self.augmentation is None and found is not None and found.mirror_test is not None:
            self.augmentation, self.mirror_flops = found, found.work * facts.unit_flops

    def _contest(self, able: Sequence[_Entrant]) -> _Entrant:
        """Train what may be the best rung by rung; the winner of the last comparison of two or more."""
        by_name = {entrant.name: entrant for entrant in able}
        standings = self._standings(able, -1)
        alive = within_reach(standings)
        for rung in range(len(self.epochs)):
            if len(alive) < 2:
                break
            if self.workers is not None:
                for standing in alive:
                    self._begin(by_name[standing.name], rung)
            for standing in alive:
                self._train(by_name[standing.name], rung)
            level = self._standings([by_name[each.name] for each in alive], rung, scored=True)
            if len(level) < 2:
                break
            standings, alive = level, promoted(level)
        if len(alive) == 1:  # nothing else is within reach
            return by_name[alive[0].name]
        return by_name[chosen(standings).name]

    def _standings(self, entrants: Sequence[_Entrant], rung: int, *, scored: bool = False) -> list[Standing]:
        """How pairs do at a rung, -1 = by their probes; with `scored`, those alone that were trained to it."""
        known = [(entrant, entrant.at(rung)) for entrant in entrants]
        bare = [_standing(entrant, record) for entrant, record in known if record or not scored]
        right = {entrant.name: self._right(record) for entrant, record in known if record}
        best = right.get(ranked(bare)[0].name) if bare else None
        if best is None:
            return bare
        return [
            replace(each, behind=bootstrap_interval(best - right[each.name])[0]) if each.name in right else each
            for each in bare
        ]

    def _train(self, entrant: _Entrant, rung: int) -> None:
        """Train the first candidate of a pair up to a rung, if the budget allows it.

        One alone: early scores mislead between candidates, because random heads and high rates learn late.
        """
        with self._opened(entrant) as opened:
            comparable = Comparable.of(opened.experiment, self.settings)
            before, candidate = entrant.at(rung - 1) if rung else None, comparable.first
            below = rung - 1 if before is not None else None
            if self.spent + self._price(entrant, comparable.price(candidate, rung, below), rung) <= self._most:
                self._book(entrant, comparable.train(candidate, rung), rung, before)

    def _begin(self, entrant: _Entrant, rung: int) -> None:
        """Have workers begin what `_train` asks for, as long as the budget lasts."""
        with self._opened(entrant) as opened:
            comparable = Comparable.of(opened.experiment, self.settings)
            comparable.begin(comparable.first, rung)

    def _book(self, entrant: _Entrant, record: TrainingRecord, rung: int, before: TrainingRecord | None) -> None:
        """Enter a training, and what it took besides the shorter one `before` it."""
        work = record.work - (before.work if before else 0.0)
        seconds = record.seconds - (before.seconds if before else 0.0)
        entrant.work += work
        entrant.seconds += seconds
        entrant.tried += before is None
        self.spent += seconds if self.budget.unit == "seconds" else self._price(entrant, work, rung)
        if record.best is not None:
            entrant.trained[rung] = record

    @property
    def _most(self) -> float:
        """What may be spent before a pair is chosen, in the unit of the budget."""
        return self._most_of(self.budget.amount)

    def _most_of(self, amount: float) -> float:
        able = [each for each in self.entrants if each.facts and each.refusal is None]
        return min(SHARE * amount, amount - max((self._price(each, each.least, -1) for each in able), default=0.0))

    def _price(self, entrant: _Entrant, units: float, rung: int) -> float:
        """Units of a pair in the unit of the budget."""
        facts = entrant.known_facts()
        if self.budget.unit == "seconds":
            return units * (facts.seconds_per_unit or 0.0)
        return units * self._ratio(facts) if self.budget.unit == "work" else float(rung == 0)

    def _ratio(self, facts: NetworkFacts) -> float:
        """A full fine-tuning of a pair in those of the costliest."""
        return facts.unit_flops / self.costliest

    def _spent_on_probes(self) -> float:
        """In the unit of the budget."""
        if self.budget.unit == "seconds":
            return sum(each.screening.seconds for each in self.entrants if each.screening)
        return self._work_of_probes() if self.budget.unit == "work" else 0.0

    def _work_of_probes(self) -> float:
        """Units of the costliest pair, the mirror test included."""
        seen = [(each.screening, each.known_facts()) for each in self.entrants if each.screening]
        return sum(found.work * self._ratio(facts) for found, facts in seen) + self.mirror_flops / self.costliest

    def _right(self, record: TrainingRecord) -> np.ndarray:
        return right_of(record, self.validation_images).astype(np.float64)

    def _accuracy(self, record: TrainingRecord) -> ImageAccuracy:
        return accuracy_of(right_of(record, self.validation_images))

    def _result(self, winner: _Entrant) -> NetworkChoice:
        others = [entrant for entrant in self.entrants if entrant is not winner]
        probes, facts = self._work_of_probes(), winner.known_facts()
        work = {id(each): each.work * self._ratio(each.facts) for each in self.entrants if each.facts}
        on_others = probes + sum(work.get(id(each), 0.0) for each in others)
        choice = NetworkChoice(
            format_version=FORMAT_VERSION,
            trials=[self._trial(entrant, winner) for entrant in self.entrants],
            chosen=winner.name,
            strategy=with_other_budget(self.request.strategies[0], self._left(on_others, others, facts)),
            work_of_probes=probes,
            work_of_trainings=sum(work.values()),
            work_of_others=on_others,
            unit_ratio=self.costliest / facts.unit_flops,
            seconds_of_probes=sum(each.screening.seconds for each in self.entrants if each.screening),
            validation_images=self.validation_images,
            epochs=self.epochs[-1],
            words="",
            doubled="",
            digest=fingerprint([digest(each.pair.ledger.records) for each in self.entrants if each.screening]),
        )
        return replace(choice, words=choice_in_words(choice), doubled=doubled_in_words(choice, self._room()))

    def _left(self, on_others: float, others: Sequence[_Entrant], facts: NetworkFacts) -> str:
        """The budget of the search that follows: what was not spent on other pairs, in the unit of the chosen one."""
        amount = self.budget.amount
        if self.budget.unit == "seconds":
            left = max(1.0, amount - self._spent_on_probes() - sum(each.seconds for each in others))
            return f"{left:.0f}s" if left in AMOUNTS else f"{left / 3600:.3f}h"
        if self.budget.unit == "candidates":
            return f"{max(1, round(amount) - sum(each.tried for each in others))}candidates"
        return f"{max(1.0, (amount - on_others) / self._ratio(facts)):.2f}x"

    def _room(self) -> float:
        """What twice the budget would add to the comparison, in units of the costliest pair."""
        more = self._most_of(2 * self.budget.amount) - self._most
        if self.budget.unit == "work":
            return more
        seconds = max((each.facts.seconds_per_unit or 0.0 for each in self.entrants if each.facts), default=0.0)
        return more / seconds if seconds else math.inf

    def _trial(self, entrant: _Entrant, winner: _Entrant) -> NetworkTrial:
        if entrant.refusal:
            return _left_out(entrant)
        best = entrant.at(entrant.rung)
        outcome = "chosen" if entrant is winner else "trained" if entrant.rung >= 0 else "probed"
        return NetworkTrial(
            name=entrant.name,
            model=entrant.pair.model,
            asked_size=entrant.pair.asked_size,
            outcome=outcome,
            words="",
            facts=entrant.facts,
            probe=self._accuracy(entrant.probe) if entrant.probe else None,
            neighbors=entrant.screening.neighbors if entrant.screening else None,
            epochs=self.epochs[entrant.rung] if entrant.rung >= 0 else None,
            trained=self._accuracy(best) if best and entrant.rung >= 0 else None,
            versus_chosen=self._versus(entrant, winner),
            work=entrant.work * self._ratio(entrant.known_facts()),
            unit_share=self._ratio(entrant.known_facts()),
        )

    def _versus(self, entrant: _Entrant, winner: _Entrant) -> NetworkDifference | None:
        """The difference after as many epochs of both; None for the winner, and where there is nothing to compare."""
        rung = min(entrant.rung, winner.rung)
        own, best = entrant.at(rung), winner.at(rung)
        if entrant is winner or own is None or best is None:
            return None
        difference = self._right(own) - self._right(best)
        return NetworkDifference(
            difference=float(difference.mean()),
            interval95=bootstrap_interval(difference),
            epochs=self.epochs[rung] if rung >= 0 else 0,
        )


def broken_limit(limits: Candidates, facts: NetworkFacts) -> str:
    """Which limit the network breaks; empty = none."""
    if limits.parameters is not None and facts.parameters > limits.parameters:
        return f"it has {facts.parameters:,} parameters, more than {limits.parameters:,}."
    if limits.latency is not None and facts.milliseconds > limits.latency:
        return f"it takes {milliseconds(facts.milliseconds)} an image, more than {milliseconds(limits.latency)}."
    return ""


def _left_out(entrant: _Entrant) -> NetworkTrial:
    outcome, reason = entrant.refusal or ("failed", "")
    return NetworkTrial(
        name=entrant.name,
        model=entrant.pair.model,
        asked_size=entrant.pair.asked_size,
        outcome=outcome,
        words=reason,
        facts=entrant.facts,
    )


def _loss(record: TrainingRecord) -> float:
    """Validation loss after temperature scaling."""
    loss = record.best.val_scaled_loss if record.best else None
    return math.inf if loss is None else loss


def _standing(entrant: _Entrant, record: TrainingRecord | None) -> Standing:
    accuracy = record.score[0] if record else 0.0
    loss = _loss(record) if record else math.inf
    return Standing(entrant.name, loss, accuracy, 0.0, entrant.known_facts().flops)
