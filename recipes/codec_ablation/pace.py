"""Processor time of an optimizer step of each row on this machine, on noise."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

from almtok.codec.train.config import CodecTrainConfig
from almtok.core.files import write_json
from almtok.core.reading import read_json_object, reading

PACE = "pace.json"
_STEPS = 6


def measured_pace(configs: Mapping[str, CodecTrainConfig], out: Path) -> dict[str, float]:
    """Return the seconds per step of each training; each is measured once per output folder.

    Args:
        configs: trainings by name.
        out: folder of the run, which keeps the measurements, so that a resumed run has the same.
    """
    place = out / PACE
    pace: dict[str, float] = {}
    if place.exists():
        with reading(place):
            pace = {name: float(seconds) for name, seconds in read_json_object(place).items()}
    for name, config in configs.items():
        if name not in pace:
            pace[name] = round(seconds_per_step(config), 4)
            print(f"{name}: {pace[name]:.3f} processor seconds per step", flush=True)
            out.mkdir(parents=True, exist_ok=True)
            write_json(place, pace)
    return pace


def seconds_per_step(config: CodecTrainConfig) -> float:
    """Measure a training with all its losses: processor time on a CPU, elapsed time elsewhere.

    All rows of one seed draw the same frames per query, so their costs are comparable.
    """
    import torch

    from almtok.codec.train.state import base_config, build_state
    from almtok.codec.train.update import optimizer_step
    from almtok.core.data import SegmentBatch
    from almtok.core.training.loop import Requests

    width = base_config(config).prior_dim  # otherwise that of a prior, which need not exist yet
    model = {**config.model, "prior_dim": width}
    state = build_state(dataclasses.replace(config, prior=None, model=model))
    for layer in state.model.quantizer.layers:
        layer.codebook.initialised.fill_(True)
    hop = state.model.config.hop_length
    frames = int(config.segment_seconds * state.model.sample_rate) // hop
    count = config.batch_size
    batch = SegmentBatch(
        wav=0.1 * torch.randn(count, 1, frames * hop),
        ids=tuple((str(n),) for n in range(count)),
        domains=("speech",) * count,
        seeds=torch.arange(count),
    )
    clock = time.process_time if state.device.type == "cpu" else time.perf_counter
    state.step, start = config.steps // 2, 0.0  # after the start of the discriminators
    for number in range(_STEPS + 1):
        if number == 1:  # the first step warms up
            start = clock()
        optimizer_step(state, [batch], Requests())
    return (clock() - start) / _STEPS
