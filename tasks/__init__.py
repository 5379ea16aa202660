"""Tasks of the language model: speak, transcribe, make sound and music, describe, go on.

``base`` says what a task is, one small file each says which there are; ``Speaker``,
``Transcriber`` and ``Maker`` do them for people.
"""

from typing import TYPE_CHECKING

from ..codec.lazy import lazy_names

if TYPE_CHECKING:
    from .base import Task, get_task, register_task
    from .bundle import Bundle
    from .maker import Maker
    from .speaker import Speaker
    from .transcriber import Transcriber

__all__ = ["Bundle", "Maker", "Speaker", "Task", "Transcriber", "get_task", "register_task"]

# These load torch, pyarrow or transformers.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".base": ("Task", "get_task", "register_task"),
        ".bundle": ("Bundle",),
        ".maker": ("Maker",),
        ".speaker": ("Speaker",),
        ".transcriber": ("Transcriber",),
    },
)
