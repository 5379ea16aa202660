"""One folder with everything: the language model, its processor and the codec.

    FOLDER/lm/      config.json, model.safetensors, the tokenizer, processor_config.json
    FOLDER/codec/   config.json, model.safetensors

Letters: `K` codebooks, `Q` frames of codes, `w` frames per query.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..codec.tokens import AudioTokens
from ..lm.generation import GeneratedRow
from ..lm.model import AudioLM
from ..lm.patterns import layout
from ..lm.processor import AudioLMProcessor
from ..lm.sampling import SamplingConfig
from ..lm.text.encoder import TextEncoder
from .base import Limits, Task, get_task
from .controls import DEFAULT, Controls

Fields = Mapping[str, Any]  # by slot: texts, AudioTokens, paths, samples


@dataclass(frozen=True)
class Made:
    """One target."""

    row: GeneratedRow
    tokens: AudioTokens | None  # of an audio target
    text: str | None  # of a text target
    seconds: float  # of computing, its share of the batch


@dataclass
class Bundle:
    """A language model and all that it takes to run it."""

    lm: AudioLM
    processor: AudioLMProcessor

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, device: str = "cpu", dtype: str = "float32"
    ) -> Bundle:
        """Load a folder.

        Args:
            folder: with `lm/` and `codec/`, or that of the language model itself.
            device: "cpu", "cuda", "mps".
            dtype: of the language model's weights.

        Raises:
            ValueError: if there is no checkpoint, with what was looked for.
        """
        place = Path(folder) / "lm"
        place = place if (place / "config.json").is_file() else Path(folder)
        if not (place / "config.json").is_file():
            raise ValueError(
                f"no checkpoint of a language model in {folder}: expected lm/config.json (and "
                f"codec/config.json), as 'almtok train lm' writes them"
            )
        processor = AudioLMProcessor.from_pretrained(place)
        lm = AudioLM.from_pretrained(place, dtype=getattr(torch, dtype)).eval().to(device)
        bundle = cls(lm, processor)
        processor.audio_tokenizer.to(device)
        return bundle

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the folder: `lm/` with the processor, and `codec/` beside it."""
        place = Path(folder)
        self.lm.save_pretrained(place / "lm")
        self.processor.save_pretrained(place / "lm", include_codec=False)
        self.processor.audio_tokenizer.save_pretrained(place / "codec")

    # ------------------------------------------------------------------ running tasks

    def run(
        self,
        task: str | Task,
        rows: Sequence[Fields],
        *,
        seed: int = 0,
        seeds: Sequence[int] | None = None,
        seconds: float | Sequence[float | None] | None = None,
        controls: Controls = DEFAULT,
        progress: Callable[[int], Any] | None = None,
    ) -> list[Made]:
        """Do one task for many prompts.

        Args:
            task: or its name.
            rows: conditions of each prompt, by slot.
            seed: row i has `seed + i`.
            seeds: one for each row, instead.
            seconds: of the audio given or wanted, which bounds the target; one or one for each.
            controls: over the task's defaults.
            progress: told how many prompts are done.

        Raises:
            ValueError: for fields that the task does not take, or cannot use.
        """
        task = get_task(task) if isinstance(task, str) else task
        seeds = [seed + number for number in range(len(rows))] if seeds is None else list(seeds)
        lengths = list(seconds) if isinstance(seconds, Sequence) else [seconds] * len(rows)
        made: list[Made] = []
        for first in range(0, len(rows), controls.batch_size):
            part = slice(first, first + controls.batch_size)
            made += self._run_batch(task, rows[part], seeds[part], lengths[part], controls)
            if progress is not None:
                progress(len(made))
        return made

    def prompt(
        self,
        task: str | Task,
        rows: Sequence[Fields],
        *,
        seconds: Sequence[float | None] | None = None,
        controls: Controls = DEFAULT,
    ) -> dict[str, Any]:
        """Arguments of `AudioLM.generate` for some prompts, but for the seeds."""
        task = get_task(task) if isinstance(task, str) else task
        names = {name for row in rows for name, value in row.items() if value is not None}
        columns: dict[str, Any] = {name: [row.get(name) for row in rows] for name in sorted(names)}
        columns |= {
            "frames_per_query": controls.frames_per_query,
            "language": controls.language,
        }
        batch = self.processor(task=[task.name] * len(rows), **columns)
        lengths = seconds or [None] * len(rows)
        limits = [
            self._limits(task, row, length, controls)
            for row, length in zip(rows, lengths, strict=True)
        ]
        return {
            "input_ids": batch["input_ids"].to(self.lm.device),
            "attention_mask": batch["attention_mask"].to(self.lm.device),
            **self._options(task, controls),
            **{
                field.name: [getattr(limit, field.name) for limit in limits]
                for field in dataclasses.fields(Limits)
            },
        }

    def tokens(
        self, audio: Any, *, controls: Controls = DEFAULT, voice: bool = False
    ) -> AudioTokens:
        """Tokens of an audio file, of samples or of tokens, in the codec of this model.

        Raises:
            ValueError: for audio that cannot be used; with `voice` also for silence and snippets.
        """
        source = self.processor.composer.audio
        w = self.window(controls, audio if isinstance(audio, AudioTokens) else None)
        return source.tokens(audio, frames_per_query=w, voice=voice)

    def save(self, made: Any, path: str | os.PathLike[str]) -> None:
        """Decode what was made (tokens, or a result with tokens), and write it as audio."""
        tokens = made if isinstance(made, AudioTokens) else made.tokens
        if tokens is None:
            raise ValueError(f"there is no audio to write to {path}")
        self.processor.save_audio(self.decode(tokens), path)

    def decode(self, tokens: AudioTokens) -> torch.Tensor:
        """Samples `[S]` of tokens."""
        return self.codec.detokenize(tokens).float().cpu()

    def join(self, parts: Sequence[AudioTokens]) -> AudioTokens:
        """One audio of several of one rate, each as long as its frames."""
        codes = torch.cat([part.codes for part in parts], dim=1)
        return self.processor.composer.audio.of_codes(codes, parts[0].frames_per_query)

    def cut(self, tokens: AudioTokens, start: int, stop: int) -> AudioTokens:
        """Frames `start .. stop` of an audio."""
        codes = tokens.codes[:, start:stop].contiguous()
        return self.processor.composer.audio.of_codes(codes, tokens.frames_per_query)

    # ------------------------------------------------------------------ facts

    @property
    def codec(self) -> Any:
        """The codec."""
        return self.processor.audio_tokenizer

    @property
    def texts(self) -> TextEncoder:
        """Texts to ids, in the form of this model."""
        return self.processor.composer.texts

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.codec.sample_rate

    def window(self, controls: Controls = DEFAULT, tokens: AudioTokens | None = None) -> int:
        """Frames per query: of tokens, as asked for, or the codec's own."""
        if tokens is not None:
            return tokens.frames_per_query
        return controls.frames_per_query or self.processor.composer.audio.window()

    def frame_rate(self, w: int) -> float:
        """Frames of codes per second."""
        return self.codec.sample_rate / (self.codec.config.hop_length * w)

    def seconds_of_room(self, share: float, w: int) -> float:
        """Seconds of audio that fill a share of the model's positions."""
        rows = layout(self.lm.config).stride
        return self.lm.config.max_positions * share / (rows * self.frame_rate(w))

    # ------------------------------------------------------------------ inner works

    def _run_batch(
        self,
        task: Task,
        rows: Sequence[Fields],
        seeds: Sequence[int],
        seconds: Sequence[float | None],
        controls: Controls,
    ) -> list[Made]:
        start = time.perf_counter()
        arguments = self.prompt(task, rows, seconds=seconds, controls=controls)
        generation = self.lm.generate(**arguments, seeds=list(seeds))
        share = (time.perf_counter() - start) / len(rows)
        return [self.made(row, share) for row in generation]

    def made(self, row: GeneratedRow, seconds: float) -> Made:
        """A generated row for people; `seconds` of computing it."""
        if row.kind == "text":
            return Made(row, None, self.texts.text(row.ids), seconds)
        return Made(row, self.processor.audio_tokens(row), None, seconds)

    def _options(self, task: Task, controls: Controls) -> dict[str, Any]:
        given: dict[str, Any] = controls.sampling

        def changed(config: SamplingConfig) -> SamplingConfig:
            return dataclasses.replace(config, **given)

        special = set(self.processor.tokenizer.all_special_ids) - {self.texts.eos_id}
        scale = controls.guidance_scale
        return {
            "target": task.layout.target.kind,
            "eos_id": self.texts.eos_id,
            "audio_sampling": tuple(map(changed, task.sampling(self.lm.config.num_codebooks))),
            "text_sampling": changed(task.text_sampling),
            "guidance_scale": task.guidance_scale if scale is None else scale,
            "forbidden_text_ids": sorted(special),
        }

    def _limits(self, task: Task, row: Fields, seconds: float | None, controls: Controls) -> Limits:
        tokens = [value for value in row.values() if isinstance(value, AudioTokens)]
        rate = self.frame_rate(self.window(controls, tokens[0] if tokens else None))
        slot = next((s for s in task.layout.conditions if s.spoken and s.required), None)
        text = ""
        if slot is not None:
            text = self.texts.form_of(row[slot.name], spoken=True, language=controls.language)
        limits = task.limits(text, frame_rate=rate, seconds=seconds)
        if controls.max_seconds is None:
            return limits
        most = max(1, round(controls.max_seconds * rate))
        return dataclasses.replace(
            limits,
            min_frames=min(limits.min_frames, most),
            max_frames=min(limits.max_frames, most),
        )
