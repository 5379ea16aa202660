"""UnPatchify by rule: its pitch, its spectra, its streams, and what trains it."""

import numpy as np
import pytest
import torch

from almtok.codec.losses.pitch import PitchLoss
from almtok.codec.losses.reconstruction import MelLoss
from almtok.codec.vocoder import HarmonicVocoder, VocoderParameters, pitch_index
from almtok.core.metrics.pitch import pitch_curve

from .toy import noise, toy_codec, toy_config

RATE, HOP = 24_000, 320


def made(seed: int = 0) -> HarmonicVocoder:
    torch.manual_seed(seed)
    return HarmonicVocoder(toy_config(unpatchify="harmonic"))


def description(
    hz: torch.Tensor, harmonic: HarmonicVocoder, pulses: float = 0.0, noise: float = -12.0
) -> VocoderParameters:
    """A voice `[T]` whose spectrum falls by six nepers towards 12 kHz."""
    count = harmonic.num_pitches
    places = pitch_index(hz, count).round().long()
    pitch = torch.nn.functional.one_hot(places, count).float()[None]
    slope = -6 * torch.linspace(0, 1, harmonic.num_bands)
    bands = torch.stack([pulses + slope, noise + slope]).expand(1, len(hz), 2, -1)
    return VocoderParameters(pitch, bands)


def test_pulses_have_the_pitch_of_the_frames_at_their_ends():
    harmonic = made()
    hz = torch.linspace(100, 240, 150)
    wav, _ = harmonic.synthesize(description(hz, harmonic))
    assert list(wav.shape) == [1, 1, 150 * HOP]
    heard = pitch_curve(wav[0, 0].numpy(), RATE)
    ends = (np.arange(150) + 1) * HOP / RATE
    # One frame late, as SMOOTHED frames say; PitchLoss asks for what is one frame ahead.
    expected = np.interp(np.arange(len(heard.hz)) * 0.01, ends + HOP / RATE, hz.numpy())
    inner = slice(10, -10)
    found = heard.voiced[inner]
    cents = 1200 * np.log2(heard.hz[inner][found] / expected[inner][found])
    assert found.mean() > 0.9
    assert np.abs(cents).max() < 25


@pytest.mark.parametrize("kind", [0, 1], ids=["pulses", "noise"])
def test_a_filter_has_the_magnitude_that_its_bands_name(kind):
    harmonic = made()
    bands = torch.full((1, 400, 2, harmonic.num_bands), -30.0)
    bands[:, :, kind] = -2.0
    bands[:, :, kind, : harmonic.num_bands // 2] = -4.0
    pitch = torch.zeros(1, 400, harmonic.num_pitches)
    wav, _ = harmonic.synthesize(VocoderParameters(pitch, bands))
    power = torch.stft(
        wav[0], 1024, window=torch.hann_window(1024), return_complex=True
    ).abs().square().mean(dim=(0, 2)) / torch.hann_window(1024).square().sum()  # fmt: skip
    low, high = power[10:50].mean().sqrt().log(), power[200:500].mean().sqrt().log()
    assert abs(float(low) + 4) < 0.3
    assert abs(float(high) + 2) < 0.3


def test_streams_and_batches_go_through_the_same_phases():
    harmonic = made()
    frames = torch.randn(3, 220, 32)
    with torch.no_grad():
        whole = harmonic(frames)
        alone = torch.cat([harmonic(row[None]) for row in frames])
        state, parts = None, []
        for piece in frames.split([1, 2, 3, 50, 164], dim=1):
            wav, state = harmonic.step(piece, state)
            parts.append(wav)
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-5, rtol=1e-4)
    assert state is not None and state.position.tolist() == [220] * 3


def test_what_comes_later_changes_nothing_before():
    harmonic = made()
    frames = torch.randn(1, 40, 32)
    later = frames.clone()
    later[:, 25:] = torch.randn(1, 15, 32)
    with torch.no_grad():
        a, b = harmonic(frames), harmonic(later)
    assert torch.equal(a[..., : 25 * HOP], b[..., : 25 * HOP])
    assert not torch.equal(a, b)


def test_phases_count_on_without_loss():
    """After an hour of one pitch, two voices that began together still agree to the sample."""
    harmonic = made()
    hour = description(torch.full((75,), 211.0), harmonic)
    first, state = harmonic.synthesize(hour)
    steps = int(state.phase[0])
    for _ in range(20):
        _, state = harmonic.synthesize(hour, state)
    step = (steps * 21) % 2**32
    assert int(state.phase[0]) % 2**32 == step


