"""A run's results in words and table rows: results in, text out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from thawline import verdicts
from thawline.config import DataConfig, Request, TrainConfig
from thawline.formatting import duration, figure, interval, mebibytes, rate, row_label, sentence, signed, spread
from thawline.report import plan_words
from thawline.report.networks import speed_in_words
from thawline.report.plan_words import (
    answer_in_words,
    base_rate,
    head_start,
    is_untrained,
    made_by,
    named,
    plan_in_words,
)
from thawline.results import (
    Candidate,
    Comparison,
    DataFacts,
    FitResults,
    Latency,
    NetworkFacts,
    Row,
    ScoredRow,
    SearchRecord,
    SplitScores,
)


@dataclass(frozen=True)
class TableRow:
    """One strategy in the results table, ready to print."""

    strategy: str
    network: str = ""
    """Model and image size; empty where all rows have the same."""
    rate: str = ""
    """Base learning rate, or that the head was solved."""
    batch_norm: str = ""
    """moving, kept, or several in a mixture; empty where no block with batch norm trains."""
    head: str = ""
    """What the head starts from: random, probe, or several in a mixture."""
    val: str = ""
    """Mean ± standard error over seeds, here and in `test`."""
    test: str = ""
    n: str = ""
    """Seeds."""
    interval: str = ""
    """95 %, over test images."""
    gap: str = ""
    """Train minus test accuracy, means over seeds."""
    trained: str = ""
    work: str = ""
    trainings: str = ""
    time: str = ""
    memory: str = ""
    """Peak of the process until the row's trainings were over, so never less than that of the rows before."""
    verdict: str = ""
    brief: str = ""
    """The verdict without what a reader needs only once: trainings, p-values, how many images would do."""

    @property
    def label(self) -> str:
        """Strategy and network."""
        return row_label(self.strategy, self.network)


def headline(results: FitResults) -> str:
    """The answer with its uncertainty; says so when full fine-tuning wins, and recommends nothing that only guesses."""
    return " ".join(filter(None, (answer(results), answer_against_full(results))))


def answer(results: FitResults) -> str:
    """The first part of the headline: what was found, and how good it is."""
    found = _measured(results, results.data)
    if guess := _guessing(results, results.data):
        whose = "The model before the refit" if results.refit else "The saved model"
        return f"Nothing to recommend: {guess}. {whose} has {found}."
    said = f"{answer_in_words(results)}: {found}."
    if _is_full(results):
        return f"On validation full fine-tuning is as good as anything tried, so use it. {said}"
    if results.versus_full and verdicts.differs(results.versus_full) and results.versus_full.difference < 0:
        return f"On these test images full fine-tuning did better than this plan. {said}"
    return said


def answer_against_full(results: FitResults) -> str:
    """The second part: the comparison with full fine-tuning; empty where there is none."""
    if _guessing(results, results.data) or _is_full(results):
        return ""
    return " ".join(filter(None, (_against_full(results, results.data), _untuned_full(results))))


def _is_full(results: FitResults) -> bool:
    """Whether the answer of a search is full fine-tuning itself."""
    return made_by(results).partition(":")[0] == "full" and bool(results.baselines)


def _untuned_full(results: FitResults) -> str:
    """Whether the search had no room to tune what the plan is compared with."""
    ways = results.search.ways or {} if results.search else {}
    if results.versus_full is None or ways.get(verdicts.REFERENCE, True) is not None:
        return ""
    return _no_room(verdicts.REFERENCE)


def row_verdict(row: ScoredRow, data: DataFacts) -> str:
    """How a row compares with guessing, and with full fine-tuning or, of several networks, with the best of all.

    Empty where there is nothing to say.
    """
    if row.network and row.test:
        against = row.versus_best.words if row.versus_best else "best on validation"
        return "; ".join(filter(None, (verdicts.guessing(row.test), against)))
    return verdicts.row(row.test, row.versus_full, data.images["test"]) if row.test else _guessing(row, data)


def brief_verdict(row: ScoredRow, data: DataFacts) -> str:
    """The same for a cell of a table."""
    if row.network and row.test and row.versus_best is None:
        return "best on validation"
    versus = row.versus_best if row.network else row.versus_full
    compared = verdicts.briefly(versus, data.images["test"]) if versus and row.test else ""
    return "; ".join(filter(None, (_guessing(row, data).partition(" (")[0], compared)))


