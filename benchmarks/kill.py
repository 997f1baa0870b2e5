"""`kill -9` at random moments of one small search, then resume: the answer must be that of the uninterrupted search.

    OMP_NUM_THREADS=1 python benchmarks/kill.py --shared ../shared
    OMP_NUM_THREADS=1 python benchmarks/kill.py --shared ../shared --search auto:answer=ensemble --out auto.json
    OMP_NUM_THREADS=1 python benchmarks/kill.py --shared ../shared --workers 2 --kills 100 --out two-workers.json

One search runs to its end. Then ten times: start it, SIGKILL at a moment drawn from its whole duration, resume, and as
often as not kill it again on the way; when it is done, digest, winner, plan, scores and the saved weights are compared.
So are those of the same search without a cache. Figures go to results/kill.json; exit code 1 if anything differs.
About 8 minutes on one free core. `--workers`: the killed searches have so many workers, the uninterrupted one has none;
`--kills`: as many searches as it takes, in place of ten.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from thawline.records import FORMAT_VERSION, environment, read_json, write_json

RESULTS = Path(__file__).parent / "results" / "kill.json"
MODEL = "mobilenetv2_050"
SEARCH = "biotune:population=4,elites=1,generations=3,seeds=2,folds=2,top=2"
OPTIONS = (
    *("--image-size", "48", "--limit", "600", "--epochs", "2", "--augment", "none"),
    *("--optimizer", "adam", "--learning-rate", "0.001", "--device", "cpu"),
)
CACHE_OFF = ("--cache-memory", "0", "--cache-disk", "0")
AGAIN = 0.5
"""Chance that a resumed search is killed, too."""


def main() -> int:
    """Run, compare, write the JSON."""
    options = _options()
    shutil.rmtree(options.runs, ignore_errors=True)
    command = _command(options)
    begun = time.monotonic()
    seconds = _to_the_end([*command, str(options.runs / "whole")])
    whole = answer(options.runs / "whole")
    print(f"uninterrupted: {seconds:.0f} s, {whole['trainings']} trainings, digest {whole['digest'][:16]}", flush=True)
    trials: list[dict[str, Any]] = []
    killed_command = [*command[:-1], *_workers(options), "--out"]
    if options.workers:  # killed in its own time, which has the start of the workers in it
        seconds = _to_the_end([*killed_command, str(options.runs / "timed")])
        print(f"with {options.workers} workers: {seconds:.0f} s", flush=True)
    for number in _numbers(options, trials):
        trial = _trial(killed_command, options.runs / f"{number}", seconds, random.Random(number), _workers(options))
        trial["differs"] = _different(options.runs / f"{number}", whole)
        trials.append(trial)
        shutil.rmtree(options.runs / f"{number}")
        killed = ", ".join(f"{kill['after']:.1f} s ({kill['trainings']} trainings)" for kill in trial["kills"])
        print(f"{number}: killed after {killed}: {_verdict(trial['differs'])}", flush=True)
    _to_the_end([*command[:-1], *CACHE_OFF, "--out", str(options.runs / "uncached")])
    uncached = _different(options.runs / "uncached", whole)
    print(f"without a cache: {_verdict(uncached)}", flush=True)
    same = not any((uncached, *(trial["differs"] for trial in trials)))
    record = {
        "format_version": FORMAT_VERSION,
        "command": "python benchmarks/kill.py",
        "search": ["thawline", "fit", "dtd10", "--model", MODEL, *_settings(options)],
        "workers": options.workers,
        "environment": environment(device="cpu", threads=options.threads, command="python benchmarks/kill.py"),
        "uninterrupted": {"seconds": seconds, **whole},
        "trials": trials,
        "without_cache_differs": uncached,
        "kills": sum(len(trial["kills"]) for trial in trials),
        "all_the_same": same,
        "minutes": round((time.monotonic() - begun) / 60, 2),
    }
    write_json(options.out, record)
    print(f"{record['kills']} kills in {len(trials)} searches: {'all the same' if same else 'NOT all the same'}")
    return 0 if same else 1


def answer(run: Path) -> dict[str, Any]:
    """All that must not depend on an interruption."""
    results, weights = read_json(run / "results.json"), sorted((run / "model").rglob("*.safetensors"))
    search = results["search"]
    return {
        "digest": results["digest"],
        "search_digest": search["digest"],
        "winner": search["winner"],
        "plan": results["plan"],
        "trainings": search["trainings"],
        "work": search["work"],
        "scores": {split: results[split]["accuracy"]["per_seed"] for split in ("train", "val", "test")},
        "weights": hashlib.sha256(b"".join(path.read_bytes() for path in weights)).hexdigest(),
    }


def _different(run: Path, whole: Mapping[str, Any]) -> list[str]:
    """In what the answer of a run is another than that of the uninterrupted one."""
    return [name for name, value in answer(run).items() if value != whole[name]]


def _verdict(differs: Sequence[str]) -> str:
    return f"differs in {', '.join(differs)}" if differs else "the same"


def _numbers(options: argparse.Namespace, trials: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    """Numbers of the searches, until there are as many as asked, or as many kills."""
    for number in itertools.count():
        kills = sum(len(trial["kills"]) for trial in trials)
        if kills >= options.kills if options.kills else number >= options.times:
            return
        yield number


def _workers(options: argparse.Namespace) -> list[str]:
    return ["--workers", str(options.workers)] if options.workers else []


def _trial(
    command: Sequence[str], run: Path, seconds: float, rng: random.Random, workers: Sequence[str]
) -> dict[str, Any]:
    """Start and kill, resume and perhaps kill again, until the search is done; at least one kill hits it."""
    kills: list[dict[str, Any]] = []
    started = time.monotonic()
    while not kills or rng.random() < AGAIN:
        after = rng.uniform(0, seconds)
        if _killed(_next(command, run, workers), after):
            kills.append({"after": round(after, 2), "trainings": _trainings(run)})
        elif kills:
            break
        else:  # faster than the uninterrupted one: nothing was interrupted
            shutil.rmtree(run)
    if not (run / "results.json").exists():
        _to_the_end(_next(command, run, workers))
    return {"kills": kills, "seconds": round(time.monotonic() - started, 1)}


def _next(command: Sequence[str], run: Path, workers: Sequence[str]) -> list[str]:
    """Resume what there is; a search killed before it was one is started anew."""
    if (run / "run.json").exists():
        return [sys.executable, "-m", "thawline", "resume", str(run), *workers]
    shutil.rmtree(run, ignore_errors=True)
    return [*command, str(run)]


def _killed(command: Sequence[str], after: float) -> bool:
    """SIGKILL after so many seconds; False if the process was done by then."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, said = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    if process.returncode:
        sys.exit(f"{' '.join(command)}: {said}")
    return False


def _to_the_end(command: Sequence[str]) -> float:
    """Seconds that it took."""
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return time.monotonic() - started


def _trainings(run: Path) -> int:
    """Trainings in the ledger of a killed run, read without touching it."""
    journal = run / "ledger.journal"
    return journal.read_bytes().count(b'"record"') if journal.exists() else 0


def _command(options: argparse.Namespace) -> list[str]:
    """Up to the folder, which comes last."""
    model = f"local-dir:{options.shared / 'weights' / MODEL}"
    data = str(options.shared / "data" / "dtd10")
    return [sys.executable, "-m", "thawline", "fit", data, "--model", model, *_settings(options), "--out"]


def _settings(options: argparse.Namespace) -> list[str]:
    return [*OPTIONS, "--threads", str(options.threads), "--strategy", options.search]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, default=Path("runs/kill"), help="where the run folders are made, anew")
    parser.add_argument("--search", default=SEARCH, help="the strategy that searches")
    parser.add_argument("--times", type=int, default=10, help="searches that are killed")
    parser.add_argument("--kills", type=int, help="kills in all, in place of --times")
    parser.add_argument("--workers", type=int, help="workers of the searches that are killed; default: none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
