"""A task: which columns of a corpus make an example, how to sample its target, how it is scored.

The order of a sequence is the layout's (`lm/layouts.py`); a task adds what is not about sequences.
One task is one file; whoever adds a file adds a task: see `docs/tasks.md`.

Letters: `K` codebooks, `Q` frames of codes, `w` frames per query.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ..lm.data.rows import TokenRow
from ..lm.generation.sampling import AUDIO_SAMPLING, TEXT_SAMPLING, SamplingConfig
from ..lm.layouts import Slot, TaskLayout, task_layout, unknown
from ..lm.sequences import AudioSegment, Example, Segment, TextSegment
from ..lm.text.encoder import TextEncoder
from ..lm.text.normalize import languages
from .duration import USUAL, SpeakingRate, frames

# Frames of 1/75 s at w = 6, the paper's rate: where nobody says another.
PAPER_FRAME_RATE = 12.5
_MOST_TEXT_PER_SECOND = 25.0  # ids: no reader says more letters
SHIPPED = (
    "tts",
    "asr",
    "text_to_audio",
    "text_to_music",
    "audio_caption",
    "music_caption",
    "continuation",
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a target may be; arguments of `AudioLM.generate`."""

    min_frames: int = 1
    max_frames: int = 750
    min_text_tokens: int = 0
    max_text_tokens: int = 512


