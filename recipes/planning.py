"""Estimate the cost of a recipe's trainings on this machine, from some seconds of each.

A probe is the training command itself on noise or random codes of the lengths that the stage has,
so that nothing has to be downloaded or trained before.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.model import ALMTokenizer
from almtok.codec.train.config import CodecTrainConfig
from almtok.core.audio import write_audio
from almtok.core.data.entries import AudioEntry
from almtok.core.files import write_json
from almtok.core.report.curves import read_metrics
from almtok.core.training.config import RunConfig
from almtok.lm.config import AudioLMConfig
from almtok.lm.data.shards import EncodedClip, ShardInfo, write_shard
from almtok.lm.train.config import LMTrainingConfig
from almtok.lm.train.initial_model import model_folder

from .run import RecipeRun, Stage

# Steps that warm the caches up are not counted.
_WARM_UP = 2
_CODEBOOK_SIZE = 2048  # without an initial model
_BAR = "{desc} {n:.0f}/{total:.0f} s |{bar}|"
_WORDS = "the quick brown fox jumps over a lazy dog and runs far away from it".split()
_PROBE_OPTIONS: dict[str, Any] = {
    "steps": 1_000_000,
    "schedule": "constant",
    "log_every": 1,
    "validate_every": 0,
    "checkpoint_every": 0,
    "checkpoint_minutes": 0.0,
    "tracker": "none",
    "progress": False,
}


@dataclass(frozen=True)
class StageCost:
    """Estimated cost of one training on this machine."""

    stage: str
    steps: int
    seconds_per_step: float
    memory_mb: float  # peak of the process
    parameters: float  # millions, of the saved model
    checkpoint_mb: float

    @property
    def hours(self) -> float:
        """Duration of all steps."""
        return self.steps * self.seconds_per_step / 3600


def plan(
    run: RecipeRun, stages: Sequence[Stage], seconds: float = 20.0
) -> dict[str, StageCost | str]:
    """Cost of every training stage by name, or why it could not be measured.

    Args:
        run: the recipe with its options.
        stages: stages to measure; those without a training are skipped.
        seconds: duration of each probe after its first step.
    """
    found: dict[str, StageCost | str] = {}
    for stage in stages:
        if stage.config is None:
            continue
        with tempfile.TemporaryDirectory(prefix="almtok-plan-") as folder:
            try:
                found[stage.name] = _measure(run, stage, Path(folder), seconds)
            except ValueError as error:
                found[stage.name] = str(error)
    return found


def _measure(run: RecipeRun, stage: Stage, folder: Path, seconds: float) -> StageCost:
    assert stage.config is not None
    out = folder / "run"
    if isinstance(stage.config, CodecTrainConfig):
        config: RunConfig = _codec_probe(stage.config, folder)
    elif isinstance(stage.config, LMTrainingConfig):
        config = _lm_probe(stage.config, run, folder)
    else:
        raise ValueError(f"{type(stage.config).__name__} cannot be probed")
    config = type(config).from_dict({**config.to_dict(), "out": str(out), **_PROBE_OPTIONS})
    write_json(folder / "probe.json", config.to_dict())
    memory, last_line = _run(stage, folder, out, seconds)
    times = _step_seconds(out / "metrics.jsonl", config)
    if not times:
        hint = _memory_hint(stage, last_line)
        raise ValueError(f"no step was made; the training printed: {last_line}{hint}")
    files = list((out / "model").rglob("*.safetensors"))
    checkpoints = [file for file in (out / "checkpoints").rglob("*") if file.is_file()]
    return StageCost(
        stage=stage.name,
        steps=stage.config.steps,
        seconds_per_step=statistics.median(times),
        memory_mb=memory,
        parameters=sum(file.stat().st_size for file in files) / 4e6,
        checkpoint_mb=sum(file.stat().st_size for file in checkpoints) / 1e6,
    )


def _memory_hint(stage: Stage, line: str) -> str:
    if "memory" not in line.lower():
        return ""
    name = "batch-positions" if isinstance(stage.config, LMTrainingConfig) else "batch-size"
    value = getattr(stage.config, name.replace("-", "_"))
    return f"; make batches smaller: --{stage.name}.{name} {max(1, value // 2)}"


def _codec_probe(config: CodecTrainConfig, folder: Path) -> CodecTrainConfig:
    """The training on noise, from a model of the same size with random weights."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(max(12, config.batch_size)):
        wav = 0.1 * rng.standard_normal(int(24_000 * (config.segment_seconds + 0.5)))
        write_audio(folder / f"{number}.wav", wav.astype(np.float32), 24_000)
        domain = ("speech", "sound", "music")[number % 3]
        lines.append(json.dumps({"audio": f"{number}.wav", "domain": domain}) + "\n")
    (folder / "manifest.jsonl").write_text("".join(lines))
    changes: dict[str, Any] = {
        "data": [str(folder / "manifest.jsonl")],
        "validation_data": [],
        "cache_dir": str(folder / "cache"),
        "prior": None,
        "quantize_start": 0,
        "adversarial_start": min(config.adversarial_start, 0),
        "alarm_after": 10**9,
    }
    if config.phoneme_classifier is not None and not Path(config.phoneme_classifier).exists():
        names = ("weight_phones", "weight_first_phones", "weight_recognition")
        changes |= {"phoneme_classifier": None, **dict.fromkeys(names, 0.0)}
    if config.init_from is not None:
        preset = ALMTokenizerConfig.preset(config.preset, **config.model)
        ALMTokenizer(preset).save_pretrained(folder / "init")
        changes["init_from"] = str(folder / "init")
    return dataclasses.replace(config, **changes)


