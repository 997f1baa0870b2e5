"""The ledger of a run: an Optuna study in a journal file, with one trial per training, written by one process.

`optuna-dashboard RUN/ledger.journal` opens it. Each training is appended when it has finished, so a killed run loses at
most the current training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from thawline.config import DataConfig
from thawline.errors import RunFolderError
from thawline.reading import read_regular
from thawline.records import TrainingRecord, fingerprint
from thawline.results import AugmentationChoice, Result, plain
from thawline.runs.chain import LARGEST_LEDGER, ChainedJournal

R = TypeVar("R", bound=Result)

STUDY_NAME = "thawline"
RECORD = "record"
REQUESTED = "request"
AHEAD, LOST = "ahead:", "lost:"
"""How the names of entries begin: a training that nobody has asked for yet, and one that was lost with its worker."""
_BOUND_BY_CONTENT = ("data", "model", "weights")
"""Options that name files, which may move: `bind` compares what is in them."""
_ONCE_WITHOUT_CHOICE = {
    "refit": False,
    "head": "new",
    "keep_old": False,
    "candidates": None,
    "calibrate": "off",
    "stream": DataConfig.stream,
    "search_images": DataConfig.search_images,
}
"""Options that older ledgers do not have, with the value that stands for that."""


class Ledger:
    """All trainings and test scores so far; persistent."""

    def __init__(self, path: Path) -> None:
        """The caller must hold the run folder's lock, so that no other process writes."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        journal = ChainedJournal(path)
        try:
            self.storage = JournalStorage(journal)
            """Storage for other studies in the same journal."""
            self._study = _study(self.storage)
            trials = self._study.get_trials(deepcopy=False)
            self._records = {record.key: record for record in map(_record, trials)}
            entries = self._study.user_attrs
            self._micro_batch: int | None = entries.get("micro_batch")
            found = ((name, value) for name, value in entries.items() if name.startswith(AHEAD))
            self._ahead = {
                name.removeprefix(AHEAD): msgspec.convert(value[RECORD], TrainingRecord) for name, value in found
            }
        except Exception as error:  # whatever Optuna's code runs into, AssertionError too
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise RunFolderError(f"{path} is damaged ({what:.200}); start a new run with another `out`.") from error

    @property
    def records(self) -> tuple[TrainingRecord, ...]:
        """All trainings, in the order in which they finished."""
        return tuple(self._records.values())

    @property
    def is_empty(self) -> bool:
        """Whether nothing was trained, for whoever may ask for it."""
        return not (self._records or self._ahead)

    def find(self, key: str) -> TrainingRecord | None:
        """The training with this key, if it has finished or failed (it would fail again)."""
        return self._records.get(key)

    def of(self, strategy: str) -> tuple[TrainingRecord, ...]:
        """The trainings of a strategy, in the order in which they finished."""
        return tuple(record for record in self.records if record.strategy == strategy)

    def add(self, record: TrainingRecord) -> None:
        """Append a finished training; it is on disk when this returns."""
        self._study.add_trial(_trial(record))
        self._records[record.key] = record

    def keep_ahead(self, record: TrainingRecord, place: str, unlike: str = "") -> None:
        """Keep a training that nobody has asked for yet; it is on disk when this returns.

        `place`: the machine and process that did it, `unlike`: in what that differs from the one that asked for it.
        """
        entry = {"place": place, RECORD: record.to_dict(), **({"unlike": unlike} if unlike else {})}
        self._study.set_user_attr(f"{AHEAD}{record.key}", entry)
        self._ahead[record.key] = record

    def trained_ahead(self, key: str) -> TrainingRecord | None:
        """The training of this key that was kept before somebody asked for it."""
        return self._ahead.get(key)

    def forget_ahead(self, key: str) -> None:
        """Do not find this one again until the ledger is opened again: its weights are lost, and it is trained anew."""
        self._ahead.pop(key, None)

    @property
    def places(self) -> Mapping[str, str]:
        """Where trainings were done by workers, and in what that differs from here, by key."""
        found = ((name, value) for name, value in self._study.user_attrs.items() if name.startswith(AHEAD))
        return {
            name.removeprefix(AHEAD): "; ".join(filter(None, (value["place"], value.get("unlike"))))
            for name, value in found
        }

    def keep_loss(self, record: TrainingRecord, attempt: int, place: str, reason: str) -> None:
        """Keep that a training was lost with the worker that had it."""
        loss = {"training": record.key, "strategy": record.strategy, "seed": record.seed, "attempt": attempt}
        self._study.set_user_attr(f"{LOST}{len(self.losses)}", {**loss, "place": place, "reason": reason})

    @property
    def losses(self) -> tuple[Mapping[str, Any], ...]:
        """Trainings that were lost with their workers: which one, which attempt, where and why."""
        return tuple(value for name, value in self._study.user_attrs.items() if name.startswith(LOST))

    @property
    def own_files(self) -> Mapping[str, str]:
        """SHA-256 of the files of a network of one's own when the run began, by path; empty for other networks."""
        found: Mapping[str, str] = self._study.user_attrs.get("own_files", {})
        return found

    def bind_code(self, changed: Sequence[str], files: Mapping[str, str]) -> None:
        """Bind the ledger to the files of a network of one's own; raises `RunFolderError` if any has changed since."""
        if changed:
            raise RunFolderError(
                f"the code of the model changed since this run began ({', '.join(changed)}); restore it, or start a "
                "new run with another `out`."
            )
        if files and not self.own_files:
            self._study.set_user_attr("own_files", dict(files))

    def bind(self, origin: str) -> None:
        """Bind the ledger to the data and model of its trainings; raises `RunFolderError` if they differ."""
        self._bind(
            "origin",
            origin,
            "the images, their splits, the model or its weights changed since this run began, or Pillow or timm, "
            "which prepare images; start a new run with another `out`.",
        )

    def bind_pixels(self, digest: str) -> None:
        """Bind the ledger to the SHA-256 of the decoded images: equal files and versions may decode differently."""
        self._bind(
            "pixels",
            digest,
            "the images decode to different pixels than when this run began (another build of Pillow or of a "
            "library that it uses); start a new run with another `out`.",
        )

    def _bind(self, name: str, value: str, refusal: str) -> None:
        bound = self._study.user_attrs.get(name)
        if bound is None:
            self._study.set_user_attr(name, value)
        elif bound != value:
            raise RunFolderError(refusal)

    def bind_request(self, request: Mapping[str, Any]) -> None:
        """Bind the ledger to `Request.to_dict()`; of that, the places of files and further strategies may change."""
        bound, now = self._study.user_attrs.get(REQUESTED), plain(request)
        if bound is not None:
            bound = {**_ONCE_WITHOUT_CHOICE, **bound}
            may_change = {name: bound[name] for name in _BOUND_BY_CONTENT}
            may_change["strategies"] = now["strategies"][: len(bound["strategies"])]
            if edits := changes(bound, {**now, **may_change}):
                raise RunFolderError(f"this run began with other options: {edits}; start a new run with another `out`.")
        if bound != now:
            self._study.set_user_attr(REQUESTED, now)

    def bind_choice(self, request: Mapping[str, Any]) -> None:
        """Bind the ledger to the request of a run that has yet to choose its network."""
        self._bind(
            "choice",
            fingerprint(plain(request)),
            "run.json does not have the options that this run began with: it was edited, or another version of "
            "thawline started the run; undo the edit, or start a new run with another `out`.",
        )

    def is_settled(self, name: str) -> bool:
        """Whether `settled` has measured this."""
        return name in self._study.user_attrs

    def settled(self, name: str, kind: type[R], measure: Callable[[], R]) -> R:
        """What is measured once and then stays: a resumed run must not measure it again."""
        if name not in self._study.user_attrs:
            self._study.set_user_attr(name, plain(measure()))
        try:
            return msgspec.convert(self._study.user_attrs[name], kind)
        except msgspec.ValidationError as error:
            raise RunFolderError(f"the ledger is damaged ({error}); start a new run with another `out`.") from error

    def adopt(self, other: Ledger, strategy: str) -> None:
        """Take over the trainings of another ledger of the same images and network, in the name of `strategy`.

        Also what that ledger is bound to, besides its request, and how much fitted into memory. Repeated, it takes over
        what is not here yet.
        """
        for name in ("origin", "pixels", "own_files", "micro_batch"):
            if name in other._study.user_attrs and name not in self._study.user_attrs:
                self._study.set_user_attr(name, other._study.user_attrs[name])
        self._micro_batch = self._study.user_attrs.get("micro_batch")
        for record in other.records:
            if record.key not in self._records:
                self.add(replace(record, strategy=strategy))

    @property
    def micro_batch(self) -> int | None:
        """Images processed at a time, if the batch did not fit into memory during the run."""
        return self._micro_batch

    def keep_micro_batch(self, size: int) -> None:
        """Record that only `size` images fit, so that a resumed run computes the same."""
        self._study.set_user_attr("micro_batch", size)
        self._micro_batch = size

    @property
    def augmentation(self) -> AugmentationChoice | None:
        """What `augment` auto settled on; None = not yet, or an augmentation was given."""
        found = self._study.user_attrs.get("augmentation")
        try:
            return None if found is None else msgspec.convert(found, AugmentationChoice)
        except msgspec.ValidationError as error:
            raise RunFolderError(f"the ledger is damaged ({error}); start a new run with another `out`.") from error

    def keep_augmentation(self, choice: AugmentationChoice) -> None:
        """Record the choice, so that a resumed run does not measure again."""
        self._study.set_user_attr("augmentation", plain(choice))

    def intend_test(self, key: str) -> None:
        """Record that the training `key` is about to be scored on test; nothing about it may change any more."""
        self._study.set_user_attr(f"test:{key}", {"intent": True})

    def commit_evaluation(self, key: str, sha256: str, scores: Mapping[str, float] | None) -> None:
        """Record the digest of the file of probabilities of the training `key`, and its test scores, if there are any.

        They are never computed anew.
        """
        intent = {} if scores is None else {"intent": True, "scores": scores}
        self._study.set_user_attr(f"test:{key}", {**intent, "sha256": sha256})

    def test_scores(self, key: str) -> dict[str, float] | None:
        """The recorded test scores of the training `key`."""
        entry = self._study.user_attrs.get(f"test:{key}", {})
        scores: dict[str, float] | None = entry.get("scores")
        return scores

    def evaluation_digest(self, key: str) -> str | None:
        """SHA-256 of the file of probabilities; empty = scored before 0.2, which kept none; None = not scored yet."""
        entry = self._study.user_attrs.get(f"test:{key}", {})
        known: str | None = entry.get("sha256", "" if "scores" in entry else None)
        return known


