"""A small part of every family of attacks. What fails today is marked with the letter of the fault that it shows."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.faults import damage, fuzz, models, mutate, names, streams
from benchmarks.faults.base import Base
from benchmarks.faults.damage import Target
from benchmarks.faults.families import attempt, run_family
from benchmarks.faults.hooks import KILLED, Counter, die_at_name, die_at_operation, full_after, signal_at_name
from benchmarks.faults.kills import finish
from benchmarks.faults.outcomes import Result
from benchmarks.faults.sandbox import run
from thawline.errors import ThawlineError


def fails_today(*case: object, fault: str) -> object:
    """A case that goes wrong; the mark must go when it is mended."""
    return pytest.param(*case, marks=pytest.mark.xfail(strict=True, reason=f"fault {fault}"))


def _in_place(mutation: mutate.Mutation) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_bytes(mutation(path.read_bytes(), random.Random(0)))

    return change


def _require_right(result: Result) -> None:
    assert result.right, f"{result.outcome}: {result.what}: {result.detail}"


def _damaged(base: Base, files: str, killed: str | None, reading: str, mutation: mutate.Mutation) -> Result:
    target = Target(files, "probe", killed, (reading,))
    path = next(base.state("probe", killed).glob(files)).relative_to(base.state("probe", killed))
    return attempt(base, damage.make(base, "damage", target, path, reading, _in_place(mutation)))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("files", "killed", "reading", "mutation"),
    [
        ("cache/pixels/*/pixels.npy", None, "fit", mutate.zero_payload),
        ("cache/pixels/*/facts.json", None, "fit", mutate.truncate),
        ("run/evaluations/*", "results", "resume", mutate.empty),
        ("run/results.json", None, "report", mutate.truncate),
        ("run/run.json", None, "reopen", mutate.foreign),
        ("run/model/config.json", None, "predict", mutate.empty),
        ("run/checkpoints/*", "evaluations", "resume", mutate.truncate),
        ("run/checkpoints/*", "evaluations", "resume", mutate.flip_payload),
        ("run/evaluations/*", "results", "resume", mutate.flip_payload),
        ("run/ledger.journal", "evaluations", "resume", mutate.json_line),
        ("run/model/model.safetensors", None, "predict", mutate.truncate),
        ("run/model/model.safetensors", None, "explain", mutate.flip_payload),
    ],
)
def test_damage_is_mended_or_refused(
    base: Base, files: str, killed: str | None, reading: str, mutation: mutate.Mutation
) -> None:
    _require_right(_damaged(base, files, killed, reading, mutation))


TOO_DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plan.json", b"[]"),
        ("results.json", b"{}"),
        ("splits.csv", b""),
        *((name, TOO_DEEP) for name in ("plan.json", "run.json", "results.json", "config.json")),
    ],
)
def test_readers_refuse(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ThawlineError):
        fuzz.READERS[name].read(path)


@pytest.mark.parametrize("name", [name for name in fuzz.READERS if name != "comparison.json"])
def test_readers_take_or_refuse_mutated_input(base: Base, name: str) -> None:
    step = list(fuzz.READERS).index(name)
    numbers = range(step, 40 * len(fuzz.READERS), len(fuzz.READERS))
    results = list(run_family(base, "fuzz", numbers, 0, 60))
    assert len(results) == 40
    assert [f"{result.what}: {result.detail}" for result in results if not result.right] == []
    assert {result.group for result in results} == {name}


@pytest.mark.thorough
@pytest.mark.parametrize("hook", [die_at_name("/results.json"), die_at_operation(40, Counter())])
def test_killed_run_ends_like_the_undisturbed_one(base: Base, tmp_path: Path, hook: Callable[[], None]) -> None:
    base.state("probe")
    assert run(base.begin("probe"), tmp_path, hook=hook).code == KILLED
    assert finish(base, "probe", tmp_path).outcome == "held"


@pytest.mark.thorough
def test_run_on_a_full_disk_says_so_and_is_resumed(base: Base, tmp_path: Path) -> None:
    base.state("probe")
    full = run(base.begin("probe"), tmp_path, hook=full_after(120_000, Counter()))
    assert full.code == 1
    assert "thawline resume" in full.said.splitlines()[-1]
    assert finish(base, "probe", tmp_path).outcome == "held"


@pytest.mark.parametrize(
    "case",
    [
        *("config_empty", "config_binary", "label_names_short", "input_size_grey", "num_classes_text", "mean_of_one"),
        *("nan_weights", "mean_nan", "std_zero", "crop_mode_unknown", "int32_tensors", "bool_tensors", "one_nan"),
        *("missing_tensor", "weights_empty", "weights_lost", "crop_pct_zero", "model_args_unknown"),
        *("architecture_unknown", "classifier_nested", "weights_pickled_elsewhere", "weights_of_a_device"),
        "own_model_code",
    ],
)
def test_hostile_models_are_refused(base: Base, case: str) -> None:
    _require_right(attempt(base, models.make(base, "models", case, "predict-model", kind="probe")))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "pair", "reading"),
    [
        ("odd", ("two\nlines", "<img src=x onerror=alert(1)>"), "report"),
        ("escapes", ("\x1b[31mred", "a\x1b[2Jb"), "predict"),
        ("formulas", ("=1+1", "@SUM(A1)"), "fit"),
        ("escapes", ("\x1b]0;title\x07", "\x9b31m"), "json"),
        ("spellings", ("caf\u00e9", "cafe\u0301"), "check"),
    ],
)
def test_hostile_names_do_no_harm(base: Base, kind: str, pair: tuple[str, str], reading: str) -> None:
    base.state("probe")
    _require_right(attempt(base, names.make(base, "names", kind, pair, reading)))


@pytest.mark.parametrize(
    ("stream", "reading"),
    [
        ("ascii", "report"),
        ("cp1252", "check-text"),
        ("head", "predict-text"),
        ("full", "report"),
        ("closed", "check-text"),
        ("head", "fit-text"),
    ],
)
def test_any_standard_output_will_do(base: Base, stream: str, reading: str) -> None:
    _require_right(attempt(base, streams.make(base, "streams", stream, reading, kind="probe")))


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM")])
def test_interrupted_run_says_how_to_go_on(base: Base, tmp_path: Path, number: signal.Signals, said: str) -> None:
    base.state("probe")
    ran = run(base.begin("probe"), tmp_path, hook=signal_at_name("/evaluations/", number))
    last = f"thawline: {said}; run `thawline resume run` to continue."
    assert (ran.code, ran.said.splitlines()[-1]) == (128 + number, last)
    assert finish(base, "probe", tmp_path).outcome == "held"


LARGER = {
    "damage": (75, ""),
    "fuzz": (6000, ""),
    "kills": (20, ""),
    "full_disk": (20, ""),
    "models": (2 * len(models.CASES), ""),
    "names": (25, ""),
    "streams": (64, ""),
    "signals": (15, ""),
}
"""Number of trials by family, and the faults that they show today."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "trials"),
    [
        fails_today(family, count, fault=fault) if fault else (family, count)
        for family, (count, fault) in LARGER.items()
    ],
)
def test_a_larger_part_comes_out_right(base: Base, family: str, trials: int) -> None:
    results = list(run_family(base, family, range(trials), 1, 3600))
    assert len(results) == trials
    assert [f"{result.id}: {result.outcome}: {result.detail}" for result in results if not result.right] == []
