"""Arguments of `AudioLM.generate`: prompts, and the caller's options over the task's defaults.

Beam search can combine several encodings of one audio, each shifted by part of a codec window
(lm/generation/beam_search.py). The fields of a row then hold one encoding as `audio`, and the
others under :data:`SHIFTED`.

Shapes: `B` prompts, `L` rows of a prompt, `R` rows of a prefix, `K` codebooks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ...codec.tokens import AudioTokens
from ...lm.config import AudioLMConfig
from ...lm.generation.common_options import defaults_of
from ...lm.generation.sampling import SamplingConfig
from ...lm.generation.settings import BeamSettings
from ...lm.patterns import layout
from ...lm.prompt_builder import PromptOptions, error_context
from ...lm.sequences import IGNORED, collate
from ...lm.sequences import Sequence as Rows
from ...lm.vocabulary import Vocabulary
from ..base import Limits, Task
from ..duration import frames
from .options import GenerationOptions

if TYPE_CHECKING:
    from .base import AudioLMPipeline
from collections.abc import Callable
from typing import TypeVar

from ...lm.adapter_rows import BASE, grouped
from ...lm.lora import using_adapter
from ...lm.model import AudioLM

# Name of the adapter of all requests, or of each; None: the active adapter, BASE: none.
AdapterNames = str | Sequence[str | None] | None
T = TypeVar("T")


def adapter_per_request(names: AdapterNames, count: int) -> list[str | None]:
    """The adapter of each request.

    Raises:
        ValueError: if the number of names is not that of the requests.
    """
    if names is None or isinstance(names, str):
        return [names] * count
    if len(names) != count:
        raise ValueError(f"adapter must hold {count} names, one per request, got {len(names)}")
    return list(names)


def check_one_per_request(name: str, values: Sequence[object], count: int) -> None:
    """Raise ValueError unless there are as many values as requests."""
    if len(values) != count:
        raise ValueError(f"{name} must hold {count} values, one per request, got {len(values)}")


def in_adapter_groups(
    lm: AudioLM, names: Sequence[str | None], run: Callable[[list[int]], Sequence[T]]
) -> list[T]:
    """Call `run` with the numbers of the requests of each adapter, which is active meanwhile.

    Returns:
        The results of all requests, in their order.
    """
    results: dict[int, T] = {}
    for name, own in grouped(names).items():
        if name is None:
            found = run(own)
        else:
            with using_adapter(lm, None if name == BASE else name):
                found = run(own)
        results |= zip(own, found, strict=True)
    return [results[number] for number in range(len(names))]


# Conditions by slot: texts, AudioTokens, paths, samples. Further keys: `PREFIX` (AudioTokens), the
# beginning of an audio target that the model continues; `PREFIX_TEXT`, its transcript, which is put
# before the field "text"; `SHIFTED`, a list of AudioTokens.
Fields = Mapping[str, Any]
PREFIX, PREFIX_TEXT, SHIFTED = "prefix", "prefix_text", "shifted_audio"


def generation_arguments(
    pipeline: AudioLMPipeline,
    task: Task,
    rows: Sequence[Fields],
    seconds: Sequence[float | None],
    options: GenerationOptions,
) -> dict[str, Any]:
    """Arguments of `AudioLM.generate` for one batch of prompts, without seeds.

    Args:
        pipeline: the model, its processor and codec.
        task: of all rows.
        rows: conditions of each prompt.
        seconds: for each row, duration of the audio condition or the longest audio target.
        options: these replace defaults of the task.

    Raises:
        ValueError: for fields that the task does not take or cannot use.
    """
    for length in seconds:
        if length is not None and not 0 < length < math.inf:
            raise ValueError(f"seconds must be a finite number > 0, got {length}")
    flat, encodings = flatten_encodings(rows)
    batch = _collate(pipeline, task, flat, options)
    limits = [
        _limits(pipeline, task, row, length, options)
        for row, length in zip(rows, seconds, strict=True)
    ]
    return {
        "input_ids": batch["input_ids"].to(pipeline.lm.device),
        "attention_mask": batch["attention_mask"].to(pipeline.lm.device),
        "compile": options.compile,
        **_settings(pipeline, task, options, encodings),
        **{
            field.name: [getattr(limit, field.name) for limit in limits]
            for field in dataclasses.fields(Limits)
        },
    }


def guidance_scale(task: Task, options: GenerationOptions, config: AudioLMConfig) -> float:
    """Guidance of a task; 1 by default for models trained without condition dropout."""
    if options.guidance_scale is not None:
        return options.guidance_scale
    return task.guidance_scale if config.condition_dropout else 1.0


def num_beams(task: Task, options: GenerationOptions, config: AudioLMConfig) -> int:
    """Number of beams; 1 means that the text is generated without a search."""
    if options.beams is not None:
        return options.beams if task.beams > 1 else 1
    other = options.sampling or options.compile or guidance_scale(task, options, config) != 1
    return 1 if other or config.ctc_weight <= 0 else task.beams


def num_encodings(task: Task, options: GenerationOptions, config: AudioLMConfig) -> int:
    """Number of shifted encodings of an audio."""
    if num_beams(task, options, config) == 1 or task.views == 1:
        return 1
    return task.views if options.views is None else options.views


def beam_settings(
    task: Task, options: GenerationOptions, config: AudioLMConfig, encodings: int
) -> BeamSettings | None:
    """Settings of the beam search, or None without one.

    Raises:
        ValueError: for several encodings without beams.
    """
    beams = num_beams(task, options, config)
    if beams == 1:
        if encodings > 1:
            raise ValueError(
                f"beams must be at least 2 for {encodings} encodings of an audio, got {beams}"
            )
        return None
    weight = task.lm_weight if options.lm_weight is None else options.lm_weight
    # Without condition dropout, the model has not learned the probability of a text without audio.
    return BeamSettings(
        beams=beams, lm_weight=weight if config.condition_dropout else 0, views=encodings
    )


def flatten_encodings(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], int]:
    """Follow each row by its copies with the other encodings of its audio.

    Returns:
        The rows, and the number of encodings of each audio.

    Raises:
        ValueError: if rows have different numbers of encodings.
    """
    counts = {1 + len(row.get(SHIFTED, ())) for row in rows} or {1}
    if len(counts) > 1:
        raise ValueError(f"rows of a batch must have equally many encodings, got {sorted(counts)}")
    flat: list[Mapping[str, Any]] = []
    for row in rows:
        plain = {name: value for name, value in row.items() if name != SHIFTED}
        flat += [plain, *({**plain, "audio": other} for other in row.get(SHIFTED, ()))]
    return flat, counts.pop()


def _collate(
    pipeline: AudioLMPipeline, task: Task, rows: Sequence[Fields], options: GenerationOptions
) -> dict[str, torch.Tensor]:
    """Prompts, padded on the left: `input_ids` `[B, L, 1+K]` and `attention_mask` `[B, L]`."""
    prompts = []
    for number, row in enumerate(rows):
        with error_context(f"row {number}" if len(rows) > 1 else task.name):
            prompts.append(_prompt(pipeline, task, row, options))
    unlabelled = [Rows(prompt, torch.full_like(prompt, IGNORED)) for prompt in prompts]
    return collate(unlabelled, pipeline.lm.config, "left")


def _prompt(
    pipeline: AudioLMPipeline, task: Task, row: Fields, options: GenerationOptions
) -> torch.Tensor:
    """One prompt `[L, 1+K]`, with the prefix of the target if there is one."""
    fields = {name: value for name, value in row.items() if value is not None}
    prefix, prefix_text = fields.pop(PREFIX, None), fields.pop(PREFIX_TEXT, None)
    if prefix_text is not None:
        fields["text"] = f"{prefix_text} {fields['text']}"
    w = options.frames_per_query if prefix is None else prefix.frames_per_query
    prompt_options = PromptOptions(frames_per_query=w, language=options.language)
    builder = pipeline.processor.prompt_builder
    prompt = builder.prompt(task.name, fields, prompt_options)
    if prefix is None:
        return prompt
    checked = builder.audio_input.tokens(prefix, frames_per_query=prefix.frames_per_query)
    grid = layout(pipeline.lm.config).apply(checked.codes, ended=False)  # [R, K]
    empty = Vocabulary(pipeline.lm.config).text_empty
    return torch.cat([prompt, F.pad(grid, (1, 0), value=empty)])


def _settings(
    pipeline: AudioLMPipeline, task: Task, options: GenerationOptions, encodings: int
) -> dict[str, Any]:
    """Arguments that are the same for all rows."""
    changes: dict[str, Any] = options.sampling

    def changed(config: SamplingConfig) -> SamplingConfig:
        return dataclasses.replace(config, **changes)

    config, eos_id = pipeline.lm.config, pipeline.text_encoder.eos_id
    return {
        "target": task.layout.target.kind,
        "eos_id": eos_id,
        "audio_sampling": tuple(map(changed, task.sampling(config.num_codebooks))),
        "text_sampling": changed(task.text_sampling),
        "guidance_scale": guidance_scale(task, options, config),
        "beam": beam_settings(task, options, config, encodings),
        "forbidden_text_ids": sorted(set(pipeline.processor.tokenizer.all_special_ids) - {eos_id}),
    }


def _limits(
    pipeline: AudioLMPipeline,
    task: Task,
    row: Fields,
    seconds: float | None,
    options: GenerationOptions,
) -> Limits:
    tokens = [value for value in row.values() if isinstance(value, AudioTokens)]
    rate = pipeline.frame_rate(pipeline.frames_per_query(options, tokens[0] if tokens else None))
    slot = next((s for s in task.layout.conditions if s.transcript and s.required), None)
    text = ""
    if slot is not None:
        encoder = pipeline.text_encoder
        text = encoder.apply_form(row[slot.name], transcript=True, language=options.language)
    limits = task.limits(text, frame_rate=rate, seconds=seconds)
    if options.max_seconds is not None:
        limits = limits.within(max(1, round(options.max_seconds * rate)))
    return _with_minimum(limits, _least_frames(pipeline, task, options, rate), options, rate)


def _least_frames(
    pipeline: AudioLMPipeline, task: Task, options: GenerationOptions, rate: float
) -> int | None:
    """Minimum of the options, else of the model's `generation_config.json`; None without one."""
    if options.min_seconds is not None:
        return frames(options.min_seconds, rate)
    return defaults_of(pipeline.lm.generation_config, [task.name]).get("min_new_tokens")


def _with_minimum(
    limits: Limits, least: int | None, options: GenerationOptions, rate: float
) -> Limits:
    if least is None:
        return limits
    if options.min_seconds is None:
        return limits.at_least(least)
    if least > limits.max_frames:
        raise ValueError(
            f"min_seconds must be at most {limits.max_frames / rate:.2f}, the longest duration, "
            f"got {options.min_seconds}"
        )
    return dataclasses.replace(limits, min_frames=least)
