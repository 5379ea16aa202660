"""Read and write audio files as mono float32 waveforms, and resample.

soundfile (libsndfile) decodes wav, flac, ogg, opus, mp3 and aiff; torchcodec, if it is installed,
decodes other formats (m4a, webm). soxr resamples. Waveforms are NumPy arrays and torch is not
imported, so that data tools start fast. Shapes: ``S`` samples, ``C`` channels.
"""

import contextlib
import functools
import io
import logging
import math
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from .sound_files import NO_LENGTH, SoundFile, open_parts

logger = logging.getLogger(__name__)

Waveform = NDArray[np.float32]  # [S], mono, full scale is 1.0
AudioSource = str | os.PathLike[str] | bytes

AUDIO_SUFFIXES = frozenset(
    ".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .caf .w64 .rf64 .m4a .webm"
    " .aac .mp4 .wma".split()
)
# Files are read in blocks, which limits the memory for long multi-channel recordings.
_READ_FRAMES = 1 << 20
# libsndfile 1.2 overflows its stack if a long Vorbis signal is written in one call.
_WRITE_FRAMES = 4096
# Plausible sample rates in Hz: others are those of damaged headers.
MIN_RATE, MAX_RATE = 2_000, 768_000
# Peak of float samples that are certainly at the scale of integers.
MAX_PEAK = 16.0
# Largest number of samples of one waveform: 2 GiB, 6 hours at 24 kHz.
_MAX_SAMPLES = "ALMTOK_MAX_SAMPLES"
_DEFAULT_MAX_SAMPLES = 1 << 29
_own_limit: ContextVar[int | None] = ContextVar("max_samples", default=None)
# Context on both sides of a partial read, longer than half of soxr's filter.
_MARGIN_SECONDS = 0.05
_TORCHCODEC_HINT = (
    "; m4a, mp4, aac, webm, wma and Ogg FLAC need FFmpeg and pip install 'almtok[torchcodec]'"
)
_FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}


class AudioError(ValueError):
    """Audio that cannot be used.

    Attributes:
        reason: ``missing``, ``empty``, ``truncated``, ``corrupt`` or ``nan``; or of the checks in
            ``data/decoding.py`` ``silent``, ``too_short`` or ``too_long``.
        detail: Explanation for the user.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.detail)


def read_audio(
    source: AudioSource,
    sample_rate: int | None = 24000,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    allow_truncated: bool = True,
) -> Waveform:
    """Read a file, or its bytes, as a mono waveform.

    Args:
        source: Path, or the encoded bytes of a file. The format is detected from the content.
        sample_rate: Rate of the result in Hz; None keeps the rate of the file.
        start: Start of the excerpt in seconds.
        seconds: Length of the excerpt in seconds; None reads to the end. The result is shorter if
            the file ends earlier.
        allow_truncated: Read a file that holds less than its header says as far as it goes, with a
            warning. With False it is an error, unless the excerpt is complete.

    Returns:
        Float32 samples [S]; not clipped, and lossy formats may exceed 1.0 slightly.

    Joined files (chained Ogg, MP3, FLAC) and streams without sizes are read to their ends.

    Raises:
        AudioError: The file is missing, empty, truncated or corrupt, contains NaN or infinity, has
            float samples at the scale of integers, or is longer than 2**29 samples (or the
            environment variable ``ALMTOK_MAX_SAMPLES``).
        ValueError: ``start`` or ``seconds`` is out of range.
    """
    if start < 0 or (seconds is not None and seconds <= 0):
        raise ValueError(f"start must be >= 0 and seconds > 0 or None, got {start} and {seconds}")
    name = _describe(source)
    _check_not_empty(source, name)
    try:
        wav, mismatch = _read_soundfile(source, name, sample_rate, start, seconds)
    except AudioError:
        raise
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        wav, mismatch = _read_torchcodec(source, name, sample_rate, start, seconds, error), ""
    if mismatch and not allow_truncated:
        raise AudioError("truncated", f"{name}: {mismatch}")
    if mismatch:
        logger.warning("%s: %s", name, mismatch)
    if wav.size == 0:
        raise AudioError("empty", f"{name} has no samples after {start} s")
    check_peak(wav, name)
    return wav


def check_peak(wav: NDArray[Any], name: str) -> None:
    """Check that samples are finite and not at the scale of integers.

    Args:
        wav: Float samples of any shape, at least one.
        name: Of the audio, for the message.

    Raises:
        AudioError: Samples are not finite or too large.
    """
    peak = float(max(wav.max(), -wav.min()))
    if not math.isfinite(peak):
        count = int((~np.isfinite(wav)).sum())
        raise AudioError("nan", f"{name} has {count} samples that are NaN or infinite")
    if peak > MAX_PEAK:
        raise AudioError(
            "corrupt",
            f"samples of {name} must lie in [-1, 1], got {peak:.0f}: divide integers by full scale,"
            " such as 32768",
        )


def write_audio(path: str | os.PathLike[str], wav: Any, sample_rate: int) -> None:
    """Write a mono waveform atomically, in the format of the suffix.

    Args:
        path: Ends with .wav, .flac, .ogg, .opus or .mp3; missing folders are created.
        wav: Array or tensor [S] or [1, S]; values outside [-1, 1] are clipped.
        sample_rate: In Hz.

    Raises:
        ValueError: Another suffix, or another shape.
        AudioError: The waveform contains NaN or infinity.
        OSError: The file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(f"suffix must be one of {sorted(_FORMATS)}, got {path.name}")
    container, subtype = _FORMATS[path.suffix.lower()]
    samples = as_waveform(wav)
    if not np.isfinite(samples).all():
        raise AudioError("nan", f"the waveform for {path.name} has NaN or infinite samples")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with soundfile.SoundFile(
            temporary, "w", sample_rate, 1, subtype=subtype, format=container
        ) as file:
            for first in range(0, len(samples), _WRITE_FRAMES):
                file.write(np.clip(samples[first : first + _WRITE_FRAMES], -1.0, 1.0))
        os.replace(temporary, path)
    except soundfile.LibsndfileError as error:
        raise OSError(f"cannot write {path}: {error} (is the disk full?)") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def as_waveform(wav: Any) -> Waveform:
    """Convert an array or tensor [S] or [1, S] to a float32 array [S]."""
    if hasattr(wav, "detach"):
        wav = wav.detach().float().cpu().numpy()
    samples = np.asarray(wav, dtype=np.float32)
    if samples.ndim == 2 and samples.shape[0] == 1:
        samples = samples[0]
    if samples.ndim != 1:
        raise ValueError(f"the waveform must be [S] or [1, S], got {list(samples.shape)}")
    return np.ascontiguousarray(samples)


