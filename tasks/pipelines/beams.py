"""How a transcript is searched: beams, views, guidance; what callers say over what the task says.

An audio may be heard in several views (lm/generation/beam_search.py): the fields of
a row then have the audio's codes
in one encoding, and those of the others under :data:`VIEWS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...lm.config import AudioLMConfig
from ...lm.generation.settings import BeamSettings
from ..base import Task
from .options import GenerationOptions

VIEWS = "views"


def guidance_scale(task: Task, controls: GenerationOptions, config: AudioLMConfig) -> float:
    """Of the task, unless the caller has one."""
    if controls.guidance_scale is not None:
        return controls.guidance_scale
    # Without conditions only a model can say something that has learned to.
    return task.guidance_scale if config.condition_dropout else 1.0


def num_beams(task: Task, controls: GenerationOptions, config: AudioLMConfig) -> int:
    """Texts that are searched at once; 1: the text is written id by id."""
    if controls.beams is not None:
        return controls.beams if task.beams > 1 else 1
    other = controls.sampling or controls.compile or guidance_scale(task, controls, config) != 1
    return 1 if other or config.ctc_weight <= 0 else task.beams


def num_views(task: Task, controls: GenerationOptions, config: AudioLMConfig) -> int:
    """Encodings of an audio that are heard."""
    if num_beams(task, controls, config) == 1 or task.views == 1:
        return 1
    return task.views if controls.views is None else controls.views


def beam_settings(
    task: Task, controls: GenerationOptions, config: AudioLMConfig, views: int
) -> BeamSettings | None:
    """Settings of the search; None if there is none.

    Raises:
        ValueError: for several views without beams.
    """
    beams = num_beams(task, controls, config)
    if beams == 1:
        if views > 1:
            raise ValueError(f"{views} views of an audio are heard by beams: expected 2 or more")
        return None
    weight = task.lm_weight if controls.lm_weight is None else controls.lm_weight
    # Only a model that has learned to write without hearing knows how likely a text is.
    return BeamSettings(
        beams=beams, lm_weight=weight if config.condition_dropout else 0, views=views
    )


def in_views(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], int]:
    """Rows, each followed by itself with every other encoding of its audio; and how many it has.

    Raises:
        ValueError: if rows differ in that.
    """
    counts = {1 + len(row.get(VIEWS, ())) for row in rows} or {1}
    if len(counts) > 1:
        raise ValueError(f"all rows of a batch have as many views; came {sorted(counts)}")
    flat: list[Mapping[str, Any]] = []
    for row in rows:
        plain = {name: value for name, value in row.items() if name != VIEWS}
        flat += [plain, *({**plain, "audio": other} for other in row.get(VIEWS, ()))]
    return flat, counts.pop()
