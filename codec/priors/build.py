"""Building a prior: features, k-means, file (paper.md 3).

The features of each half are written in shards and clustered in a work folder beside the output,
which is named by a hash of everything that determines the result. A killed run resumes there, runs
with other settings use other folders, and the resulting file has the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...core.choices import AUTO
from ...core.runtime import find_device
from .config import PriorConfig, TeacherSpec
from .corpus import ReadingPlan, in_half, plan_reading
from .files import hash_json, load_tensors, save_tensors
from .kmeans import kmeans
from .prior import HALVES, Prior, join_halves, load_prior
from .teacher import Teacher
from .teachers import make_teacher
from .vectors import ShardVectors, extract

if TYPE_CHECKING:
    from ...core.data import AudioCorpus

# Defaults of k-means when it began with mini-batches; such files have "epochs" in their settings.
_FORMER = {"epochs": 4, "passes": 10, "batch_size": 8192}


@dataclass(frozen=True)
class _Half:
    """Clusters of one half, in the space of its teacher."""

    centroids: Tensor  # [C_half, P_teacher] float32
    counts: Tensor  # [C_half] int64
    metadata: dict[str, Any]


def build_prior(
    config: PriorConfig,
    corpus: AudioCorpus,
    out: str | Path,
    *,
    device: str | torch.device = AUTO,
    force: bool = False,
) -> Prior:
    """Build the prior file ``out``, resume a stopped build, or return the finished prior.

    Args:
        config: Teachers, sizes, seed.
        corpus: Clips; the speech half uses the domain ``speech``, the sound half ``sound`` and
            ``music``, and both use all other domains.
        out: The file, usually named ``prior.safetensors``.
        device: Of teachers and k-means.
        force: Replace an existing file of other settings.

    Raises:
        ValueError: ``out`` has other settings, there is too little audio for a half, or the
            teachers have different widths.
    """
    out, device = Path(out), find_device(device)
    identity = _identity(config.to_dict(), corpus, [_digest(path) for path in _sources(config)])
    work = out.parent / f".{out.name}.work-{identity[:12]}"
    existing = _existing(out, config, corpus, force)
    if existing is not None:
        shutil.rmtree(work, ignore_errors=True)
        return existing
    # Whatever either half lacks is found before the first one is computed.
    teachers = make_teachers(config, device)
    plans = {half: _plan(half, config, corpus, teacher) for half, teacher in teachers.items()}
    work.mkdir(parents=True, exist_ok=True)
    halves = {
        half: _build_half(half, teacher, plans[half], config, corpus, work, device)
        for half, teacher in teachers.items()
    }
    centroids = match_widths({half: built.centroids for half, built in halves.items()}, config)
    width = next(iter(centroids.values())).shape[1]
    metadata = {
        "identity": identity,
        "seed": config.seed,
        "config": config.to_dict(),
        **{half: built.metadata for half, built in halves.items()},
    }
    prior = join_halves(
        [centroids.get(half, torch.zeros(0, width)) for half in HALVES],
        torch.cat([halves[half].counts for half in HALVES if half in halves]),
        metadata,
    )
    # Written in the work folder, so that a kill leaves nothing beside the file.
    prior.save(work / out.name)
    os.replace(work / out.name, out)
    shutil.rmtree(work)
    return load_prior(out)


def _identity(settings: Mapping[str, Any], corpus: AudioCorpus, files: Sequence[Any]) -> str:
    """Hash of everything that determines the result: settings, files of teachers, clips."""
    clips = sorted((clip.id, str(clip.domain), clip.num_samples) for clip in corpus.clips)
    return hash_json([settings, corpus.sample_rate, list(files), clips])


def _sources(config: PriorConfig) -> list[Path]:
    teachers = (config.teacher_speech, config.teacher_sound)
    return [Path(TeacherSpec.parse(name).source or "-") for name in teachers]


def _digest(source: Path) -> str | None:
    """Hash of the content of a file or folder; None for names of the hub."""
    if not source.exists():
        return None
    digest = hashlib.sha256()
    paths = [source] if source.is_file() else sorted(source.rglob("*"))
    for path in paths:
        name = path.relative_to(source)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{name.as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _is_current(metadata: Mapping[str, Any], config: PriorConfig, corpus: AudioCorpus) -> bool:
    """Whether a prior file has these settings, clips and teachers.

    Files of earlier versions lack newer fields, which then have their defaults, and identify the
    files of teachers by their sizes.
    """
    stored = metadata.get("config")
    if not isinstance(stored, dict):
        return False
    former = _FORMER if "epochs" in stored else {}
    known = {name: value for name, value in stored.items() if former.get(name) != value}
    settings = PriorConfig().to_dict() | known
    if any(settings[name] != value for name, value in config.to_dict().items()):
        return False
    sources = _sources(config)
    sizes = [source.stat().st_size if source.is_file() else None for source in sources]
    given = [_identity(stored, corpus, files) for files in (list(map(_digest, sources)), sizes)]
    return metadata.get("identity") in given


def _existing(out: Path, config: PriorConfig, corpus: AudioCorpus, force: bool) -> Prior | None:
    """The prior in ``out``; None if there is none or it is to be replaced."""
    if not out.exists():
        return None
    try:
        prior = load_prior(out)
    except ValueError:
        if force:
            return None
        raise
    if _is_current(prior.metadata, config, corpus):
        return prior
    if force:
        return None
    raise ValueError(
        f"{out} was built with other settings, teachers or clips: choose another file or force its"
        " replacement"
    )


def make_teachers(config: PriorConfig, device: torch.device) -> dict[str, Teacher]:
    """Create the teacher of each half that has entries.

    Raises:
        ValueError: Their widths differ and ``config.widths`` is "error".
    """
    teachers = {
        half: make_teacher(half, config, device=device) for half in HALVES if _entries(half, config)
    }
    _check_widths({half: teacher.dim for half, teacher in teachers.items()}, config)
    return teachers


def _entries(half: str, config: PriorConfig) -> int:
    return config.speech_entries if half == "speech" else config.sound_entries


def _check_widths(widths: dict[str, int], config: PriorConfig) -> None:
    if config.widths == "error" and len(set(widths.values())) > 1:
        raise ValueError(
            f"teachers must have the same width, got speech {widths['speech']} and sound "
            f"{widths['sound']}: choose others, or set widths to 'pad' or 'project'"
        )


def _build_half(
    half: str,
    teacher: Teacher,
    plan: ReadingPlan,
    config: PriorConfig,
    corpus: AudioCorpus,
    work: Path,
    device: torch.device,
) -> _Half:
    folder = work / half
    result = folder / "result.safetensors"
    if result.is_file():
        tensors, metadata = load_tensors(result)
        return _Half(tensors["centroids"], tensors["counts"], metadata)
    folder.mkdir(exist_ok=True)
    size = _entries(half, config)
    frames = plan.num_samples / corpus.sample_rate * teacher.frame_rate
    paths = extract(
        corpus,
        plan,
        teacher,
        folder,
        share=config.max_vectors / max(frames, 1),
        batch_seconds=config.batch_seconds,
        seed=config.seed,
        label=f"{half}: {teacher.name}",
    )
    vectors = ShardVectors.open(paths)
    if vectors.shape[0] < size:
        raise ValueError(_too_few(half, size, vectors.shape[0], plan, corpus.sample_rate))
    clusters = kmeans(
        vectors,
        config.kmeans(size),
        state_path=folder / "kmeans.safetensors",
        device=device,
        label=f"{half}: k-means",
    )
    metadata = {
        "teacher": teacher.name,
        "dim": teacher.dim,
        "vectors": vectors.shape[0],
        "clips": plan.num_clips,
        "too_short": plan.too_short,
        "seconds": round(plan.num_samples / corpus.sample_rate, 3),
        "inertia": clusters.inertia,
        "passes": clusters.passes,
    }
    tensors = {"centroids": clusters.centroids, "counts": clusters.counts}
    save_tensors(result, tensors, metadata)
    # The features take most of the space and are not needed any more.
    for path in paths:
        path.unlink()
    return _Half(clusters.centroids, clusters.counts, metadata)


def _plan(half: str, config: PriorConfig, corpus: AudioCorpus, teacher: Teacher) -> ReadingPlan:
    plan = plan_reading(
        corpus.clips,
        half,
        sample_rate=corpus.sample_rate,
        piece_seconds=teacher.piece_seconds,
        min_seconds=teacher.min_samples / teacher.sample_rate,
        shard_seconds=config.shard_seconds,
        seed=config.seed,
    )
    if not plan.shards:
        count = sum(in_half(clip.domain, half) for clip in corpus.clips)
        raise ValueError(
            f"no audio for the {half} half: {count} of {len(corpus.clips)} clips belong to it, "
            f"{plan.too_short} of them too short for {teacher.name} "
            f"({teacher.min_samples / teacher.sample_rate:.3f} s)"
        )
    pieces = sum(len(shard) for shard in plan.shards)
    most = int(plan.num_samples / corpus.sample_rate * teacher.frame_rate) + pieces
    if most < (size := _entries(half, config)):
        raise ValueError(_too_few(half, size, most, plan, corpus.sample_rate))
    return plan


def _too_few(half: str, size: int, count: int, plan: ReadingPlan, sample_rate: int) -> str:
    return (
        f"the {half} half needs at least {size} vectors, got {count} from"
        f" {plan.num_clips} clips ({plan.num_samples / sample_rate:.1f} s)"
    )


def match_widths(halves: dict[str, Tensor], config: PriorConfig) -> dict[str, Tensor]:
    """Map the centroids [C_half, P_half] of both halves to the same width.

    ``pad`` pads the narrower half with zeros, which preserves distances. ``project`` projects the
    wider one by a seeded random matrix with orthonormal rows, which preserves them on average.
    """
    widths = {half: centroids.shape[1] for half, centroids in halves.items()}
    _check_widths(widths, config)
    narrow, wide = min(widths.values()), max(widths.values())
    if narrow == wide:
        return halves
    if config.widths == "pad":
        return {
            half: torch.nn.functional.pad(centroids, (0, wide - centroids.shape[1]))
            for half, centroids in halves.items()
        }
    return {
        half: centroids @ orthonormal_rows(narrow, centroids.shape[1], config.seed).T
        if centroids.shape[1] > narrow
        else centroids
        for half, centroids in halves.items()
    }


def orthonormal_rows(rows: int, columns: int, seed: int) -> Tensor:
    """Return a random [rows, columns] float32 matrix with orthonormal rows, rows <= columns."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(columns, rows, generator=generator, dtype=torch.float64)
    basis, upper = torch.linalg.qr(noise)
    # The signs of a QR decomposition depend on the library; these depend on the seed only.
    return (basis * upper.diagonal().sign()).T.float()
