"""How the network was chosen, in words and as a picture: a choice in, text and SVG out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from thawline.formatting import counted, figure, interval
from thawline.report.charts import Chart, linear_axis, log_axis
from thawline.results import ImageAccuracy, NetworkChoice, NetworkDifference, NetworkFacts, NetworkTrial

LEVEL = 1.05
"""Ratio of times below which two networks are equally fast."""


def choice_in_words(choice: NetworkChoice) -> str:
    """The choice as `A at 96 px; B at 96 px is 2.1 points worse (95 % interval ...), 3.8 times faster.`."""
    best, compared = choice.best, _compared(choice)
    named = compared[:1]
    fastest = min(compared, key=_time, default=None)
    if fastest is not None and fastest not in named and _time(fastest) * LEVEL < _time(best):
        named.append(fastest)
    clauses = [f"{trial.name} {_against(trial, trial.versus_chosen, choice)}" for trial in named if trial.versus_chosen]
    return "; ".join([best.name, *clauses]) + "."


def doubled_in_words(choice: NetworkChoice, room: float) -> str:
    """What twice the budget would change, if it adds `room` full fine-tunings of the costliest pair to the comparison.

    Only networks that the validation images do not tell to be worse could take the place of the chosen one.
    """
    open_ones = [trial for trial in _compared(choice) if trial.versus_chosen and trial.versus_chosen.interval95[1] >= 0]
    if not open_ones:
        return (
            "Doubling the budget would not change the network, because all others are clearly worse on validation; "
            "it would go into the search for the plan."
        )
    short = [trial for trial in open_ones if (trial.epochs or 0) < choice.epochs]
    images = counted(choice.validation_images, "validation image")
    if not short:
        return (
            f"Doubling the budget would hardly change the network: {images} cannot tell {_listed(open_ones)} apart "
            "from it after full-length trainings; more validation images would help."
        )
    affordable: list[NetworkTrial] = []
    for trial in short:
        if sum(each.unit_share or 0 for each in (*affordable, trial)) <= room:
            affordable.append(trial)
    if not affordable:
        return (
            f"Doubling the budget would still not cover a full-length training of {_listed(short)}, which may be as "
            "good."
        )
    return (
        f"Doubling the budget might change the network: it would also train {_listed(affordable)} to the end, which "
        f"{images} cannot tell apart from it so far."
    )


def name_of(model: str, facts: NetworkFacts | None, asked_size: int | None) -> str:
    """What messages and tables call a model at an image size: `tf_efficientnet_lite0 at 96 px`."""
    size = facts.image_size if facts else asked_size
    return f"{model} at {size} px" if size else model


def network_facts_in_words(facts: NetworkFacts | None) -> str:
    """What it takes in use: `0.69 M parameters, 4.9 ms an image`; empty where it was not measured."""
    return f"{facts.parameters / 1e6:.3g} M parameters, {milliseconds(facts.milliseconds)} an image" if facts else ""


def milliseconds(value: float) -> str:
    """`4.9 ms`, `0.31 ms`."""
    return f"{value:.2g} ms" if value < 100 else f"{value:,.0f} ms"


@dataclass(frozen=True)
class NetworkRow:
    """One pair in the table of networks, ready to print."""

    name: str
    parameters: str = ""
    gflops: str = ""
    single: str = ""
    """Milliseconds of a single image."""
    batched: str = ""
    """Milliseconds an image in batches of 32."""
    memory: str = ""
    probe: str = ""
    neighbors: str = ""
    trained: str = ""
    outcome: str = ""


TITLES = {
    "name": "network",
    "parameters": "parameters",
    "gflops": "GFLOPs",
    "single": "ms, one image",
    "batched": "ms, batch of 32",
    "memory": "training step",
    "probe": "probe",
    "neighbors": "neighbors",
    "trained": "trained",
    "outcome": "",
}
"""Columns of the table: fields of `NetworkRow`."""


def network_rows(choice: NetworkChoice) -> list[NetworkRow]:
    """All pairs, the chosen one first, then by how they compare with it."""
    compared = _compared(choice)
    rest = [trial for trial in choice.trials if trial not in compared and trial != choice.best]
    return [_row(trial, choice) for trial in (choice.best, *compared, *rest)]


def _row(trial: NetworkTrial, choice: NetworkChoice) -> NetworkRow:
    facts = trial.facts
    if facts is None:
        return NetworkRow(trial.name, outcome=_outcome(trial, choice))
    trained = f"{_accuracy(trial.trained)} after {counted(trial.epochs or 0, 'epoch')}" if trial.trained else ""
    return NetworkRow(
        trial.name,
        f"{facts.parameters / 1e6:.2f} M",
        f"{facts.flops / 1e9:.3g}",
        f"{facts.milliseconds:.2g}",
        f"{facts.milliseconds_batched:.2g}",
        f"{facts.memory_bytes / 2**20:,.0f} MiB",
        _accuracy(trial.probe),
        _accuracy(trial.neighbors),
        trained,
        _outcome(trial, choice),
    )


def _accuracy(found: ImageAccuracy | None) -> str:
    return f"{figure(found.accuracy)} ({interval(found.interval95)})" if found else ""


def _outcome(trial: NetworkTrial, choice: NetworkChoice) -> str:
    if trial.outcome == "chosen":
        return "chosen"
    if trial.versus_chosen:
        return _against(trial, trial.versus_chosen, choice, images=False)
    return trial.words or "not compared"


def _compared(choice: NetworkChoice) -> list[NetworkTrial]:
    """The others that were compared with the chosen pair: the longest trained first, then the nearest to it."""
    found = [trial for trial in choice.trials if trial.versus_chosen]
    return sorted(found, key=lambda trial: (-(trial.epochs or 0), -_difference(trial)))


def _difference(trial: NetworkTrial) -> float:
    return trial.versus_chosen.difference if trial.versus_chosen else 0.0


def _against(trial: NetworkTrial, found: NetworkDifference, choice: NetworkChoice, *, images: bool = True) -> str:
    """As `is 2.1 points worse (95 % interval over 250 validation images: -4.0 to -0.2; 4 epochs each), as fast`."""
    points = 100 * found.difference
    low, high = (round(100 * end, 1) + 0.0 for end in found.interval95)
    amount = f"is {abs(points):.1f} points {'better' if points > 0 else 'worse'}"
    if low <= 0 <= high:
        amount = f"cannot be told apart from it by accuracy: {points:+.1f} points"
    how = f"{counted(found.epochs, 'epoch')} each" if found.epochs else "linear probes"
    over = f" interval over {counted(choice.validation_images, 'validation image')}:" if images else ":"
    return f"{amount} (95 %{over} {low:+.1f} to {high:+.1f}; {how}){_speed(trial, choice.best)}"


def _speed(trial: NetworkTrial, best: NetworkTrial) -> str:
    return f", {speed_in_words(_time(trial), _time(best))}"


def speed_in_words(own: float, others: float) -> str:
    """How two times of an image compare: `3.8 times faster`, `as fast`."""
    if max(own, others) < LEVEL * min(own, others):
        return "as fast"
    return f"{max(own, others) / min(own, others):.2g} times {'faster' if own < others else 'slower'}"


def _time(trial: NetworkTrial) -> float:
    return trial.facts.milliseconds if trial.facts else 0.0


def _listed(trials: Sequence[NetworkTrial]) -> str:
    names = [trial.name for trial in trials]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def work_in_words(choice: NetworkChoice) -> str:
    """What choosing the network took."""
    return (
        f"Choosing the network took the work of {figure(choice.work_of_probes + choice.work_of_trainings, 2)} full "
        f"fine-tunings of the costliest pair, {figure(choice.work_of_probes, 2)} of them for measuring and probing. "
        f"From here on the unit is a full fine-tuning of {choice.chosen}, of which that pair's takes "
        f"{figure(choice.unit_ratio, 1)}."
    )


def networks_chart(choice: NetworkChoice) -> Markup | None:
    """Accuracy on validation against the time of a single image; None with fewer than two networks to draw."""
    times = [trial.facts.milliseconds for trial in choice.trials if trial.facts and trial.probe]
    if len(times) < 2:
        return None
    trained = [trial.trained.accuracy for trial in choice.trials if trial.trained]
    x = log_axis("milliseconds for one image (logarithmic)", times)
    ends = [end for trial in choice.trials if trial.probe for end in trial.probe.interval95]
    y = linear_axis("accuracy on validation", [*ends, *trained], bounds=(0, 1))
    chart = Chart("networks", "Accuracy against time", f"{choice.chosen} is chosen.", x, y, 300)
    for number, trial in enumerate(_in_order(choice), start=1):
        if trial.facts is None or trial.probe is None:
            continue
        time, kind = trial.facts.milliseconds, "" if trial.outcome == "chosen" else "muted"
        chart.whisker(time, *trial.probe.interval95, kind)
        if trial.trained:
            chart.line([(time, trial.probe.accuracy), (time, trial.trained.accuracy)], "front")
            words = f"{trial.name}: {figure(trial.trained.accuracy)} after {counted(trial.epochs or 0, 'epoch')}"
            chart.dot((time, trial.trained.accuracy), words, "best" if trial.outcome == "chosen" else "alike")
        words = f"{trial.name}: linear probe {figure(trial.probe.accuracy)}, {milliseconds(time)} an image"
        chart.badge((time, trial.probe.accuracy), str(number), words, kind)
    return chart.draw()


def _in_order(choice: NetworkChoice) -> list[NetworkTrial]:
    by_name = {trial.name: trial for trial in choice.trials}
    return [by_name[row.name] for row in network_rows(choice)]
