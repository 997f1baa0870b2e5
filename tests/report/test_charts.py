"""Charts: where values lie, round ticks, escaped words."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thawline.report.charts import Axis, Chart, linear_axis, log_axis, shorten


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
@example([0.0, -2.604041885214766e-158])  # 100 * span / span is more than 100 here
def test_a_linear_axis_holds_its_values(values: list[float]) -> None:
    axis = linear_axis("", values)
    assert axis.low <= min(values) + 1e-6
    assert axis.high >= max(values) - 1e-6
    assert 1 <= len(axis.ticks) <= 9
    assert all(0 <= axis.at(value) <= 100 for value in values)


def test_ticks_are_round() -> None:
    assert [text for _, text in linear_axis("", [0.612, 0.847]).ticks] == ["0.6", "0.7", "0.8", "0.9"]
    assert [text for _, text in linear_axis("", [0.9, 1.04], bounds=(0, 1)).ticks][-1] == "1"
    assert [text for _, text in log_axis("", [0.13, 20]).ticks] == ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20"]


def test_a_log_axis_gives_every_decade_the_same_room() -> None:
    axis = Axis("", 0.01, 1, (), log=True)
    assert [axis.at(value) for value in (0.01, 0.1, 1, 100)] == pytest.approx([0, 50, 100, 100])


def test_a_chart_is_xml_with_a_title_a_description_and_escaped_words() -> None:
    axis = linear_axis("<i>", [0, 1])
    chart = Chart("name", "A <b>title</b>", 'a "description"', axis, axis)
    chart.dot((0.5, 0.5), "<script>")
    chart.line([(0, 0), (1, 1)])
    root = ElementTree.fromstring(str(chart.draw()))
    svg = root.find("./div/svg")
    assert svg is not None
    assert svg.get("role") == "img"
    assert [svg.findtext("title"), svg.findtext("desc")] == ["A <b>title</b>", 'a "description"']
    assert root.findtext(".//circle/title") == "<script>"
    assert str(svg.get("aria-labelledby")).split() == [element.get("id") for element in svg if element.get("id")]


def test_long_names_lose_their_middle() -> None:
    assert shorten("layer4", 12) == "layer4"
    assert len(shorten("features.transition3.conv.norm", 12)) == 12
    assert shorten("features.transition3.conv.norm", 12).endswith("norm")
