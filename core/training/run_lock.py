"""One training run per folder: a second one would write over the first one's checkpoints."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = ".lock"


@contextmanager
def lock_run_dir(run: Path) -> Iterator[None]:
    """Hold the run folder while this block is open; the system lets go of it at any death.

    Among the processes of one run only the first holds it. Where files cannot be locked (Windows)
    nothing is held.

    Raises:
        ValueError: Another process is training in the folder.
    """
    run.mkdir(parents=True, exist_ok=True)
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(run / LOCK_FILE, "a+", encoding="utf-8") as file:
        try:
            # Not flock: data loading processes would inherit it and outlive a killed parent.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise ValueError(
                f"process {file.read().strip() or 'unknown'} is training in {run}:"
                " wait for it, stop it, or choose another --out"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
