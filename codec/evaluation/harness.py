"""Evaluation of codecs on the same clips, with one result per clip; resumable after a kill.

Scores are computed at 24 kHz. For a codec of another rate the clip and the output are resampled, so
a lower bandwidth lowers its scores.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import resource
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr
import torch
from tqdm import tqdm

from ...core.audio import write_audio
from ...core.choices import AUTO
from ...core.data import AudioCorpus, DataConfig
from ...core.data.entries import AudioEntry
from ...core.data.manifests import list_entries
from ...core.files import file_name
from ...core.judges.base import Judge, JudgedAudio
from ...core.metrics.audio import DOMAINS, SCORE_RATE, ClipScores, score_clip
from ...core.runtime import find_device
from .codecs import CodecResult, EvaluatedCodec, Waveform, fit_length
from .judged import JudgeLog
from .results import ClipResult, ResultStore, pack_codes

if TYPE_CHECKING:
    from .fad import ClipVectors

# Raise it when the meaning of scores changes, so that old and new results are not mixed.
SCORING_VERSION = 1


@dataclass(frozen=True)
class EvaluationClip:
    """A clip of an evaluation."""

    id: str
    domain: str
    seconds: float
    read: Callable[[], Waveform]  # -> [S] at 24 kHz
    text: str = ""
    speaker: str = ""
    language: str = ""


class PeakMemory:
    """Peak resident memory (on a GPU: allocated memory) between `start` and `megabytes`.

    For MPS, which shares the main memory, it is the memory of the process. Only Linux can reset the
    peak of a process; elsewhere it is the peak since the start of the process.
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        module = torch.get_device_module(self.device)
        self._module = module if hasattr(module, "max_memory_allocated") else None

    def start(self) -> None:
        """Reset the peak."""
        if self._module is not None:
            self._module.reset_peak_memory_stats(self.device)
            return
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def megabytes(self) -> float:
        """The peak since `start`, in MB of 2**20 bytes."""
        if self._module is not None:
            return float(self._module.max_memory_allocated(self.device)) / 2**20
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024.0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 1024.0


def safe_name(text: str) -> str:
    """A codec's name as a file name; names that differ in other characters only are refused."""
    return re.sub(r"[^A-Za-z0-9._@+-]+", "_", text).strip("_") or "clip"


def evaluation_corpus(
    sources: Sequence[str], cache_dir: str | Path | None = None, *, progress: bool = True
) -> AudioCorpus:
    """Scan sources for evaluation; short and quiet clips are included."""
    config = DataConfig(sample_rate=SCORE_RATE, min_seconds=0.05, silence_dbfs=-80.0)
    return AudioCorpus.scan(sources, config, cache_dir, progress=progress)


Excerpt = tuple[str, int, float]  # path, row, start


def _excerpt(entry: AudioEntry) -> Excerpt:
    return entry.path, entry.row, entry.start


def corpus_transcripts(sources: Sequence[str]) -> dict[Excerpt, str]:
    """Texts of sources, with those that lie in files beside the audio."""
    return {_excerpt(entry): entry.text for entry in list_entries(sources, transcripts=True)}


def evaluation_clips(
    corpus: AudioCorpus,
    *,
    limit: int | None = None,
    seed: int = 0,
    transcripts: Mapping[Excerpt, str] | None = None,
) -> list[EvaluationClip]:
    """Clips of a corpus with unique ids, at most ``limit`` random ones per domain.

    Args:
        corpus: of `evaluation_corpus`.
        limit: maximum number of clips.
        seed: of their choice.
        transcripts: of `corpus_transcripts`.
    """
    clips: list[EvaluationClip] = []
    seen: dict[str, int] = {}
    for domain in corpus.domains:
        if domain not in DOMAINS:
            raise ValueError(
                f"domain must be one of {DOMAINS}, such as speech=PATH, got {domain!r}"
            )
        for clip in corpus.select(domain=domain, limit=limit, seed=seed):
            count = seen[clip.id] = seen.get(clip.id, 0) + 1
            clips.append(
                EvaluationClip(
                    id=clip.id if count == 1 else f"{clip.id}#{count}",
                    domain=domain,
                    seconds=clip.num_samples / corpus.sample_rate,
                    read=lambda clip=clip: corpus.read(clip),  # type: ignore[misc]
                    text=clip.entry.text or (transcripts or {}).get(_excerpt(clip.entry), ""),
                    speaker=clip.entry.speaker,
                    language=clip.entry.language,
                )
            )
    return clips


def _reconstruct(codec: EvaluatedCodec, wav: Waveform) -> tuple[Waveform, CodecResult]:
    """Code a clip [S] at 24 kHz; return its reconstruction [S] at 24 kHz and the codec's result."""
    source = wav
    if codec.sample_rate != SCORE_RATE:
        source = soxr.resample(wav, SCORE_RATE, codec.sample_rate).astype(np.float32)
    result = codec.code(np.ascontiguousarray(source))
    if result.wav.shape != source.shape:
        raise ValueError(f"{codec.name}: output must be {source.shape}, got {result.wav.shape}")
    output = result.wav
    if codec.sample_rate != SCORE_RATE:
        output = soxr.resample(output, codec.sample_rate, SCORE_RATE)
    return fit_length(output, wav.size), result


