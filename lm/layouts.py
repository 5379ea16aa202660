"""What each task is made of: its conditions, their order, and its target.

A task is a prompt, not a model (paper.md 8: a paired example is conditions, then target; one model
serves all). This table is data: no torch, no tokenizer. A new task is one `register_layout`.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "audio"]
# Arguments of AudioLMProcessor.__call__ that no slot may hide.
_RESERVED = frozenset(
    {"task", "target", "frames_per_query", "sampling_rate", "language", "return_tensors"}
)


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One field of a task: the name by which callers and corpora hand it over, and its kind."""

    name: str
    kind: Kind
    required: bool = True
    # Words that are heard in the audio: they are written out ("Dr. 5" -> "doctor five") first.
    spoken: bool = False
    # Words that the model is to say: where it reads phones, these are pronounced for it.
    said: bool = False
    # Audio that shows how somebody sounds: silence and snippets are refused.
    voice: bool = False
    # Another slot without which this one says nothing: a transcript needs its audio.
    needs: str | None = None


@dataclass(frozen=True, kw_only=True)
class TaskLayout:
    """Conditions in the order of the sequence, then the target.

    Example:
        >>> task_layout("asr").names
        ('audio',)
    """

    name: str
    conditions: tuple[Slot, ...]
    target: Slot
    # Audio with which an audio target begins: generation goes on from there.
    prefix: Slot | None = None

    def __post_init__(self) -> None:
        for what, name in (("task", self.name), *(("slot", slot) for slot in self.names)):
            if not name.isidentifier() or name in _RESERVED:
                raise ValueError(
                    f"{what} name {name!r} must be a Python name other than {sorted(_RESERVED)}"
                )
        if lost := [slot for slot in self.slots if slot.needs and slot.needs not in self.names]:
            raise ValueError(
                f"task {self.name!r} has no slot {lost[0].needs!r}: {lost[0]} needs it"
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"task {self.name!r} has two slots of one name: {self.names}")
        if self.prefix is not None and {self.prefix.kind, self.target.kind} != {"audio"}:
            raise ValueError(
                f"task {self.name!r}: a {self.prefix.kind} prefix of a {self.target.kind} target; "
                f"only audio can begin, and only an audio target"
            )
        if not any(slot.required for slot in self.slots):
            raise ValueError(f"task {self.name!r} needs at least one required condition or prefix")

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Everything that is given to make the target: the conditions, then the prefix."""
        return self.conditions + (() if self.prefix is None else (self.prefix,))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of :attr:`slots`."""
        return tuple(slot.name for slot in self.slots)

    def slot(self, name: str) -> Slot:
        """The condition or prefix of that name.

        Raises:
            ValueError: if the task has none, with the names that it has.
        """
        for slot in self.slots:
            if slot.name == name:
                return slot
        raise ValueError(f"task {self.name!r} takes {', '.join(self.names)}; came {name!r}")


_LAYOUTS: dict[str, TaskLayout] = {}


def register_layout(layout: TaskLayout) -> TaskLayout:
    """Make a task known by its name; registering the same layout again changes nothing.

    Raises:
        ValueError: if another layout has that name.
    """
    known = _LAYOUTS.setdefault(layout.name, layout)
    if known != layout:
        raise ValueError(f"task {layout.name!r} is registered with another layout: {known}")
    return layout


def task_layout(name: str) -> TaskLayout:
    """The layout of a task.

    Raises:
        ValueError: if no task has that name, with the nearest that there is.
    """
    if name in _LAYOUTS:
        return _LAYOUTS[name]
    raise ValueError(unknown("task", name, _LAYOUTS))


def layout_names() -> tuple[str, ...]:
    """Names of all known tasks, in the order of their registration."""
    return tuple(_LAYOUTS)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Words for an unknown name: the nearest one that exists, and all of them."""
    names = list(known)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {name!r}: {hint}known are {', '.join(names)}"


_SPEECH = Slot(name="text", kind="text", spoken=True)
_SAID = Slot(name="text", kind="text", spoken=True, said=True)
_PROMPT = Slot(name="text", kind="text")
_AUDIO = Slot(name="audio", kind="audio")

register_layout(
    TaskLayout(
        name="tts",
        # The reference goes first, transcript before sound, as every (text, audio) pair does.
        conditions=(
            dataclasses.replace(_SAID, name="voice_text", required=False, needs="voice"),
            Slot(name="voice", kind="audio", required=False, voice=True),
            _SAID,
        ),
        target=_AUDIO,
    )
)
register_layout(TaskLayout(name="asr", conditions=(_AUDIO,), target=_SPEECH))
register_layout(TaskLayout(name="text_to_audio", conditions=(_PROMPT,), target=_AUDIO))
register_layout(TaskLayout(name="text_to_music", conditions=(_PROMPT,), target=_AUDIO))
register_layout(TaskLayout(name="audio_caption", conditions=(_AUDIO,), target=_PROMPT))
register_layout(TaskLayout(name="music_caption", conditions=(_AUDIO,), target=_PROMPT))
register_layout(
    TaskLayout(
        name="continuation",
        conditions=(),
        target=Slot(name="target", kind="audio"),
        prefix=_AUDIO,
    )
)
