"""The offline command behind a prior: features, clusters, one file (paper.md 3).

Features of each half are written in shards, then clustered; both lie in a work folder beside the
output, named by a hash of everything that decides the result. A killed run therefore goes on where
it was, other settings never mix with it, and the file that comes out has the same bytes.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.choices import AUTO
from ...core.runtime import find_device
from .config import PriorConfig, TeacherSpec
from .corpus import Corpus, ReadingPlan, belongs, plan_reading
from .files import hash_json, load_tensors, save_tensors
from .kmeans import kmeans
from .prior import HALVES, Prior, join_halves, load_prior
from .teacher import Teacher
from .teachers import make_teacher
from .vectors import ShardVectors, extract


@dataclass(frozen=True)
class _Half:
    """One half, clustered, still in its teacher's space."""

    centroids: Tensor  # [C_half, P_teacher] float32
    counts: Tensor  # [C_half] int64
    facts: dict[str, Any]


def build_prior(
    config: PriorConfig,
    corpus: Corpus,
    out: str | Path,
    *,
    device: str | torch.device = AUTO,
    force: bool = False,
) -> Prior:
    """Make the prior file ``out``, or go on making it, or return it if it is already made.

    Args:
        config: teachers, sizes, seed.
        corpus: the clips; their domains say which half they serve (``speech`` the speech half,
            ``sound`` and ``music`` the sound half, anything else both).
        out: the file, by custom ``prior.safetensors``.
        device: where teachers and k-means run.
        force: replace an existing file that was made otherwise.
    """
    out, place = Path(out), find_device(device)
    identity = _identity(config, corpus)
    work = out.parent / f".{out.name}.work-{identity[:12]}"
    made = _already_made(out, identity, force)
    if made is not None:
        shutil.rmtree(work, ignore_errors=True)
        return made
    sizes = {"speech": config.speech_entries, "sound": config.sound_entries}
    work.mkdir(parents=True, exist_ok=True)
    halves = {
        half: _build_half(half, size, config, corpus, work, place)
        for half, size in sizes.items()
        if size
    }
    matched = match_widths({half: made.centroids for half, made in halves.items()}, config)
    width = next(iter(matched.values())).shape[1]
    about = {
        "identity": identity,
        "seed": config.seed,
        "config": config.to_dict(),
        **{half: made.facts for half, made in halves.items()},
    }
    prior = join_halves(
        [matched.get(half, torch.zeros(0, width)) for half in HALVES],
        torch.cat([halves[half].counts for half in HALVES if half in halves]),
        about,
    )
    # By way of the work folder, so that a kill leaves nothing beside the file.
    prior.save(work / out.name)
    os.replace(work / out.name, out)
    shutil.rmtree(work)
    return load_prior(out)


def _identity(config: PriorConfig, corpus: Corpus) -> str:
    """Hash what decides the result: settings, the teachers' files, the clips."""
    clips = sorted((clip.id, str(clip.domain), clip.num_samples) for clip in corpus.clips)
    files = []
    for name in (config.teacher_speech, config.teacher_sound):
        source = Path(TeacherSpec.parse(name).source or "-")
        files.append(source.stat().st_size if source.is_file() else None)
    return hash_json([config.to_dict(), corpus.sample_rate, files, clips])


def _already_made(out: Path, identity: str, force: bool) -> Prior | None:
    if not out.exists():
        return None
    try:
        prior = load_prior(out)
    except ValueError:
        if force:
            return None
        raise
    if prior.about.get("identity") == identity:
        return prior
    if force:
        return None
    raise ValueError(
        f"{out} exists and was made with other settings or other clips; "
        "choose another file or force its replacement"
    )


def _build_half(
    half: str,
    size: int,
    config: PriorConfig,
    corpus: Corpus,
    work: Path,
    device: torch.device,
) -> _Half:
    folder = work / half
    result = folder / "result.safetensors"
    if result.is_file():
        tensors, facts = load_tensors(result)
        return _Half(tensors["centroids"], tensors["counts"], facts)
    folder.mkdir(exist_ok=True)
    teacher = make_teacher(half, config, device=device)
    plan = _plan(half, config, corpus, teacher)
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
        raise ValueError(
            f"the {half} half needs {size} vectors or more, its {plan.num_clips} clips "
            f"({plan.num_samples / corpus.sample_rate:.1f} s) give {vectors.shape[0]}"
        )
    clusters = kmeans(
        vectors,
        config.kmeans(size),
        state_path=folder / "kmeans.safetensors",
        device=device,
        label=f"{half}: k-means",
    )
    facts = {
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
    save_tensors(result, tensors, facts)
    # The features are the bulk of the work folder and have done their work.
    for path in paths:
        path.unlink()
    return _Half(clusters.centroids, clusters.counts, facts)


def _plan(half: str, config: PriorConfig, corpus: Corpus, teacher: Teacher) -> ReadingPlan:
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
        found = sum(belongs(clip.domain, half) for clip in corpus.clips)
        raise ValueError(
            f"no audio for the {half} half: {found} of {len(corpus.clips)} clips serve it, "
            f"{plan.too_short} of them too short for {teacher.name} "
            f"({teacher.min_samples / teacher.sample_rate:.3f} s)"
        )
    return plan


def match_widths(halves: dict[str, Tensor], config: PriorConfig) -> dict[str, Tensor]:
    """Bring the centroids [C_half, P_half] of both halves to one width.

    ``pad`` fills the narrower half with zeros: all distances stay. ``project`` maps the wider one
    down by a seeded random matrix with orthonormal rows: distances stay on average only.
    """
    widths = {half: centroids.shape[1] for half, centroids in halves.items()}
    narrow, wide = min(widths.values()), max(widths.values())
    if narrow == wide:
        return halves
    if config.widths == "error":
        raise ValueError(
            f"the teachers differ in width, speech {widths['speech']} and sound "
            f"{widths['sound']}: choose teachers of one width, or set widths to 'pad' or 'project'"
        )
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
    # The sign of QR is a choice of the library; this one makes it a function of the seed.
    return (basis * upper.diagonal().sign()).T.float()
