"""Runs on a cluster of Ray whose nodes go and come: the answer must be that of one process, every time.

    python -m benchmarks.cluster --times 20
    python -m benchmarks.cluster --times 0 --price
    python -m benchmarks.cluster --times 0 --training

One comparison is run by one process. Then, as often as asked, the same comparison on a cluster of three nodes of one
processor each, all on this machine: in the middle of a training one node that trains is removed without a word, later
another one is added. The digest, what was lost, and when every worker was idle while trainings waited are compared and
kept. Every trial is a process of its own with a time limit, so that one that hangs is one that fails. `--price` also
measures 12 tasks of one second on 1, 2 and 4 workers, what a cluster costs while nothing is trained, and which
addresses its processes are connected to. `--training` times whole searches, and runs of one plan with 12 seeds, by one
and two processes of this machine, without Ray, of one thread each, once they have begun; it needs an idle machine with
two cores.

Figures go to results/cluster.json after every trial; the same command goes on where it was. Exit code 1 if anything
differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_address
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from thawline import api
from thawline.callback import Callback
from thawline.config import CacheConfig, DataConfig, Request, TrainConfig, TuningConfig
from thawline.records import FORMAT_VERSION, TrainingRecord, environment, read_json, write_json
from thawline.runs.files import LEDGER
from thawline.runs.ledger import Ledger
from thawline.runs.workforce import MODULE, Workers
from thawline.workers.cluster import Cluster
from thawline.workers.pool import Stint
from thawline.workers.processes import Processes

RESULTS = Path(__file__).parent / "results" / "cluster.json"
ROWS = ("biotune:population=6,elites=1,generations=2,seeds=1,folds=2,top=2", "full")
TURNS, EPOCHS = 5, 12
"""Repetitions of each timed run, and its epochs."""
SEEDS = TuningConfig(seeds=12, learning_rate=1e-3, norm="moving")
"""Twelve equal trainings and nothing else."""
IDLE = 1.5
"""Seconds that a worker may need to be handed the next task, on a busy machine."""


def main() -> int:
    """Run the trials that are missing, write the JSON."""
    options = _options()
    if options.trial:
        print(json.dumps(trial(Path(options.trial))))
        return 0
    kept: dict[str, Any] = read_json(options.out) if options.out.exists() else {}
    trials: list[dict[str, Any]] = kept.get("trials", [])
    price, training = kept.get("price"), kept.get("training")
    expected = alone() if len(trials) < options.times else ""
    while len(trials) < options.times:
        trials.append(_compared(_apart(options.limit), expected))
        print(f"{len(trials)}: {json.dumps(trials[-1])}", flush=True)
        _write(options.out, trials, price, training)
    if options.price and price is None:
        price = measured()
        print(json.dumps(price, indent=2), flush=True)
        _write(options.out, trials, price, training)
    if options.training:
        training = training or {}
        for turn in timed(training):
            print(json.dumps(turn), flush=True)
            _write(options.out, trials, price, training)
    return int(not all(each.get("same_digest") for each in trials))


def alone() -> str:
    """The digest of the comparison by one process."""
    with tempfile.TemporaryDirectory(prefix="thawline-alone-") as folder:
        os.environ["THAWLINE_CACHE"] = f"{folder}/cache"
        return api.run(small_comparison(Path(folder) / "images"), Path(folder) / "run").digest


def trial(folder: Path) -> dict[str, Any]:
    """The comparison on a cluster that loses a node and gets another."""
    from ray.cluster_utils import Cluster as Nodes

    request = small_comparison(folder / "images")
    nodes: Any = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    others = [nodes.add_node(num_cpus=1) for _ in range(2)]
    began = time.monotonic()
    try:
        with Cluster(nodes.address, None, 1) as cluster:
            while cluster.size < 3:
                time.sleep(0.1)
            ready = time.monotonic() - began
            events = Events(cluster, nodes, others)
            found = api.run(request, folder / "run", events, Workers(cluster, share=cluster.share))
            stints = [*cluster.stints]
    finally:
        nodes.shutdown()
    losses = Ledger(folder / "run" / LEDGER).losses
    return {
        "digest": found.digest,
        "seconds_to_three_workers": round(ready, 1),
        "removed": events.removed,
        "workers_lost_while_training": events.training_there,
        "lost": [{name: loss[name] for name in ("strategy", "seed", "attempt", "place")} for loss in losses],
        "tasks": len(stints),
        "workers": len({stint.place for stint in stints}),
        "worked_on_the_new_node": any(events.added and events.added[:8] in stint.place for stint in stints),
        "longest_idle_while_tasks_waited": round(longest_idle(stints), 2),
    }


@dataclass
class Events(Callback):
    """Removes a node that trains when the third training is over, and adds one after eight more."""

    cluster: Cluster
    nodes: Any
    others: list[Any]
    done: int = 0
    removed: str = ""
    added: str = ""
    training_there: list[str] = field(default_factory=list)

    def trained_ahead(self, record: TrainingRecord, running: int) -> None:
        """Something is over."""
        self.done += 1
        if self.done == 3:
            node = self.others[0]
            self.removed = node.node_id
            self.training_there = [seat.place for seat, _ in self.cluster._busy.values() if _on(seat.place, node)]
            self.nodes.remove_node(node, allow_graceful=False)
        if self.done == 11:
            self.added = self.nodes.add_node(num_cpus=1, wait=False).node_id


def _on(place: str, node: Any) -> bool:
    return place.endswith(node.node_id[:8])


def longest_idle(stints: Sequence[Stint]) -> float:
    """Seconds for which any worker had nothing to do although a task waited, at most.

    Between two tasks of one worker, only the time counts in which a task was waiting that another one began later.
    """
    longest = 0.0
    for place in {stint.place for stint in stints}:
        own = sorted((stint.began, stint.ended) for stint in stints if stint.place == place)
        for (_, ended), (began, _) in pairwise(own):
            waited = [
                min(began, stint.began) - max(ended, stint.submitted)
                for stint in stints
                if stint.submitted < began and stint.began > ended
            ]
            longest = max(longest, *waited, 0.0)
    return longest


def measured() -> dict[str, Any]:
    """Seconds of 12 tasks, seconds to start, memory and connections of a cluster in which nothing is trained."""
    found: dict[str, Any] = {"load": os.getloadavg()}
    for count in (1, 2, 4):
        began = time.monotonic()
        with Cluster("local", count, 1) as cluster:
            while cluster.size < count:
                time.sleep(0.05)
            ready = time.monotonic() - began
            memory, connected = _memory(), _connections()
            started = time.monotonic()
            for future in [cluster.submit(time.sleep, 1.0) for _ in range(12)]:
                future.result()
            seconds = time.monotonic() - started
            began = time.monotonic()
        found[f"{count} workers"] = {
            "seconds_to_start": round(ready, 1),
            "seconds_of_12_tasks": round(seconds, 2),
            "mib_of_all_processes": memory,
            "addresses_connected": connected,
            "seconds_to_end": round(time.monotonic() - began, 1),
        }
    return found


def timed(kept: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Add seconds of a search, and of one plan with 12 seeds, by one and by two processes, turn by turn; each turn."""
    with tempfile.TemporaryDirectory(prefix="thawline-training-") as place:
        os.environ["THAWLINE_CACHE"] = f"{place}/cache"
        small = small_comparison(Path(place) / "images")
        small = replace(small, train=replace(small.train, epochs=EPOCHS))
        runs = {
            "search": replace(small, strategies=ROWS[:1]),
            "12 seeds": replace(small, verb="fit", strategies=ROWS[1:], search=SEEDS),
        }
        pools = {count: Processes(count, MODULE) for count in (1, 2)}
        try:
            for count, pool in pools.items():  # reads the images and the network
                first = replace(small, strategies=ROWS[:1], train=replace(small.train, epochs=1))
                api.run(first, Path(place) / f"first-{count}", None, Workers(pool))
            for name, request in runs.items():
                turns = kept.setdefault(name, {"turns": []})["turns"]
                while len(turns) < TURNS:
                    out = Path(place) / f"{name}-{len(turns)}"
                    turns.append({str(count): _timed(request, out / str(count), pool) for count, pool in pools.items()})
                    turns[-1]["load"] = os.getloadavg()
                    ratios = [turn["1"]["seconds"] / turn["2"]["seconds"] for turn in turns]
                    kept[name]["two_against_one"] = {
                        "median": round(median(ratios), 2),
                        "turns": [round(each, 2) for each in ratios],
                    }
                    yield turns[-1]
        finally:
            for pool in pools.values():
                pool.shutdown()


