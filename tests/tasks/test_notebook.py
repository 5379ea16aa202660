"""What a notebook shows of tokens and results: player, map, escaped text, of bounded size."""

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from almtok import ALMTokenizer, AudioTokens, shipped
from almtok.core.report.notebook import MOST_COLUMNS, card
from almtok.lm.generation.output import GeneratedRow
from almtok.tasks.pipelines.outputs import GeneratedAudio, Speech, TaskOutput

SPEECH = Path(__file__).resolve().parents[2] / "docs/samples/codec_original.ogg"
EVIL = "<script>alert('x')</script> & more"
LARGEST = 2_200_000  # bytes: 30 s of noise as 16-bit FLAC in base64, and the map


@pytest.fixture(scope="module")
def codec() -> ALMTokenizer:
    return ALMTokenizer.from_pretrained(shipped() / "codec").eval()


@pytest.fixture(scope="module")
def tokens(codec: ALMTokenizer) -> AudioTokens:
    return codec.tokenize(SPEECH)


def player_of(html: str) -> tuple[np.ndarray, int]:
    (data,) = re.findall(r'src="data:audio/flac;base64,([^"]+)"', html)
    return soundfile.read(io.BytesIO(base64.b64decode(data)))


def test_tokens_show_their_map_and_facts(tokens: AudioTokens) -> None:
    html = tokens._repr_html_()
    assert html.count("<rect") == tokens.codes.numel() == 84
    assert "2.17 s" in html and "3 × 28 codes" in html and tokens.fingerprint in html
    assert "<audio" not in html and "http" not in html


def test_tokens_play_with_their_codec_only(tokens: AudioTokens, codec: ALMTokenizer) -> None:
    wav, rate = player_of(tokens.show(codec)._repr_html_())
    assert rate == 24_000 and len(wav) == tokens.num_samples
    np.testing.assert_allclose(wav, codec.detokenize(tokens).numpy(), atol=2**-14)
    other = AudioTokens(tokens.codes, 6, tokens.num_samples, 24_000, "another")
    with pytest.raises(ValueError, match="tokens must be of codec"):
        other.show(codec)


def test_speech_has_a_player_its_text_and_its_problems(tokens: AudioTokens) -> None:
    wav = torch.zeros(tokens.num_samples)
    speech = Speech(wav, 24_000, tokens, "end", 1.0, text=EVIL, parts=())
    html = speech._repr_html_()
    assert len(player_of(html)[0]) == tokens.num_samples and html.count("<rect") == 84
    assert "<script" not in html and "&lt;script&gt;" in html and "&amp; more" in html
    silent = GeneratedAudio(wav, 24_000, tokens, "end", 1.0, level_dbfs=-90, silent=True)
    assert "nearly silent (-90 dBFS)" in silent._repr_html_()


def test_outputs_of_tasks_show_what_they_hold(tokens: AudioTokens) -> None:
    row = GeneratedRow("text", None, torch.tensor([1]), 0, "end", 0, -1.0, 2, 2, 0, 6)
    html = TaskOutput(row, None, EVIL, 0.5)._repr_html_()
    assert "&lt;script&gt;" in html and "<rect" not in html and "computed in 0.50 s" in html
    assert TaskOutput(row, tokens, None, 0.5)._repr_html_().count("<rect") == 84


def test_an_hour_is_cut(tokens: AudioTokens) -> None:
    rng = np.random.default_rng(0)
    wav = rng.uniform(-1, 1, 120 * 24_000).astype(np.float32)
    codes = rng.integers(0, 2048, (3, 45_000))
    html = card(facts=[], text="word " * 100_000, codes=codes, wav=wav)
    assert len(html.encode()) < LARGEST and html.count("<rect") == 3 * MOST_COLUMNS
    assert "player: first 30 s" in html and "first 200 of 45000 columns" in html
    assert len(player_of(html)[0]) == 30 * 24_000


def test_what_cannot_be_played_or_drawn_is_left_out() -> None:
    for wav in (np.zeros(0), np.full(100, np.nan)):
        html = card(facts=["empty"], codes=np.zeros((3, 0), np.int64), wav=wav)
        assert "empty" in html and "<audio" not in html and "<svg" not in html


def test_a_repr_imports_no_matplotlib(quiet_environment: dict[str, str]) -> None:
    code = (
        "import sys, torch\n"
        "from almtok import AudioTokens\n"
        "import almtok.tasks.pipelines.outputs\n"
        "codes = torch.zeros(3, 5, dtype=torch.int64)\n"
        "assert '<rect' in AudioTokens(codes, 6, 9000, 24000, 'x')._repr_html_()\n"
        "print([name for name in ('matplotlib', 'IPython') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=quiet_environment
    )
    assert done.stdout.strip() == "[]", done.stderr
