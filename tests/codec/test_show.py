"""`almtok show`: attention and confidence are those of the codec, and its files are complete."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from almtok import ALMTokenizer, ALMTokenizerConfig, AudioTokens, shipped
from almtok.__main__ import main
from almtok.codec import transformer
from almtok.codec.inspection import inspect_audio, inspect_tokens
from almtok.codec.query_attention import query_attention
from almtok.codec.show_page import page
from almtok.codec.show_words import read_words
from almtok.core.audio import AudioError
from almtok.core.report.panels import mel_marks, outline, time_marks

ROOT = Path(__file__).resolve().parents[2]
SPEECH = ROOT / "docs/samples/codec_original.ogg"
ROUNDING = 1e-5  # of float32 sums of a few hundred weights


@pytest.fixture(scope="module")
def codec() -> ALMTokenizer:
    return ALMTokenizer.from_pretrained(shipped() / "codec").eval()


def toy(**changes: object) -> ALMTokenizer:
    torch.manual_seed(0)
    values = {"attention_window": 24, "encoder_layers": 2, **changes}
    return ALMTokenizer(ALMTokenizerConfig.preset("tiny", **values)).eval()


@pytest.mark.parametrize("mode", ["block_causal", "causal", "full"])
def test_attention_is_that_of_the_layers(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a dense softmax over queries and keys as the layers use them."""
    model, w, count = toy(attention_mode=mode), 4, 150  # more queries than one chunk
    frames = torch.randn(1, count * w, model.config.hidden_size)
    used: list[torch.Tensor] = []
    real = transformer.windowed_attention

    def seen(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, reach: object, missing: tuple[int, ...]
    ) -> torch.Tensor:
        assert not missing  # a whole signal, no stream
        block = torch.arange(q.shape[2]) // reach.block_size  # type: ignore[attr-defined]
        distance = block[:, None] - block
        allowed = (distance <= reach.before) & (distance >= -reach.after)  # type: ignore[attr-defined]
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        weights = scores.masked_fill(~allowed, float("-inf")).softmax(-1)
        torch.testing.assert_close(weights @ v, real(q, k, v, reach))  # the layer's own output
        used.append(weights[0].mean(0)[w :: w + 1])  # of the queries, [Q, L]
        return real(q, k, v, reach)

    monkeypatch.setattr(transformer, "windowed_attention", seen)
    queries, found = query_attention(model.encoder, frames, w)
    monkeypatch.undo()
    torch.testing.assert_close(queries, model.encoder(frames, w))
    assert found is not None and found.frames.shape == (2, count, w)
    for layer, weights in enumerate(used):
        for query in (0, 63, 64, count - 1):
            row, start = weights[query], query * (w + 1)
            own = row[start : start + w]
            torch.testing.assert_close(found.frames[layer, query], own, atol=ROUNDING, rtol=0)
            for part, expected in (
                (found.itself, row[start + w]),
                (found.before, row[:start].sum()),
                (found.after, row[start + w + 1 :].sum()),
            ):
                torch.testing.assert_close(part[layer, query], expected, atol=ROUNDING, rtol=0)
    assert bool(found.after.any()) == (mode == "full")


def test_a_codec_without_queries_has_no_attention() -> None:
    model = toy(pooling="mean")
    queries, found = query_attention(model.encoder, torch.randn(1, 12, model.config.hidden_size), 4)
    assert found is None and queries.shape[1] == 3


def test_the_hooks_are_gone_afterwards(codec: ALMTokenizer) -> None:
    inspect_audio(codec, SPEECH, seconds=1.0)
    assert not [m for m in codec.modules() if m._forward_hooks]


def test_codes_and_sound_are_those_of_the_codec(codec: ALMTokenizer) -> None:
    tokens = codec.tokenize(SPEECH)
    found = inspect_audio(codec, SPEECH, seconds=60)
    assert np.array_equal(found.codes, tokens.codes.numpy())
    assert found.original is not None
    assert found.original.size == found.reconstruction.size == tokens.num_samples
    whole = codec.detokenize(tokens).numpy()
    np.testing.assert_allclose(found.reconstruction, whole, atol=1e-4)
    part = inspect_audio(codec, SPEECH, start=1.0, seconds=0.8)
    assert part.start == pytest.approx(0.96)  # 12 windows of 80 ms
    assert np.array_equal(part.codes, tokens.codes[:, 12:22].numpy())
    again = inspect_tokens(codec, tokens, start=1.0, seconds=0.8)
    assert np.array_equal(again.codes, part.codes) and again.original is None
    np.testing.assert_allclose(again.reconstruction, part.reconstruction, atol=1e-4)


def test_confidence_is_the_distance_to_the_nearest_against_the_second(codec: ALMTokenizer) -> None:
    found = inspect_audio(codec, SPEECH, seconds=1.0)
    assert found.confidence is not None and found.confidence.shape == found.codes.shape
    assert found.confidence.min() >= 0 and found.confidence.max() < 1


@pytest.mark.parametrize("frozen", ["none", "first"])
def test_what_a_layer_compares_gives_its_codes(frozen: str) -> None:
    model = toy(prior_codebooks=frozen)
    layer, residual = model.quantizer.layers[0], torch.randn(7, model.config.hidden_size)
    vectors, entries = layer.compared(residual)
    distances = (vectors[:, None] - entries).square().sum(-1)
    assert torch.equal(distances.argmin(1), layer.nearest(residual))


