"""A corpus checked, converted and described, beside its source: what every command reads at once.

Recordings become FLAC at the codec's rate (or stay where they are), texts and speakers rows of one
manifest, and everything that deserves a look a report. The source is only read. A stopped run goes
on when the same call is given again.
"""

from __future__ import annotations

import collections
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
from ...core.data.shards import locked
from ...core.data.skipped import Skipped
from ...core.files import write_json, write_text
from .clips import Clip, ahead
from .config import TokenizeConfig
from .findings import DescribedRow, Findings, find, listing
from .recordings import Recording
from .sources import list_recordings, with_splits

MANIFEST, PARTIAL = "manifest.jsonl", "manifest.partial.jsonl"
# Samples at full scale in a row that only clipping makes.
_CLIPPED_RUN = 4
_FULL_SCALE = 0.999


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What a recording must be, and what becomes of it."""

    audio: Literal["flac", "as-is"] = "flac"  # converted copies, or a manifest of the files
    sample_rate: int = 24_000
    valid_share: float = 0.02  # of the recordings without a split
    test_share: float = 0.0
    min_seconds: float = 0.3
    max_seconds: float = 60.0
    silence_dbfs: float = -60.0

    def __post_init__(self) -> None:
        if self.audio not in ("flac", "as-is"):
            raise ValueError(f"audio must be flac or as-is; came {self.audio!r}")
        if not 0 <= self.valid_share + self.test_share < 1:
            raise ValueError(
                "valid_share and test_share must leave something to learn from; came"
                f" {self.valid_share} and {self.test_share}"
            )

    def checks(self) -> TokenizeConfig:
        """The same limits, as the reader of clips has them."""
        return TokenizeConfig(
            min_seconds=self.min_seconds,
            max_seconds=self.max_seconds,
            silence_dbfs=self.silence_dbfs,
            buffer_seconds=120.0,
        )


@dataclass(frozen=True)
class Prepared:
    """What a run leaves."""

    folder: Path
    rows: int
    seconds: float
    skipped: tuple[Skipped, ...]
    without_text: int
    clipped: tuple[str, ...]  # ids
    findings: Findings

    @property
    def clean(self) -> bool:
        """Whether nothing deserves a look."""
        found = self.findings
        bad = (found.outliers, found.duplicates, found.audio_leaks, found.text_leaks)
        return not (self.skipped or self.without_text or self.clipped or any(bad))

    def text(self) -> str:
        """A page for people."""
        counts = collections.Counter(item.reason for item in self.skipped)
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        lines = [f"{self.rows} recordings, {self.seconds / 3600:.3f} h", *self.findings.table()]
        details = [f"{one.id} {one.reason} {one.detail}" for one in self.skipped]
        lines += listing("skipped", reasons or "none", details)
        lines.append(f"without text (no use for tts and asr): {self.without_text}")
        lines += listing("clipped", str(len(self.clipped)), self.clipped)
        return "\n".join([*lines, *self.findings.lines("samples")])


def prepare(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    config: PrepareConfig | None = None,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> Prepared:
    """Check and convert a corpus, and describe it.

    Args:
        sources: As in ``sources.py``.
        out: Folder; gets ``manifest.jsonl``, ``report.json`` and ``audio/``.
        config: Limits, splits, format.
        overwrite: Begin anew where the folder holds another corpus.
        progress: Show a progress bar.

    Raises:
        ValueError: No recording is usable, with the counts of why; a source does not exist; or the
            folder holds another corpus.
    """
    config, out = config or PrepareConfig(), Path(out)
    listed = list_recordings(sources)
    recordings = with_splits(listed, config.valid_share, config.test_share)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        _claim(out, recordings, config, overwrite)
        known = _known(out)
        todo = [one for one in recordings if one.id not in known]
        with (
            open(out / PARTIAL, "a", encoding="utf-8") as partial,
            tqdm(total=len(recordings), desc="prepare", unit="rec", disable=not progress) as bar,
        ):
            bar.update(len(recordings) - len(todo))
            for fact in _facts(todo, out, config):
                partial.write(json.dumps(fact, ensure_ascii=False) + "\n")
                partial.flush()
                known[fact["id"]] = fact
                bar.update()
        result = _finish(out, [known[one.id] for one in recordings])
    if not result.rows:
        raise ValueError(_why_nothing(result.skipped))
    return result


def _claim(
    out: Path, recordings: Sequence[Recording], config: PrepareConfig, overwrite: bool
) -> None:
    """Refuse, or begin anew, a folder that holds another corpus or another way to prepare it."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(config)).encode())
    for one in recordings:
        digest.update(repr((one.entry, one.split, one.start, one.seconds)).encode())
    name, path = digest.hexdigest()[:16], out / "prepare.json"
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["plan"] == name:
            return
        if not overwrite:
            raise ValueError(
                f"{out} holds another corpus, or the same with other options ({before['config']});"
                " choose another --out, or --overwrite it"
            )
        (out / PARTIAL).unlink(missing_ok=True)
    elif (out / MANIFEST).exists() and not overwrite:
        raise ValueError(f"{out} holds a manifest that is not ours; choose another --out")
    write_json(path, {"plan": name, "config": dataclasses.asdict(config)})


