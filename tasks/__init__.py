"""Tasks of the language model: speak, transcribe, make sound and music, describe, go on.

``base`` says what a task is, one small file each says which there are; ``Speaker``,
``Transcriber`` and ``Maker`` do them for people.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Task, get_task, register_task
    from .bundle import Bundle
    from .maker import Maker
    from .speaker import Speaker
    from .transcriber import Transcriber

# These load torch, so they are imported when they are first asked for (PEP 562).
_HOMES = {
    "Bundle": ".bundle",
    "Maker": ".maker",
    "Speaker": ".speaker",
    "Task": ".base",
    "Transcriber": ".transcriber",
    "get_task": ".base",
    "register_task": ".base",
}

__all__ = ["Bundle", "Maker", "Speaker", "Task", "Transcriber", "get_task", "register_task"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
