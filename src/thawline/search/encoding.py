"""Genes to learning rates of blocks. All genes are numbers from 0 to 1.

A phenotype says for every block, in order of execution and the head last, by how many tenths of a decade its rate lies
above the base rate; None = frozen. Genotypes that differ by less share a phenotype, hence a plan, hence a training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from thawline.plan import Block, FineTunePlan, Granularity, HeadStart, Kept, NormMode, Parts, Statistics
from thawline.search.candidates import Genes

Phenotype = tuple[int | None, ...]


class Mode(NamedTuple):
    """What a training does apart from its learning rates."""

    norm: NormMode = "train"
    """What norm layers of trained blocks do."""
    head: HeadStart = "random"
    """What the head starts from."""
    parts: Parts = "all"
    """Which parameters of trained blocks train."""
    statistics: Statistics = "stored"
    """What batch norm starts from."""


MOVING, KEPT, FROM_PROBE = Mode(), Mode("eval"), Mode("eval", "probe")
MODES = (MOVING, KEPT, FROM_PROBE)
"""The modes of the free encoding. A probe is solved with the pretrained statistics, which do not stay in a block that
trains with moving ones, so these do not go together."""

AGAIN = (
    Mode("eval", "kept"),
    Mode("train", "kept"),
    Mode("train", "kept", "norms_and_biases"),
    Mode("eval", "kept", "all", "recomputed"),
    FROM_PROBE,
)
"""The modes where the head of a model that is fitted again is kept: what shifted, inputs or labels, is not known."""

BINS_PER_DECADE = 10
FIXED_THRESHOLD = 0.5
"""Threshold where it is not a gene: the mean of the distribution it would be drawn from."""
BASE_DECADES = (-1.5, 1.0)
"""Range of the base rate where it is a gene, relative to the given one: 10^-4.5 to 10^-2 for Adam's 1e-3."""
SPLIT_FROZEN = 0.4
"""Share of a block's gene that freezes the block, in the split encoding."""
SPLIT_DECADES = (-2.0, 1.0)
"""Range of a block's weight in the split encoding."""
HEAD_DECADES = (-1.0, 1.5)
"""Range of the head's rate in the free encoding, relative to the base rate: 10^-4 to 10^-1.5 for 1e-3."""
BELOW_HEAD_DECADES = (-3.0, 0.0)
"""Range of a block's rate in the free encoding, relative to the head's: trained blocks are never faster."""
BELOW_TOP_DECADES = (-2.0, 0.0)
"""Range of a block's rate where a model is fitted again, relative to the highest."""
SMALLEST_GENE = 0.02
"""Lowest gene of a trained block where a genotype is derived from a plan: the threshold must fit below it."""
DECAYS = (0.3, 1.0)
"""Range of the factor from block to block in the depth encoding."""


@dataclass(frozen=True)
class Encoding(ABC):
    """What a genotype means for a network of so many blocks."""

    blocks: int
    """Number of blocks, the head included."""

    @property
    @abstractmethod
    def globals(self) -> tuple[str, ...]:
        """Names of the genes that come after those of the blocks."""

    @property
    @abstractmethod
    def block_genes(self) -> int:
        """Number of genes that each speak for one block, the first ones."""

    @abstractmethod
    def phenotype(self, genes: Genes) -> Phenotype:
        """The plan that the genes stand for; the head always trains."""

    def mode(self, genes: Genes) -> Mode:
        """What norm layers of trained blocks do, and what the head starts from."""
        return MOVING

    @property
    def size(self) -> int:
        """Number of genes."""
        return self.block_genes + len(self.globals)

    def is_alive(self, genes: Genes) -> bool:
        """Whether a genotype may be drawn."""
        return True

    def explorable(self, genes: Genes) -> tuple[int, ...]:
        """Genes that a probe may change: those of blocks that train and those that speak for all."""
        trained = self.phenotype(genes)[: self.block_genes]
        own = [position for position, value in enumerate(trained) if value is not None]
        return (*own, *range(self.block_genes, self.size))

    def draw(self, rng: np.random.Generator) -> Genes:
        """Every gene uniform (Eq. 3 of the paper); drawn again until something is trained."""
        while True:
            genes = tuple(rng.random(self.size).tolist())
            if self.is_alive(genes):
                return genes