def to_mono(wav: NDArray[Any]) -> Waveform:
    """Average the channels: [C, S] or [S] -> [S]."""
    samples = np.asarray(wav, dtype=np.float32)
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2:
        raise ValueError(f"the waveform must be [C, S] or [S], got {list(samples.shape)}")
    return samples.mean(axis=0, dtype=np.float32)


def resample(wav: NDArray[Any], from_rate: int, to_rate: int) -> Waveform:
    """Resample a waveform [S] with soxr in quality HQ; equal rates return the samples unchanged.

    Example:
        >>> resample(np.zeros(22050, np.float32), 22050, 24000).shape
        (24000,)
    """
    if from_rate <= 0 or to_rate <= 0:
        raise ValueError(f"sample rates must be positive, got {from_rate} -> {to_rate}")
    samples = np.ascontiguousarray(wav, dtype=np.float32)
    if from_rate == to_rate or samples.size == 0:
        return samples
    return np.asarray(soxr.resample(samples, from_rate, to_rate, quality="HQ"), dtype=np.float32)


def speed_factor(vary: float, draw: float) -> int:
    """A speed between ``1 / (1 + vary)`` (draw -1) and ``1 + vary`` (draw 1), in thousandths.

    ``resample(wav, speed, 1000)`` applies it; tempo and pitch change together.

    Example:
        >>> speed_factor(0.25, -1.0), speed_factor(0.25, 0.0), speed_factor(0.25, 1.0)
        (800, 1000, 1250)
    """
    return round(1000 * (1 + vary) ** draw)


def _describe(source: AudioSource) -> str:
    return f"{len(source)} bytes of audio" if isinstance(source, bytes) else os.fspath(source)


def _check_not_empty(source: AudioSource, name: str) -> None:
    if isinstance(source, bytes):
        size = len(source)
    else:
        try:
            size = os.stat(source).st_size
        except OSError as error:
            raise AudioError("missing", f"{name} ({error.strerror})") from error
        if os.path.isdir(source):
            raise AudioError("corrupt", f"{name} is a folder, expected a file")
    if size == 0:
        raise AudioError("empty", f"{name} has 0 bytes")


def _read_soundfile(
    source: AudioSource, name: str, sample_rate: int | None, start: float, seconds: float | None
) -> tuple[Waveform, str]:
    """The waveform, and how the file differs from its header."""
    with open_parts(source) as files:
        rate = sample_rate or files[0].samplerate
        first = round(start * rate)
        count = None if seconds is None else max(1, round(seconds * rate))
        if len(files) == 1:
            return _read_part(files[0], name, rate, first, count)
        parts = [_read_part(file, name, rate, 0, None) for file in files]
        _check_length(sum(len(wav) for wav, _ in parts), name)
        wav = np.concatenate([wav for wav, _ in parts])
        mismatch = "; ".join(filter(None, (text for _, text in parts)))
        return wav[first : None if count is None else first + count], mismatch


