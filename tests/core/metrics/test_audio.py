"""Scores against independent implementations and against what can be worked out by hand."""

import numpy as np
import pytest
import torch

import almtok  # noqa: F401  (installs the torchaudio guard before the oracles import it)
from almtok.core.metrics import audio, pitch, spectral

RATE = 24_000


def voice(seconds=2.0, hz=140.0, rate=RATE, seed=0):
    """A buzzing vowel with syllables: enough like speech for PESQ and STOI."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    f0 = hz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * t))
    phase = 2 * np.pi * np.cumsum(f0) / rate
    wave = sum(
        np.exp(-((k * hz - 600) ** 2) / 2e6) * np.sin(k * phase) / k**0.5 for k in range(1, 30)
    )
    syllables = np.clip(np.sin(2 * np.pi * 3 * t), 0, None) ** 0.5
    return 0.1 * wave * syllables + 0.0005 * rng.standard_normal(t.size)


def noisy(wav, level, seed=1):
    return wav + level * np.random.default_rng(seed).standard_normal(wav.size)


def test_si_sdr_equals_torchmetrics():
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as oracle

    clean = voice()
    for level in (0.3, 0.01):
        other = 0.4 * noisy(clean, level) + 0.02
        expected = oracle(torch.tensor(other), torch.tensor(clean), zero_mean=True)
        assert audio.si_sdr(clean, other) == pytest.approx(float(expected), abs=1e-4)


def test_pesq_and_stoi_equal_torchmetrics():
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    from torchmetrics.functional.audio.pesq import perceptual_evaluation_speech_quality
    from torchmetrics.functional.audio.stoi import short_time_objective_intelligibility

    clean = voice(rate=16_000)
    other = noisy(clean, 0.01)
    a, b = torch.tensor(other), torch.tensor(clean)
    wide = perceptual_evaluation_speech_quality(a, b, 16_000, "wb")
    assert audio.pesq(clean, other, 16_000, band="wb") == pytest.approx(float(wide), abs=1e-4)
    classic = short_time_objective_intelligibility(a, b, 16_000)
    assert audio.stoi(clean, other, 16_000) == pytest.approx(float(classic), abs=1e-5)


def test_log_stft_distance_equals_auraloss():
    auraloss = pytest.importorskip("auraloss")
    clean, other = voice(1.0), noisy(voice(1.0), 0.01)
    a, b = (torch.tensor(x)[None, None] for x in (other, clean))
    expected = 0.0
    for size in spectral.STFT_WINDOWS:
        common = {"fft_size": size, "hop_size": size // 4, "win_length": size, "w_sc": 0.0}
        # auraloss takes natural logarithms of magnitudes: log10 X^2 = 2 ln X / ln 10.
        log = auraloss.freq.STFTLoss(**common, w_log_mag=1.0, eps=1e-10)(a, b)
        linear = auraloss.freq.STFTLoss(**common, w_log_mag=0.0, w_lin_mag=1.0, eps=1e-10)(a, b)
        expected += 2 / np.log(10) * float(log) + float(linear)
    assert spectral.stft_distance(clean, other) == pytest.approx(expected, rel=1e-3)


def test_mel_spectrogram_equals_torchaudio():
    import torchaudio

    filters = torchaudio.functional.melscale_fbanks(513, 0.0, RATE / 2, 80, RATE)
    assert np.allclose(spectral.mel_filters(RATE, 1024, 80), filters.numpy(), atol=1e-4)
    wav = voice(1.0)
    spectrogram = torch.stft(
        torch.tensor(wav), 1024, 256, window=torch.hann_window(1024, dtype=torch.float64),
        return_complex=True,
    ).abs()  # fmt: skip
    power = (spectrogram / 256) ** 2
    expected = 10 * torch.log10((power.T @ filters.double()).clamp(min=1e-8))
    assert np.allclose(spectral.log_mel(wav, RATE), expected.numpy(), atol=0.05)


def test_mel_distance_is_a_gain_in_db():
    # Loud noise lies above the floor in every band, so that halving it costs 6.02 dB everywhere.
    noise = 0.3 * np.random.default_rng(0).standard_normal(RATE)
    assert spectral.mel_distance(noise, noise / 2, RATE) == pytest.approx(6.0206, abs=1e-6)
    assert spectral.mel_distance(noise, noise, RATE) == 0.0


def test_full_scale_sine_is_zero_db():
    sine = np.sin(2 * np.pi * 3000 * np.arange(RATE) / RATE)
    assert spectral.log_mel(sine, RATE)[20:-20].max() == pytest.approx(0.0, abs=2.0)


def test_band_limit_leaves_higher_bands_out():
    wav = voice(1.0)
    t = np.arange(wav.size) / RATE
    whistle = wav + 0.1 * np.sin(2 * np.pi * 9000 * t)
    assert spectral.mel_distance(wav, whistle, RATE, highest_hz=4000.0) < 0.1
    assert spectral.mel_distance(wav, whistle, RATE) > 0.3


def test_distances_do_not_depend_on_blocks(monkeypatch):
    a, b = voice(1.0), noisy(voice(1.0), 0.01)
    whole = (
        spectral.mel_distance(a, b, RATE),
        spectral.stft_distance(a, b),
        pitch.pitch_error(a, b, RATE),
    )
    monkeypatch.setattr(spectral, "_BLOCK", 7)
    monkeypatch.setattr(pitch, "_BLOCK", 7)
    blocks = (
        spectral.mel_distance(a, b, RATE),
        spectral.stft_distance(a, b),
        pitch.pitch_error(a, b, RATE),
    )
    assert blocks[:2] == pytest.approx(whole[:2])
    assert blocks[2].cents == pytest.approx(whole[2].cents)


@pytest.mark.parametrize("hz", [75.0, 120.0, 233.3, 440.0])
def test_pitch_of_a_steady_tone(hz):
    t = np.arange(RATE) / RATE
    tone = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 6))
    curve = pitch.pitch_curve(tone, RATE)
    inner = curve.hz[10:-10]
    assert curve.voiced[10:-10].all()
    assert np.abs(1200 * np.log2(inner / hz)).max() < 5.0


def test_pitch_follows_a_glide_and_finds_noise_unvoiced():
    t = np.arange(2 * RATE) / RATE
    f0 = 100 + 60 * t
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 8))
    curve = pitch.pitch_curve(tone, RATE)
    times = np.arange(len(curve.hz)) * 0.01
    inner = slice(10, len(times) - 10)
    assert np.abs(curve.hz[inner] - (100 + 60 * times[inner])).max() < 2.0
    noise = pitch.pitch_curve(np.random.default_rng(0).standard_normal(RATE), RATE)
    assert noise.voiced.mean() < 0.05
    assert not pitch.pitch_curve(np.zeros(RATE), RATE).voiced.any()


def test_pitch_error_of_a_shifted_voice():
    low, high = voice(hz=140.0), voice(hz=140.0 * 2 ** (50 / 1200))
    error = pitch.pitch_error(low, high, RATE)
    assert error.cents == pytest.approx(50, abs=5)
    assert error.voicing < 0.1
    assert pitch.pitch_error(low, low, RATE).cents == 0.0
    assert np.isnan(pitch.pitch_error(low, np.zeros_like(low), RATE).cents)


def test_every_speech_score_gets_worse_with_noise():
    pytest.importorskip("pesq")
    clean = voice()
    good = audio.score_clip(clean, noisy(clean, 0.001)).values
    bad = audio.score_clip(clean, noisy(clean, 0.05)).values
    assert set(good) | {"f0_cents", "f0_hz"} == set(audio.METRICS)
    for name in ("pesq_wb", "pesq_nb", "stoi", "mel", "mel_4k", "stft", "si_sdr", "voicing"):
        sign = 1 if audio.METRICS[name].higher_is_better else -1
        assert sign * (good[name] - bad[name]) > 0, name


def test_sound_gets_no_speech_scores():
    clean = voice(0.5)
    scores = audio.score_clip(clean, noisy(clean, 0.01), domain="music")
    assert set(scores.values) == {"mel", "mel_4k", "stft", "si_sdr"}


@pytest.mark.parametrize("seconds", [1 / RATE, 0.01, 0.3])
def test_short_clips_lack_scores_with_a_reason(seconds):
    pytest.importorskip("pesq")
    clean = voice()[: max(1, int(seconds * RATE))] + 0.01
    scores = audio.score_clip(clean, noisy(clean, 0.01))
    assert "stoi" in scores.missing
    assert np.isfinite(list(scores.values.values())).all()
    assert not set(scores.values) & set(scores.missing)


def test_silence_lacks_scores_and_long_clips_are_cut():
    pytest.importorskip("pesq")
    silent = audio.score_clip(np.zeros(RATE), np.zeros(RATE))
    assert {"pesq_wb", "stoi", "si_sdr", "f0_cents"} <= set(silent.missing)
    long = np.tile(voice(5.0, rate=16_000), 9)  # 45 s: three pieces
    assert audio.stoi(long, noisy(long, 0.001), 16_000) > 0.9
    # A silent piece is left out of the mean, not counted as bad.
    half = np.concatenate([long[: 20 * 16_000], np.zeros(20 * 16_000)])
    assert audio.pesq(half, noisy(half, 1e-4), 16_000, band="wb") > 2.0


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="equal length"):
        audio.score_clip(np.zeros(10), np.zeros(11))
    with pytest.raises(ValueError, match="empty"):
        audio.score_clip(np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="not finite"):
        audio.score_clip(np.zeros(10), np.full(10, np.nan))
    with pytest.raises(ValueError, match="domain"):
        audio.score_clip(np.zeros(10), np.zeros(10), domain="noise")


def test_missing_packages_are_named_before_the_run(monkeypatch):
    monkeypatch.setattr(audio.importlib.util, "find_spec", lambda name: None)
    audio.require_packages(["sound"])
    with pytest.raises(ImportError, match=r"almtok\[eval\]"):
        audio.require_packages(["speech"])


@pytest.mark.parametrize("rate", [75.0, 100.0, 150.0])
def test_a_signal_that_repeats_every_frame_has_the_frames_pitch(rate):
    # A weak decoder hums at its frame rate, whatever was said: the tracker reports what is there.
    voice = harmonics(np.full(2 * RATE, 141.0))
    frame = voice[3000 : 3000 + round(RATE / rate)]
    hum = np.tile(frame, len(voice) // len(frame))
    curve = pitch.pitch_curve(hum, RATE)
    assert np.median(curve.hz[curve.voiced]) == pytest.approx(rate, rel=0.01)
    error = pitch.pitch_error(voice, hum, RATE)
    assert error.cents == pytest.approx(1200 * abs(np.log2(141 / rate)), rel=0.03)


def harmonics(hz):
    """A voice: twenty harmonics of a pitch [S], falling by 1 / k."""
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    return sum(np.cos(k * phase) / k for k in range(1, 20) if k * hz.max() < RATE / 2)