@dataclass(frozen=True)
class Invertible(Encoding):
    """An encoding that knows a genotype of every plan in its reach, so that a search can start from given plans."""

    @abstractmethod
    def genes_of(self, phenotype: Phenotype, mode: Mode) -> Genes:
        """A genotype of the phenotype, or of the nearest one in reach; always the same one."""


@dataclass(frozen=True)
class BioTuneEncoding(Invertible):
    """The published encoding (Colan et al. 2025, Eq. 4 and 5): a gene is a block's importance, the last the threshold.

    A block trains if its gene lies above the threshold, with a weight of 10^(2(gene - 0.5)). The head's gene sets its
    weight only.
    """

    evolved_threshold: bool = True
    """Whether the threshold is a gene; else it is `FIXED_THRESHOLD`."""

    @property
    def globals(self) -> tuple[str, ...]:
        """The threshold."""
        return ("threshold",) if self.evolved_threshold else ()

    @property
    def block_genes(self) -> int:
        """All blocks and the head."""
        return self.blocks

    def threshold(self, genes: Genes) -> float:
        """Blocks up to it are frozen."""
        return genes[self.blocks] if self.evolved_threshold else FIXED_THRESHOLD

    def is_alive(self, genes: Genes) -> bool:
        """Whether any gene, the head's included, lies above the threshold: the paper would train nothing otherwise."""
        return max(genes[: self.blocks]) > self.threshold(genes)

    def phenotype(self, genes: Genes) -> Phenotype:
        """Eq. 4 (strictly above) and Eq. 5."""
        importance, threshold = genes[: self.blocks], self.threshold(genes)
        body = [_bins(2 * (gene - 0.5)) if gene > threshold else None for gene in importance[:-1]]
        return (*body, _bins(2 * (importance[-1] - 0.5)))

    def genes_of(self, phenotype: Phenotype, mode: Mode) -> Genes:
        """A genotype of the phenotype, or of the nearest one in reach: a tenth to ten times the base rate."""
        importance = [None if bins is None else clip(0.5 + bins / BINS_PER_DECADE / 2) for bins in phenotype]
        least = SMALLEST_GENE if self.evolved_threshold else FIXED_THRESHOLD + SMALLEST_GENE
        lowest = max(least, min(gene for gene in importance if gene is not None))
        threshold = lowest * 0.8 if self.evolved_threshold else FIXED_THRESHOLD
        genes = [threshold / 2 if gene is None else max(gene, lowest) for gene in importance]
        return (*genes, threshold) if self.evolved_threshold else tuple(genes)


@dataclass(frozen=True)
class SplitEncoding(Encoding):
    """Freezing does not force high rates: a gene's lower part freezes its block, the rest is the block's weight.

    The base rate is a gene of its own, and the head trains at the base rate or at ten times that.
    """

    @property
    def globals(self) -> tuple[str, ...]:
        """Head at once or ten times the base rate; base rate."""
        return ("head_multiplier", "base_rate")

    @property
    def block_genes(self) -> int:
        """All blocks but the head."""
        return self.blocks - 1

    def phenotype(self, genes: Genes) -> Phenotype:
        """Block weights of 0.01 to 10 on top of the base rate."""
        *own, head, base = genes
        decades = _between(BASE_DECADES, base)
        body = [_bins(decades + _split_weight(gene)) if gene >= SPLIT_FROZEN else None for gene in own]
        return (*body, _bins(decades + (1 if head >= 0.5 else 0)))