def _read_part(
    file: SoundFile, name: str, rate: int, first: int, count: int | None
) -> tuple[Waveform, str]:
    """Samples ``first .. first + count`` at a rate; how the file differs from its header."""
    check_rate(file.samplerate, name)
    begin, stop = source_range(first, count, file.samplerate, rate)
    if begin >= file.frames:
        return np.zeros(0, np.float32), file.mismatch(file.frames)
    if begin and file.frames < NO_LENGTH:
        file.seek(begin)
    elif begin:
        for _ in _blocks(file, begin):
            pass
    blocks: list[Waveform] = []
    total = 0
    for block in _blocks(file, None if stop is None else stop - begin):
        blocks.append(block)
        total += len(block)
        _check_length(max(total, math.ceil(total * rate / file.samplerate)), name)
    wav = resample(np.concatenate(blocks), file.samplerate, rate)
    skip = first - round(begin * rate / file.samplerate)
    wav = wav[skip : None if count is None else skip + count]
    complete = count is not None and len(wav) == count
    return wav, "" if complete else file.mismatch(begin + total)


def check_rate(rate: int, name: str) -> None:
    """Raise ``AudioError`` for the sample rate of a damaged header."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(
            "corrupt", f"sample rate of {name} must be {MIN_RATE} to {MAX_RATE} Hz, got {rate} Hz"
        )


@contextlib.contextmanager
def max_samples(count: int) -> Iterator[None]:
    """Refuse audio of more samples, at its own rate or resampled, that is read in this block."""
    token = _own_limit.set(count)
    try:
        yield
    finally:
        _own_limit.reset(token)


def _check_length(samples: int, name: str) -> None:
    limit = _own_limit.get() or int(os.environ.get(_MAX_SAMPLES, _DEFAULT_MAX_SAMPLES))
    if samples > limit:
        raise AudioError(
            "too_long",
            f"{name} decodes to more than {limit} samples; set the environment variable"
            f" {_MAX_SAMPLES} to read it",
        )


def source_range(
    first: int, count: int | None, from_rate: int, to_rate: int
) -> tuple[int, int | None]:
    """Range of input frames that is needed for output samples ``first .. first + count``.

    It begins at a frame that coincides with an output sample, so that an excerpt is resampled to
    the same samples as the whole file.
    """
    if from_rate == to_rate:
        return first, None if count is None else first + count
    divisor = math.gcd(from_rate, to_rate)
    step_in, step_out = from_rate // divisor, to_rate // divisor
    margin = math.ceil(_MARGIN_SECONDS * from_rate)
    begin = max(0, (first // step_out) * step_in - math.ceil(margin / step_in) * step_in)
    if count is None:
        return begin, None
    return begin, math.ceil((first + count) * from_rate / to_rate) + margin


def _blocks(file: soundfile.SoundFile, frames: int | None) -> Iterator[Waveform]:
    """Mono blocks of the next frames, at least one block."""
    limit = max(1, _READ_FRAMES // file.channels)
    while True:
        size = limit if frames is None else min(frames, limit)
        block = file.read(size, dtype="float32", always_2d=True)  # [S, C]
        yield to_mono(block.T)
        frames = None if frames is None else frames - len(block)
        if len(block) < size or frames == 0:
            return


@functools.cache
def _torchcodec_decoder() -> Any:
    """The decoder class of torchcodec, or None if it cannot be imported."""
    try:
        from torchcodec.decoders import AudioDecoder
    except (ImportError, RuntimeError, OSError):
        return None
    return AudioDecoder


def _needs_ffmpeg(source: AudioSource) -> bool:
    """Whether a file is MP4, Matroska, ASF, AAC or FLAC in Ogg by its first bytes."""
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        start = file.read(33)
    aac = start[:1] == b"\xff" and start[1:2] in (b"\xf0", b"\xf1", b"\xf8", b"\xf9")
    flac = start[:4] == b"OggS" and start[28:] == b"\x7fFLAC"  # after the header of a page
    return aac or flac or start[4:8] == b"ftyp" or start[:4] in (b"\x1aE\xdf\xa3", b"0&\xb2u")


def _read_torchcodec(
    source: AudioSource,
    name: str,
    sample_rate: int | None,
    start: float,
    seconds: float | None,
    cause: Exception,
) -> Waveform:
    decoder = _torchcodec_decoder()
    reason = getattr(cause, "error_string", cause)  # without the number of the file descriptor
    if decoder is None:
        hint = _TORCHCODEC_HINT if _needs_ffmpeg(source) else ""
        raise AudioError("corrupt", f"{name} cannot be decoded ({reason}){hint}") from cause
    try:
        samples = decoder(source if isinstance(source, bytes) else os.fspath(source))
        decoded = samples.get_all_samples()
    except (RuntimeError, ValueError) as error:
        raise AudioError("corrupt", f"{name} cannot be decoded ({reason}; {error})") from error
    rate = sample_rate or int(decoded.sample_rate)
    check_rate(int(decoded.sample_rate), name)
    length = decoded.data.shape[-1]
    _check_length(max(length, math.ceil(length * rate / int(decoded.sample_rate))), name)
    wav = resample(to_mono(decoded.data.numpy()), int(decoded.sample_rate), rate)
    first = round(start * rate)
    return wav[first : None if seconds is None else first + max(1, round(seconds * rate))]
