"""Charts: where points are in the picture, which values they have, and what of a log is shown."""

import re

import numpy as np
import pandas as pd
import pytest

from common.report.charts import COLORS, Chart, Charts, Line, training_charts


def points(text):
    """Name -> places (N, 2) and texts of the values, of each line."""
    lines = re.findall(r'<polyline points="(.*?)" (.*?) data-name="(.*?)" data-values="(.*?)"/>', text)
    return {
        name: (np.array([list(map(float, at.split(","))) for at in places.split()]), values.split(";"), style)
        for places, style, name, values in lines
    }


def test_points_are_where_the_axes_say():
    lines = [Line("a", [1, 2, 5], [10, np.nan, 30]), Line("<b>", np.array([3]), np.array([20.0]))]
    placed = points(Chart("y", "x", lines).html())
    np.testing.assert_array_equal(placed["a"][0], [[56, 240], [490, 12]])
    np.testing.assert_array_equal(placed["&lt;b&gt;"][0], [[273, 126]])
    assert placed["a"][1] == ["1: 10", "5: 30"] and placed["&lt;b&gt;"][1] == ["3: 20"]
    text = Chart("y", "x", [Line("a", [1, 10, 100], [1, 10, 10000])], log_x=True, log_y=True).html()
    np.testing.assert_array_equal(points(text)["a"][0], [[56, 240], [273, 183], [490, 12]])
    ticks = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([\d.]+)</text>', text)
    assert [(x, tick) for x, _, side, tick in ticks if side == "middle"] == [
        (x, tick)
        for x, tick in (
            *(("56.0", "1"), ("121.3", "2"), ("207.7", "5"), ("273.0", "10"), ("338.3", "20"), ("424.7", "50")),
            ("490.0", "100"),
        )
    ]
    assert [(float(y) - 4, tick) for _, y, side, tick in ticks if side == "end"] == [
        (240, "1"),
        (183, "10"),
        (126, "100"),
        (69, "1000"),
        (12, "10000"),
    ]


def ticks(x, y, **axes):
    """The ticks of both axes."""
    text = Chart("y", "x", [Line("a", x, y)], **axes).html()
    return [re.findall(rf'text-anchor="{side}">([\d.]+)<', text) for side in ("middle", "end")]


def test_ticks_are_round_numbers():
    assert ticks([1, 2], [0, 1.0]) == [["1", "2"], ["0", "1"]]  # there is no half an epoch
    assert ticks([1, 2.5], [0.5, 1.0]) == [
        ["1.2", "1.5", "1.8", "2.1", "2.4"],
        ["0.5", "0.6", "0.7", "0.8", "0.9", "1"],
    ]
    assert ticks([2, 8], [1, 4], log_y=True)[1] == ["1", "2", "3", "4"]  # too short for powers of ten
    assert ticks([2, 8], [1, 5], log_y=True)[1] == ["1", "2", "5"]
    assert ticks([2, 8], [1, 999], log_y=True)[1] == ["1", "2", "5", "10", "20", "50", "100", "200", "500"]
    assert ticks([2, 8], [1, 1000], log_y=True)[1] == ["1", "10", "100", "1000"]


def test_noise_does_not_fill_the_chart():
    """Values that differ by a thousandth are within a twentieth of the height around the middle."""
    (places, _, _) = points(Chart("y", "x", [Line("a", [1, 2], [10, 10.01])]).html())["a"]
    np.testing.assert_allclose(places[:, 1], [126 + 5.7, 126 - 5.7], atol=0.1)  # 0.01 / 0.2002 of 228 pixels


def test_one_point_is_in_the_middle():
    text = Chart("y", "x", [Line("a", [1], [0.0])]).html()
    np.testing.assert_array_equal(points(text)["a"][0], [[273, 126]])
    assert '<circle cx="273.0" cy="126.0" r="2.5"' in text


def test_groups_have_the_colors_in_turn_then_dashes():
    lines = [Line(f"{group}-{seed}", [1, 2], [1, 2], str(group)) for group in range(9) for seed in range(2)]
    text = Chart("y", "x", lines).html()
    styles = [style for _, _, style in points(text).values()]
    expected = [f'stroke="{COLORS[group % 7]}"' for group in range(9)]
    expected[7:] = [f'{style} stroke-dasharray="6 3"' for style in expected[7:]]
    assert styles == [style for style in expected for _ in range(2)]
    assert re.findall(r"</svg>(\w+)</span>", text) == [str(group) for group in range(9)]


def test_long_lines_are_thinned_and_have_no_dots():
    text = Chart("y", "x", [Line("a", range(1000), range(1000))]).html()
    _, values, _ = points(text)["a"]
    assert len(values) == 200 and (values[0], values[-1]) == ("0: 0", "999: 999")
    assert text.count("<circle") == 1  # the mark
    for count, dots in ((20, 20), (21, 0)):
        assert Chart("y", "x", [Line("a", range(count), range(count))]).html().count("<circle") == dots + 1


def test_curves_are_those_of_the_logs(tmp_path):
    for name, loss in (("a-seed0", [4.0, 1.0]), ("a-seed1", [3.0, 2.0]), ("b-seed0", [2.0, 0.5])):
        (tmp_path / name / "frozen").mkdir(parents=True)
        log = {"epoch": [1, 3], "loss": loss, "penalty": [1, 2], "test_mAP": [np.nan, 0.25], "test_x": [np.nan] * 2}
        pd.DataFrame(log).to_csv(tmp_path / name / "log.csv", index=False)
        pd.DataFrame({"loss": [0.0, 1.0, 2.0]}).to_csv(tmp_path / name / "frozen/log.csv", index=False)
    (part,) = training_charts(tmp_path, ["a-seed0", "a-seed1", "b-seed0", "not there"])
    assert part.figures == ("figures/loss.png",)
    assert [(chart.title, chart.log_y) for chart in part.charts] == [
        ("loss", True),
        ("test mAP (%)", False),
        ("loss, frozen", False),
    ]
    loss, accuracy, frozen = part.charts
    assert [(line.name, line.group, list(line.x), list(line.y)) for line in loss.lines] == [
        ("a-seed0", "a", [1, 3], [4.0, 1.0]),
        ("a-seed1", "a", [1, 3], [3.0, 2.0]),
        ("b-seed0", "b", [1, 3], [2.0, 0.5]),
    ]
    assert points(accuracy.html())["b-seed0"][1] == ["3: 25"]
    assert list(frozen.lines[0].x) == [1, 2, 3]
    assert training_charts(tmp_path, ["not there"]) == []


def test_charts_are_one_part():
    chart = Chart("y", "x", [Line("a", [1, 2], [1, 2])])
    text = Charts("heading", "a < b", [chart, chart]).html()
    assert text.startswith("<p>a &lt; b</p>") and text.count(chart.html()) == 2


@pytest.mark.parametrize("column", ["validation_error", "test_accuracy"])
def test_shares_of_held_out_data_are_in_percent(column, tmp_path):
    (tmp_path / "seed0").mkdir()
    pd.DataFrame({"epoch": [1, 2], column: [0.5, 0.25]}).to_csv(tmp_path / "seed0/log.csv", index=False)
    (part,) = training_charts(tmp_path, ["seed0"])
    (chart,) = part.charts
    assert list(chart.lines[0].y) == [50, 25] and chart.title == column.replace("_", " ") + " (%)"