def test_the_page_is_one_file_that_says_what_it_shows(codec: ALMTokenizer, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "talk.html"
    assert main(["show", str(SPEECH), "--seconds", "1", "--out", str(out)]) == 0
    text = out.read_text()
    assert [f.name for f in out.parent.iterdir()] == ["talk.html"]  # nothing left aside
    assert "http:" not in text and "https:" not in text and "<link" not in text
    assert not re.findall(r'src="(?!data:)', text)
    assert text.count("<audio") == 2 and text.count('class="panel"') == 7
    alts = re.findall(r'alt="([^"]*)"', text) + re.findall(r'role="img" aria-label="([^"]*)"', text)
    assert len(alts) == 7 and all(len(alt.split()) > 5 for alt in alts)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_the_title_is_escaped(codec: ALMTokenizer) -> None:
    found = inspect_audio(codec, SPEECH, seconds=0.2)
    assert "<script>alert" not in page(found, "<script>alert(1)</script>", "codec")


def test_the_picture_opens_and_tokens_are_shown(codec: ALMTokenizer, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    tokens = tmp_path / "talk.safetensors"
    codec.tokenize(SPEECH).save(tokens)
    out = tmp_path / "talk.png"
    assert main(["show", str(tokens), "--seconds", "0.8", "--out", str(out)]) == 0
    with image.open(io.BytesIO(out.read_bytes())) as picture:
        assert picture.format == "PNG" and picture.width == 1200 and picture.height > 300
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 100  # not an empty canvas


def test_words_stand_at_their_times(codec: ALMTokenizer, tmp_path: Path) -> None:
    words = tmp_path / "talk.json"
    timed = [("gone", 0.1, 0.4), ("half", 0.4, 1.2), ("<b>$5 or $6", 1.4, 1.6), ("later", 2.0, 2.1)]
    named = [{"word": word, "start": start, "end": end} for word, start, end in timed]
    words.write_text(json.dumps({"text": "...", "words": named}))
    part = ["--start", "0.8", "--seconds", "0.8", "--words", str(words)]
    assert main(["show", str(SPEECH), *part, "--out", str(tmp_path / "a.html")]) == 0
    text = (tmp_path / "a.html").read_text()
    found = re.findall(r'<i style="left: ([\d.]+)%; width: ([\d.]+)%" title="([^"]+)"', text)
    assert found == [("0.00", "50.00", "half"), ("75.00", "25.00", "&lt;b&gt;$5 or $6")]
    pytest.importorskip("PIL")
    assert main(["show", str(SPEECH), *part, "--out", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize("text", ["[]", "{}", '{"words": [{"word": "a"}]}', '{"words": 3}', "x"])
def test_other_json_is_no_list_of_words(text: str, tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="words.json"):
        read_words(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.wav"], "no such file or folder: gone.wav"),
        (["."], "expected an audio or token file, got the folder ."),
        ([str(SPEECH), "--out", "a.pdf"], "--out must end in .html or .png, got a.pdf"),
        ([str(SPEECH), "--start", "60"], "has no samples after 60 s"),
        ([str(SPEECH), "--seconds", "0"], "start must be >= 0 and seconds > 0, got 0.0 and 0.0"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["show", *words]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_an_excerpt_after_the_end_is_refused(codec: ALMTokenizer) -> None:
    tokens = AudioTokens(torch.zeros(3, 5, dtype=torch.int64), 6, 9000, 24_000, codec.fingerprint)
    with pytest.raises(ValueError, match="start must be below 0.38 s, got 2"):
        inspect_tokens(codec, tokens, start=2.0)
    with pytest.raises(AudioError):
        inspect_audio(codec, SPEECH, start=9.0)


@pytest.mark.parametrize(("start", "seconds"), [(0.0, 10.0), (3.04, 0.24), (61.2, 7.0), (0, 3600)])
def test_marks_of_time_are_few_round_and_inside(start: float, seconds: float) -> None:
    marks = time_marks(start, seconds)
    assert 2 <= len(marks) <= 7 and len({mark.text for mark in marks}) == len(marks)
    for mark in marks:
        assert 0 <= mark.place <= 100.001
        assert float(mark.text[:-2]) == pytest.approx(start + seconds * mark.place / 100, abs=1e-6)


def test_marks_of_frequency_follow_the_mel_scale() -> None:
    marks = {mark.text: mark.place for mark in mel_marks(24_000)}
    assert list(marks) == ["0 Hz", "500 Hz", "1 kHz", "2 kHz", "4 kHz", "8 kHz"]
    assert marks["0 Hz"] == 100 and sorted(marks.values(), reverse=True) == list(marks.values())
    assert "8 kHz" not in {mark.text for mark in mel_marks(8_000)}


def test_an_outline_follows_the_samples() -> None:
    points = [tuple(map(float, p.split(","))) for p in outline([0.0, 0.5, -1.0], 1.0).split()]
    assert [y for _, y in points[:3]] == [50, 25, 100]
    assert len(outline(np.zeros(100_000), 1.0).split()) == 1400
