"""Defaults of the tasks as a `generation_config.json`, for callers of `AudioLM.generate`."""

from __future__ import annotations

import dataclasses

from transformers import GenerationConfig

from ...lm.generation.sampling import SamplingConfig
from ...lm.model import AudioLM
from ..base import get_task
from .arguments import guidance_scale
from .options import DEFAULT


def set_task_defaults(lm: AudioLM) -> None:
    """Set sampling and guidance of the model's audio tasks as its generation defaults.

    transformers has one sampling for all codebooks: that of the first.
    """
    usual = SamplingConfig()
    params = {}
    for name in lm.config.tasks:
        task = get_task(name)
        if task.layout.target.kind == "text":
            continue
        names = ("temperature", "top_k", "top_p", "repetition_penalty")
        sampling = dataclasses.asdict(task.audio_sampling)
        values = {n: sampling[n] for n in names if sampling[n] != getattr(usual, n)}
        guidance = guidance_scale(task, DEFAULT, lm.config)
        params[name] = values | ({"guidance_scale": guidance} if guidance != 1 else {})
    values = lm.generation_config.to_diff_dict()
    values.pop("_from_model_config", None)  # with it, transformers loads no further fields
    lm.generation_config = GenerationConfig(**{**values, "task_specific_params": params})