class Task(ABC):
    """A task of the language model.

    A subclass names its layout, and overrides what is not like the rest. All its methods are pure:
    one instance serves everybody.
    """

    name: ClassVar[str]
    domains: ClassVar[tuple[str, ...]] = ()  # rows that it learns from; empty: all
    audio_sampling: ClassVar[SamplingConfig] = AUDIO_SAMPLING
    detail_sampling: ClassVar[SamplingConfig | None] = None  # of codebooks 2.., if it is another
    text_sampling: ClassVar[SamplingConfig] = TEXT_SAMPLING
    guidance_scale: ClassVar[float] = 1.0
    beams: ClassVar[int] = 1  # texts searched at once, by models trained with CTC of this task
    lm_weight: ClassVar[float] = 0.0  # of beams, see BeamSettings
    views: ClassVar[int] = 1  # of the audio, for beams, see BeamSettings
    pace: ClassVar[SpeakingRate] = USUAL
    max_seconds: ClassVar[float] = 30.0  # of audio, where no text says how long
    max_text: ClassVar[int] = 128  # ids, where no audio says how long
    draws: ClassVar[bool] = False  # whether an example depends on `row.draw`

    @property
    def layout(self) -> TaskLayout:
        """Conditions and target, by name."""
        return task_layout(self.name)

    def fields(self, row: TokenRow) -> Mapping[str, str | Tensor]:
        """What a row has for the conditions: texts, and codes `[K, Q]`, by slot.

        By default the columns `text` and the codes as `audio`.
        """
        columns: dict[str, str | Tensor] = {"text": row.text, "audio": row.codes}
        return {slot.name: columns[slot.name] for slot in self.layout.conditions}

    def target(self, row: TokenRow) -> str | Tensor:
        """What is to be learned: by default the row's text, or its codes."""
        return row.text if self.layout.target.kind == "text" else row.codes

    def to_example(self, row: TokenRow, tokenizer: Any) -> Example:
        """Make an example of a row.

        Args:
            row: of any corpus of the one schema.
            tokenizer: of the backbone, or better a :class:`TextEncoder`, which also knows the form
                of texts.

        Raises:
            ValueError: if the row is none of this task's; mixtures leave it out and count it.
        """
        if self.domains and row.domain and row.domain not in self.domains:
            raise ValueError(
                f"{row.id}: task {self.name!r} learns from {' and '.join(self.domains)}; this row "
                f"is {row.domain}"
            )
        texts = tokenizer if isinstance(tokenizer, TextEncoder) else TextEncoder(tokenizer)
        given = self.fields(row)
        segments = [
            _segment(slot, given[slot.name], row, texts)
            for slot in self.layout.conditions
            if slot.name in given
        ]
        missing = [s.name for s in self.layout.conditions if s.required and s.name not in given]
        if missing:
            raise ValueError(f"{row.id}: task {self.name!r} needs {', '.join(missing)}")
        goal = _segment(self.layout.target, self.target(row), row, texts)
        return Example(self.name, (*segments, goal), row.frames_per_query)

    def sampling(self, num_codebooks: int) -> tuple[SamplingConfig, ...]:
        """Sampling of each codebook."""
        rest = self.detail_sampling or self.audio_sampling
        return (self.audio_sampling, *(rest,) * (num_codebooks - 1))

    def limits(
        self,
        text: str = "",
        *,
        frame_rate: float = PAPER_FRAME_RATE,
        seconds: float | None = None,
    ) -> Limits:
        """Bounds of the target.

        Args:
            text: that is to be said, in its spoken form.
            frame_rate: frames of codes per second, 75 / w.
            seconds: of the audio that is given, or of that which is wanted.
        """
        if self.layout.target.kind == "text":
            most = self.max_text if seconds is None else 16 + seconds * _MOST_TEXT_PER_SECOND
            return Limits(max_text_tokens=round(most))
        spoken = [slot for slot in self.layout.conditions if slot.spoken and slot.required]
        if spoken and text:
            least, most = self.pace.bounds(text)
            return Limits(min_frames=frames(least, frame_rate), max_frames=frames(most, frame_rate))
        return Limits(max_frames=frames(seconds or self.max_seconds, frame_rate))

    def score(self, outputs: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """Scores of texts: what was written, or what a judge heard in the audio that was made.

        Returns:
            By name an interval (`core/metrics/intervals.py`); none by default.
        """
        return {}


_TASKS: dict[str, Task] = {}


def register_task(task: Task) -> Task:
    """Make a task known by its name; the newest registration of a name counts."""
    task_layout(task.name)  # unknown layouts are an error here, not in the middle of a training
    _TASKS[task.name] = task
    return task


def get_task(name: str) -> Task:
    """A task by its name, by the module that registers it, or by that module's file.

    Args:
        name: "tts", "my_package.voice_conversion" or "voice_conversion.py".

    Raises:
        ValueError: if there is none, or the module registers none, with what there is.
    """
    if name in _TASKS:
        return _TASKS[name]
    if name.endswith(".py"):
        return _task_of_file(Path(name))
    if "." in name:
        before = set(_TASKS)
        importlib.import_module(name)
        return _only_new(name, before, name.rpartition(".")[2])
    if importlib.util.find_spec(f"{__package__}.{name}") is not None and name.isidentifier():
        importlib.import_module(f"{__package__}.{name}")
    if name not in _TASKS:
        raise ValueError(unknown("task", name, task_names()))
    return _TASKS[name]


def task_names() -> tuple[str, ...]:
    """Names of all tasks: those that ship, then those that were registered."""
    return (*SHIPPED, *(name for name in _TASKS if name not in SHIPPED))


def _task_of_file(path: Path) -> Task:
    if not path.is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    module_name = f"almtok_task_{path.stem}"
    before = set(_TASKS)
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # dataclasses look their module up while it is made
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    return _only_new(str(path), before, path.stem)


def _only_new(where: str, before: set[str], likely: str) -> Task:
    new = [name for name in _TASKS if name not in before] or [n for n in _TASKS if n == likely]
    if len(new) != 1:
        raise ValueError(f"{where} must register one task; it registers {new or 'none'}")
    return _TASKS[new[0]]


def _segment(slot: Slot, value: str | Tensor, row: TokenRow, texts: TextEncoder) -> Segment:
    if slot.kind == "audio":
        if not isinstance(value, Tensor) or value.ndim != 2 or not value.shape[1]:
            raise ValueError(f"{row.id}: {slot.name} must be codes [K, Q]; came {value!r}")
        return AudioSegment(value)
    if not isinstance(value, str):
        raise ValueError(f"{row.id}: {slot.name} must be a text; came {type(value).__name__}")
    # A language without normaliser is still worth learning from: its text stays as written.
    code = row.language.lower().replace("_", "-")
    known = not code or code in languages() or code.split("-")[0] in languages()
    spoken = slot.spoken and known
    return TextSegment(
        texts.ids(value, spoken=spoken, said=slot.said, language=row.language or None)
    )