def _measured(row: ScoredRow, data: DataFacts) -> str:
    trained = f", trained by {row.processes} processes" if row.processes else ""
    return verdicts.measured(row.test or shown_val(row), data.images.get("test", 0)) + trained


def shown_val(row: ScoredRow) -> SplitScores:
    """The validation scores of a row; the accuracy of a search's answer without what it owes to its selection."""
    luck = (row.search.optimism if row.search else None) or 0.0
    accuracy = row.val.accuracy
    return replace(row.val, accuracy=replace(accuracy, mean=max(0.0, accuracy.mean - luck)))


def _guessing(row: ScoredRow, data: DataFacts) -> str:
    if row.test:
        return verdicts.guessing(row.test)
    return verdicts.guessing_on_validation(row.val, len(data.classes), data.images["val"])


def _against_full(row: ScoredRow, data: DataFacts) -> str:
    if row.versus_full is None or row.test is None:
        return ""
    words = verdicts.against_full(row.versus_full, data.images["test"], row.test.accuracy.n)
    return sentence(words)


def search_notes(search: SearchRecord | None, request: Mapping[str, object], *, baselines: bool = True) -> list[str]:
    """What to know of a search's answer in a run that was asked for so.

    `baselines` = whether the fixed strategies that it tried have rows.
    """
    if search is None:
        return []
    unfinished = unfinished_notes(search) if baselines else ()
    chosen = choice_note(search, trained_anew=Request.from_dict(request).images.stream)
    return [note for note in (chosen, optimism_note(search), *unfinished) if note]


def optimism_note(search: SearchRecord) -> str:
    """Why the validation accuracy of the answer is shown lower than it was measured; empty where it is not."""
    if not search.optimism or figure(search.optimism) == figure(0):
        return ""
    return (
        f"Validation accuracy is shown {figure(search.optimism)} lower than measured, to correct for selection bias: "
        "the best of several plans was picked on the same images (bootstrap)."
    )


def choice_note(search: SearchRecord, *, trained_anew: bool = False) -> str:
    """The chosen plan's score in the search, and why it may not be the highest; empty where it is not recorded."""
    winner = search.candidate(search.winner)
    if winner is None:
        return ""
    # A search with rungs hands over what it trained, unless that was on a sample of the images.
    again = "" if search.rungs and not trained_anew else "; the table shows new trainings"
    chosen = f"Chosen in the search: {winner.score:.3f} on validation ({_seeds(winner)}){again}."
    best = search.candidate(search.best) if search.best is not None else None
    if best is None or best == winner:
        return chosen
    name = f"generation {best.generation}, candidate {best.slot}"
    if winner.score == best.score:
        return f"{chosen} It is a tie with {name}; the simpler plan wins."
    return (
        f"{chosen} The best candidate ({name}) had {best.score:.3f} ({_seeds(best)}); the difference is within one "
        "standard error, so the simpler plan wins."
    )


def _seeds(candidate: Candidate) -> str:
    seeds = len(candidate.per_seed)
    return f"mean over {seeds} seeds" if seeds > 1 else "one training"


def copied_note(results: FitResults) -> str:
    """Which baseline is the plan that the search settled on: its work leaves out how it was found. Empty if none is."""
    if results.search is None:
        return ""
    same = [row.strategy for row in scored(results.baselines.values()) if row.plan == results.plan]
    if not same:
        return ""
    return f"{same[0]} is the plan that the search chose; the cost of the search is in the work of {results.strategy}."


def pick_note(results: FitResults) -> str:
    """Which baseline is the pick, where something else is handed over; empty if the pick has a row of its own."""
    if results.pick in (None, PICK, results.strategy):
        return ""
    return f"{results.pick} is the pick of the search; the cost of the search is in the work of {results.strategy}."


def _no_room(name: str) -> str:
    return f"The budget was too small to try {name}, so it uses the default learning rate."


def unfinished_notes(search: SearchRecord) -> list[str]:
    """Baselines that a search did not train to the end, so that the rates of their rows are not well tuned."""
    notes = []
    longest = search.rungs[-1] if search.rungs else 0
    for name, trial in (search.ways or {}).items():
        if trial is None:
            notes.append(_no_room(name))
        elif trial.epochs < longest:
            notes.append(
                f"{name} was trained for {trial.epochs} of {longest} epochs in the search (stopped early: low score, "
                "too expensive, or diverged): its learning rate is not well tuned."
            )
    return notes