def _lm_probe(config: LMTrainingConfig, run: RecipeRun, folder: Path) -> LMTrainingConfig:
    """The training on random codes, from its initial model or one of the same size."""
    base = config.init_from
    base_config = None
    if base is not None and Path(base).exists():
        base_config = AudioLMConfig.from_pretrained(model_folder(base))
    tokens = _write_tokens(config, folder / "tokens", base_config)
    probe: dict[str, Any] = {
        "data": [str(tokens)],
        "texts": [],
        "validation_data": [],
        "samples": 0,
        "voices": 0.0,
    }
    if base_config is not None or base is None:
        model = config.model
        if base_config is None and config.backbone is None:
            model = {**model, "codebook_size": _CODEBOOK_SIZE}
        return dataclasses.replace(config, **probe, model=model, codec=None)
    sizes = _first_training(config, run)
    model = sizes.model if sizes.backbone else {**sizes.model, "codebook_size": _CODEBOOK_SIZE}
    begin: dict[str, Any] = {"preset": sizes.preset, "model": model, "backbone": sizes.backbone}
    if not config.lora_rank:
        return dataclasses.replace(config, **probe, **begin, init_from=None, codec=None)
    # LoRA needs a model to adapt: one step of the training before it.
    one_step = {
        **_PROBE_OPTIONS,
        "steps": 1,
        "out": str(folder / "base"),
        "init_from": None,
        "codec": None,
    }
    first = dataclasses.replace(sizes, **{**probe, **begin, **one_step})
    _train_base(first, folder)
    return dataclasses.replace(config, **probe, init_from=str(folder / "base"), codec=None)


def _first_training(config: LMTrainingConfig, run: RecipeRun) -> LMTrainingConfig:
    """The training of the recipe from whose model this one continues."""
    while config.init_from is not None:
        trainings = [s.config for s in run.stages if isinstance(s.config, LMTrainingConfig)]
        earlier = [training for training in trainings if training.out == config.init_from]
        if not earlier:
            raise ValueError(f"the size of its initial model {config.init_from} is unknown")
        config = earlier[0]
    return config


def _train_base(config: LMTrainingConfig, folder: Path) -> None:
    write_json(folder / "base.json", config.to_dict())
    argv = [sys.executable, "-m", "almtok", "lm", "train", "--config", str(folder / "base.json")]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ValueError(f"no model to adapt: {result.stderr.strip().splitlines()[-1:]}")


