"""`almtok compare --report`: the page says in words and points what the bands decide."""

import json
import math
import re

import pytest

from almtok.__main__ import main
from almtok.core.report.bands import BandPoint, band_chart
from almtok.core.report.figures import tick_text
from almtok.recipes.curves import read_reference


@pytest.fixture
def make_run(tmp_path):
    """A run folder with the curves of the recipe mini, some of them scaled by a factor."""
    reference = read_reference("mini/stage2")

    def make(steps=400, **factors):
        lines = []
        for step in (*range(steps // 40, steps, steps // 20), steps):  # middles of 20 parts, end
            share = min(step / steps, 0.975)
            losses = {
                name: point.mean * factors.get(name, 1.0)
                for name, points in reference.losses.items()
                for point in points
                if abs(point.share - share) < 1e-6
            }
            lines.append({"step": step, "losses": losses, "lr": 1e-4 * (1 - step / steps)})
        (tmp_path / "config.json").write_text(json.dumps({"steps": steps}))
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        return tmp_path

    return make


def report(run, *words):
    out = run / "page" / "curves.html"
    status = main(["compare", str(run), *words, "--report", str(out)])
    assert [file.name for file in out.parent.iterdir()] == ["curves.html"]
    return status, out.read_text()


def test_a_run_inside_of_the_bands(make_run):
    status, text = report(make_run(), "--to", "mini/stage2")
    assert status == 0 and "6 of 6 losses lie inside the bands of the recipe mini, stage2" in text
    assert text.count('class="band"') == 6 and 'class="outside"' not in text
    assert "Likely:" not in text and "lr" in text
    assert "http:" not in text and "https:" not in text and 'src="' not in text


def test_a_run_outside_of_a_band_is_said_and_marked(make_run):
    status, text = report(make_run(mel=1.5), "--to", "mini/stage2")
    assert status == 1 and "5 of 6 losses lie inside" in text
    (sentence,) = re.findall(r"<p class=\"bad\">(mel is .*?)</p>", text)
    assert "outside the band" in sentence and "Likely:" in sentence
    marked = [c.count('class="outside"') for c in text.split('<div class="card">')[1:]]
    assert sum(bool(count) for count in marked) == 1 and max(marked) > 5


def test_without_a_reference_there_are_curves_only(make_run):
    status, text = report(make_run())
    assert status == 0 and "there are no bands" in text and 'class="band"' not in text
    assert text.count('class="curve"') >= 7


def test_a_report_is_a_page(make_run, capsys):
    assert main(["compare", str(make_run()), "--report", "curves.png"]) == 1
    assert "--report must end in .html, got curves.png" in capsys.readouterr().err


def test_a_chart_holds_all_points_and_marks_those_outside():
    points = [
        BandPoint(0.0, 100.0, 90.0, 110.0),
        BandPoint(0.5, 30.0, 9.0, 11.0),
        BandPoint(0.7, 5.0),  # no band here
        BandPoint(0.9, math.inf, 0.5, 1.0),
        BandPoint(1.0, None, -0.5, 2.5),
    ]
    chart = band_chart("mel", points, "a curve")
    assert chart.logarithmic and len(chart.curve) == 3 and len(chart.band) == 8
    assert [x for x, _ in chart.outside] == [chart.curve[1][0]]
    for x, y in (*chart.curve, *chart.band):
        assert chart.left <= x <= chart.right and chart.top <= y <= chart.bottom
    assert chart.curve[0][1] < chart.curve[2][1]  # larger values are higher


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.2345, "1.23"), (0.000988, "9.9e-4"), (12345.6, "12346"), (-2e9, "-2.0e9")],
)
def test_numbers_of_an_axis_are_short(value, text):
    assert tick_text(value) == text