def _timed(request: Request, out: Path, pool: Processes) -> dict[str, float]:
    """Seconds of a run, of all its trainings, and those in which at least one was going on."""
    before, began = len(pool.stints), time.monotonic()
    api.run(request, out, None, Workers(pool))
    seconds = time.monotonic() - began
    spans = sorted((stint.began, stint.ended) for stint in pool.stints[before:])
    covered, until = 0.0, 0.0
    for began, ended in spans:
        covered += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return {
        "seconds": round(seconds, 2),
        "of_trainings": round(sum(ended - began for began, ended in spans), 2),
        "with_a_training": round(covered, 2),
    }


def _memory() -> int:
    """MiB of the processes below this one, shared pages counted in their shares."""
    total = 0
    for process in _below(os.getpid()):
        try:
            lines = (Path("/proc") / str(process) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total >> 10


def _connections() -> list[str]:
    """Remote addresses of TCP connections of these processes."""
    lines = [line for name in ("tcp", "tcp6") for line in (Path("/proc/net") / name).read_text().splitlines()[1:]]
    remote: set[str] = set()
    for process in (os.getpid(), *_below(os.getpid())):
        try:
            files = (Path("/proc") / str(process) / "fd").iterdir()
            sockets = {str(each.readlink()) for each in files if each.is_symlink()}
        except OSError:
            continue
        connected = (fields for fields in map(str.split, lines) if fields[3] == "01")
        remote |= {_address(fields[2]) for fields in connected if f"socket:[{fields[9]}]" in sockets}
    return sorted(remote)


def _address(written: str) -> str:
    """The address that /proc writes in words of four bytes, each the wrong way round."""
    words = bytes.fromhex(written.partition(":")[0])
    found = ip_address(b"".join(words[start : start + 4][::-1] for start in range(0, len(words), 4)))
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def _below(process: int) -> list[int]:
    """All processes that a process has begun, and those that they have."""
    try:
        tasks = [each / "children" for each in (Path("/proc") / str(process) / "task").iterdir()]
        own = [int(child) for each in tasks for child in each.read_text().split()]
    except OSError:
        return []
    return [*own, *(below for child in own for below in _below(child))]


def small_comparison(images: Path) -> Request:
    """About twenty trainings of a second each, of a tiny network with random weights, on colored noise."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 60), ("val", 20), ("test", 20)):
        for position, name in enumerate(("blue", "red")):
            folder = images / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 200, (72, 72, 3), dtype=np.uint8)
                pixels[..., 2 - 2 * position] += 25
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return Request(
        verb="compare",
        data=str(images),
        model="test_efficientnet",
        weights="random",
        strategies=ROWS,
        train=TrainConfig(epochs=3, batch_size=16, threads=1, device="cpu"),
        images=DataConfig(image_size=64, augment="mild"),
        search=TuningConfig(),
        cache=CacheConfig(),
        explain=False,
    )


def _compared(found: dict[str, Any], expected: str) -> dict[str, Any]:
    """A trial, and whether its digest is the expected one."""
    return {"same_digest": found.get("digest") == expected, **found}


def _apart(limit: float) -> dict[str, Any]:
    """A trial in a process of its own, which has so many seconds."""
    with tempfile.TemporaryDirectory(prefix="thawline-cluster-") as folder:
        command = [sys.executable, "-m", "benchmarks.cluster", "--trial", folder]
        own = {**os.environ, "THAWLINE_CACHE": f"{folder}/cache"}
        began = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=own, check=False)
        except subprocess.TimeoutExpired:
            return {"failed": f"not over after {limit:.0f} s"}
        seconds = round(time.monotonic() - began, 1)
        if done.returncode:
            return {"failed": done.stderr[-2000:], "seconds": seconds}
        return {**json.loads(done.stdout.splitlines()[-1]), "seconds": seconds, "load": os.getloadavg()}


def _write(
    out: Path, trials: Sequence[dict[str, Any]], price: dict[str, Any] | None, training: dict[str, Any] | None
) -> None:
    record = {
        "format_version": FORMAT_VERSION,
        "command": "python -m benchmarks.cluster",
        "environment": environment(device="cpu", threads=1, command="python -m benchmarks.cluster"),
        "trials": trials,
        "price": price,
        "training": training,
    }
    write_json(out, record)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="trials in all, those of earlier calls included")
    parser.add_argument("--price", action="store_true", help="also measure a cluster in which nothing is trained")
    parser.add_argument("--training", action="store_true", help="also time searches by one and two processes")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds of one trial at most")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to write, or to go on with")
    parser.add_argument("--trial", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
