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
    "l2_sp": StrategyEntry(
        "thawline.strategies.l2_sp:L2SP", "everything, pulled back to the pretrained weights (squared distance)"
    ),
    "l1_sp": StrategyEntry(
        "thawline.strategies.l1_sp:L1SP", "everything, pulled back to the pretrained weights (absolute distance)"
    ),
    "gradual_last_first": StrategyEntry(
        "thawline.strategies.gradual_last_first:GradualLastFirst", "everything, thawed from the head down"
    ),
    "gradual_first_last": StrategyEntry(
        "thawline.strategies.gradual_first_last:GradualFirstLast", "everything, thawed from the stem up"
    ),
    "auto_rgn": StrategyEntry(
        "thawline.strategies.auto_rgn:AutoRGN", "everything, each tensor in proportion to its relative gradient norm"
    ),
    "lora": StrategyEntry("thawline.strategies.lora:LoRA", "low-rank updates of all weights, and the head"),
    "lp_ft": StrategyEntry("thawline.strategies.lp_ft:LPFT", "the head first, then everything"),
    "norm_only": StrategyEntry("thawline.strategies.norm_only:NormOnly", "norm layers, biases and the head"),
    "subtune": StrategyEntry("thawline.strategies.subtune:SubTune", "blocks chosen greedily, and the head"),
    "wise_ft": StrategyEntry(
        "thawline.strategies.wise_ft:WiSEFT", "the head first, then everything, mixed with the start"
    ),
}
