"""`kill -9` at random moments of a search, then resume: the answer must be that of the uninterrupted search.

    OMP_NUM_THREADS=1 python benchmarks/kill.py --shared ../shared --kills 10
    OMP_NUM_THREADS=1 python benchmarks/kill.py --shared ../shared --kills 10 --search auto:answer=ensemble
    OMP_NUM_THREADS=1 python benchmarks/kill.py --shared ../shared --kills 200 --small
    OMP_NUM_THREADS=1 python benchmarks/kill.py --shared ../shared --kills 100 --small --workers 2

One search runs to its end. Then, until there are as many kills as asked: start it, SIGKILL at a moment drawn from its
whole duration, resume, and as often as not kill it again on the way; when it is done, digest, winner, plan, scores and
the saved weights are compared. So are those of the same search without a cache. `--workers`: the killed searches have
so many workers, the uninterrupted one has none. `--small`: a network with random weights on 150 images of 32 pixels,
without Grad-CAM, in place of MobileNetV2 on 600 of 48; a search of some seconds.

The killed processes and those that resume are forked from a server that has imported what the command line imports, so
that a trial costs no imports. Moments are in CPU time, that of workers included, from the beginning of `main`: so
they are spread over the whole search however busy the machine is. Workers begin with nothing, and most of that time is
their imports; so half of their moments are drawn by how many trainings have come back instead. Forked processes have
the server's order of hashes, which is another one in every call and in the uninterrupted search, a fresh interpreter.
Every trial is added at once to results/kills.json, with its seed; the same command goes on where it was. Exit code 1 if
anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pkgutil
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import PIL

import thawline
from thawline.records import FORMAT_VERSION, environment, read_json, write_json

RESULTS = Path(__file__).parent / "results" / "kills.json"
FORKS = get_context("forkserver")
SEARCH = "biotune:population=4,elites=1,generations=3,seeds=2,folds=2,top=2"
MODEL = "mobilenetv2_050"
SIZE = ("--image-size", "48", "--limit", "600", "--epochs", "2")
SMALL_SEARCH = "biotune:population=3,elites=1,generations=2,seeds=1,folds=2,top=1"
SMALL_MODEL = "test_efficientnet"
SMALL_SIZE = ("--weights", "random", "--image-size", "32", "--limit", "150", "--epochs", "1", "--no-explain")
OPTIONS = ("--augment", "none", "--optimizer", "adam", "--learning-rate", "0.001", "--device", "cpu")
CACHE_OFF = ("--cache-memory", "0", "--cache-disk", "0")
AGAIN = 0.5
"""Chance that a resumed search is killed, too."""
TICK = 0.01
"""Seconds between two looks at the time that a process has had."""
BY_TRAININGS = 0.5
"""Share of the kills of workers whose moment is drawn by how many trainings have come back."""
SOON = 0.5
"""Seconds."""
HANGS = 1800.0
"""Seconds after which a search that nothing interrupts counts as one that hangs."""


def main() -> int:
    """Run and kill until there are as many kills as asked; write the JSON after every trial."""
    options = _options()
    shutil.rmtree(options.runs, ignore_errors=True)
    options.runs.mkdir(parents=True)
    FORKS.set_forkserver_preload(_imports())
    searches = read_json(options.out)["searches"] if options.out.exists() else []
    search = _search(searches, options)
    whole, trials = search["uninterrupted"], search["trials"]
    workers = ["--workers", str(options.workers)] if options.workers else []
    started = [*_command(options), *workers]
    seconds = _to_the_end([*started, "--out", str(options.runs / "timed")], options.runs / "timed")
    print(f"forked: {seconds:.1f} s of CPU time; {_kills(trials)} of {options.kills} kills are there", flush=True)
    while _kills(trials) < options.kills:
        seed, run = len(trials), options.runs / f"{len(trials)}"
        trial = {
            "seed": seed,
            **_trial(started, Moments(random.Random(seed), run, seconds, whole["trainings"]), workers),
        }
        trials.append({**trial, "differs": (differs := _different(answer(run), whole))})
        killed = ", ".join(f"{kill['after']:.1f} s ({kill['trainings']} trainings)" for kill in trial["kills"])
        print(f"{seed}: killed after {killed}: {_verdict(differs)}", flush=True)
        _write(options.out, searches)
        if not differs:
            shutil.rmtree(run)
    return int(
        any(
            search["without_cache_differs"] or any(trial["differs"] for trial in search["trials"])
            for search in searches
        )
    )


def _imports() -> list[str]:
    """Modules of thawline, and what others import late."""
    own = [each.name for each in pkgutil.walk_packages(thawline.__path__, "thawline.")]
    formats = [f"PIL.{each.name}" for each in pkgutil.iter_modules(PIL.__path__) if "ImagePlugin" in each.name]
    return [*own, *formats, "pydantic.type_adapter", "typer._adapters"]


def _search(searches: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """The entry that trials are added to, with the answer of the search when nothing interrupts it.

    A search that is there already must have ended alike: else it is that of other code, or of another machine.
    """
    command = _command(options)
    name = SMALL_MODEL if options.small else MODEL
    what = {"search": ["thawline", "fit", "dtd10", *_settings(options, name)], "workers": options.workers}
    seconds = _fresh([*command, "--out", str(options.runs / "whole")])
    whole = answer(options.runs / "whole")
    print(f"uninterrupted: {seconds:.0f} s, {whole['trainings']} trainings, digest {whole['digest'][:16]}", flush=True)
    for search in searches:
        if {name: search[name] for name in what} == what:
            if differs := _different(whole, search["uninterrupted"]):
                sys.exit(f"{options.out} has another answer of this search ({_verdict(differs)}); give another --out")
            return search
    _fresh([*command, *CACHE_OFF, "--out", str(options.runs / "uncached")])
    uncached = _different(answer(options.runs / "uncached"), whole)
    print(f"without a cache: {_verdict(uncached)}", flush=True)
    searches.append({**what, "uninterrupted": whole, "without_cache_differs": uncached, "trials": []})
    return searches[-1]


def _write(out: Path, searches: Sequence[Mapping[str, Any]]) -> None:
    trials = [trial for search in searches for trial in search["trials"]]
    record = {
        "format_version": FORMAT_VERSION,
        "command": "python benchmarks/kill.py",
        "environment": environment(device="cpu", threads=1, command="python benchmarks/kill.py"),
        "searches": searches,
        "kills": _kills(trials),
        "all_the_same": not any(trial["differs"] for trial in trials)
        and not any(search["without_cache_differs"] for search in searches),
        "minutes": round(sum(trial["seconds"] for trial in trials) / 60, 1),
    }
    write_json(out, record)


def _kills(trials: Sequence[Mapping[str, Any]]) -> int:
    return sum(len(trial["kills"]) for trial in trials)


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


def _different(found: Mapping[str, Any], whole: Mapping[str, Any]) -> list[str]:
    """In what one answer is another than the other."""
    return [name for name, value in found.items() if value != whole[name]]


def _verdict(differs: Sequence[str]) -> str:
    return f"differs in {', '.join(differs)}" if differs else "the same"


@dataclass
class Moments:
    """Draws when to kill a search."""

    rng: random.Random
    run: Path
    seconds: float
    """CPU seconds of the uninterrupted search."""
    trainings: int
    """Number of trainings in the uninterrupted search."""

    def again(self) -> bool:
        """Whether to kill it once more."""
        return self.rng.random() < AGAIN

    def in_time(self) -> Callable[[float], bool]:
        """After so many CPU seconds."""
        after = self.rng.uniform(0, self.seconds)
        return lambda spent: spent > after

    def by_trainings(self) -> Callable[[float], bool]:
        """At most `SOON` seconds after so many trainings have come back from workers, some more than now."""
        wanted, now = self.rng.randint(1, self.trainings), _came_back(self.run)
        soon = self.rng.uniform(0, SOON)

        def due(spent: float) -> bool:
            if _came_back(self.run) < max(wanted, now + 1):
                return False
            time.sleep(soon)
            return True

        return due


def _trial(command: Sequence[str], moments: Moments, workers: Sequence[str]) -> dict[str, Any]:
    """Start and kill, resume and perhaps kill again, until the search is done; at least one kill hits it."""
    kills: list[dict[str, Any]] = []
    run, started = moments.run, time.monotonic()
    while not kills or moments.again():
        due = moments.by_trainings() if workers and moments.rng.random() < BY_TRAININGS else moments.in_time()
        spent = _killed(_next(command, run, workers), run, due)
        if spent is not None:
            kills.append({"after": round(spent, 2), "trainings": _trainings(run), "came_back": _came_back(run)})
        elif kills:
            break
        else:  # it was over before: nothing was interrupted
            shutil.rmtree(run)
    else:
        _to_the_end(_next(command, run, workers), run)
    return {"kills": kills, "seconds": round(time.monotonic() - started, 1)}


def _next(command: Sequence[str], run: Path, workers: Sequence[str]) -> list[str]:
    """Resume what there is; a search killed before it was one is started anew."""
    if (run / "run.json").exists():
        return ["resume", str(run), *workers]
    shutil.rmtree(run, ignore_errors=True)
    return [*command, "--out", str(run)]


def _killed(arguments: Sequence[str], run: Path, due: Callable[[float], bool]) -> float | None:
    """SIGKILL as soon as it is `due`; the CPU seconds that `main` had used, None if it was over by then."""
    process, begun = _begun(arguments, run)
    while process.is_alive():
        if due(spent := _cpu_seconds(process.pid) - begun) and process.is_alive():
            process.kill()
            process.join()
            return spent
        process.join(TICK)
    _require_done(process, arguments, run)
    return None


def _to_the_end(arguments: Sequence[str], run: Path) -> float:
    """CPU seconds of a forked process that is not killed."""
    process, begun = _begun(arguments, run)
    seconds, started = 0.0, time.monotonic()
    while process.is_alive():
        assert time.monotonic() - started < HANGS, f"thawline {' '.join(arguments)} hangs"
        seconds = max(seconds, _cpu_seconds(process.pid) - begun)
        process.join(TICK)
    _require_done(process, arguments, run)
    return seconds


def _begun(arguments: Sequence[str], run: Path) -> tuple[ForkServerProcess, float]:
    """A process in which `main` begins, and the CPU seconds that it had used before."""
    begins, begun = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_forked, args=(arguments, str(_said(run)), begun))
    process.start()
    begins.recv()
    return process, _cpu_seconds(process.pid)


def _require_done(process: ForkServerProcess, arguments: Sequence[str], run: Path) -> None:
    if process.exitcode:
        sys.exit(f"thawline {' '.join(arguments)}: exit code {process.exitcode}: {_said(run).read_text()}")


def _said(run: Path) -> Path:
    """What goes to standard error."""
    return run.with_suffix(".txt")


def _cpu_seconds(process: int | None) -> float:
    """User and system time of a process and of all its child processes; 0 if it has ended."""
    folder = Path("/proc") / str(process)
    try:
        times = (folder / "stat").read_text().rpartition(")")[2].split()[11:15]
        children = [each for task in (folder / "task").iterdir() for each in (task / "children").read_text().split()]
    except OSError:
        return 0.0
    own = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    return own + sum(_cpu_seconds(int(child)) for child in children)


def _forked(arguments: Sequence[str], said: str, begun: Connection) -> None:
    """The program, in a process that has its imports; ends with its exit code."""
    from thawline.cli.app import main as program

    quiet, errors = os.open(os.devnull, os.O_WRONLY), os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(quiet, 1)
    os.dup2(errors, 2)
    sys.argv = ["thawline", *arguments]
    begun.send(None)
    program()


def _fresh(arguments: Sequence[str]) -> float:
    """Seconds of a process that begins with nothing, as on a command line."""
    started = time.monotonic()
    command = [sys.executable, "-m", "thawline", *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return time.monotonic() - started


def _trainings(run: Path) -> int:
    """Trainings in the ledger of a killed run, read without touching it."""
    return _counted(run, b'"record"')


def _came_back(run: Path) -> int:
    """Trainings that came from workers, whether or not the search has asked for them yet."""
    return _counted(run, b'"ahead:')


def _counted(run: Path, word: bytes) -> int:
    journal = run / "ledger.journal"
    return journal.read_bytes().count(word) if journal.exists() else 0


def _command(options: argparse.Namespace) -> list[str]:
    """All but the folder."""
    model = SMALL_MODEL if options.small else f"local-dir:{options.shared / 'weights' / MODEL}"
    return ["fit", str(options.shared / "data" / "dtd10"), *_settings(options, model)]


def _settings(options: argparse.Namespace, model: str) -> list[str]:
    search = options.search or (SMALL_SEARCH if options.small else SEARCH)
    size = SMALL_SIZE if options.small else SIZE
    return ["--model", model, *size, *OPTIONS, "--threads", "1", "--strategy", search]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, default=Path("runs/kill"), help="where the run folders are made, anew")
    parser.add_argument("--kills", type=int, default=10, help="kills of this search in all, earlier calls included")
    parser.add_argument("--search", help="the strategy that searches")
    parser.add_argument("--small", action="store_true", help="a search of some seconds")
    parser.add_argument("--workers", type=int, help="workers of the searches that are killed; default: none")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to write, or to go on with")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
