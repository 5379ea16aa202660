"""The HTML report: everything inside, everything escaped, every figure drawn."""

import base64
import html.parser
import io
import json
import re

import numpy as np
import pytest

from almtok.codec.evaluation import harness, report, table
from almtok.core.audio import read_audio
from almtok.core.report import curves, figures
from almtok.core.report.render import render_macro

from .conftest import RATE, NoisyCodec, make_voice

pytest.importorskip("pesq")
pytest.importorskip("matplotlib")


class Checker(html.parser.HTMLParser):
    """Open tags must be closed in order; nothing is loaded from outside."""

    VOID = {"meta", "img", "br", "line", "circle", "polyline"}

    def __init__(self):
        super().__init__()
        self.open, self.counts, self.outside = [], {}, []

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.outside += [v for k, v in attrs if k in ("src", "href") and not v.startswith(
            ("data:", "#"))]  # fmt: skip
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked(text):
    checker = Checker()
    checker.feed(text)
    assert checker.open == [] and checker.outside == []
    return checker.counts


@pytest.fixture
def evaluated(clips, tmp_path):
    from almtok.codec.evaluation.cli import _keep_originals

    kept = {"speech/0", "music/1"}
    ours, peer = NoisyCodec("almtok", 0.001), NoisyCodec("<b>peer", 0.05, longest=1.5)
    rows = [
        (codec, harness.evaluate_codec(codec, clips, tmp_path, keep_audio=kept, progress=False))
        for codec in (ours, peer)
    ]
    _keep_originals(tmp_path, clips, kept)
    return table.summarise(rows, reference="<b>peer", not_run={"lyra": "not <there>"})


def test_the_whole_report_from_a_folder(evaluated, clips, tmp_path):
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    lines = [json.dumps({"step": n, "losses": {"mel": 2.0 / n}, "codebooks": [{"usage": 0.5}]})
             for n in range(1, 30)]  # fmt: skip
    (run / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 30, "los']))
    path = report.report_from_folder(
        tmp_path, evaluated, clips, checkpoints=[str(run / "model"), "mini"]
    )
    text = path.read_text()
    counts = checked(text)
    assert counts["audio"] == 2 + 2 + 1  # originals, ours, and the one clip that the peer managed
    assert counts["img"] == counts["audio"] + 2  # spectrograms, and our code maps
    assert "&lt;b&gt;peer" in text and "<b>peer<" not in text and "not &lt;there&gt;" in text
    assert "failed: &lt;b&gt;peer, music/1" in text and 'class="good">better' in text
    assert "losses, mel" in text and "Few clips: a domain has only 2" in text
    assert not list(tmp_path.glob("*.tmp-*"))


def test_players_hold_the_exact_samples(evaluated, clips, tmp_path):
    text = report.report_from_folder(tmp_path, evaluated, clips).read_text()
    data = re.search(r"data:audio/flac;base64,([^\"]+)", text).group(1)
    wav = read_audio(base64.b64decode(data), RATE)
    assert np.abs(wav - make_voice(1.0, seed=0)).max() < 1e-4


def test_a_report_without_clips_curves_or_codes(tmp_path):
    codec = NoisyCodec("almtok (tiny, random)")
    summary = table.summarise([(codec, [])])
    text = report.write_report(tmp_path / "x.html", summary, notes=["a <note>"]).read_text()
    checked(text)
    assert "untrained weights" in text and "a &lt;note&gt;" in text


def picture(address):
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def test_spectrogram_shows_a_tone_where_it_is():
    t = np.arange(RATE) / RATE
    image = np.asarray(picture(figures.spectrogram_url(np.sin(2 * np.pi * 300 * t), RATE))
                       .convert("L")).astype(float)  # fmt: skip
    assert image.shape[0] == 96
    row = image[:, 20:-20].mean(axis=1).argmax()
    # 300 Hz is 402 of 3223 mel, counted from the bottom row.
    assert row == pytest.approx(95 - 96 * 402 / 3223, abs=2)


def test_code_map_has_a_cell_per_code():
    codes = np.array([[1, 1, 2], [5, 6, 5]])
    image = np.asarray(picture(figures.code_map_url(codes)).convert("RGB"))
    assert image.shape[:2] == (16, 12)
    cell = image[4, 2], image[4, 6], image[4, 10]
    assert (cell[0] == cell[1]).all() and not (cell[0] == cell[2]).all()


def test_charts():
    bars = [figures.Bar("almtok", 2.0, 1.9, 2.1, True), figures.Bar("x & y", 1.0, 1.0, 1.0, False)]
    chart = figures.interval_chart(bars, digits=2, higher_is_better=True)
    assert [row.best for row in chart.rows] == [True, False]
    svg = render_macro("interval_chart", chart)
    assert checked(svg)["circle"] == 2 and "x &amp; y" in svg
    alone = figures.interval_chart(bars[1:], digits=0, higher_is_better=False)
    checked(render_macro("interval_chart", alone))
    steps = list(range(2000))
    svg = render_macro(
        "curve_chart", figures.curve_chart("loss", steps, [100.0 / (1 + s) for s in steps])
    )
    checked(svg)
    assert "(log)" in svg and svg.count(",") < 500
    assert figures.curve_chart("loss", [1.0], [float("nan")]) is None


def test_curves_of_one_run_and_of_stages_beside_it(tmp_path):
    for stage in ("stage1", "stage2"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "metrics.jsonl").write_text(
            '{"step": 1, "lr": 1}\n{"step": 2, "lr": 2}\n{"step": 2, "lr": 3}\n'
        )
    (tmp_path / "codec").mkdir()
    found = curves.find_metrics(tmp_path / "codec")
    assert [path.parent.name for path in found] == ["stage1", "stage2"]
    assert curves.read_curves(found[0]).series["lr"] == ([1.0, 2.0], [1.0, 3.0])
    assert curves.find_metrics(tmp_path / "nothing") == []
    assert report.is_ours("almtok w=3") and not report.is_ours("encodec")
