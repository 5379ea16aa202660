"""Tasks of the language model: speak, transcribe, make sound and music, describe, go on.

``base`` says what a task is, one small file each says which there are; ``TextToSpeech``,
``SpeechRecognizer`` and ``AudioGenerator`` do them for people.
"""

from typing import TYPE_CHECKING

from ..core.lazy import lazy_names

if TYPE_CHECKING:
    from .base import Task, get_task, register_task
    from .pipelines.audio_generation import AudioGenerator
    from .pipelines.base import AudioLMPipeline
    from .pipelines.speech_recognition import SpeechRecognizer
    from .pipelines.text_to_speech import TextToSpeech

__all__ = [
    "AudioLMPipeline",
    "AudioGenerator",
    "TextToSpeech",
    "Task",
    "SpeechRecognizer",
    "get_task",
    "register_task",
]

# These load torch, pyarrow or transformers.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".base": ("Task", "get_task", "register_task"),
        ".pipelines.base": ("AudioLMPipeline",),
        ".pipelines.audio_generation": ("AudioGenerator",),
        ".pipelines.text_to_speech": ("TextToSpeech",),
        ".pipelines.speech_recognition": ("SpeechRecognizer",),
    },
)
