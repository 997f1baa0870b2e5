"""Ways to make a plan; each is one file and one line of the table in this module.

Other packages add theirs through entry points (docs/add-a-strategy.md). Standard library only: the command line lists
strategies from here without importing torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from thawline.strategies.third_party import Offer, offers


@dataclass(frozen=True)
class StrategyEntry:
    """Where a strategy lives and what `--help` says of it."""

    target: str
    """module:Class, imported when the strategy is used."""
    help: str
    package: str = "thawline"
    """Who offers it."""
    rivals: tuple[str, ...] = ()
    """Packages that offer another strategy by this name: which one is meant is unclear, so none can be used."""


OWN_STRATEGIES: dict[str, StrategyEntry] = {
    "auto": StrategyEntry(
        "thawline.strategies.auto:Auto",
        "the best plan of a learned list, tried within a budget; a larger budget also searches for new plans",
    ),
    "biotune": StrategyEntry(
        "thawline.strategies.biotune:BioTune",
        "blocks and learning rates found by evolutionary search, with many trainings",
    ),
    "linear_probe": StrategyEntry("thawline.strategies.linear_probe:LinearProbe", "the head only, solved exactly"),
    "last_blocks": StrategyEntry("thawline.strategies.last_blocks:LastBlocks", "the last k blocks and the head"),
    "full": StrategyEntry("thawline.strategies.full:Full", "everything, at one learning rate"),
    "full_10x_head": StrategyEntry(
        "thawline.strategies.full_10x_head:FullTenfoldHead", "everything, with 10x the learning rate for the head"
    ),
    "last_layers": StrategyEntry(
        "thawline.strategies.last_layers:LastLayers", "the last k layers (convolutions or linear) and the head"
    ),
    "depth": StrategyEntry("thawline.strategies.depth:Depth", "a percentage of the layers, from the top, and the head"),
    "layer_decay": StrategyEntry(
        "thawline.strategies.layer_decay:LayerDecay",
        "everything, with a learning rate that decays by a factor with every block below the head",
    ),
    "l2_sp": StrategyEntry(
        "thawline.strategies.l2_sp:L2SP", "everything, regularized toward the pretrained weights (squared distance)"
    ),
    "l1_sp": StrategyEntry(
        "thawline.strategies.l1_sp:L1SP", "everything, regularized toward the pretrained weights (absolute distance)"
    ),
    "gradual_last_first": StrategyEntry(
        "thawline.strategies.gradual_last_first:GradualLastFirst", "everything, unfrozen gradually from the head down"
    ),
    "gradual_first_last": StrategyEntry(
        "thawline.strategies.gradual_first_last:GradualFirstLast", "everything, unfrozen gradually from the stem up"
    ),
    "auto_rgn": StrategyEntry(
        "thawline.strategies.auto_rgn:AutoRGN",
        "everything, with learning rates proportional to the relative gradient norm of each tensor",
    ),
    "lora": StrategyEntry(
        "thawline.strategies.lora:LoRA",
        "low-rank updates of linear layers, attention and ungrouped convolutions, and the head",
    ),
    "lp_ft": StrategyEntry("thawline.strategies.lp_ft:LPFT", "the head first, then everything"),
    "norm_only": StrategyEntry("thawline.strategies.norm_only:NormOnly", "norm layers, biases and the head"),
    "first_blocks": StrategyEntry(
        "thawline.strategies.first_blocks:FirstBlocks", "the first k blocks, and the head unless it is kept"
    ),
    "norm_statistics": StrategyEntry(
        "thawline.strategies.norm_statistics:NormStatistics",
        "nothing; only batch-norm statistics are recomputed on the new images (fit again)",
    ),
    "unchanged": StrategyEntry(
        "thawline.strategies.unchanged:Unchanged", "nothing: the old model, unchanged (fit again)"
    ),
    "subtune": StrategyEntry("thawline.strategies.subtune:SubTune", "blocks selected greedily, and the head"),
    "wise_ft": StrategyEntry(
        "thawline.strategies.wise_ft:WiSEFT", "the head first, then everything; weights interpolated between the two"
    ),
}

UNLISTED = {"given": StrategyEntry("thawline.strategies.given:Given", "the plan that `plan` gives, as it is")}
"""Strategies that an option stands for, and that nobody names."""


def with_offers(own: Mapping[str, StrategyEntry], others: Iterable[Offer]) -> dict[str, StrategyEntry]:
    """The table with what other packages offer; where two use one name, the first stays and the others are noted."""
    table = dict(own)
    for offer in others:
        taken = table.get(offer.name)
        if taken is None:
            table[offer.name] = StrategyEntry(offer.target, offer.help, offer.package)
        else:
            table[offer.name] = replace(taken, rivals=(*taken.rivals, offer.package))
    return table


STRATEGIES = with_offers(OWN_STRATEGIES, offers())
"""Every strategy by name: ours, then those of other packages."""
