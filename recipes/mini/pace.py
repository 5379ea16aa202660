"""Estimate how long the demo takes on this machine, from some steps of its language model.

On a reference machine a complete demo was timed by stage, as were these steps and the collation of
their batches. On another machine every stage is scaled by the mean of the two ratios, because about
half of the time is spent on matrix products, the other half on Python and small operations.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok.core.choices import AUTO, add_device
from almtok.core.files import write_json
from almtok.core.reading import read_json_object, reading

# Stages whose duration is proportional to --scale, and those whose corpora shrink with it.
TRAINED = ("stage1", "stage2", "lm", "adapter")
SHRINKING = (
    "corpus",
    "prior",
    "language-corpus",
    "tokens",
    "voice",
    "voice-tokens",
    "voice-held-out",
)
SMALLEST, LARGEST = 0.02, 50.0  # times the steps of the recipe
# A batch like the demo's: sentences that are spoken and transcribed, 2,000 positions.
_ROWS, _FRAMES, _WORDS, _STEPS = 28, 50, 12, 5
_EOS = 2


@dataclass(frozen=True)
class Pace:
    """Speed of a machine."""

    seconds_per_step: float  # of training
    seconds_per_batch: float  # of collation
    stages: dict[str, float]  # seconds of each stage of the demo at --scale 1

    def on(self, seconds_per_step: float, seconds_per_batch: float) -> Pace:
        """Return the pace of a machine with these timings."""
        ratio = seconds_per_step / self.seconds_per_step
        ratio = (ratio + seconds_per_batch / self.seconds_per_batch) / 2
        stages = {name: ratio * seconds for name, seconds in self.stages.items()}
        return Pace(seconds_per_step, seconds_per_batch, stages)

    def seconds(self, scale: float = 1.0, without: Collection[str] = ()) -> float:
        """Return the duration of the demo in seconds.

        Args:
            scale: as `almtok demo --scale`.
            without: stages that are done already.
        """
        total = 0.0
        for name, seconds in self.stages.items():
            if name in TRAINED:
                seconds *= scale
            elif name in SHRINKING:
                seconds *= min(1.0, scale)
            total += 0.0 if name in without else seconds
        return total

    def scale_for(self, minutes: float) -> float:
        """Return the `--scale`, to two digits, with which the demo takes `minutes`.

        Raises:
            ValueError: the demo takes longer even with the smallest scale.
        """
        if self.seconds(SMALLEST) > 60 * minutes:
            least = self.seconds(SMALLEST) / 60
            raise ValueError(
                f"--minutes {minutes:g} is too short: on this machine the smallest demo takes"
                f" {least:.0f} minutes"
            )
        low, high = SMALLEST, LARGEST
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self.seconds(middle) <= 60 * minutes else (low, middle)
        return float(f"{low:.2g}")


# Two cores of an Intel Xeon with AMX (native bfloat16), PyTorch 2.13.0.
REFERENCE = Pace(
    seconds_per_step=0.19,
    seconds_per_batch=0.006,
    stages={
        "example": 1.8, "corpus": 4.6, "prior": 1.3, "stage1": 28.7, "stage2": 46.1, "codec": 0.1,
        "reconstruction": 8.3, "language-corpus": 35.2, "tokens": 71.5, "lm": 381, "scores": 32.2,
        "voice": 0.8, "voice-tokens": 2.5, "voice-held-out": 1.2, "adapter": 21, "comparison": 9.5,
        "report": 1.2,
    },
)  # fmt: skip


def measured(path: Path) -> Pace:
    """Read the pace of this machine from the file that :func:`main` wrote."""
    with reading(path):
        timings = read_json_object(path)
        return REFERENCE.on(timings["seconds_per_step"], timings["seconds_per_batch"])


def measure(device: str = AUTO) -> dict[str, Any]:
    """Time some training steps of the demo's language model on random codes."""
    from almtok.core.runtime import choose_runtime, slow_fused_attention
    from almtok.core.training.optimizer import make_muon
    from almtok.lm.config import AudioLMConfig
    from almtok.lm.model import AudioLM

    from .recipe import CODEC_CODES, lm

    runtime = choose_runtime(device)
    training = lm("", "")
    ends = {"pad_token_id": 0, "eos_token_id": _EOS}
    sizes = {**training.model, "backbone": {**training.model["backbone"], **ends}}
    config = AudioLMConfig.preset("mini", **sizes, codebook_size=CODEC_CODES)
    model = AudioLM(config).to(runtime.device).train()
    if slow_fused_attention(runtime.device, runtime.precision):
        model.backbone.set_attn_implementation("eager")
    optimizer = make_muon(
        dict(model.named_parameters()), lr=0.0, weight_decay=0.0, layers=".layers.",
        adamw={"lr": 0.0, "betas": training.betas, "weight_decay": 0.0},
    )  # fmt: skip
    step_times, batch_times = [], []
    for _ in range(1 + _STEPS):
        start = time.perf_counter()
        tensors = _batch(config)
        batch_times.append(time.perf_counter() - start)
        batch = {name: value.to(runtime.device) for name, value in tensors.items()}
        start = time.perf_counter()
        with runtime.autocast():
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())  # waits for a GPU
        step_times.append(time.perf_counter() - start)
    return {
        "seconds_per_step": min(step_times[1:]),
        "seconds_per_batch": min(batch_times[1:]),
        "runtime": str(runtime),
    }


def _batch(config: Any) -> dict[str, Any]:
    """Return a batch of random sentences, half TTS and half ASR."""
    import torch

    from almtok.lm.sequences import AudioSegment, Example, TextSegment, build_sequence, collate

    audio = AudioSegment(torch.randint(config.codebook_size, (config.num_codebooks, _FRAMES)))
    text = TextSegment(tuple(range(10, 10 + _WORDS)))
    kinds = Example("tts", (text, audio), 6), Example("asr", (audio, text), 6)
    rows = [build_sequence(example, config, eos_id=_EOS) for example in kinds * (_ROWS // 2)]
    return collate(rows, config)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure this machine and write the result, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    add_device(parser)
    args = parser.parse_args(argv)
    os.makedirs(args.out.parent, exist_ok=True)
    write_json(args.out, measure(args.device))
