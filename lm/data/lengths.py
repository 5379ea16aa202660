"""Lengths of examples, measured once and stored: a start does not measure them again.

Measuring makes every example, whose texts are normalized and tokenized. The file of a source is
named by a hash of everything that the lengths depend on (:func:`examples_key` and the rows).
Processes that measure at the same time divide the work through finished parts on the disk, without
waiting for each other; a killed one leaves its parts to the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ...core.training.interrupt import ignore_signals
from ..text.encoder import TextEncoder
from .checked_file import open_checked, writable, write_checked

logger = logging.getLogger(__name__)

STORED_FROM = 2_000  # examples from which lengths are stored; fewer are measured in seconds
MEASURED_AT_START = 400_000  # examples that a training measures itself, in about ten minutes
_PART = 2_048  # examples of a part
_PROGRESS_FROM = 20_000  # examples from which measuring shows a progress bar
_COMPARED = 32  # stored lengths that are measured again when they are used
# What makes examples and measures them, beside the modules of the task.
_CODE = (
    "text/*.py", "sequences.py", "patterns.py", "layouts.py", "vocabulary.py", "data/mixing.py",
    "data/collator.py", "data/dataset.py", "data/rows.py", "train/examples.py",
    "../core/training/seeding.py",
)  # fmt: skip

Lengths = NDArray[np.int64]  # [N], 0 where a row gives no example
Measure = Callable[[range], Lengths]


class LengthStore:
    """Stored lengths in folders; the first that can be written receives new ones."""

    def __init__(
        self, folders: Sequence[Path], *, rank: int = 0, world: int = 1, num_workers: int = 0
    ) -> None:
        """Set up the store.

        Args:
            folders: Looked up in this order; they need not exist.
            rank: This process.
            world: Number of processes; each begins to measure at another place.
            num_workers: Processes that measure for this one; 0: it measures itself.
        """
        self._folders, self._rank, self._world = tuple(folders), rank, world
        self._workers = num_workers

    def find(self, key: str, count: int) -> NDArray[np.int32] | None:
        """Stored lengths, memory-mapped, [N]; None if there are none."""
        for folder in self._folders:
            buffer = open_checked(folder / f"lengths-{key}")
            if buffer is not None and len(buffer) == 4 * count:
                return np.frombuffer(buffer, "<i4")
        return None

    def left(self, key: str, count: int) -> int:
        """Number of lengths that are still to be measured."""
        if any((folder / f"lengths-{key}").exists() for folder in self._folders):
            return 0
        folder = self._target()
        done = 0 if folder is None else sum(1 for _ in (folder / f"parts-{key}").glob("*[0-9]"))
        return max(0, count - done * _PART)

    def lengths(self, key: str, count: int, measure: Measure, name: str) -> NDArray[Any]:
        """Stored lengths, of which some are compared, or measured ones, which are then stored.

        Args:
            key: Of everything that the lengths depend on.
            count: Number of examples N.
            measure: Returns the lengths of a range of examples.
            name: Shown beside the progress bar.

        Raises:
            ValueError: A stored length is not that of its example.
        """
        found = self.find(key, count)
        if found is None:
            return self._measured(key, count, measure, name)
        for place in np.unique(np.linspace(0, count - 1, _COMPARED).astype(np.int64)).tolist():
            (length,) = measure(range(place, place + 1))
            if length != found[place]:
                places = " or ".join(map(str, self._folders))
                raise ValueError(
                    f"lengths-{key} in {places} does not fit task {name!r}: example {place} has"
                    f" length {length}, stored is {found[place]}; remove the file"
                )
        return found

    def _target(self) -> Path | None:
        """The folder to write in."""
        return next((folder for folder in self._folders if writable(folder)), None)

    def _measured(self, key: str, count: int, measure: Measure, name: str) -> NDArray[Any]:
        folder = self._target()
        if folder is None:
            logger.info("no folder for lengths can be written: task %r is measured again", name)
            return measure(range(count))
        parts, values = folder / f"parts-{key}", {}
        turns = np.roll(
            range(-(-count // _PART)), -(self._rank * -(-count // _PART) // self._world)
        )

        def missing() -> Iterator[int]:
            """Parts that nobody has measured yet; the other processes begin elsewhere."""
            for number in turns.tolist():
                if not (parts / f"{number:06d}").exists():
                    if (folder / f"lengths-{key}").exists():
                        return
                    yield number

        quiet = count < _PROGRESS_FROM or self._rank > 0
        with tqdm(total=count, desc=f"measure {name}", unit="row", disable=quiet) as bar:
            for number, found in self._work(missing, measure, count):
                values[number] = found
                bar.update(len(found))
                with contextlib.suppress(OSError):  # another process has finished and removed it
                    write_checked(parts / f"{number:06d}", _writer(found))
        return self._joined(folder, key, count, values, measure)

    def _work(
        self, missing: Callable[[], Iterator[int]], measure: Measure, count: int
    ) -> Iterator[tuple[int, Lengths]]:
        if self._workers == 0:
            yield from ((number, measure(_part(number, count))) for number in missing())
            return
        loader: Any = DataLoader(
            _Parts(measure, count),
            batch_size=None,
            sampler=_Numbers(missing),  # type: ignore[arg-type]
            collate_fn=_unchanged,
            num_workers=self._workers,
            worker_init_fn=ignore_signals,
            generator=torch.Generator(),  # the global one is not advanced
        )
        yield from loader

    def _joined(
        self, folder: Path, key: str, count: int, values: dict[int, Lengths], measure: Measure
    ) -> NDArray[Any]:
        """All parts, which become one file; parts of other processes are read."""
        parts = folder / f"parts-{key}"
        found = self.find(key, count)
        if found is None:
            whole = np.zeros(count, "<i4")
            for number in range(-(-count // _PART)):
                own, rows = values.get(number), _part(number, count)
                if own is None:
                    buffer = open_checked(parts / f"{number:06d}")
                    own = measure(rows) if buffer is None else np.frombuffer(buffer, "<i4")
                whole[rows.start : rows.stop] = own
            write_checked(folder / f"lengths-{key}", _writer(whole))
            found = whole
        shutil.rmtree(parts, ignore_errors=True)
        return found


class _Parts(Dataset[Any]):
    """Parts by number, measured in worker processes."""

    def __init__(self, measure: Measure, count: int) -> None:
        self._measure, self._count = measure, count

    def __getitem__(self, number: int) -> tuple[int, Lengths]:
        return number, self._measure(_part(number, self._count))


class _Numbers:
    """A sampler without a length."""

    def __init__(self, numbers: Callable[[], Iterator[int]]) -> None:
        self._numbers = numbers

    def __iter__(self) -> Iterator[int]:
        return self._numbers()


def _unchanged(item: Any) -> Any:
    return item


def _part(number: int, count: int) -> range:
    return range(number * _PART, min(count, (number + 1) * _PART))


def _writer(values: NDArray[Any]) -> Callable[[Any], object]:
    return lambda file: file.write(values.astype("<i4").tobytes())


def examples_key(maker: object, texts: TextEncoder, *values: Any) -> str:
    """Hash of what the lengths of examples depend on, beside the rows.

    These are the code of the task, of the text forms and of the sequences, the versions of the
    packages below them, the tokenizer, and ``values``. A module of your own that the module of a
    task imports is not covered: :meth:`LengthStore.lengths` compares some examples.

    Args:
        maker: A task, or a function that makes examples.
        texts: Encodes its texts.
        values: Further JSON values.

    Returns:
        64 hex digits; "" if the lengths cannot be stored, for the code or the tokenizer is not in
        files.
    """
    import tokenizers
    import transformers

    backend = getattr(texts.tokenizer, "backend_tokenizer", None)
    code = _code_digest(maker)
    if backend is None or code is None:
        return ""
    state = json.loads(backend.to_str())
    for name in ("truncation", "padding"):  # set at every call
        state.pop(name, None)
    kind = maker if inspect.isfunction(maker) else type(maker)
    fields = [
        kind.__module__, kind.__qualname__, code,
        [str(value) for value in sys.version_info[:2]], np.__version__,
        tokenizers.__version__, transformers.__version__,
        type(texts.tokenizer).__name__, texts.tokenizer.unk_token_id,
        hashlib.sha256(json.dumps(state).encode()).hexdigest(),
        texts.form, texts.language, repr(getattr(maker, "__dict__", None)), *values,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def _code_digest(maker: object) -> str | None:
    """Hash of source files; None if the maker has none."""
    kinds = [maker] if inspect.isfunction(maker) else type(maker).__mro__[:-1]
    digest = hashlib.sha256()
    try:
        files = [inspect.getsourcefile(kind) for kind in kinds]  # type: ignore[arg-type]
        here = Path(__file__).resolve().parents[1]
        own = [str(path) for pattern in _CODE for path in sorted(here.glob(pattern))]
        for name in [*files, *own]:
            digest.update(Path(str(name)).read_bytes())
    except (OSError, TypeError):
        return None
    return digest.hexdigest()
