"""Results of several codecs in a table: means, intervals, paired differences, cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ...core.metrics.audio import DOMAINS
from ...core.metrics.intervals import (
    Interval,
    PairedDifference,
    bootstrap_interval,
    paired_difference,
    rate_interval,
)
from .codecs import EvaluatedCodec
from .fad import FrechetTable
from .judged import ALL_METRICS, RATES
from .results import ClipResult, CodeStatistics, code_statistics, unpack_codes


@dataclass(frozen=True)
class DomainRow:
    """Results of one codec on one domain."""

    scores: dict[str, Interval]  # metric name -> mean and interval over the clips with a score
    differences: dict[str, PairedDifference]  # metric name -> difference to the reference codec
    missing: dict[str, dict[str, int]]  # metric name -> reason -> number of clips


@dataclass(frozen=True)
class CodecRow:
    """Results of one codec."""

    name: str
    kbps: float  # nominal
    kbps_measured: float  # bits / seconds over all clips, including padding of the last frame
    clips: int  # number of clips
    failed: dict[str, str]  # clip id -> error
    seconds: float  # duration of the coded clips
    rtf_encode: float | None
    rtf_decode: float | None
    peak_mb: float | None  # maximum over the clips; None for external programs
    codes: CodeStatistics | None
    domains: dict[str, DomainRow]  # by domain, and for speech by group: "speech, heard speakers"


@dataclass(frozen=True)
class Evaluation:
    """Results of all codecs on the same clips."""

    codecs: tuple[CodecRow, ...]
    reference: str | None  # name of the codec of the paired differences
    domains: dict[str, int]  # domain, or speech and group -> number of clips
    not_run: dict[str, str]  # codec name -> reason
    fad: FrechetTable | None = None
    judges: dict[str, str] = field(default_factory=dict)  # role -> model, weights, settings
    # Domain -> cosines of two recordings: "same" speaker, "other" speakers.
    speaker_scale: dict[str, dict[str, Interval]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


def _codes(codec: EvaluatedCodec, results: Sequence[ClipResult]) -> CodeStatistics | None:
    packed = [result.codes for result in results if result.codes is not None]
    if not packed or codec.codebook_size is None or codec.frame_rate is None:
        return None
    return code_statistics(
        (unpack_codes(text) for text in packed),
        codebook_size=codec.codebook_size,
        frame_rate=codec.frame_rate,
    )


def _values(results: Sequence[ClipResult], metric: str) -> dict[str, float]:
    return {r.id: r.scores[metric] for r in results if metric in r.scores}


def _interval_of(results: Sequence[ClipResult], metric: str, seed: int) -> Interval | None:
    if metric in RATES:
        counts = [r.counts[metric] for r in results if metric in r.counts]
        return _percent([c[0] for c in counts], [c[1] for c in counts], seed)
    values = _values(results, metric)
    return bootstrap_interval(list(values.values()), seed=seed) if values else None


def _percent(errors: Sequence[int], sizes: Sequence[int], seed: int) -> Interval | None:
    if not sum(sizes):
        return None
    rate = rate_interval(errors, sizes, seed=seed)
    return Interval(100 * rate.mean, 100 * rate.low, 100 * rate.high, rate.n)


def _difference_of(
    results: Sequence[ClipResult], reference: Sequence[ClipResult], metric: str, seed: int
) -> PairedDifference | None:
    if metric not in RATES:
        return paired_difference(_values(results, metric), _values(reference, metric), seed=seed)
    own, base = (
        {r.id: r.counts[metric] for r in x if metric in r.counts} for x in (results, reference)
    )
    shared = sorted(set(own) & set(base))
    more = [own[name][0] - base[name][0] for name in shared]
    difference = _percent(more, [own[name][1] for name in shared], seed)
    if difference is None:
        return None
    higher = sum(x > 0 for x in more) / len(more)
    return PairedDifference(difference, higher, len(set(own) ^ set(base)))


def _domain_row(
    results: Sequence[ClipResult], reference: Sequence[ClipResult] | None, seed: int
) -> DomainRow:
    scores, differences = {}, {}
    missing: dict[str, dict[str, int]] = {}
    for metric in ALL_METRICS:
        interval = _interval_of(results, metric, seed)
        if interval is not None:
            scores[metric] = interval
        if interval is not None and reference is not None:
            paired = _difference_of(results, reference, metric, seed)
            if paired is not None:
                differences[metric] = paired
        for result in results:
            reason = result.missing.get(metric)
            if reason is not None:
                counts = missing.setdefault(metric, {})
                counts[reason] = counts.get(reason, 0) + 1
    return DomainRow(scores, differences, missing)


def _codec_row(
    codec: EvaluatedCodec,
    results: Sequence[ClipResult],
    reference: Sequence[ClipResult] | None,
    parts: Mapping[str, Collection[str]],
    seed: int,
) -> CodecRow:
    good = [result for result in results if result.error is None]
    seconds = sum(result.seconds for result in good)
    peaks = [result.peak_mb for result in good if result.peak_mb is not None]

    def select(ids: Collection[str], rows: Sequence[ClipResult]) -> list[ClipResult]:
        return [row for row in rows if row.id in ids and row.error is None]

    return CodecRow(
        name=codec.name,
        kbps=codec.kbps,
        kbps_measured=sum(r.bits for r in good) / seconds / 1000.0 if seconds else 0.0,
        clips=len(results),
        failed={result.id: result.error for result in results if result.error is not None},
        seconds=seconds,
        rtf_encode=sum(r.encode_seconds for r in good) / seconds if seconds else None,
        rtf_decode=sum(r.decode_seconds for r in good) / seconds if seconds else None,
        peak_mb=max(peaks) if peaks else None,
        codes=_codes(codec, good),
        domains={
            name: _domain_row(
                select(ids, results),
                None if reference is None else select(ids, reference),
                seed,
            )
            for name, ids in parts.items()
            if select(ids, results)
        },
    )


def clips_by_domain(
    results: Sequence[Sequence[ClipResult]], groups: Mapping[str, Collection[str]]
) -> dict[str, set[str]]:
    """Ids of clips by domain, and for speech by group of speakers: ``speech, GROUP``.

    Args:
        results: of each codec.
        groups: ids of clips by name of a group.
    """
    parts: dict[str, set[str]] = {}
    for domain in DOMAINS:
        ids = {result.id for rows in results for result in rows if result.domain == domain}
        if ids:
            parts[domain] = ids
        if domain == "speech":
            own = {f"speech, {name}": ids & set(chosen) for name, chosen in groups.items()}
            parts |= {name: chosen for name, chosen in own.items() if chosen}
    return parts


def summarise(
    results: Sequence[tuple[EvaluatedCodec, Sequence[ClipResult]]],
    *,
    reference: str | None = None,
    not_run: Mapping[str, str] | None = None,
    fad: FrechetTable | None = None,
    groups: Mapping[str, Collection[str]] | None = None,
    judges: Mapping[str, str] | None = None,
    speaker_scale: Mapping[str, dict[str, Interval]] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Put the results of several codecs on the same clips into one table.

    Args:
        results: codec and its clip results, in the order of the rows.
        reference: name of the codec of the paired differences.
        not_run: codecs that could not be run, with reasons.
        fad: Fréchet distances, if they were computed.
        groups: ids of speech clips by name of a group, such as the heard speakers.
        judges: models that gave scores, by role.
        speaker_scale: by domain, see `judged.speaker_scale`.
        seed: of the bootstrap.
    """
    names = [codec.name for codec, _ in results]
    if reference is not None and reference not in names:
        raise ValueError(f"reference must be one of {', '.join(names)}, got {reference!r}")
    base = next((rows for codec, rows in results if codec.name == reference), None)
    parts = clips_by_domain([rows for _, rows in results], groups or {})
    return Evaluation(
        codecs=tuple(
            _codec_row(codec, rows, None if codec.name == reference else base, parts, seed)
            for codec, rows in results
        ),
        reference=reference,
        domains={name: len(ids) for name, ids in parts.items()},
        not_run=dict(not_run or {}),
        fad=fad,
        judges=dict(judges or {}),
        speaker_scale=dict(speaker_scale or {}),
    )
