"""Check and convert a corpus: one manifest, audio as FLAC at the codec's rate, and a report.

The source is only read. The same call resumes an interrupted run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from ...core.audio import write_audio
from ...core.data.decoding import Skipped, SkipReport
from ...core.data.entries import AudioEntry, assign_splits
from ...core.data.manifests import list_entries
from ...core.data.shards import locked
from ...core.files import complete_lines, file_name, write_json, write_text
from ...core.reading import read_json_object
from .clips import DecodedClip, prefetch_buffers
from .config import TokenizeConfig
from .report import Findings, RowSummary, examine, list_findings

MANIFEST, PARTIAL = "manifest.jsonl", "manifest.partial.jsonl"
# Consecutive samples at full scale that indicate clipping.
_CLIPPED_RUN = 4
_FULL_SCALE = 0.999


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Limits of usable clips, format and splits of the prepared corpus."""

    audio: Literal["flac", "as-is"] = "flac"  # converted copies, or the files where they are
    sample_rate: int = 24_000
    valid_share: float = 0.02  # of the clips without a split
    test_share: float = 0.0
    min_seconds: float = 0.3
    max_seconds: float = 60.0
    silence_dbfs: float = -60.0

    def __post_init__(self) -> None:
        if self.audio not in ("flac", "as-is"):
            raise ValueError(f"audio must be flac or as-is, got {self.audio!r}")
        if not 0 <= self.valid_share + self.test_share < 1:
            raise ValueError(
                "valid_share and test_share must be at least 0 and less than 1 together, got"
                f" {self.valid_share} and {self.test_share}"
            )

    def checks(self) -> TokenizeConfig:
        """The same limits as options of ``clips.py``."""
        return TokenizeConfig(
            min_seconds=self.min_seconds,
            max_seconds=self.max_seconds,
            silence_dbfs=self.silence_dbfs,
            buffer_seconds=120.0,
        )


@dataclass(frozen=True)
class PrepareResult:
    """Result of :func:`prepare`."""

    folder: Path
    rows: int
    seconds: float
    skipped: tuple[Skipped, ...]
    without_text: int
    clipped: tuple[str, ...]  # ids
    findings: Findings

    @property
    def clean(self) -> bool:
        """Whether nothing was found that should be looked at."""
        found = self.findings
        bad = (found.outliers, found.duplicates, found.audio_leaks, found.text_leaks)
        return not (self.skipped or self.without_text or self.clipped or any(bad))

    def text(self) -> str:
        """The report as text."""
        lines = [f"{self.rows} recordings, {self.seconds / 3600:.3f} h", *self.findings.table()]
        details = [f"{item.id} {item.reason} {item.detail}" for item in self.skipped]
        lines += list_findings("skipped", SkipReport(self.skipped).summary(), details)
        lines.append(f"without text (no use for tts and asr): {self.without_text}")
        lines += list_findings("clipped", str(len(self.clipped)), self.clipped)
        return "\n".join([*lines, *self.findings.lines("samples")])