def _known(out: Path) -> dict[str, dict[str, Any]]:
    """Facts of an earlier call; a last line that a kill cut off is done again."""
    path = out / PARTIAL
    if not path.is_file():
        return {}
    facts, good = {}, []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            fact = json.loads(line)
        except json.JSONDecodeError:
            continue
        facts[fact["id"]] = fact
        good.append(line + "\n")
    write_text(path, "".join(good))
    return facts


def _facts(
    recordings: Sequence[Recording], out: Path, config: PrepareConfig
) -> Iterator[dict[str, Any]]:
    """One line of facts for each recording, its audio written before."""
    for buffer in ahead(recordings, config.sample_rate, config.checks()):
        for item in buffer:
            if isinstance(item, Clip):
                yield _keep(item, out, config)
            else:
                yield {"id": item.skipped.id, "skipped": dataclasses.asdict(item.skipped)}


def _keep(clip: Clip, out: Path, config: PrepareConfig) -> dict[str, Any]:
    one, entry = clip.recording, clip.recording.entry
    whole_file = entry.row < 0 and not one.start and one.seconds is None
    if config.audio == "as-is" and not whole_file:
        raise ValueError(
            f"{one.id} is a row of {entry.path} or a part of it, and no file of its own: only"
            " --audio flac can prepare it"
        )
    path = entry.path
    if config.audio == "flac":
        path = f"audio/{one.split or 'train'}/{_file_name(one.id)}.flac"
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        write_audio(out / path, clip.wav, config.sample_rate)
    return {
        "id": one.id,
        "audio": os.path.abspath(path) if config.audio == "as-is" else path,
        "text": entry.text,
        "speaker": entry.speaker,
        "language": entry.language,
        "domain": entry.domain or "speech",
        "split": one.split or "train",
        "duration": round(len(clip.wav) / config.sample_rate, 3),
        "digest": hashlib.blake2b(clip.wav.tobytes(), digest_size=16).hexdigest(),
        "clipped": _is_clipped(clip.wav),
    }


def _file_name(name: str) -> str:
    """An id as a file name; other ids have other names."""
    safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in name).lstrip(".")
    if safe == name and len(name) <= 100:
        return name
    return f"{safe[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _is_clipped(wav: Any) -> bool:
    if len(wav) < _CLIPPED_RUN:
        return False
    runs = np.convolve(np.abs(wav) >= _FULL_SCALE, np.ones(_CLIPPED_RUN), "valid")
    return bool((runs >= _CLIPPED_RUN).any())


def _finish(out: Path, facts: Sequence[dict[str, Any]]) -> Prepared:
    """Manifest and report of all facts, in the order of the sources."""
    kept = [fact for fact in facts if "skipped" not in fact]
    hidden = ("digest", "clipped")
    rows = [{key: value for key, value in fact.items() if key not in hidden} for fact in kept]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(out / MANIFEST, lines)
    described = [
        DescribedRow(
            **{key: fact[key] for key in ("id", "split", "domain", "language", "speaker", "text")},
            seconds=fact["duration"],
            digest=bytes.fromhex(fact["digest"]),
        )
        for fact in kept
    ]
    result = Prepared(
        folder=out,
        rows=len(kept),
        seconds=sum(fact["duration"] for fact in kept),
        skipped=tuple(Skipped(**fact["skipped"]) for fact in facts if "skipped" in fact),
        without_text=sum(not fact["text"] for fact in kept),
        clipped=tuple(fact["id"] for fact in kept if fact["clipped"]),
        findings=find(described),
    )
    write_json(out / "report.json", {**dataclasses.asdict(result), "folder": str(out)})
    return result


def _why_nothing(skipped: Sequence[Skipped]) -> str:
    counts = collections.Counter(item.reason for item in skipped)
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    first = skipped[0]
    return (
        f"none of {len(skipped)} recordings is usable: {listed} (the first: {first.id}:"
        f" {first.detail})"
    )
