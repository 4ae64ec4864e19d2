import xml.etree.ElementTree as ET

import pytest
from markupsafe import Markup

from posttrain.report import charts
from posttrain.report.charts import Point, Series


def numbers(svg, tag, attribute):
    return [float(e.get(attribute)) for e in ET.fromstring(svg).iter(tag)]


@pytest.mark.parametrize(
    ("lo", "hi", "want"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 47, [0, 10, 20, 30, 40, 50]), (-3, 12, [-5, 0, 5, 10, 15]), (0, 0, None)],
)
def test_ticks_are_round_and_reach_over_the_data(lo, hi, want):
    ticks = charts.nice_ticks(lo, hi)
    assert ticks[0] <= lo and ticks[-1] >= hi and 2 <= len(ticks) <= 6
    assert want is None or ticks == want


def test_a_line_falls_where_its_values_fall():
    series = [Series("a", [Point(0, 40), Point(1, 20, 10, 30), Point(2, 0)])]
    svg = charts.lines("title", series, ["x", "y", "z"], 50)
    heights = numbers(svg, "circle", "cy")
    assert heights == sorted(heights) and heights[1] - heights[0] == pytest.approx(heights[2] - heights[1])
    assert numbers(svg, "circle", "cx") == sorted(numbers(svg, "circle", "cx"))


def test_bars_grow_from_the_middle_to_both_sides():
    sides = {"left text": Point(0, 10, 5, 20), "right speech": Point(0, 20, 10, 30), "left speech": None}
    svg = charts.two_sided("title", [("sft", sides)], "left", "right")
    xs, widths = numbers(svg, "rect", "x"), numbers(svg, "rect", "width")
    assert xs[0] + widths[0] < charts.WIDTH / 2 < xs[1]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)


def test_points_stand_where_their_figures_are():
    points = [Point(0, 40, 35, 45, "ctc"), Point(10, 90, 85, 95, "sft")]
    svg = charts.scatter("title", points, "x", "y", [(-1, 1), (8, 12)])
    (x0, x1), (y0, y1) = numbers(svg, "circle", "cx"), numbers(svg, "circle", "cy")
    assert x1 > x0 and y1 < y0
    assert all(0 <= x <= charts.WIDTH for x in numbers(svg, "line", "x1") + numbers(svg, "line", "x2"))


def test_the_gap_is_the_distance_of_its_dots():
    svg = charts.dumbbells("title", [("ctc", 90, 60, "30"), ("sft", 90, 85, "5")], ("typed", "spoken"))
    xs = numbers(svg, "circle", "cx")
    assert (xs[0] - xs[1]) == pytest.approx(6 * (xs[2] - xs[3]), rel=0.02)


def test_text_in_a_chart_is_escaped():
    hostile = '"><script>alert(1)</script>'
    point = Point(0, 1, 0, 2, hostile, hostile)
    sides = {"left text": point}
    for svg in (
        charts.lines(hostile, [Series(hostile, [point])], [hostile], 5),
        charts.scatter(hostile, [point], hostile, hostile, [(0, 1)]),
        charts.two_sided(hostile, [(hostile, sides)], hostile, hostile),
        charts.dumbbells(hostile, [(hostile, 1, 2, hostile)], (hostile, hostile)),
    ):
        assert isinstance(svg, Markup) and "<script" not in svg
        ET.fromstring(svg)
