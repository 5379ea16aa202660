"""How much commands say on standard error: ``--quiet``, ``--verbose``, ``--log-level``.

A level above info also turns progress bars off, those of other libraries too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence

from .options import Command

LEVELS = ("debug", "info", "warning", "error")
# Its default; commands set it for the processes that they start.
VARIABLE = "ALMTOK_LOG_LEVEL"
_SHORT = {"-q": "warning", "--quiet": "warning", "-v": "debug", "--verbose": "debug"}


def declare(parser: Command) -> None:
    """List the options in the help; :func:`take_level` takes them before a command is parsed."""
    add = parser.add_argument
    text = "no progress bars, no status lines: warnings and errors only"
    add("-q", "--quiet", action="store_true", help=text)
    add("-v", "--verbose", action="store_true", help="log more, that of other libraries too")
    add("--log-level", choices=LEVELS, metavar="LEVEL", help="what is logged (default: info)")


def take_level(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the level that a command line asks for, and the words without these options.

    They are accepted at any position before ``--``. The last one counts.

    Raises:
        ValueError: The level is not one of ``LEVELS``.
    """
    level, rest = os.environ.get(VARIABLE) or "info", []
    end = words.index("--") if "--" in words else len(words)
    following = iter(words[:end])
    for word in following:
        name, equals, value = word.partition("=")
        if name == "--log-level":
            level = value if equals else next(following, "")
        elif word in _SHORT:
            level = _SHORT[word]
        else:
            rest.append(word)
    if level not in LEVELS:
        raise ValueError(f"--log-level must be one of {', '.join(LEVELS)}, got {level!r}")
    return level, [*rest, *words[end:]]


@contextlib.contextmanager
def shown_log(package: str, level: str) -> Iterator[None]:
    """Show the log of a package on standard error inside the block; of the first process only.

    At the level debug the logs of other libraries are shown from info on.

    Args:
        package: Name of its logger.
        level: One of ``LEVELS``.
    """
    logger, root, handler = logging.getLogger(package), logging.getLogger(), _AboveBars()
    verbose, first = level == "debug", os.environ.get("RANK", "0") == "0"
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s" if verbose else "%(message)s"))
    number = logging.getLevelName(level.upper())
    levels = {logger: number if first else max(number, logging.WARNING)}
    if verbose:
        levels[root] = logging.INFO
    former = {one: one.level for one in levels}
    place = root if verbose else logger
    for one, value in levels.items():
        one.setLevel(value)
    place.addHandler(handler)
    outer = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = level
    try:
        with contextlib.nullcontext() if number <= logging.INFO else _no_bars():
            yield
    finally:
        os.environ.pop(VARIABLE)
        if outer is not None:
            os.environ[VARIABLE] = outer
        place.removeHandler(handler)
        for one, value in former.items():
            one.setLevel(value)


class _AboveBars(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines above a progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules:
            return super().emit(record)
        from tqdm import tqdm

        try:
            tqdm.write(self.format(record), file=self.stream)
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Turn off every progress bar of tqdm that is begun inside the block."""
    from tqdm.std import tqdm

    begin = tqdm.__init__

    def begin_disabled(self: tqdm, *args: object, **given: object) -> None:
        begin(self, *args, **{**given, "disable": True})

    tqdm.__init__ = begin_disabled
    try:
        yield
    finally:
        tqdm.__init__ = begin
