"""What takes part in the proving ground, in the order in which it is run: group by group over all data sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from benchmarks.ground.splits import is_development
from thawline.config import BASE_RATE, Answer

Group = Literal["baselines", "depths", "study", "published", "searches", "peers", "trial", "levers"]
GROUPS: tuple[Group, ...] = get_args(Group)

STUDY_RATES = (1e-3, 3e-4, 3e-3)
"""The study of head start and norm mode has sixteen cells a data set, so each tries three rates and not six: the base
rate and its neighbors on both sides, where tuning found nearly all of its rates."""
STUDY_SETS = ("dtd10", "isic5", "eurosat", "cifar10", "gtsrb", "mnist")
BIOTUNE = "biotune:population=6,elites=2,generations=4,seeds=1,top=3"
"""The published algorithm with a smaller population, fewer generations and one seed instead of three."""


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    spec: str
    """Strategy with its arguments; those left open are tuned. For peers, the name of the library."""
    group: Group
    rates: tuple[float, ...] = ()
    """The only rates that are tried, each with every open argument; empty = the strategy's six tuning trainings."""

    sets: tuple[str, ...] = ()
    """The only data sets that it is run on; empty = all."""

    def takes(self, data: str, split: int) -> bool:
        """Whether it is run on a split of a data set."""
        return (not self.sets or data in self.sets) and (self.group != "levers" or is_development(split))

    @property
    def name(self) -> str:
        """What tables call it: the spec, and the rate if it has only one."""
        return f"{self.spec} at {self.rates[0]:g}" if len(self.rates) == 1 else self.spec

    @property
    def file_name(self) -> str:
        """Name of its file among the results."""
        return f"{self.name.replace(':', '-').replace(' ', '-')}.json"


def _study() -> Iterator[Method]:
    """The last 1, 2, 4 and all blocks x head start x norm mode."""
    for start in ("random", "probe"):
        for norm in ("moving", "kept"):
            for strategy in ("last_blocks:k=1,", "last_blocks:k=2,", "last_blocks:k=4,", "full:"):
                yield Method(f"{strategy}head_start={start},norm={norm}", "study", STUDY_RATES, STUDY_SETS)


AUTO = Method("auto", "searches")
"""At commit 917cede, from which its published cells are: `auto` as it was before its trial."""
ANSWERS = tuple(Method(f"auto:answer={answer}", "trial") for answer in get_args(Answer))
"""Those of the registered trials. Average and ensemble share one search; that of the pick keeps nothing back for
mixing, and that of the distilled network what its further training takes. Each cell counts all of it."""
RANDOM = Method("auto:sampler=random,without=baselines", "trial")
FIXED = tuple(Method(f"{name}:head_start=tuned", "trial") for name in ("full", "last_blocks", "depth", "layer_decay"))
"""The fixed ways with head start, norm mode, arguments and rate tuned: as free as `auto` is."""
LEVERS = tuple(
    Method(f"auto:{argument}", "levers")
    for argument in (
        "without=probe_start",
        "without=norms",
        "without=baselines",
        "without=parsimony",
        "without=extra_seeds",
        "without=decoupling",
    )
)
"""`auto` with one of its components off, for development splits."""
METHODS: tuple[Method, ...] = (
    *(Method(spec, "baselines") for spec in ("linear_probe", "linear_probe:solver=sgd")),
    *(Method(spec, "baselines") for spec in ("full", "full:norm=moving", "full:head_start=probe")),
    *(Method(spec, "depths") for spec in ("last_blocks", "depth", "layer_decay", "lp_ft", "wise_ft")),
    *_study(),
    *(Method(spec, "published") for spec in ("full_10x_head", "l2_sp", "l1_sp", "gradual_last_first")),
    *(Method(spec, "published") for spec in ("gradual_first_last", "auto_rgn", "lora", "norm_only", "subtune")),
    AUTO,
    Method(BIOTUNE, "searches"),
    *(Method(spec, "searches", (BASE_RATE,)) for spec in ("full", "full:norm=moving")),  # what `fit` does untold
    *(Method(library, "peers") for library in ("fastai", "hf", "timm")),
    *ANSWERS,
    *FIXED,
    RANDOM,
    *LEVERS,
)
