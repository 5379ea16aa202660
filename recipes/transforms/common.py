"""What the transforms share: the command line, the manifest, and work in several processes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from almtok.core.files import write_text

Job = TypeVar("Job")
Result = TypeVar("Result")

RATE = 24_000  # Hz of the audio that transforms write


def command_line(
    doc: str | None, inputs: str = "sources", help: str = "recordings with texts, as for --data"
) -> argparse.ArgumentParser:
    """Return the parser of a transform, with its inputs and ``--out``.

    Args:
        doc: docstring of the module; the description.
        inputs: name of the positional arguments, one or more.
        help: of these.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(inputs, nargs="+", help=help)
    parser.add_argument("--out", type=Path, required=True)
    return parser


def write_manifest(out: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Write ``out/manifest.jsonl``, one JSON object per row, and return its path."""
    manifest = out / "manifest.jsonl"
    write_text(manifest, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return manifest


def map_in_processes(
    load: Callable[[], Any],
    work: Callable[[Any, Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    description: str,
    unit: str = "clip",
) -> Iterator[Result]:
    """Yield ``work(load(), job)`` for every job, in the order of the jobs.

    Args:
        load: called once per process; its result is passed to every call of `work`.
        work: function of a module, because it is pickled.
        jobs: what to do.
        workers: processes; with 1 the work is done in this process.
        description: of the progress bar.
        unit: of the progress bar.
    """

    def shown(results: Iterator[Result]) -> Iterator[Result]:
        return iter(tqdm(results, total=len(jobs), unit=unit, desc=description))

    if workers <= 1:
        loaded = load()
        yield from shown(work(loaded, job) for job in jobs)
        return
    with get_context("spawn").Pool(workers, _load, (load,)) as pool:
        yield from shown(pool.imap(_work, ((work, job) for job in jobs), chunksize=8))


_LOADED: list[Any] = []  # of this process


def _load(load: Callable[[], Any]) -> None:
    _LOADED.append(load())


def _work(task: tuple[Callable[[Any, Job], Result], Job]) -> Result:
    work, job = task
    return work(_LOADED[0], job)
