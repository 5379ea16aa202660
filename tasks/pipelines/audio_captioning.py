"""AudioCaptioner: descriptions of sound and music."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .arguments import AdapterNames, adapter_per_request
from .base import TaskPipeline, as_list
from .outputs import Transcript
from .speech_recognition import WINDOW_SECONDS, WindowedAudio, encode_windows


@dataclass(frozen=True)
class AudioCaptioner(TaskPipeline):
    """Describes audio.

    Example:
        >>> captioner = AudioCaptioner.from_pretrained("checkpoints/mini")  # doctest: +SKIP
        >>> captioner.caption("bark.wav").text  # doctest: +SKIP
    """

    def caption(self, audio: Any, **kwargs: Any) -> Transcript:
        """Describe one audio; see :meth:`caption_all`."""
        return self.caption_all([audio], **kwargs)[0]

    def caption_all(
        self,
        audio: Sequence[Any],
        *,
        music: bool = False,
        seed: int = 0,
        adapter: AdapterNames = None,
    ) -> list[Transcript]:
        """Describe audio by its beginning, at most 20 s; the caption of silence is empty.

        Args:
            audio: paths, samples or tokens; one path is one audio.
            music: use the task "music_caption" instead of "audio_caption".
            seed: of sampling, the same for all.
            adapter: name of a loaded adapter for all audio, or for each; None: the active one.

        Raises:
            ValueError: for audio that cannot be used.
        """
        task = "music_caption" if music else "audio_caption"
        audio = as_list(audio)
        encoded = [self._first_window(item, task) for item in audio]
        loud = [item for item in encoded if not item.silent[0]]
        names = adapter_per_request(adapter, len(audio))
        pairs = zip(names, encoded, strict=True)
        outputs = iter(
            self.pipeline.run(
                task,
                [{"audio": self.pipeline.cut(item.tokens, *item.spans[0])} for item in loud],
                seeds=[seed] * len(loud),
                options=self.options,
                adapter=[name for name, item in pairs if not item.silent[0]],
            )
        )
        return [
            item.transcript(self.pipeline, [None if item.silent[0] else next(outputs)])
            for item in encoded
        ]

    def _first_window(self, audio: Any, task: str) -> WindowedAudio:
        windows = encode_windows(self.pipeline, audio, task, WINDOW_SECONDS, 0.0, self.options)
        return windows.first()
