"""Samplers see the same candidates, repeat themselves with the same seed, and stay in reach."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import get_args

import pytest

from tests.search.fakes import scored
from thawline.errors import OptionError
from thawline.search.candidates import Scored
from thawline.search.encoding import FreeEncoding
from thawline.search.samplers import SAMPLERS, Proposal
from thawline.strategies.auto import AutoConfig, SamplerName

ENCODING = FreeEncoding(4)
RANKED = [scored(slot, 0.9 - 0.1 * slot, genes=(0.2, 0.5 + 0.05 * slot, 0.9, 0.5, 0.7)) for slot in range(6)]
NEEDS = {"cma": "cmaes"}


def drawn(name: SamplerName, ranked: Sequence[Scored] = RANKED, seed: int = 0, generation: int = 1) -> list[Proposal]:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    return list(islice(SAMPLERS[name](ENCODING, seed).draws(ranked, generation), 8))


def test_every_sampler_that_auto_accepts_can_be_made_and_no_other() -> None:
    assert set(SAMPLERS) == set(get_args(SamplerName))
    assert [AutoConfig(sampler=name).sampler for name in get_args(SamplerName)] == list(get_args(SamplerName))


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_the_same_seed_and_past_give_the_same_proposals(name: SamplerName) -> None:
    found = drawn(name)
    assert found == drawn(name)
    assert all(len(draw.genes) == ENCODING.size and all(0 <= gene <= 1 for gene in draw.genes) for draw in found)
    if name != "grid":
        assert len({draw.genes for draw in found}) > 4
        assert found != drawn(name, seed=1)
        assert found != drawn(name, generation=2)


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_a_search_can_begin_with_nothing(name: SamplerName) -> None:
    assert len(drawn(name, ranked=[])) == 8


def test_evolution_probes_the_best_then_breeds() -> None:
    found = drawn("biotune")
    assert [draw.operator for draw in found[:4]] == ["probe", "probe", "child", "child"]
    best = RANKED[0].candidate
    for probe in found[:2]:
        assert probe.parents == (best.address,)
        assert sum(a != b for a, b in zip(probe.genes, best.genes, strict=True)) <= 1
    assert all(len(child.parents) == 3 for child in found[2:])


def test_tpe_learns_from_the_ranks() -> None:
    """Where only candidates with a fast head are good, most proposals have draw."""
    ranked = [scored(slot, 0.5, genes=(0.2, 0.2, 0.2, 0.95 - 0.03 * slot, 0.2)) for slot in range(30)]
    heads = [draw.genes[3] for draw in islice(SAMPLERS["tpe"](ENCODING, 0).draws(ranked, 1), 40)]
    assert sum(heads) / len(heads) > 0.6


def test_cma_goes_where_the_ranks_point() -> None:
    pytest.importorskip("cmaes")
    heads = {}
    for sign in (1, -1):
        ranked = [
            scored(slot, 0.5, genes=(0.5, 0.5, 0.5, 0.5 + sign * (0.3 - 0.1 * slot), 0.5), generation=generation)
            for generation in range(4)
            for slot in range(6)
        ]
        ranked.sort(key=lambda result: result.candidate.slot)
        found = islice(SAMPLERS["cma"](ENCODING, 0).draws(ranked, 4), 40)
        heads[sign] = sum(draw.genes[3] for draw in found) / 40
    assert heads[1] > 0.6 > 0.4 > heads[-1]


def test_cma_without_its_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thawline.search.samplers.cmaes", None)
    with pytest.raises(OptionError, match="pip install 'thawline"):
        SAMPLERS["cma"](ENCODING, 0)


def test_the_grid_is_every_number_of_last_blocks_at_one_rate_after_the_other() -> None:
    phenotypes = [ENCODING.phenotype(draw.genes) for draw in drawn("grid")]
    assert phenotypes[:4] == [(None, None, None, 0), (None, None, 0, 0), (None, 0, 0, 0), (0, 0, 0, 0)]