def requested(path: Path) -> Mapping[str, Any] | None:
    """What a ledger is bound to by `bind_request`; None if that cannot be read. Changes nothing, and needs no lock."""
    try:
        lines = read_regular(path, LARGEST_LEDGER).splitlines()
        found = [json.loads(line)["user_attr"][REQUESTED] for line in lines if b'{"%b":{' % REQUESTED.encode() in line]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return found[-1] if found and isinstance(found[-1], dict) else None


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The options that differ between two `Request.to_dict()`, in words; empty = none."""
    old, new = _flat(before), _flat(now)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"`{name}` is {new.get(name)!r:.60} and was {old.get(name)!r:.60}" for name in names)


def _flat(request: Mapping[str, Any]) -> dict[str, object]:
    parts = [part for part in request.values() if isinstance(part, dict)]
    own = {name: value for name, value in request.items() if not isinstance(value, dict)}
    return {**own, **{name: value for part in parts for name, value in part.items()}}


def _study(storage: JournalStorage) -> optuna.Study:
    """The study of a ledger; to open one that exists writes nothing."""
    if any(study.study_name == STUDY_NAME for study in storage.get_all_studies()):
        return optuna.load_study(study_name=STUDY_NAME, storage=storage)
    return optuna.create_study(study_name=STUDY_NAME, storage=storage, direction="maximize")


def _trial(record: TrainingRecord) -> FrozenTrial:
    # The strategy is not an Optuna parameter, because a categorical one must have the same choices in every trial.
    distributions: dict[str, BaseDistribution] = {"seed": IntDistribution(0, 2**62)}
    parameters: dict[str, float] = {"seed": record.seed}
    if record.learning_rate > 0:  # a solved probe has none
        # Tools draw axes from end to end, so these are wider only where a plan that was edited by hand needs it.
        low, high = min(1e-12, record.learning_rate), max(1e4, record.learning_rate)
        distributions["learning_rate"] = FloatDistribution(low, high, log=True)
        parameters["learning_rate"] = record.learning_rate
    return create_trial(
        state=_state(record),
        value=None if record.best is None else record.best.val_score,
        params=parameters,
        distributions=distributions,
        user_attrs={"strategy": record.strategy, "purpose": record.purpose, RECORD: record.to_dict()},
        intermediate_values={epoch.epoch: epoch.val_score for epoch in record.epochs if epoch.val_score is not None},
    )


def _state(record: TrainingRecord) -> TrialState:
    if record.losses:  # a refit has no score, and this is the only state without one that is not a failure
        return TrialState.PRUNED
    return TrialState.FAIL if record.best is None else TrialState.COMPLETE


def _record(trial: FrozenTrial) -> TrainingRecord:
    record = msgspec.convert(trial.user_attrs[RECORD], TrainingRecord)
    if record.best is None and record.error is None and not record.losses:
        raise ValueError(f"training {record.key} neither ended nor failed")
    return record
