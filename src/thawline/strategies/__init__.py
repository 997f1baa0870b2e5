"""Ways to make a plan; each is one file and one line of the table in this module.

Standard library only: the command line lists strategies from here without importing torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StrategyEntry:
    """Where a strategy lives and what `--help` says of it."""

    target: str
    """module:Class, imported when the strategy is used."""
    help: str


STRATEGIES: dict[str, StrategyEntry] = {
    "auto": StrategyEntry(
        "thawline.strategies.auto:Auto", "the best on validation of linear_probe, last_blocks and full, each tuned"
    ),
    "linear_probe": StrategyEntry("thawline.strategies.linear_probe:LinearProbe", "the head alone"),
    "last_blocks": StrategyEntry("thawline.strategies.last_blocks:LastBlocks", "the last k blocks and the head"),
    "full": StrategyEntry("thawline.strategies.full:Full", "everything, at one rate"),
    "full_10x_head": StrategyEntry(
        "thawline.strategies.full_10x_head:FullTenfoldHead", "everything, the head ten times as fast"
    ),
    "depth": StrategyEntry(
        "thawline.strategies.depth:Depth", "a share of the layers from the top (in percent), and the head"
    ),
    "layer_decay": StrategyEntry(
        "thawline.strategies.layer_decay:LayerDecay", "everything, slower by a factor with every block below the head"
    ),
}
