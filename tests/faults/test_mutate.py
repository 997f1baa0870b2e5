"""Damages of files: reproducible, and of the kind that their names say."""

from __future__ import annotations

import csv
import io
import json
import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from benchmarks.faults import mutate

TENSORS = save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)})
NAMES = ("x.json", "x.journal", "x.csv", "x.toml", "x.options", "x.npy", "x.safetensors")
KINDS = tuple(dict.fromkeys(mutation for name in NAMES for mutation in mutate.mutations_for(name)))


@settings(max_examples=40)
@given(content=st.binary(max_size=200), seed=st.integers(0, 2**32))
def test_every_mutation_takes_any_bytes_and_repeats_itself(content: bytes, seed: int) -> None:
    for mutation in KINDS:
        assert mutation(content, random.Random(seed)) == mutation(content, random.Random(seed))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@pytest.mark.thorough
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(value=json_values, seed=st.integers(0, 2**32))
def test_edited_json_stays_json(value: object, seed: int) -> None:
    text = json.dumps(value).encode()
    for mutation in (mutate.json_nudge, mutate.json_key):
        json.loads(mutation(text, random.Random(seed)).decode("utf-8", "surrogatepass"))


def test_nudged_json_keeps_its_types() -> None:
    document = {"score": 0.5, "n": 3, "name": "abc", "flag": True, "nothing": None}
    seen = set()
    for seed in range(60):
        changed = json.loads(mutate.json_nudge(json.dumps(document).encode(), random.Random(seed)))
        assert {key: type(value) for key, value in changed.items()} == {
            key: type(value) for key, value in document.items()
        }
        seen |= {key for key in document if changed[key] != document[key]}
    assert seen == {"score", "n", "name", "flag"}


def test_zeroed_and_rolled_arrays_keep_their_header() -> None:
    stream = io.BytesIO()
    np.save(stream, np.arange(12, dtype=np.uint8).reshape(3, 4))
    zeroed = np.load(io.BytesIO(mutate.zero_payload(stream.getvalue(), random.Random(0))))
    assert zeroed.shape == (3, 4)
    assert not zeroed.any()
    rolled = np.load(io.BytesIO(mutate.roll(stream.getvalue(), random.Random(0))))
    assert sorted(rolled.flatten()) == list(range(12))
    assert list(rolled.flatten()) != list(range(12))
    assert not load(mutate.zero_payload(TENSORS, random.Random(0)))["a"].any()


@pytest.mark.parametrize("mutation", [mutate.other_type, mutate.other_shape, mutate.not_a_number, mutate.tensor_lost])
def test_tensors_stay_a_file_of_tensors(mutation: mutate.Mutation) -> None:
    before = load(TENSORS)
    for seed in range(20):
        after = load(mutation(TENSORS, random.Random(seed)))
        assert any(
            name not in after or after[name].dtype != tensor.dtype or not torch.equal(after[name], tensor)
            for name, tensor in before.items()
        )


def test_flipped_payload_differs_in_one_bit() -> None:
    changed = mutate.flip_payload(TENSORS, random.Random(1))
    assert sum((old ^ new).bit_count() for old, new in zip(TENSORS, changed, strict=True)) == 1
    assert load(changed).keys() == load(TENSORS).keys()


def test_a_table_that_python_cannot_read_is_damaged_all_the_same() -> None:
    endless = b"a" * 200_000
    assert mutate.csv_cell(endless, random.Random(0)) != endless


def test_lines_and_cells() -> None:
    table = b"a,b\n1,2\n3,4\n"
    assert len(mutate.line_lost(table, random.Random(0)).splitlines()) == 2
    assert len(mutate.line_twice(table, random.Random(0)).splitlines()) == 4
    assert sorted(mutate.lines_swapped(table, random.Random(0)).splitlines()) == sorted(table.splitlines())
    rows = list(csv.reader(io.StringIO(mutate.csv_cell(table, random.Random(3)).decode(), newline="")))
    assert sum(cell not in ("a", "b", "1", "2", "3", "4") for row in rows for cell in row) == 1
