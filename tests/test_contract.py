"""Every strategy on every tiny model: rates reach the optimizer exactly, frozen blocks never move."""

from __future__ import annotations

import pytest

from thawline.model.load import LoadedModel
from thawline.strategies import STRATEGIES
from thawline.testing import TINY_MODELS, check_strategy, tiny_model


@pytest.fixture(scope="module", params=TINY_MODELS)
def model(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny_model(request.param)


@pytest.mark.parametrize("spec", STRATEGIES)
def test_strategy_meets_the_contract(spec: str, model: LoadedModel) -> None:
    check_strategy(spec, model)


@pytest.mark.parametrize("spec", ["linear_probe", "last_blocks:k=2", "full"])
def test_strategy_meets_the_contract_by_group(spec: str, model: LoadedModel) -> None:
    check_strategy(spec, model, "group")
