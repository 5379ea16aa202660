"""Layouts: the conditions of a task, their order in the sequence, and the target.

A task is a prompt, not a model: a training example is its conditions followed by its target, and
one model serves all tasks (docs/paper.md, section 8). Layouts are plain data without torch or a
tokenizer. They are registered by the tasks (`almtok.tasks`); this package defines none.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["text", "audio", "speaker"]
# Arguments of AudioLMProcessor.__call__, which no slot may be named after.
_RESERVED = frozenset(
    {"task", "target", "frames_per_query", "sampling_rate", "language", "return_tensors"}
)


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One field of a task.

    Attributes:
        name: key of the field in calls and rows, a Python identifier.
        kind: "text", "audio", or "speaker": the name of a voice of the model, one control token.
        required: whether the field must be given.
        transcript: the text is a transcript of speech: it is normalised ("Dr. 5" -> "doctor five").
        phonemize: the text is to be spoken: models with the text form "phones" get its phones.
        voice: the audio is a voice reference: silence and very short audio are refused.
        needs: name of the slot that must be given too, as the audio of a transcript.

    Raises:
        ValueError: for another kind.
    """

    name: str
    kind: Kind
    required: bool = True
    transcript: bool = False
    phonemize: bool = False
    voice: bool = False
    needs: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            kinds = ", ".join(get_args(Kind))
            raise ValueError(f"kind of slot {self.name!r} must be {kinds}, got {self.kind!r}")


@dataclass(frozen=True, kw_only=True)
class TaskLayout:
    """The sequence of a task: its conditions in order, then its target.

    Attributes:
        name: of the task, a Python identifier.
        conditions: inputs, in the order of the sequence.
        target: what is generated.
        prefix: audio with which an audio target begins; generation continues it.

    Raises:
        ValueError: for names that are reserved, used twice or no identifiers, a `needs` of a slot
            that does not exist, a prefix of text, a speaker as the target, or a layout without a
            required slot.

    Example:
        >>> audio, text = Slot(name="audio", kind="audio"), Slot(name="text", kind="text")
        >>> TaskLayout(name="transcribe", conditions=(audio,), target=text).names
        ('audio',)
    """

    name: str
    conditions: tuple[Slot, ...]
    target: Slot
    prefix: Slot | None = None

    def __post_init__(self) -> None:
        for kind, name in (("task", self.name), *(("slot", slot) for slot in self.names)):
            if not name.isidentifier() or name in _RESERVED:
                raise ValueError(
                    f"{kind} name must be an identifier not in {sorted(_RESERVED)}, got {name!r}"
                )
        if missing := [slot for slot in self.slots if slot.needs and slot.needs not in self.names]:
            raise ValueError(
                f"task {self.name!r} has no slot {missing[0].needs!r}: {missing[0]} needs it"
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"task {self.name!r} has two slots of one name: {self.names}")
        if self.prefix is not None and {self.prefix.kind, self.target.kind} != {"audio"}:
            raise ValueError(
                f"task {self.name!r}: a {self.prefix.kind} prefix of a {self.target.kind} target; "
                f"prefix and target must be audio"
            )
        if self.target.kind == "speaker":
            raise ValueError(f"the target of task {self.name!r} must be text or audio, got speaker")
        if not any(slot.required for slot in self.slots):
            raise ValueError(f"task {self.name!r} needs at least one required condition or prefix")

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The conditions, then the prefix."""
        return self.conditions + (() if self.prefix is None else (self.prefix,))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of :attr:`slots`."""
        return tuple(slot.name for slot in self.slots)

    def slot(self, name: str) -> Slot:
        """The condition or prefix of that name.

        Raises:
            ValueError: if there is none; the message lists the names.
        """
        for slot in self.slots:
            if slot.name == name:
                return slot
        raise ValueError(f"task {self.name!r} takes {', '.join(self.names)}, got {name!r}")


_LAYOUTS: dict[str, TaskLayout] = {}
_PROVIDERS: list[Callable[[], object]] = []


def register_layout(layout: TaskLayout) -> TaskLayout:
    """Register a layout under its name; repeating a registration has no effect.

    Raises:
        ValueError: if another layout has the name.
    """
    registered = _LAYOUTS.setdefault(layout.name, layout)
    if registered != layout:
        raise ValueError(f"task {layout.name!r} is registered with another layout: {registered}")
    return registered


def add_provider(provider: Callable[[], object]) -> None:
    """Add a function that registers tasks; it is called once, at the first lookup.

    `almtok.tasks` adds the import of its tasks, which load torch.
    """
    _PROVIDERS.append(provider)


def task_layout(name: str) -> TaskLayout:
    """The layout of a task.

    Raises:
        ValueError: if no task has that name; the message suggests the nearest one.
    """
    if name in _LAYOUTS or name in layout_names():
        return _LAYOUTS[name]
    raise ValueError(unknown("task", name, _LAYOUTS))


def load_providers() -> None:
    """Call the functions of :func:`add_provider` that were not called yet."""
    while _PROVIDERS:
        _PROVIDERS.pop(0)()


def layout_names() -> tuple[str, ...]:
    """Names of all tasks, in the order of their registration."""
    load_providers()
    return tuple(_LAYOUTS)


def unknown(what: str, name: str, choices: Iterable[str]) -> str:
    """An error message for an unknown name: the nearest known name, and all of them."""
    names = list(choices)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {name!r}: {hint}known are {', '.join(names)}"
