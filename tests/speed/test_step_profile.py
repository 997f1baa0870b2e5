"""Which kind of work an operator is counted as."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from benchmarks import step_profile


@dataclass
class Event:
    """What the profiler says of an operator, as far as it is asked."""

    name: str
    cpu_parent: Event | None = None
    input_shapes: list[list[int]] = field(default_factory=list)


def within(*events: Event | str) -> str:
    """The kind of the last of events that are called by each other."""
    outer: Event | None = None
    for event in events:
        inner = Event(event) if isinstance(event, str) else event
        inner.cpu_parent, outer = outer, inner
    return step_profile._kind(outer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (["aten::relu_"], "activation"),
        (["autograd::engine::evaluate_function: HardtanhBackward0", "aten::hardtanh_backward"], "activation"),
        (["aten::batch_norm", "aten::native_batch_norm", "aten::empty_like"], "norm"),
        (["aten::layer_norm", "aten::contiguous", "aten::copy_"], "norm"),
        (["aten::linear", "aten::addmm"], step_profile.PRODUCT),
        (["Optimizer.step#AdamW.step", "aten::_fused_adamw_"], step_profile.OPTIMIZER),
        (["Optimizer.zero_grad#AdamW.zero_grad"], step_profile.OPTIMIZER),
        (["data", "aten::to", "aten::copy_"], step_profile.DATA),
        (["aten::to", "aten::_to_copy", "aten::copy_"], step_profile.COPY),
        (["aten::add"], step_profile.OTHER),
    ],
)
def test_an_operator_counts_for_what_it_is_part_of(calls: list[str], expected: str) -> None:
    assert within(*calls) == expected


@pytest.mark.parametrize(
    ("weights", "expected"), [([32, 1, 3, 3], step_profile.DEPTHWISE), ([32, 16, 3, 3], step_profile.PRODUCT)]
)
def test_depthwise_convolutions_are_known_by_their_weights_in_both_directions(
    weights: list[int], expected: str
) -> None:
    image = [8, 32, 14, 14]
    forward = Event("aten::convolution", input_shapes=[image, weights, []])
    assert within("aten::conv2d", forward, "aten::mkldnn_convolution") == expected
    backward = Event("aten::convolution_backward", input_shapes=[image, image, weights])
    assert within("ConvolutionBackward0", backward, "aten::mkldnn_convolution_backward", "aten::copy_") == expected