def comparison_headline(comparison: Comparison) -> str:
    """Which row is best on validation, and what the test split says of it."""
    best = best_row(comparison)
    if best is None:
        return "No strategy could be trained."
    whose = f"{best.network}, " if best.network else ""
    found = f"{whose}{named(best)}, {_measured(best, comparison.data)}"
    if guess := _guessing(best, comparison.data):
        return f"Nothing to recommend: the best on validation is {guess}: {found}."
    return f"Best on validation: {found}.{_against_full(best, comparison.data)}"


@dataclass(frozen=True)
class NetworkLine:
    """A line of `NetworkTable`."""

    name: str
    cells: Sequence[str]
    """One for each network."""
    best: int | None = None
    """Position of the cell that is best on validation of all; None = it is in another line."""


@dataclass(frozen=True)
class NetworkTable:
    """Strategies x networks: accuracies, then what each network takes."""

    networks: Sequence[str]
    lines: Sequence[NetworkLine]
    split: str
    """What the accuracies are of."""


def network_table(comparison: Comparison) -> NetworkTable | None:
    """The table of a comparison of several networks, of those that have rows; None for a single one."""
    networks = [each for each in comparison.networks or () if not each.error]
    best = best_row(comparison)
    if best is None or not networks:
        return None
    rows = {(row.network, row.strategy): row for row in scored(comparison.rows)}
    lines = []
    for strategy in dict.fromkeys(row.strategy for row in comparison.rows):
        found = [rows.get((each.name, strategy)) for each in networks]
        cells = [_mean(row.test or shown_val(row)) if row else "failed" for row in found]
        lines.append(NetworkLine(strategy, cells, found.index(best) if best in found else None))
    facts = [each.facts for each in networks]
    for name, text in _TAKEN.items():
        lines.append(NetworkLine(name, [text(each) if each else "" for each in facts]))
    return NetworkTable([each.name for each in networks], lines, "test" if best.test else "validation")


_TAKEN: Mapping[str, Callable[[NetworkFacts], str]] = {
    "parameters": lambda facts: f"{facts.parameters / 1e6:.2f} M",
    "GFLOPs": lambda facts: f"{facts.flops / 1e9:.3g}",
    "ms, one image": lambda facts: f"{facts.milliseconds:.2g}",
    "ms, batch of 32": lambda facts: f"{facts.milliseconds_batched:.2g}",
}
"""What a network takes in use, by name."""


def networks_in_words(comparison: Comparison) -> list[str]:
    """Of a comparison of several networks a sentence about each but the best: its best row, and its time for an image.

    What was left out comes last; empty for a single network.
    """
    best, networks = best_row(comparison), comparison.networks or ()
    if best is None or not networks:
        return []
    times = {each.name: each.facts.milliseconds for each in networks if each.facts}
    rows = {
        each.name: _best_of([row for row in comparison.rows if row.get("network") == each.name], comparison)
        for each in networks
    }
    others = [
        _other_network(row, best, times) for name, row in rows.items() if row is not None and name != best.network
    ]
    missing = [f"{each.name} is left out: {each.error}" for each in networks if each.error]
    return [*others, *missing]


def _other_network(row: ScoredRow, best: ScoredRow, times: Mapping[str, float]) -> str:
    """As `The best of A at 64 px on validation is full at 1e-3: -2.1 points on test against ..., 3.8 times faster.`."""
    found = f"{figure(row.val.accuracy.mean)} on validation"
    if versus := row.versus_best:
        low, high = (round(100 * end, 1) + 0.0 for end in versus.interval95)
        points = round(100 * versus.difference, 1) + 0.0
        found = f"{points:+.1f} points on test against {best.label} (95 % interval {low:+.1f} to {high:+.1f})"
    own, others = times.get(row.network or "", 0.0), times.get(best.network or "", 0.0)
    speed = f", {speed_in_words(own, others)}" if own and others else ""
    return f"The best of {row.network} on validation is {named(row)}: {found}{speed}."


def depth_in_words(comparison: Comparison) -> str:
    """What the depth curve shows; empty without one."""
    tests = [row.test for row in scored(comparison.rows) if row.test and row.strategy.startswith("depth:share=")]
    if comparison.depth is None:
        return ""
    return verdicts.depth(comparison.depth, tests, comparison.data.images["test"], comparison.seeds)