def evaluate_clip(
    codec: EvaluatedCodec,
    clip: EvaluationClip,
    memory: PeakMemory,
    audio: Path | None = None,
    vectors: ClipVectors | None = None,
) -> tuple[ClipResult, JudgedAudio | None]:
    """Code and score one clip; an exception becomes the ``error`` of the result.

    Args:
        codec: to run.
        clip: to code.
        memory: measures the peak memory of the codec.
        audio: file for the reconstruction; None to discard it.
        vectors: gets the embedding of the reconstruction.

    Returns:
        The result, and the output of the codec, None if the clip failed.
    """
    try:
        wav = clip.read()
        memory.start()
        reconstruction, coded = _reconstruct(codec, wav)
        peak = None if codec.external else round(memory.megabytes(), 1)
        scores = ClipScores()
        if codec.compared:
            scores = score_clip(wav, reconstruction, SCORE_RATE, domain=clip.domain)
        if audio is not None:
            write_audio(audio, reconstruction, SCORE_RATE)
        if vectors is not None:
            vectors.add(clip.id, reconstruction, SCORE_RATE)
    except Exception as error:  # a bad clip must not end a run of hours
        message = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        return ClipResult(clip.id, clip.domain, clip.seconds, error=message), None
    bad = [name for name, value in scores.values.items() if not math.isfinite(value)]
    result = ClipResult(
        id=clip.id,
        domain=clip.domain,
        seconds=clip.seconds,
        scores={name: value for name, value in scores.values.items() if name not in bad},
        missing=scores.missing | {name: "not finite" for name in bad},
        bits=coded.bits,
        encode_seconds=coded.encode_seconds,
        decode_seconds=coded.decode_seconds,
        peak_mb=peak,
        codes=pack_codes(coded.codes),
    )
    return result, JudgedAudio(coded.wav, codec.sample_rate, clip.language)


def _coded_again(codec: EvaluatedCodec, clip: EvaluationClip) -> JudgedAudio | None:
    """The output of a codec for a clip that is scored already; None if it fails this time."""
    try:
        _, coded = _reconstruct(codec, clip.read())
    except Exception as error:  # a bad clip must not end a run of hours
        tqdm.write(f"{codec.name}, {clip.id}: not judged: {error}")
        return None
    return JudgedAudio(coded.wav, codec.sample_rate, clip.language)


def evaluate_codec(
    codec: EvaluatedCodec,
    clips: Sequence[EvaluationClip],
    out: str | Path,
    *,
    data: str = "",
    judges: Sequence[Judge] = (),
    keep_audio: Collection[str] = (),
    vectors: ClipVectors | None = None,
    retry_failed: bool = False,
    device: str | torch.device = AUTO,
    progress: bool = True,
) -> list[ClipResult]:
    """Run a codec on clips; an interrupted run is resumed.

    Args:
        codec: to run.
        clips: in the order of the run.
        out: folder: results, findings of judges and audio in ``clips``, ``judged``, ``audio``.
        data: fingerprint of the corpus; results of other data are refused.
        judges: of speech. A clip that is scored already is coded again for judges without
            findings on it.
        keep_audio: ids of the clips whose reconstruction is written as FLAC.
        vectors: gets the embeddings of the reconstructions; clips that it lacks are run again.
        retry_failed: run clips again that failed in an earlier run.
        device: whose peak memory is measured.
        progress: show a progress bar.

    Returns:
        One result per clip, in the order of ``clips``.
    """
    out, name = Path(out), safe_name(codec.name)
    settings: dict[str, Any] = codec.settings() | {"data": data, "scoring": SCORING_VERSION}
    store = ResultStore(out / "clips" / f"{name}.jsonl", settings)
    log = JudgeLog(out / "judged" / f"{name}.jsonl", judges, settings)
    memory = PeakMemory(find_device(device))

    def pending(clip: EvaluationClip) -> bool:
        embedded = vectors is None or clip.id in vectors
        return _is_pending(store.results.get(clip.id), retry_failed, embedded)

    todo = [clip for clip in clips if pending(clip) or _is_unjudged(clip, store, log)]
    if any(pending(clip) for clip in todo):
        _warm_up(codec)
    for clip in tqdm(todo, desc=codec.name, unit="clip", disable=not progress):
        if pending(clip):
            kept = clip.id in keep_audio
            audio = out / "audio" / name / f"{file_name(clip.id)}.flac"
            result, coded = evaluate_clip(codec, clip, memory, audio if kept else None, vectors)
            store.add(result)
        else:
            coded = _coded_again(codec, clip)
        if coded is not None and _is_unjudged(clip, store, log):
            log.queue(clip.id, coded)
    log.ask()
    return [_with_findings(store.results[clip.id], log) for clip in clips]


def _is_unjudged(clip: EvaluationClip, store: ResultStore, log: JudgeLog) -> bool:
    result = store.results.get(clip.id)
    failed = result is not None and result.error is not None
    return clip.domain == "speech" and not failed and bool(log.missing(clip.id))


def _warm_up(codec: EvaluatedCodec) -> None:
    """Code a second of noise: the first call initialises threads and kernels."""
    noise = np.random.default_rng(0).standard_normal(codec.sample_rate) * 0.01
    try:
        codec.code(noise.astype(np.float32))
    except Exception as error:
        tqdm.write(f"{codec.name}: failed on a second of noise: {error}")


def _with_findings(result: ClipResult, log: JudgeLog) -> ClipResult:
    if not log.judges or result.error is not None or result.domain != "speech":
        return result
    return dataclasses.replace(result, findings=log.findings(result.id))


def _is_pending(result: ClipResult | None, retry_failed: bool, embedded: bool) -> bool:
    if result is None or result.error is not None:
        return result is None or retry_failed
    return not embedded