def _write_tokens(config: LMTrainingConfig, folder: Path, base: AudioLMConfig | None) -> Path:
    """Write random codes of one to eight seconds, in all domains."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    longest = min(8.0, config.max_seconds or 8.0)
    count, size = (3, _CODEBOOK_SIZE) if base is None else (base.num_codebooks, base.codebook_size)
    rows = []
    for number in range(600):
        frames = int(12.5 * rng.uniform(min(1.0, longest / 2), longest))
        domain = ("speech", "sound", "music")[number % 3]
        text = " ".join(rng.choice(_WORDS, size=max(1, frames // 5)))
        entry = AudioEntry(str(number), path="", domain=domain, text=text, split="train")
        codes = rng.integers(size, size=(count, frames)).astype(np.uint16)
        rows.append(EncodedClip(number, entry, frames * 1920, codes))
    info = ShardInfo(
        plan="probe", number=0, first=0, last=len(rows), sample_rate=24_000,
        fingerprint=(base and base.codec_fingerprint) or "probe",
        num_codebooks=count, codebook_size=size, loudness_dbfs=base and base.loudness_dbfs,
    )  # fmt: skip
    write_shard(folder, info, rows, 6)
    return folder


def _run(stage: Stage, folder: Path, out: Path, seconds: float) -> tuple[float, str]:
    """Train for `seconds` after the first step; return peak memory in MB and the last line."""
    argv = [sys.executable, "-m", "almtok", *stage.command, "--config", str(folder / "probe.json")]
    log = folder / "log"
    actions = [
        (os.POSIX_SPAWN_OPEN, descriptor, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor in (1, 2)
    ]
    child = os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions)
    first_step: float | None = None
    status, usage = 0, None
    bar = tqdm(total=seconds, unit="s", bar_format=_BAR, disable=None, leave=False)
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        bar.set_description(f"{stage.name}: {'starting' if first_step is None else 'measuring'}")
        if first_step is not None:
            bar.n = round(min(seconds, time.monotonic() - first_step), 1)
        bar.refresh()
        if first_step is None and (out / "metrics.jsonl").exists():
            first_step = time.monotonic()
        if first_step is not None and time.monotonic() - first_step > seconds:
            os.kill(child, signal.SIGINT)
            _, status, usage = os.wait4(child, 0)
            break
        time.sleep(0.1)
    bar.close()
    kilo = 1e6 if sys.platform == "darwin" else 1e3
    lines = log.read_text(errors="replace").strip().splitlines() or [f"status {status}"]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        lines.append(f"killed at {usage.ru_maxrss / kilo:.0f} MB, probably for memory")
    return usage.ru_maxrss / kilo, lines[-1]


def _step_seconds(metrics: Path, config: RunConfig) -> list[float]:
    """Seconds of each step after the warm-up, from the logged throughput."""
    if not metrics.exists():
        return []
    lines = [line for line in read_metrics(metrics) if "losses" in line]
    if isinstance(config, CodecTrainConfig):
        audio = config.batch_size * config.segment_seconds
        times = [audio / line["audio_seconds_per_second"] for line in lines]
    else:
        times = [line["targets"] / line["targets_per_second"] for line in lines]
    return times[_WARM_UP:] or times[-1:]


def plan_table(run: RecipeRun, costs: dict[str, StageCost | str]) -> str:
    """Costs as a table of text."""
    lines = [
        f"{'stage':16} {'parameters':>11} {'steps':>8} {'s/step':>8} {'hours':>8} {'memory':>9}"
        f" {'checkpoint':>11}"
    ]
    total = 0.0
    for name, cost in costs.items():
        if isinstance(cost, str):
            lines.append(f"{name:16} not measured: {cost}")
            continue
        total += cost.hours
        lines.append(
            f"{name:16} {cost.parameters:9.1f} M {cost.steps:8d} {cost.seconds_per_step:8.2f}"
            f" {cost.hours:8.2f} {cost.memory_mb:6.0f} MB {cost.checkpoint_mb:8.0f} MB"
        )
    others = [stage.name for stage in run.stages if stage.config is None]
    lines.append(f"all trainings: {total:.2f} h on this machine, by a probe of each")
    if others:
        lines.append(f"not in it, because they depend on the audio: {', '.join(others)}")
    lines.append("disk: checkpoints as above, decoded audio 173 MB an hour, tokens 0.3 MB an hour")
    return "\n".join(lines)
