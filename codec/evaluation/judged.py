"""Findings of judges (core/judges) on the speech of an evaluation: logged by clip, and as scores.

Findings are kept by what they depend on: another judge, or the same one with other weights, is
asked only where it has not been asked before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.judges.base import Judge, JudgedAudio
from ...core.judges.recognizers import Recognizer
from ...core.judges.speakers import cosine, speaker_scale
from ...core.metrics.audio import METRICS, Metric
from ...core.metrics.intervals import Interval
from ...core.metrics.words import count_errors, whisper_normaliser
from ...core.results_log import ResultsLog, key_of
from .codecs import CodecResult, EvaluatedCodec, Waveform
from .results import ClipResult

if TYPE_CHECKING:
    from .harness import EvaluationClip

RECORDINGS = "recordings"
BATCH = 8  # clips that are judged together
_SPEECH = ("speech",)
RATES = ("wer", "cer")  # errors by words or characters, not means over clips
JUDGED_METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("wer", "WER", "%", False, 1, "word errors of the recognizer", _SPEECH),
        Metric("cer", "CER", "%", False, 1, "its character errors", _SPEECH),
        Metric(
            "speaker", "speaker", "", True, 3,
            "cosine of the speaker embeddings of reconstruction and recording", _SPEECH,
        ),
        Metric("distillmos", "DistillMOS", "MOS", True, 2, "predicted naturalness", _SPEECH),
        Metric("dnsmos_ovrl", "DNSMOS", "MOS", True, 2, "P.835, overall, predicted", _SPEECH),
        Metric("dnsmos_sig", "DNSMOS SIG", "MOS", True, 2, "of the speech", _SPEECH),
        Metric("dnsmos_bak", "DNSMOS BAK", "MOS", True, 2, "of the background", _SPEECH),
        Metric("dnsmos_p808", "DNSMOS P.808", "MOS", True, 2, "P.808, predicted", _SPEECH),
    )
}  # fmt: skip
ALL_METRICS = METRICS | JUDGED_METRICS
_BY_ROLE = {
    "recognizer": ("wer", "cer"),
    "speaker encoder": ("speaker",),
    "distillmos": ("distillmos",),
    "dnsmos": tuple(name for name in JUDGED_METRICS if name.startswith("dnsmos")),
}


class Recordings(EvaluatedCodec):
    """The recordings themselves, for the first row of a table with judges."""

    name = RECORDINGS
    sample_rate = 24_000
    kbps = 0.0
    compared = False

    def code(self, wav: Waveform) -> CodecResult:
        """Return the clip [S]."""
        return CodecResult(wav, None, 0, 0.0, 0.0)


class JudgeLog:
    """Findings of judges on the output of one codec, in ``judged/NAME.jsonl``.

    Args:
        path: of the file.
        judges: to ask.
        settings: all that the codec's output depends on.
    """

    def __init__(self, path: Path, judges: Sequence[Judge], settings: Mapping[str, Any]) -> None:
        self.judges = tuple(judges)
        self._log = ResultsLog(path) if judges else None
        self._waiting: dict[str, JudgedAudio] = {}
        self._keys = {judge.role: key_of(judge.pinned, settings) for judge in judges}

    def missing(self, clip: str) -> list[Judge]:
        """Judges that have no findings on a clip yet."""
        return [judge for judge in self.judges if self._found(clip, judge) is None]

    def queue(self, clip: str, audio: JudgedAudio) -> None:
        """Ask the judges without findings on a clip, once a batch is full."""
        self._waiting[clip] = audio
        if len(self._waiting) == BATCH:
            self.ask()

    def ask(self) -> None:
        """Ask the judges about the clips that wait."""
        clips, self._waiting = self._waiting, {}
        for judge in self.judges:
            self._ask(judge, {name: x for name, x in clips.items() if judge in self.missing(name)})

    def findings(self, clip: str) -> dict[str, Any]:
        """Findings of all judges on a clip; ``errors`` has the reasons of those without."""
        found: dict[str, Any] = {"errors": {}}
        for judge in self.judges:
            if (entry := self._found(clip, judge)) is not None:
                found |= entry["found"]
            elif self._log is not None:
                entry = self._log.entries.get(f"{judge.role} {clip}", {})
                found["errors"][judge.role] = entry.get("error", "not judged")
        return found

    def _found(self, clip: str, judge: Judge) -> dict[str, Any] | None:
        assert self._log is not None
        return self._log.get(f"{judge.role} {clip}", self._keys[judge.role])

    def _ask(self, judge: Judge, clips: Mapping[str, JudgedAudio]) -> None:
        assert self._log is not None
        if not clips:
            return
        entries: list[dict[str, Any]]
        try:
            entries = [{"found": found} for found in judge.judge_all(list(clips.values()))]
        except Exception as error:  # a bad clip must not end a run of hours
            if len(clips) > 1:
                for name, audio in clips.items():
                    self._ask(judge, {name: audio})
                return
            entries = [{"error": " ".join(f"{type(error).__name__}: {error}".split())[:500]}]
        for name, entry in zip(clips, entries, strict=True):
            self._log.add(f"{judge.role} {name}", self._keys[judge.role], entry)


def judged_results(
    results: Mapping[str, tuple[EvaluatedCodec, Sequence[ClipResult]]],
    clips: Sequence[EvaluationClip],
    judges: Sequence[Judge],
    groups: Mapping[str, Collection[str]],
) -> tuple[dict[str, tuple[EvaluatedCodec, list[ClipResult]]], dict[str, dict[str, Interval]]]:
    """Turn the findings of judges into scores.

    Args:
        results: codec and its results by name; those of the recordings by `RECORDINGS`.
        clips: of the evaluation.
        judges: that were asked.
        groups: ids of clips by group of speakers.

    Returns:
        The results with further scores, and by domain the cosines between recordings
        (`speaker_scale`).
    """
    by_id = {clip.id: clip for clip in clips}
    recordings = results[RECORDINGS][1] if RECORDINGS in results else []
    originals = {result.id: result.findings for result in recordings}
    spelling = next((judge.spelling for judge in judges if isinstance(judge, Recognizer)), ())
    scored = {}
    for name, (codec, rows) in results.items():
        against = {} if name == RECORDINGS else originals
        scored[name] = (
            codec,
            [
                _with_scores(row, against.get(row.id), by_id[row.id], spelling)
                if row.findings
                else row
                for row in rows
            ],
        )
    speakers = {clip.id: clip.speaker for clip in clips}
    embeddings = {name: x["embedding"] for name, x in originals.items() if "embedding" in x}
    scale = {
        domain: speaker_scale(embeddings, speakers, ids)
        for domain, ids in {"speech": speakers, **_named(groups)}.items()
    }
    return scored, {domain: means for domain, means in scale.items() if means}


def _named(groups: Mapping[str, Collection[str]]) -> dict[str, Collection[str]]:
    return {f"speech, {name}": ids for name, ids in groups.items()}


def _with_scores(
    result: ClipResult,
    original: Mapping[str, Any] | None,
    clip: EvaluationClip,
    spelling: tuple[tuple[str, str], ...],
) -> ClipResult:
    found = result.findings
    scores = {name: found[name] for name in JUDGED_METRICS if name in found}
    counts: dict[str, tuple[int, int]] = {}
    missing: dict[str, str] = {}
    for role, reason in found["errors"].items():
        missing |= dict.fromkeys(_BY_ROLE[role], reason)
    if "heard" in found and clip.text.strip():
        english = clip.language.lower().partition("-")[0] in ("", "en")
        normalise = whisper_normaliser("en" if english else "other", spelling if english else ())
        texts = normalise(clip.text), normalise(found["heard"])
        for name in RATES:
            errors = count_errors(*texts, characters=name == "cer")
            counts[name] = (errors.errors, errors.size)
    elif "heard" in found:
        missing |= dict.fromkeys(RATES, "no transcript")
    if "embedding" in found and original is not None:
        if "embedding" in original:
            scores["speaker"] = cosine(found["embedding"], original["embedding"])
        else:
            missing["speaker"] = "the recording has no embedding"
    return dataclasses.replace(
        result,
        scores=result.scores | scores,
        counts=counts,
        missing=result.missing | missing,
    )