def test_codes_do_not_depend_on_it():
    mirror, harmonic = toy_codec(), toy_codec(unpatchify="harmonic")
    values = {k: v for k, v in mirror.state_dict().items() if not k.startswith("unpatchify.")}
    harmonic.load_state_dict({**harmonic.state_dict(), **values})
    assert mirror.fingerprint == harmonic.fingerprint
    wav = noise(1, 9_600)
    assert torch.equal(mirror.encode(wav).audio_codes, harmonic.encode(wav).audio_codes)


def test_placing_begins_with_the_spectrum_of_the_data():
    harmonic = made()
    wav = noise(2, 48_000)
    harmonic.initialize(wav)
    with torch.no_grad():
        made_wav = harmonic(torch.zeros(2, 150, 32))
    assert 0.3 < float(made_wav.std() / wav.std()) < 1.2


def test_gradients_reach_spectra_by_the_mel_loss_and_pitch_by_its_own():
    harmonic = made()
    wav = noise(2, 150 * HOP)
    harmonic.initialize(wav)
    frames = torch.randn(2, 150, 32, requires_grad=True)
    MelLoss()(harmonic(frames), wav).backward()
    gradient = harmonic.outer.weight.grad
    assert gradient is not None
    assert gradient[harmonic.num_pitches :].abs().sum() > 0
    assert not gradient[: harmonic.num_pitches].any()
    time = torch.arange(150 * HOP) / RATE
    tone = sum(torch.sin(2 * torch.pi * 150 * k * time) / k for k in range(1, 9))
    loss = PitchLoss(RATE, HOP)(harmonic.predict(frames).pitch, 0.1 * tone.expand(2, 1, -1))
    loss.backward()
    assert harmonic.outer.weight.grad[: harmonic.num_pitches].abs().sum() > 0
    assert frames.grad is not None and frames.grad.abs().sum() > 0


def test_the_target_of_a_frame_is_the_pitch_a_frame_after_its_end():
    time = torch.arange(150 * HOP) / RATE
    hz = 110 + 40 * time  # a glide
    phase = 2 * torch.pi * (110 * time + 20 * time.square())
    tone = 0.1 * sum(torch.sin(k * phase) / k for k in range(1, 12))
    heard = PitchLoss(RATE, HOP).track(tone[None, None])
    inner = slice(5, -6)
    assert heard.voiced[0, inner].all()
    at = (torch.arange(150) + 2) * HOP
    wanted = hz[at.clamp(max=len(hz) - 1)]
    cents = 1200 * torch.log2(heard.hz[0, inner] / wanted[inner])
    assert cents.abs().max() < 15


def test_noise_and_silence_have_no_pitch():
    loss = PitchLoss(RATE, HOP)
    for wav in (torch.zeros(1, 1, 9_600), torch.randn(1, 1, 9_600)):
        assert float(loss.track(wav).voiced.float().mean()) < 0.1
    assert float(loss(torch.randn(1, 30, 192), torch.zeros(1, 1, 9_600))) == 0


def test_a_waveform_of_another_length_is_refused():
    with pytest.raises(ValueError, match="30 frames of 320 samples"):
        PitchLoss(RATE, HOP)(torch.zeros(1, 30, 192), torch.zeros(1, 1, 9_601))


def test_sharper_spectra_stand_out_by_the_amount():
    harmonic = made()
    frames = torch.randn(2, 5, 32)
    before = harmonic.predict(frames)
    harmonic.sharpen(0.4)
    after = harmonic.predict(frames)
    assert torch.equal(after.pitch, before.pitch)
    edges = torch.cat(
        [before.bands[..., :1]] * 4 + [before.bands] + [before.bands[..., -1:]] * 4, dim=-1
    )
    around = edges.unfold(-1, 9, 1).mean(dim=-1)
    assert (after.bands - around - 1.4 * (before.bands - around)).abs().max() < 1e-4
    harmonic.sharpen(0.0, gain_db=-6.0)
    quieter = harmonic.predict(frames).bands - after.bands
    assert (quieter + 6.0 * np.log(10) / 20).abs().max() < 1e-4
    with pytest.raises(ValueError, match="the amount must be finite and at least 0, got -1"):
        harmonic.sharpen(-1)
    with pytest.raises(ValueError, match="the gain must be a finite number of dB, got nan"):
        harmonic.sharpen(0.4, gain_db=float("nan"))