def fit_command(comparison: Comparison) -> str | None:
    """The command that trains and saves what is best on validation; None if nothing was trained, or it only guesses."""
    best, request = best_row(comparison), Request.from_dict(comparison.request)
    if best is None or _guessing(best, comparison.data):
        return None
    network = next((each for each in comparison.networks or () if each.name == best.network), None)
    if network is not None:
        images = replace(request.images, image_size=network.asked_size)
        request = replace(request, model=network.model, images=images, candidates=None)
    words = ["thawline", "fit", request.data, "--model", request.model, "--strategy", exact_spec(best)]
    changed: dict[str, object] = {
        name: getattr(request, name)
        for name in ("weights", "granularity")
        if getattr(request, name) != getattr(Request, name)
    }
    for part, defaults in ((request.train, TrainConfig()), (request.images, DataConfig())):
        changed |= {name: value for name, value in vars(part).items() if value != getattr(defaults, name)}
    # A search finds the head's rate itself; what it starts from is the rate that was asked for. A solved head has none.
    given = request.search.learning_rate if _is_searched(best) else best.learning_rate
    changed |= {"learning_rate": _exact_rate(given)} if given else {}
    for name, value in {**changed, "out": "MODEL"}.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def exact_spec(row: ScoredRow) -> str:
    """The strategy that was chosen, with the norm mode and head start of its plan where these would be tuned again."""
    if _is_searched(row):
        return made_by(row)
    name, _, arguments = row.chosen.partition(":")
    start = None if is_untrained(row) or head_start(row) == "random" else head_start(row)
    settled = {"norm": row.batch_norm, "head_start": start}
    unsaid = [f"{key}={value}" for key, value in settled.items() if value and f"{key}=" not in arguments]
    return ":".join(filter(None, (name, ",".join(filter(None, (arguments, *unsaid))))))


def scored(rows: Iterable[Row]) -> list[ScoredRow]:
    """The rows that could be trained."""
    return [row for row in rows if isinstance(row, ScoredRow)]


def best_row(comparison: Comparison) -> ScoredRow | None:
    """The row that is best on validation as it is shown, by the metric of the run; None if none could be trained."""
    return _best_of(comparison.rows, comparison)


def _best_of(rows: Iterable[Row], comparison: Comparison) -> ScoredRow | None:
    metric = Request.from_dict(comparison.request).train.metric
    return max(scored(rows), key=lambda row: float(getattr(shown_val(row), metric).mean), default=None)


def _is_searched(row: ScoredRow) -> bool:
    """Whether the plan of a row is one that no other strategy makes."""
    name = row.strategy.partition(":")[0]
    return row.search is not None and (plan_words.is_mixture(row) or row.chosen.partition(":")[0] == name)


def _exact_rate(value: float) -> str:
    """A rate that reads back as the same number."""
    return rate(value) if float(rate(value)) == value else repr(value)


def table_row(row: Row, data: DataFacts) -> TableRow:
    """A row of results as text."""
    if not isinstance(row, ScoredRow):
        return TableRow(row.strategy, row.get("network", ""), verdict=f"failed: {row['error']}")
    return TableRow(
        network=row.network or "",
        strategy=row.strategy if plan_words.is_mixture(row) else _chosen(row.strategy, row.chosen),
        rate=base_rate(row),
        batch_norm=plan_words.batch_norm_in_words(row),
        head=plan_words.head_in_words(row),
        val=_mean(shown_val(row)),
        test=_mean(row.test) if row.test else "",
        n=str(row.val.accuracy.n),
        interval=_interval(row, data.images["test"]),
        gap=signed(row.train_test_gap),
        trained=f"{row.trainable_percent:.3g} %",
        work=figure(row.cost.work, 2),
        trainings=f"{row.cost.trainings}{f' ({row.processes} processes)' if row.processes else ''}",
        time=duration(row.cost.seconds),
        memory=mebibytes(row.cost.peak_memory_bytes),
        verdict=row_verdict(row, data),
        brief=brief_verdict(row, data),
    )


def row_notes(row: ScoredRow) -> list[str]:
    """What to know of a row besides its verdict, each with its strategy in front."""
    whose = f"{row.network}: {made_by(row)}" if row.network else made_by(row)
    notes = [f"{whose}: {note}." for note in (neighbors_note(row), plan_words.mismatch(row)) if note]
    return [f"{row.strategy}: {_lowered(plan_in_words(row))}.", *notes] if row.strategy in BESIDE_ANSWER else notes


