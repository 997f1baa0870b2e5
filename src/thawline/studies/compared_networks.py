"""`compare` with several networks: strategies x networks in one table, paired over the same test images.

Every pair of a model and an image size is a comparison of its own in a folder below the run's, one after the other, so
that a single network is in memory and an interrupted run goes on where it was. Their rows become one table.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from thawline import verdicts
from thawline.callback import Callback, OfNetwork
from thawline.config import Request
from thawline.errors import ModelError, PlanError, RunError, RunFolderError, TooLittleMemoryError
from thawline.formatting import counted, row_label
from thawline.records import TrainingRecord, environment, fingerprint
from thawline.report.networks import name_of, network_facts_in_words
from thawline.report.summary import best_row, comparison_headline
from thawline.results import (
    AugmentationChoice,
    CheckResult,
    ComparedNetwork,
    Comparison,
    Cost,
    NetworkFacts,
    Row,
    RunFacts,
    ScoredRow,
    Versus,
)
from thawline.runs.files import (
    CHECK,
    CHECKPOINTS,
    HISTORY,
    LEDGER,
    MODELS_FOLDER,
    PREDICTIONS,
    RESULTS,
    SPLITS,
    TABLE,
    PredictionLine,
    prediction_classes,
    read,
    read_if_there,
    read_predictions,
    read_splits,
    read_test_right,
    write,
    write_comparison_table,
    write_history,
    write_predictions,
    write_splits,
)
from thawline.runs.folder import RunFolder
from thawline.runs.ledger import Ledger
from thawline.runs.workforce import Workers
from thawline.studies.compare import compared
from thawline.studies.finish import close
from thawline.studies.forecast import Forecast, forecast
from thawline.studies.pairs import Pair, measure, pairs_of
from thawline.studies.results import OnTest, Paired, paired


@dataclass
class _Entrant:
    """A pair, and what is known of it so far."""

    pair: Pair
    facts: NetworkFacts | None = None
    comparison: Comparison | None = None
    error: str | None = None
    """Why it is left out."""

    @property
    def name(self) -> str:
        """As messages and tables call it."""
        return name_of(self.pair.name, self.facts, self.pair.asked_size)

    @property
    def folder(self) -> Path:
        """Of its own comparison."""
        return self.pair.path


class NetworkComparison:
    """Looks at all pairs first, then compares strategies on one after the other."""

    def __init__(self, folder: RunFolder, callback: Callback, workers: Workers | None = None) -> None:
        """`workers` train; raises `RunFolderError` if the options were changed since the run began."""
        self.workers = workers
        self.folder, self.callback, self.request = folder, callback, folder.request()
        self.ledger = Ledger(folder.file(LEDGER))
        self.ledger.bind_request(self.request.to_dict())
        train = self.request.train
        self.environment = environment(device=train.device, threads=train.threads)
        self.entrants = [_Entrant(pair) for pair in pairs_of(self.request, folder.path / MODELS_FOLDER)]
        self.augmentation: AugmentationChoice | None = None
        """What the first pair settled on, for all of them."""
        self._test: list[str] | None = None
        """Paths of the test images of the first pair."""

    def look(self) -> None:
        """Open every pair once, so that all that cannot be had is said before anything is trained; then the forecast.

        Raises `InputError` if none can be had, or if the images cannot be used.
        """
        self.callback.note(
            f"Comparing strategies on {counted(len(self.entrants), 'network')}, one after another; each is opened "
            "once beforehand."
        )
        expected = [found for entrant in self.entrants if (found := self._look_at(entrant)) is not None]
        if not self._able():
            reasons = "; ".join(f"{each.name}: {(each.error or '').rstrip('.')}" for each in self.entrants)
            raise ModelError(f"none of the {counted(len(self.entrants), 'network')} can be used. {reasons}")
        total = Forecast.sum(expected)
        if total.trainings:
            self.callback.forecast(total.seconds, total.units, total.trainings, total.memory_bytes)

    def run(self) -> Comparison:
        """Make the rows of every pair, then the table of all; raises `RunError` if no pair could be run."""
        for entrant in self._able():
            if entrant.comparison is None:
                self._compare(entrant)
        if not self._able():
            reasons = "; ".join(f"{each.name}: {each.error}" for each in self.entrants)
            raise RunError(f"no network could be used. {reasons}")
        comparison = self._joined()
        self._write(comparison)
        return comparison

    def _able(self) -> list[_Entrant]:
        return [entrant for entrant in self.entrants if entrant.error is None]

    def _look_at(self, entrant: _Entrant) -> Forecast | None:
        """Open a pair and measure it; None where nothing is left to train."""
        kept = f"missing:{entrant.folder.name}"
        if self.ledger.is_settled(kept):
            entrant.error = self.ledger.settled(kept, ComparedNetwork, lambda: self._network(entrant)).error
            return None
        entrant.comparison = _finished(entrant.pair)
        expected: Forecast | None = None
        try:
            if entrant.comparison is not None:
                own = entrant.pair.ledger
                entrant.facts = own.settled("network", NetworkFacts, _unmeasured)
                self.augmentation = self.augmentation or own.augmentation
            else:
                expected = self._opened_once(entrant)
            self._require_same_test(entrant)
        except (ModelError, PlanError) as error:
            if entrant.folder.is_dir() and entrant.pair.ledger.records:
                raise  # a strategy that was added: the rows that are there stay
            entrant.error = str(error)
            self.ledger.settled(kept, ComparedNetwork, lambda: self._network(entrant))
            RunFolder(entrant.folder).discard()
        except TooLittleMemoryError as error:  # of which there may be more when the run is resumed
            entrant.error = str(error)
        said = f"left out, {entrant.error}" if entrant.error else network_facts_in_words(entrant.facts)
        self.callback.note(f"{entrant.name}: {said}")
        return None if entrant.error else expected

    def _opened_once(self, entrant: _Entrant) -> Forecast:
        with entrant.pair.opened(self.environment, self.callback, self.augmentation) as opened:
            experiment = opened.experiment
            entrant.facts = experiment.ledger.settled("network", NetworkFacts, lambda: measure(experiment, timed=False))
            self.augmentation = self.augmentation or experiment.ledger.augmentation
            return forecast(experiment, experiment.request.strategies)

    def _require_same_test(self, entrant: _Entrant) -> None:
        """Raise `ModelError` if a pair has other test images than the first: some may be too small for its size."""
        own = [line.path for line in read_splits(entrant.folder / SPLITS) if line.split == "test"]
        if self._test is None:
            self._test = own
        elif own != self._test:
            raise ModelError(
                "its test images differ from those of the other networks, because it cannot read all of them; "
                "compare it alone."
            )

    def _compare(self, entrant: _Entrant) -> None:
        """The comparison of one pair; what is wrong with it alone is said, and the others go on."""
        told = OfNetwork(self.callback, entrant.name)
        try:
            with entrant.pair.opened(self.environment, told, self.augmentation, self.workers) as opened:
                entrant.comparison = compared(opened.experiment, opened.facts, opened.paths)
        except (ModelError, PlanError, TooLittleMemoryError) as error:
            entrant.error = str(error)
            self.callback.note(f"{entrant.name}: left out, {error}")
        finally:
            entrant.pair.drop()

    def _network(self, entrant: _Entrant) -> ComparedNetwork:
        found = entrant.comparison
        return ComparedNetwork(
            name=entrant.name,
            model=entrant.pair.model,
            asked_size=entrant.pair.asked_size,
            folder=f"{MODELS_FOLDER}/{entrant.folder.name}",
            weights=found.pretrained if found else None,
            facts=entrant.facts,
            digest=found.digest if found else None,
            error=entrant.error,
        )

    def _joined(self) -> Comparison:
        """All rows as one table, its statistics over all of them."""
        able = [(each, each.comparison) for each in self._able() if each.comparison is not None]
        first = able[0][1]
        costliest = max(each.facts.unit_flops for each, _ in able if each.facts)
        bare: list[Row] = []
        for entrant, found in able:
            share = (entrant.facts.unit_flops if entrant.facts else costliest) / costliest
            bare += [_of_network(row, entrant.name, share) for row in found.rows]
        facts = {field.name: getattr(first, field.name) for field in fields(RunFacts)}
        depth = Request.from_dict(first.request).images.bit_depth
        request = replace(self.request, images=replace(self.request.images, bit_depth=depth))
        comparison = Comparison(
            **{**facts, "request": request.to_dict()},
            rows=bare,
            networks=[self._network(entrant) for entrant in self.entrants],
            digest=fingerprint([found.digest for _, found in able]),
        )
        best = best_row(comparison)
        by_name = {entrant.name: found for entrant, found in able}
        if best is not None and best.network is not None:
            whose = by_name[best.network]
            comparison = replace(comparison, pretrained=whose.pretrained, data=whose.data)
            comparison = replace(comparison, rows=with_statistics(bare, best, self._on_test(able, bare)))
        return replace(comparison, answer=comparison_headline(comparison))

    def _on_test(self, able: Sequence[tuple[_Entrant, Comparison]], rows: Sequence[Row]) -> dict[str, OnTest]:
        """Rows by label on the test images; empty without a test split."""
        found: dict[str, OnTest] = {}
        scored = {row.label: row for row in rows if isinstance(row, ScoredRow)}
        for entrant, _ in able:
            for strategy, seeds in read_test_right(entrant.folder / PREDICTIONS).items():
                label = row_label(strategy, entrant.name)
                right = np.asarray(seeds, np.float64).mean(axis=0)
                found[label] = OnTest(right, f"{entrant.name}: {scored[label].plan.to_json()}")
        return found

    def _write(self, comparison: Comparison) -> None:
        """The files of a comparison, those of all pairs in one."""
        able = [each for each in self._able() if each.comparison is not None]
        folder = self.folder
        write(folder.file(CHECK), read(able[0].folder / CHECK, CheckResult))
        write_splits(folder.file(SPLITS), read_splits(able[0].folder / SPLITS))
        write_history(folder.file(HISTORY), [record for each in able for record in _records(each)])
        classes = prediction_classes(able[0].folder / PREDICTIONS)
        write_predictions(folder.file(PREDICTIONS), classes, _predictions(able))
        write_comparison_table(folder.file(TABLE), comparison.rows)
        write(folder.file(RESULTS["compare"]), comparison)
        for each in able:
            shutil.rmtree(each.folder / CHECKPOINTS, ignore_errors=True)
        close(folder, self.callback)


def _finished(pair: Pair) -> Comparison | None:
    """The comparison of a pair, if it is there with all strategies that are asked for now."""
    found = read_if_there(pair.path / RESULTS["compare"], Comparison)
    return found if found and tuple(found.request["strategies"]) == pair.request.strategies else None


def _unmeasured() -> NetworkFacts:
    raise RunFolderError("the ledger of a network lacks its facts; start a new run with another `out`.")


def _of_network(row: Row, name: str, share: float) -> Row:
    """A row with its network; its work in full fine-tunings of the costliest network, of which its own is a share."""
    if not isinstance(row, ScoredRow):
        return replace(row, network=name)
    cost: Cost = replace(row.cost, work=row.cost.work * share, proof=row.cost.proof * share)
    return replace(row, network=name, cost=cost, versus_full=None)


def with_statistics(rows: Sequence[Row], best: ScoredRow, on_test: Mapping[str, OnTest]) -> list[Row]:
    """Rows against full fine-tuning of their own network, and against the best on validation of all networks.

    Either is a family of its own for Holm's adjustment. Without test images they stay as they are.
    """
    if not on_test:
        return list(rows)
    labels = {(row.get("network"), row.strategy): row.label for row in rows if row.label in on_test}
    full = {
        label: reference
        for (network, _), label in labels.items()
        if (reference := labels.get((network, verdicts.REFERENCE))) and reference != label
    }
    versus_full = paired(on_test, full)
    versus_best = paired(on_test, {label: best.label for label in labels.values() if label != best.label})

    def completed(row: Row) -> Row:
        if not isinstance(row, ScoredRow):
            return row
        return replace(
            row,
            versus_full=_versus(row, versus_full, verdicts.REFERENCE),
            versus_best=_versus(row, versus_best, best.label),
        )

    return [completed(row) for row in rows]


def _versus(row: ScoredRow, found: Mapping[str, Paired | None], reference: str) -> Versus | None:
    if row.label not in found or row.test is None:
        return None
    pair, same = found[row.label], f"the same plan as {reference}"
    if pair is None:
        return Versus(difference=0.0, interval95=(0.0, 0.0), p_holm=1.0, words=same)
    images = sum(map(sum, row.test.confusion_matrix))
    versus = Versus(difference=pair.found.difference, interval95=pair.found.interval95, p_holm=pair.p_holm, words="")
    return replace(versus, words=verdicts.against(versus, images, row.test.accuracy.n, reference, same))


def _records(entrant: _Entrant) -> Iterator[TrainingRecord]:
    for record in entrant.pair.ledger.records:
        yield replace(record, strategy=row_label(record.strategy, entrant.name))


def _predictions(entrants: Sequence[_Entrant]) -> Iterator[PredictionLine]:
    for entrant in entrants:
        for line in read_predictions(entrant.folder / PREDICTIONS):
            yield replace(line, row=row_label(line.row, entrant.name))
