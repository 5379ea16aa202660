"""A lock on a folder that one process at a time may write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = ".lock"


@contextmanager
def lock_run_dir(run: Path, name: str = LOCK_FILE) -> Iterator[None]:
    """Lock the run folder inside this block: two runs in it would overwrite each other's files.

    The system releases the lock when the process ends in any way. Of the processes of one run only
    the first takes it. Where files cannot be locked (Windows) nothing is locked.

    Args:
        run: The folder; made if it is missing.
        name: Of the lock file.

    Raises:
        ValueError: Another process is working in the folder.
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
    with open(run / name, "a+", encoding="utf-8") as file:
        try:
            # Not flock: data loading processes would inherit it and outlive a killed parent.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise ValueError(
                f"process {file.read().strip() or 'unknown'} is working in {run}:"
                " wait for it, stop it, or choose another --out"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