def again_notes(results: FitResults | Comparison) -> list[str]:
    """What became of the old model: its head, its images, its accuracy; empty for a run that began anew."""
    if results.again is None:
        return []
    parts = (results.keep_old, results.forgetting) if isinstance(results, FitResults) else ()
    words = [results.again.words, verdicts.seen_before(results.again), *(part.words for part in parts if part)]
    return [note for note in words if note]


def ensemble_note(results: FitResults) -> str:
    """What the ensemble of a search adds to one network, and what it costs in use; empty without one."""
    rows = {row.strategy: row for row in scored(results.rows)}
    is_saved = results.plan.is_ensemble
    ensemble, single = (results, rows.get(results.pick or PICK)) if is_saved else (rows.get("ensemble"), results)
    if ensemble is None or single is None or not plan_words.is_mixture(ensemble):
        return ""
    row = "" if single.strategy == PICK else f" ({single.strategy})"
    one_network = "the network before the refit" if results.refit else "the saved network"
    whose = f"the pick alone{row}" if is_saved else one_network
    networks = len(ensemble.plan.members)
    said = f"The mean output of {networks} networks has {_both(ensemble)}, against {_both(single)} for {whose}"
    saves = "" if is_saved else " To save it, run the same command with --answer ensemble and another --out."
    luck = " These validation accuracies are not corrected for selection bias." if _has_luck(results) else ""
    return f"{said}{_latency(results.latency)}.{luck}{saves}"


def calibration_note(results: FitResults) -> str:
    """How the probabilities of the saved model are scaled; empty if that was switched off."""
    return results.calibration.words.replace("`", "") if results.calibration else ""


def refit_note(results: FitResults) -> str:
    """Which model the scores are of, and what the refit cost; empty if none was asked for."""
    if results.refit_error:
        reason = results.refit_error.rstrip(".")
        return f"The model was not refitted: {reason}. The saved model is the one that was scored."
    if results.refit is None:
        return ""
    cost = figure(results.cost.refit or 0, 2)
    return (
        f"{results.refit.words} The refit took the work of {cost} full fine-tunings, in addition to the work in the "
        "table."
    )


def _has_luck(row: ScoredRow) -> bool:
    """Whether the table shows another validation accuracy than was measured; see `shown_val`."""
    return shown_val(row).accuracy.mean != row.val.accuracy.mean


def _both(row: ScoredRow) -> str:
    test = f" and {figure(row.test.accuracy.mean)} on test" if row.test else ""
    return f"{figure(row.val.accuracy.mean)} on validation{test}"


def _latency(measured: Sequence[Latency] | None) -> str:
    """How long both take, as a clause; empty where it was not measured."""
    if not measured:
        return ""
    first, *others = measured
    further = "".join(f"; batch {each.batch_size}: {each.ensemble:.3g} against {each.single:.3g}" for each in others)
    return (
        f"; it takes {first.ensemble:.3g} ms per image against {first.single:.3g} (batch {first.batch_size}{further}; "
        "this machine)"
    )


PICK = "pick"
BESIDE_ANSWER = (PICK, "ensemble")
"""Rows beside what a search hands over, which are no strategies: its best candidate, and its mean output."""


def _lowered(text: str) -> str:
    return text[0].lower() + text[1:]


def neighbors_note(row: ScoredRow) -> str:
    """The accuracy of the nearest neighbors beside a solved probe, as a clause; empty elsewhere."""
    found = row.nearest_neighbors
    if found is None:
        return ""
    if found.test is None:
        return f"nearest neighbors in the same features have accuracy {figure(found.val)} on validation"
    return (
        f"nearest neighbors in the same features have accuracy {figure(found.test)} on test and {figure(found.val)} on "
        "validation"
    )


def _interval(row: ScoredRow, images: int) -> str:
    test = row.test
    return interval(verdicts.accuracy_interval(test.interval95, test.accuracy.mean, images)) if test else ""


def _chosen(asked: str, chosen: str) -> str:
    """What was settled on, and what was asked if that says more."""
    if asked in BESIDE_ANSWER:
        return asked
    return chosen if chosen.partition(":")[0] == asked.partition(":")[0] else f"{asked} -> {chosen}"


def _mean(scores: SplitScores) -> str:
    return spread(scores.accuracy.mean, scores.accuracy.standard_error)