def prepare(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    config: PrepareConfig | None = None,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> PrepareResult:
    """Check and convert a corpus, and report what should be looked at.

    Args:
        sources: As in ``core/data/manifests.py``.
        out: Folder for ``manifest.jsonl``, ``report.json`` and ``audio/``.
        config: Limits, splits, format.
        overwrite: Start again if the folder holds another corpus.
        progress: Show a progress bar.

    Raises:
        ValueError: A source does not exist, no clip is usable (the message counts the reasons), or
            the folder holds another corpus.
    """
    config, out = config or PrepareConfig(), Path(out)
    listed = list_entries(sources, transcripts=True)
    entries = assign_splits(listed, config.valid_share, config.test_share)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        _claim(out, entries, config, overwrite)
        done = _read_partial(out)
        todo = [entry for entry in entries if entry.id not in done]
        with (
            open(out / PARTIAL, "a", encoding="utf-8") as partial,
            tqdm(total=len(entries), desc="prepare", unit="rec", disable=not progress) as bar,
        ):
            bar.update(len(entries) - len(todo))
            for fact in _facts(todo, out, config):
                partial.write(json.dumps(fact, ensure_ascii=False) + "\n")
                partial.flush()
                done[fact["id"]] = fact
                bar.update()
        result = _finish(out, [done[entry.id] for entry in entries])
    if not result.rows:
        raise ValueError(_no_rows(result.skipped))
    return result


def _claim(
    out: Path, entries: Sequence[AudioEntry], config: PrepareConfig, overwrite: bool
) -> None:
    """Refuse or clear a folder that holds another corpus or was made with other options."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(config)).encode())
    for entry in entries:
        digest.update(_plan_text(entry).encode())
    name, path = digest.hexdigest()[:16], out / "prepare.json"
    if path.is_file():
        before = read_json_object(path)
        if before.get("plan") == name:
            return
        if not overwrite:
            raise ValueError(
                f"{out} holds another corpus, or the same with other options"
                f" ({before.get('config')});"
                " choose another --out, or --overwrite it"
            )
        (out / PARTIAL).unlink(missing_ok=True)
    elif (out / MANIFEST).exists() and not overwrite:
        raise ValueError(f"{out} holds a manifest that is not ours; choose another --out")
    write_json(path, {"plan": name, "config": dataclasses.asdict(config)})


def _plan_text(entry: AudioEntry) -> str:
    """What the plan's hash in ``prepare.json`` is made of; must not change."""
    names = ("id", "path", "row", "domain", "text", "speaker", "language", "stamp", "label")
    fields = ", ".join(f"{name}={getattr(entry, name)!r}" for name in names)
    return f"(Entry({fields}), {entry.split!r}, {entry.start!r}, {entry.seconds!r})"


def _read_partial(out: Path) -> dict[str, dict[str, Any]]:
    """Facts of an interrupted call by id."""
    facts: dict[str, dict[str, Any]] = {}
    for line in complete_lines(out / PARTIAL) if (out / PARTIAL).exists() else []:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # done again then
            fact = json.loads(line)
            facts[fact["id"]] = fact
    return facts


def _facts(
    entries: Sequence[AudioEntry], out: Path, config: PrepareConfig
) -> Iterator[dict[str, Any]]:
    """Write the audio of each entry, then yield its facts: manifest row, digest, clipping."""
    for buffer in prefetch_buffers(entries, config.sample_rate, config.checks()):
        for item in buffer:
            if isinstance(item, DecodedClip):
                yield _keep(item, out, config)
            else:
                yield {"id": item.skipped.id, "skipped": dataclasses.asdict(item.skipped)}


def _keep(clip: DecodedClip, out: Path, config: PrepareConfig) -> dict[str, Any]:
    entry = clip.entry
    whole_file = entry.row < 0 and not entry.start and entry.seconds is None
    if config.audio == "as-is" and not whole_file:
        raise ValueError(
            f"{entry.id} is a row or a part of {entry.path}, not a file of its own: only"
            " --audio flac can prepare it"
        )
    path = entry.path
    if config.audio == "flac":
        path = f"audio/{file_name(entry.split or 'train')}/{file_name(entry.id)}.flac"
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        write_audio(out / path, clip.wav, config.sample_rate)
    return {
        "id": entry.id,
        "audio": os.path.abspath(path) if config.audio == "as-is" else path,
        "text": entry.text,
        "speaker": entry.speaker,
        "language": entry.language,
        "domain": entry.domain or "speech",
        "split": entry.split or "train",
        "duration": round(len(clip.wav) / config.sample_rate, 3),
        "digest": hashlib.blake2b(clip.wav.tobytes(), digest_size=16).hexdigest(),
        "clipped": _is_clipped(clip.wav),
    }


def _is_clipped(wav: Any) -> bool:
    if len(wav) < _CLIPPED_RUN:
        return False
    runs = np.convolve(np.abs(wav) >= _FULL_SCALE, np.ones(_CLIPPED_RUN), "valid")
    return bool((runs >= _CLIPPED_RUN).any())


def _finish(out: Path, facts: Sequence[dict[str, Any]]) -> PrepareResult:
    """Write the manifest and the report, in the order of the sources."""
    kept = [fact for fact in facts if "skipped" not in fact]
    hidden = ("digest", "clipped")
    rows = [{key: value for key, value in fact.items() if key not in hidden} for fact in kept]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(out / MANIFEST, lines)
    described = [
        RowSummary(
            **{key: fact[key] for key in ("id", "split", "domain", "language", "speaker", "text")},
            seconds=fact["duration"],
            digest=bytes.fromhex(fact["digest"]),
        )
        for fact in kept
    ]
    result = PrepareResult(
        folder=out,
        rows=len(kept),
        seconds=sum(fact["duration"] for fact in kept),
        skipped=tuple(Skipped(**fact["skipped"]) for fact in facts if "skipped" in fact),
        without_text=sum(not fact["text"] for fact in kept),
        clipped=tuple(fact["id"] for fact in kept if fact["clipped"]),
        findings=examine(described),
    )
    write_json(out / "report.json", {**dataclasses.asdict(result), "folder": str(out)})
    return result


def _no_rows(skipped: Sequence[Skipped]) -> str:
    first = skipped[0]
    return (
        f"none of {len(skipped)} recordings is usable: {SkipReport(tuple(skipped)).summary()}"
        f" (the first: {first.id}: {first.detail})"
    )
