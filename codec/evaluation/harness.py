"""The same clips through every coder, one result per clip, resumable after a kill.

Scores are computed at 24 kHz against the clip as the corpus holds it. A coder of another rate gets
the clip resampled and its output resampled back: what its bandwidth loses counts as its loss.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from tqdm import tqdm

from ...core.audio import write_audio
from ...core.choices import AUTO
from ...core.data import AudioCorpus, DataConfig
from ...core.metrics.audio import DOMAINS, SCORE_RATE, score_clip
from ...core.runtime import find_device
from .coder import CodecResult, EvaluatedCodec, Waveform, fit_length
from .memory import PeakMemory
from .results import ClipResult, ResultStore, pack_codes

# Raise when scores change their meaning, so that old results are not mixed with new ones.
SCORING_VERSION = 1


@dataclass(frozen=True)
class EvaluationClip:
    """A clip to be coded."""

    id: str
    domain: str
    seconds: float
    read: Callable[[], Waveform]  # -> [S] at 24 kHz


def safe_name(text: str) -> str:
    """A clip id or coder name as a file name."""
    return re.sub(r"[^A-Za-z0-9._@+-]+", "_", text).strip("_") or "clip"


def evaluation_corpus(
    sources: Sequence[str], cache_dir: str | Path | None = None, *, progress: bool = True
) -> AudioCorpus:
    """Scan sources for evaluation: short and quiet clips count too, only useless ones do not."""
    config = DataConfig(sample_rate=SCORE_RATE, min_seconds=0.05, silence_dbfs=-80.0)
    return AudioCorpus.scan(sources, config, cache_dir, progress=progress)


def evaluation_clips(
    corpus: AudioCorpus, *, limit: int | None = None, seed: int = 0
) -> list[EvaluationClip]:
    """Clips of a corpus, at most ``limit`` per domain, drawn by the seed; ids are made unique."""
    clips: list[EvaluationClip] = []
    seen: dict[str, int] = {}
    for domain in corpus.domains:
        if domain not in DOMAINS:
            raise ValueError(
                f"domain must be one of {DOMAINS}, got {domain!r}; name it as in speech=PATH"
            )
        for clip in corpus.select(domain=domain, limit=limit, seed=seed):
            count = seen[clip.id] = seen.get(clip.id, 0) + 1
            clips.append(
                EvaluationClip(
                    id=clip.id if count == 1 else f"{clip.id}#{count}",
                    domain=domain,
                    seconds=clip.num_samples / corpus.sample_rate,
                    read=lambda clip=clip: corpus.read(clip),  # type: ignore[misc]
                )
            )
    return clips


def _through(coder: EvaluatedCodec, wav: Waveform) -> tuple[Waveform, CodecResult]:
    """Code a clip [S] at 24 kHz; return its reconstruction [S] at 24 kHz and the coder's answer."""
    given = wav
    if coder.sample_rate != SCORE_RATE:
        given = soxr.resample(wav, SCORE_RATE, coder.sample_rate).astype(np.float32)
    coded = coder.code(np.ascontiguousarray(given))
    if coded.wav.shape != given.shape:
        raise ValueError(f"{coder.name} gave {coded.wav.shape} for {given.shape} samples")
    back = coded.wav
    if coder.sample_rate != SCORE_RATE:
        back = soxr.resample(back, coder.sample_rate, SCORE_RATE)
    return fit_length(back, wav.size), coded


def evaluate_clip(
    coder: EvaluatedCodec, clip: EvaluationClip, memory: PeakMemory, audio: Path | None = None
) -> ClipResult:
    """Code and score one clip; what goes wrong becomes the result's ``error``.

    Args:
        coder: to run.
        clip: to run it on.
        memory: measures the coder's peak.
        audio: where to keep the reconstruction, if at all.
    """
    try:
        wav = clip.read()
        memory.start()
        reconstruction, coded = _through(coder, wav)
        peak = None if coder.external else round(memory.megabytes(), 1)
        scores = score_clip(wav, reconstruction, SCORE_RATE, domain=clip.domain)
        if audio is not None:
            write_audio(audio, reconstruction, SCORE_RATE)
    except Exception as error:  # one bad clip must not end a run of hours: it is counted and listed
        text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        return ClipResult(clip.id, clip.domain, clip.seconds, error=text)
    bad = [name for name, value in scores.values.items() if not math.isfinite(value)]
    return ClipResult(
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


def evaluate_codec(
    coder: EvaluatedCodec,
    clips: Sequence[EvaluationClip],
    out: str | Path,
    *,
    data: str = "",
    keep_audio: Collection[str] = (),
    retry_failed: bool = False,
    device: str | torch.device = AUTO,
    progress: bool = True,
) -> list[ClipResult]:
    """Run a coder over clips; results of an earlier, interrupted run are kept.

    Args:
        coder: to run.
        clips: in the order to be run.
        out: folder; results go to ``clips/NAME.jsonl``, kept audio to ``audio/NAME/``.
        data: fingerprint of the corpus, so that results of other data are not mixed in.
        keep_audio: ids of the clips whose reconstruction is written as FLAC.
        retry_failed: run clips again that failed in an earlier run.
        device: whose memory is measured.
        progress: show a progress bar.

    Returns:
        One result per clip, in the order of ``clips``.
    """
    out = Path(out)
    settings: dict[str, Any] = coder.settings() | {"data": data, "scoring": SCORING_VERSION}
    store = ResultStore(out / "clips" / f"{safe_name(coder.name)}.jsonl", settings)
    memory = PeakMemory(find_device(device))
    todo = [clip for clip in clips if _pending(store.results.get(clip.id), retry_failed)]
    if todo:
        # The first call pays for lazy set-up (threads, kernels): a second of noise takes it.
        noise = np.random.default_rng(0).standard_normal(coder.sample_rate) * 0.01
        try:
            coder.code(noise.astype(np.float32))
        except Exception as error:
            tqdm.write(f"{coder.name}: failed on a second of noise: {error}")
    for clip in tqdm(todo, desc=coder.name, unit="clip", disable=not progress):
        kept = clip.id in keep_audio
        audio = out / "audio" / safe_name(coder.name) / f"{safe_name(clip.id)}.flac"
        store.add(evaluate_clip(coder, clip, memory, audio if kept else None))
    return [store.results[clip.id] for clip in clips]


def _pending(result: ClipResult | None, retry_failed: bool) -> bool:
    return result is None or (retry_failed and result.error is not None)