@dataclass(frozen=True)
class FreeEncoding(Invertible):
    """A block's gene freezes it or sets its rate relative to the head's; the head's rate has a gene of its own.

    So any blocks can be frozen at any rates, and every way of freezing is as likely at the start as any other. A last
    gene stands for the mode, which matters most where batches are small or images few. Where the head starts from the
    probe and no other block trains, the probe is the plan, whatever the head's rate.
    """

    modes: tuple[Mode, ...] = MODES
    """The modes in reach; each has an equal share of the last gene. A single one needs no gene."""

    @property
    def globals(self) -> tuple[str, ...]:
        """The head's rate; the mode."""
        return ("head_rate", "mode") if len(self.modes) > 1 else ("head_rate",)

    @property
    def block_genes(self) -> int:
        """All blocks but the head."""
        return self.blocks - 1

    def mode(self, genes: Genes) -> Mode:
        """The mode of the last gene; where the head alone trains, norm layers have no effect."""
        mode = self.modes[min(int(genes[-1] * len(self.modes)), len(self.modes) - 1)]
        return mode if self._moves(genes) or mode.head == "probe" else MOVING

    def phenotype(self, genes: Genes) -> Phenotype:
        """The head at 10^-1 to 10^1.5 of the base rate, blocks from the head's rate down to a thousandth of it."""
        if not self._moves(genes) and self.mode(genes).head == "probe":
            return (*[None] * self.block_genes, 0)
        head = _between(HEAD_DECADES, genes[self.block_genes])
        body = [
            _bins(head + _between(BELOW_HEAD_DECADES, _trained_share(gene))) if gene >= SPLIT_FROZEN else None
            for gene in genes[: self.block_genes]
        ]
        return (*body, _bins(head))

    def genes_of(self, phenotype: Phenotype, mode: Mode) -> Genes:
        """A genotype of the phenotype, or of the nearest one in reach."""
        *body, head = phenotype
        own = [self._block_gene(bins, head or 0) for bins in body]
        decades = clip(_share_of(HEAD_DECADES, (head or 0) / BINS_PER_DECADE))
        place = self.modes.index(mode) if mode in self.modes else 0
        return (*own, decades, *([(place + 0.5) / len(self.modes)] if len(self.modes) > 1 else []))

    def _moves(self, genes: Genes) -> bool:
        """Whether a block besides the head trains."""
        return any(gene >= SPLIT_FROZEN for gene in genes[: self.block_genes])

    @staticmethod
    def _block_gene(bins: int | None, head: int) -> float:
        if bins is None:
            return SPLIT_FROZEN / 2
        share = clip(_share_of(BELOW_HEAD_DECADES, (bins - head) / BINS_PER_DECADE))
        return SPLIT_FROZEN + share * (1 - SPLIT_FROZEN)


@dataclass(frozen=True)
class AgainEncoding(Invertible):
    """For a model that is fitted again: any block may be frozen, the head too, if it is kept whole.

    A block's gene freezes it or sets its rate relative to the highest, which has a gene of its own. Where nothing
    trains, the plan is the network as it is, or the solved probe.
    """

    modes: tuple[Mode, ...] = AGAIN
    """The modes in reach; each has an equal share of the last gene."""
    head_must_train: bool = False
    """Whether the head has rows of new classes."""

    @property
    def globals(self) -> tuple[str, ...]:
        """The highest rate; the mode."""
        return ("rate", "mode")

    @property
    def block_genes(self) -> int:
        """All blocks and the head."""
        return self.blocks

    def mode(self, genes: Genes) -> Mode:
        """The mode of the last gene."""
        return self.modes[min(int(genes[-1] * len(self.modes)), len(self.modes) - 1)]

    def phenotype(self, genes: Genes) -> Phenotype:
        """The highest rate at 10^-1.5 to 10^1 of the base rate, others down to a hundredth of it."""
        top, is_probe = _between(BASE_DECADES, genes[self.blocks]), self.mode(genes).head == "probe"
        *body, head = (
            _bins(top + _between(BELOW_TOP_DECADES, _trained_share(gene))) if gene >= SPLIT_FROZEN else None
            for gene in genes[: self.blocks]
        )
        if head is None and (is_probe or self.head_must_train) and any(bins is not None for bins in body):
            head = _bins(top)
        if is_probe and not any(bins is not None for bins in body):
            head = 0
        return (*body, head)

    def genes_of(self, phenotype: Phenotype, mode: Mode) -> Genes:
        """A genotype of the phenotype, or of the nearest one in reach."""
        top = max((bins for bins in phenotype if bins is not None), default=0)
        own = [SPLIT_FROZEN / 2 if bins is None else _gene_below(bins - top) for bins in phenotype]
        place = self.modes.index(mode) if mode in self.modes else 0
        return (*own, clip(_share_of(BASE_DECADES, top / BINS_PER_DECADE)), (place + 0.5) / len(self.modes))


def _gene_below(bins: int) -> float:
    return SPLIT_FROZEN + clip(_share_of(BELOW_TOP_DECADES, bins / BINS_PER_DECADE)) * (1 - SPLIT_FROZEN)


