"""The candidates of a search as an Optuna study of their own, in the run's journal, written by one process.

One trial per candidate: its genes are the parameters, its mean validation score the value, everything else user
attributes. A candidate is asked for in one append, so that a killed run leaves no half of one; on resume the trial of
the same generation and slot is taken up again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from thawline.errors import RunFolderError
from thawline.search.candidates import Address, Candidate, Scored
from thawline.search.encoding import Space

GENE = FloatDistribution(0.0, 1.0)
CLOCKING = "clocking:"


class CandidateLedger:
    """Asked and told in batches; the order in which trainings end never matters."""

    def __init__(self, storage: BaseStorage, name: str, space: Space, facts: Mapping[str, Any]) -> None:
        """`name` of the study; `facts` go to every candidate: versions, fingerprint of the data."""
        self._storage = storage
        self._study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
        self._study_id = storage.get_study_id_from_name(name)
        self._space = space
        self._facts = dict(facts)
        self._trials = self._read()

    @property
    def clockings(self) -> Clockings:
        """Journal of a budget of wall time."""
        return Clockings(self._study)

    def settled(self, name: str, measure: Callable[[], float]) -> float:
        """A number that is measured once and then stays: a resumed search must not measure it again."""
        if name not in self._study.user_attrs:
            self._study.set_user_attr(name, measure())
        return float(self._study.user_attrs[name])

    def ask(self, batch: Sequence[Candidate]) -> None:
        """Journal that these candidates are going to be trained."""
        for candidate in batch:
            stored = self._trials.get(candidate.address)
            if stored is None:
                self._study.add_trial(self._trial(candidate))
            elif stored.params != self._genes(candidate):
                raise RunFolderError(
                    f"the search in this run took another path at generation {candidate.generation}, slot "
                    f"{candidate.slot}, probably because another version of thawline started it: start a new run with "
                    "another `out`."
                )
        self._trials = self._read()

    def report(self, batch: Sequence[Scored], rungs: Sequence[int]) -> None:
        """Journal the score at the end of a rung, by epochs, as Optuna's intermediate values."""
        for scored in batch:
            trial, step = self._trials[scored.candidate.address], rungs[scored.candidate.rung]
            if trial.state == TrialState.RUNNING and step not in trial.intermediate_values:
                identity = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
                self._storage.set_trial_intermediate_value(identity, step, scored.score[0])

    def tell(self, batch: Sequence[Scored]) -> None:
        """Journal what came of them; those of an earlier attempt at this run are left as they are."""
        for scored in batch:
            trial = self._trials[scored.candidate.address]
            if trial.state == TrialState.RUNNING:
                identity = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
                self._storage.set_trial_user_attr(identity, "result", result_of(scored))
                self._study.tell(trial.number, scored.score[0])

    def _read(self) -> dict[Address, FrozenTrial]:
        return {_address(trial): trial for trial in self._study.get_trials(deepcopy=False)}

    def _trial(self, candidate: Candidate) -> FrozenTrial:
        genes = self._genes(candidate)
        return create_trial(
            state=TrialState.RUNNING,
            params=genes,
            distributions=dict.fromkeys(genes, GENE),
            user_attrs={
                "generation": candidate.generation,
                "slot": candidate.slot,
                "operator": candidate.operator,
                "parents": [list(address) for address in candidate.parents],
                "fold": candidate.fold,
                "rung": candidate.rung,
                "momentum": list(candidate.momentum),
                "plan": self._space.plan(candidate.genes).to_dict()["phases"],
                **self._facts,
            },
        )

    def _genes(self, candidate: Candidate) -> dict[str, float]:
        return dict(zip(self._space.gene_names, candidate.genes, strict=True))


class Clockings:
    """Pairs of numbers in a study's user attributes; implements `search.budget.Journal`."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __len__(self) -> int:
        return sum(name.startswith(CLOCKING) for name in self._study.user_attrs)

    def __getitem__(self, index: int) -> tuple[float, float]:
        left, gone = self._study.user_attrs[f"{CLOCKING}{range(len(self))[index]}"]
        return left, gone

    def append(self, entry: tuple[float, float]) -> None:
        """Store an answer; it is on disk when this returns."""
        self._study.set_user_attr(f"{CLOCKING}{len(self)}", list(entry))


def result_of(scored: Scored) -> dict[str, Any]:
    """Scores per seed and per epoch, and the work, in JSON types; times are in the ledger of trainings."""
    return {
        "per_seed": list(scored.per_seed),
        "seeds": [record.seed for record in scored.trainings],
        "per_epoch": [[epoch.val_score for epoch in record.epochs] for record in scored.trainings],
        "errors": [record.error for record in scored.trainings if record.error],
        "trainings": [record.key for record in scored.trainings],
        "work": sum(record.work for record in scored.trainings),
        "rung": scored.candidate.rung,
    }


def _address(trial: FrozenTrial) -> Address:
    return int(trial.user_attrs["generation"]), int(trial.user_attrs["slot"])
