"""Tasks of the language model: speech synthesis and recognition, sound, music, captions.

``base`` defines what a task is, ``builtin`` holds the tasks, ``pipelines`` runs them. Importing
this package is cheap; the tasks are imported when one is first looked up.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ..core.lazy import lazy_names
from ..lm.layouts import add_provider

if TYPE_CHECKING:
    from .base import Task, get_task, load_task, register_task
    from .evaluation.task_scores import score_task
    from .pipelines.audio_captioning import AudioCaptioner
    from .pipelines.audio_generation import AudioGenerator
    from .pipelines.base import AudioLMPipeline
    from .pipelines.speech_recognition import SpeechRecognizer
    from .pipelines.text_to_speech import TextToSpeech

__all__ = [
    "AudioCaptioner",
    "AudioGenerator",
    "AudioLMPipeline",
    "SpeechRecognizer",
    "Task",
    "TextToSpeech",
    "get_task",
    "load_task",
    "register_task",
    "score_task",
]

# These load torch, pyarrow or transformers.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".base": ("Task", "get_task", "load_task", "register_task"),
        ".evaluation.task_scores": ("score_task",),
        ".pipelines.base": ("AudioLMPipeline",),
        ".pipelines.audio_captioning": ("AudioCaptioner",),
        ".pipelines.audio_generation": ("AudioGenerator",),
        ".pipelines.text_to_speech": ("TextToSpeech",),
        ".pipelines.speech_recognition": ("SpeechRecognizer",),
    },
)

add_provider(lambda: import_module(".builtin", __name__))