@dataclass(frozen=True)
class DepthEncoding(Encoding):
    """The first block that trains, the factor by which rates fall from the head down, and the base rate."""

    @property
    def globals(self) -> tuple[str, ...]:
        """Three, whatever the network."""
        return ("first_trained", "decay", "base_rate")

    @property
    def block_genes(self) -> int:
        """None speaks for one block."""
        return 0

    def phenotype(self, genes: Genes) -> Phenotype:
        """Linear probe, last blocks, full and decayed fine-tuning are all in it."""
        first = min(int(genes[0] * self.blocks), self.blocks - 1)
        step, decades = np.log10(_between(DECAYS, genes[1])), _between(BASE_DECADES, genes[2])
        below_head = range(self.blocks - 1, -1, -1)
        return tuple(
            None if position < first else _bins(decades + step * distance)
            for position, distance in enumerate(below_head)
        )


@dataclass(frozen=True)
class Space:
    """The plans that a search can reach on one network."""

    encoding: Encoding
    network: tuple[Block, ...]
    """All blocks in order of execution, the head last."""
    granularity: Granularity
    base_rate: float
    mode: Mode | None = None
    """The mode of every plan; None = the encoding decides."""
    kept_epoch: Kept = "best"
    """Which epoch's weights every training keeps."""

    def plan(self, genes: Genes) -> FineTunePlan:
        """The plan of the genes' phenotype; the solved probe, if the head starts from it and nothing else trains."""
        mode, rates = (
            self.mode or self.encoding.mode(genes),
            block_rates(self.encoding.phenotype(genes), self.base_rate),
        )
        named = {block.name: rate for block, rate in zip(self.network, rates, strict=True)}
        if mode.head == "probe" and not any(rates[:-1]):
            named = {}
        return FineTunePlan.constant(
            self.network,
            named,
            granularity=self.granularity,
            norm=mode.norm,
            parts=mode.parts,
            head_start=mode.head,
            statistics=mode.statistics,
            kept_epoch=self.kept_epoch,
        )

    @property
    def gene_names(self) -> tuple[str, ...]:
        """Block names, then those of the genes that speak for all."""
        own = [block.name for block in self.network[: self.encoding.block_genes]]
        return (*own, *self.encoding.globals)


def block_rates(phenotype: Phenotype, base_rate: float) -> tuple[float | None, ...]:
    """Learning rates to six digits; None = frozen."""
    return tuple(None if bins is None else float(f"{base_rate * weight(bins):.6g}") for bins in phenotype)


def weight(bins: int) -> float:
    """Factor on the base rate."""
    return float(10 ** (bins / BINS_PER_DECADE))


def diversity(phenotypes: Sequence[Phenotype]) -> float | None:
    """Mean distance between two of them, 0 to 1: per block 1 if one freezes it and the other does not, else decades.

    None for a single one, which has no distance to another.
    """
    pairs = [(a, b) for position, a in enumerate(phenotypes) for b in phenotypes[:position]]
    return float(np.mean([_distance(a, b) for a, b in pairs])) if pairs else None


def _distance(a: Phenotype, b: Phenotype) -> float:
    return float(np.mean([_block_distance(x, y) for x, y in zip(a, b, strict=True)]))


def _block_distance(a: int | None, b: int | None) -> float:
    if a is None or b is None:
        return float(a is not b)
    return min(1.0, abs(a - b) / BINS_PER_DECADE)


def _split_weight(gene: float) -> float:
    """Decades above the base rate of a block that trains."""
    return _between(SPLIT_DECADES, _trained_share(gene))


def _trained_share(gene: float) -> float:
    """Position of a gene within the range in which its block trains, 0 to 1."""
    return (gene - SPLIT_FROZEN) / (1 - SPLIT_FROZEN)


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + share * (ends[1] - ends[0])


def _share_of(ends: tuple[float, float], value: float) -> float:
    """The inverse of `_between`."""
    return (value - ends[0]) / (ends[1] - ends[0])


def clip(gene: float) -> float:
    """Back into 0 to 1."""
    return min(1.0, max(0.0, gene))


def _bins(decades: float) -> int:
    return round(float(decades) * BINS_PER_DECADE)
