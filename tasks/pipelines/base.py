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
import torch.nn.functional as F

from ...codec.tokens import AudioTokens
from ...core.runtime import choose_dtype, find_device
from ...lm.generation.output import GeneratedRow
from ...lm.generation.sampling import SamplingConfig
from ...lm.lora import spare_modules
from ...lm.model import AudioLM
from ...lm.patterns import layout
from ...lm.processor import AudioLMProcessor
from ...lm.prompt_builder import PromptOptions, error_context
from ...lm.quantized import KINDS, between, quantize
from ...lm.sequences import IGNORED, collate
from ...lm.sequences import Sequence as Rows
from ...lm.text.encoder import TextEncoder
from ...lm.vocabulary import Vocabulary
from ..base import Limits, Task, get_task
from .beams import beam_settings, guidance_scale, in_views, num_views
from .options import DEFAULT, GenerationOptions

# By slot: texts, AudioTokens, paths, samples. `begin` (AudioTokens) is how an audio target begins,
# and `begin_text` what is said in it: the model goes on as if it had said that itself.
Fields = Mapping[str, Any]
BEGIN, BEGIN_TEXT = "begin", "begin_text"


@dataclass(frozen=True)
class TaskOutput:
    """One target."""

    row: GeneratedRow
    tokens: AudioTokens | None  # of an audio target
    text: str | None  # of a text target
    seconds: float  # of computing, its share of the batch


@dataclass
class AudioLMPipeline:
    """A language model and all that it takes to run it."""

    lm: AudioLM
    processor: AudioLMProcessor

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        adapter: str | os.PathLike[str] | None = None,
        device: str | torch.device = "auto",
        dtype: str = "auto",
    ) -> AudioLMPipeline:
        """Load a folder.

        Args:
            folder: with `lm/` and `codec/`, the run folder of a training, or that of the language
                model itself.
            adapter: folder of an adapter of this model.
            device: "auto" (an accelerator if there is one), "cpu", "cuda", "mps".
            dtype: of the language model's weights: "auto" (core/runtime.py), "float32",
                "bfloat16", "float16", or on a CPU "int8" or "int4"; with these no adapter can be
                put on later. The codec makes sound in it, too (with "int8" in float32, with "int4"
                in bfloat16 where that is native), but codes in float32.

        Raises:
            ValueError: if there is no checkpoint or no such device, or if the folder holds adapters
                of single tasks (`adapters/TASK/`).
        """
        root = Path(folder)
        if any(root.glob("adapters/*/adapter.json")):
            raise ValueError(
                f"{root / 'adapters'} holds adapters of single tasks, which are not supported: "
                f"move them out of the folder and load the one that you need (--adapter, adapter=)"
            )
        places = [root / name for name in ("lm", "lm/model", "model", ".")]
        place = next((one for one in places if (one / "config.json").is_file()), None)
        if place is None:
            raise ValueError(
                f"no checkpoint of a language model in {folder}: expected lm/config.json (and "
                f"codec/config.json), or the run folder of 'almtok lm train'"
            )
        codecs = [root / name for name in ("codec", "codec/model")]
        codec = next((one for one in codecs if (one / "config.json").is_file()), None)
        processor = AudioLMProcessor.from_pretrained(place, codec)
        where = find_device(device)
        floats = between(dtype) if dtype in KINDS else choose_dtype(dtype, where, place)
        lm = AudioLM.from_pretrained(place, dtype=floats).eval().to(where)
        processor.audio_tokenizer.to(where).decode_in(floats)
        bundle = cls(lm, processor)
        if adapter is not None:
            bundle.load_adapter(adapter)
        if dtype in KINDS:
            quantize(lm, *spare_modules(lm), kind=dtype)
        return bundle

    def load_adapter(self, folder: str | os.PathLike[str], name: str = "default") -> None:
        """Put an adapter of 'almtok lm finetune' onto the model and use it.

        Several can be loaded under names of their own and switched by `almtok.lm.lora.use_adapter`.

        Raises:
            ValueError: if it was made for another model.
        """
        from ...lm.lora import load_adapter

        load_adapter(self.lm, folder, name)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the folder: `lm/` with the processor, `codec/`."""
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
        controls: GenerationOptions = DEFAULT,
        progress: Callable[[int], Any] | None = None,
    ) -> list[TaskOutput]:
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
        made: list[TaskOutput] = []
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
        controls: GenerationOptions = DEFAULT,
    ) -> dict[str, Any]:
        """Arguments of `AudioLM.generate` for some prompts, but for the seeds."""
        task = get_task(task) if isinstance(task, str) else task
        every, many = in_views(rows)
        batch = self._rows(task, every, controls)
        lengths = seconds or [None] * len(rows)
        limits = [
            self._limits(task, row, length, controls)
            for row, length in zip(rows, lengths, strict=True)
        ]
        return {
            "input_ids": batch["input_ids"].to(self.lm.device),
            "attention_mask": batch["attention_mask"].to(self.lm.device),
            "compile": controls.compile,
            **self._options(task, controls, many),
            **{
                field.name: [getattr(limit, field.name) for limit in limits]
                for field in dataclasses.fields(Limits)
            },
        }

    def tokens(
        self,
        audio: Any,
        *,
        controls: GenerationOptions = DEFAULT,
        voice: bool = False,
        lead: int = 0,
    ) -> AudioTokens:
        """Tokens of an audio file, of samples or of tokens, in the codec of this model.

        With `lead`, so many samples of silence are put before it.

        Raises:
            ValueError: for audio that cannot be used; with `voice` also for silence and snippets.
        """
        source = self.processor.composer.audio
        w = self.window(controls, audio if isinstance(audio, AudioTokens) else None)
        return source.tokens(audio, frames_per_query=w, voice=voice, lead=lead)

    def views(
        self, audio: Any, task: str, *, controls: GenerationOptions = DEFAULT
    ) -> list[AudioTokens]:
        """The audio in as many encodings as the task listens to; tokens have only their own.

        From view to view windows begin a little earlier, so what one of them cuts is whole in
        another.
        """
        given = audio if isinstance(audio, AudioTokens) else None
        count = 1 if given is not None else num_views(get_task(task), controls, self.lm.config)
        window = self.window(controls, given)
        samples = self.codec.config.hop_length * window
        leads = [view * samples // count for view in range(count)]
        return [self.tokens(audio, controls=controls, lead=lead) for lead in leads]

    def save(self, made: Any, path: str | os.PathLike[str]) -> None:
        """Decode what was made (tokens, or a result with tokens), and write it as audio."""
        tokens = made if isinstance(made, AudioTokens) else made.tokens
        if tokens is None:
            raise ValueError(f"there is no audio to write to {path}")
        self.processor.save_audio(self.decode(tokens), path)

    def decode(self, tokens: AudioTokens) -> torch.Tensor:
        """Samples `[S]` of tokens."""
        return self.codec.detokenize(tokens).float().cpu()

    def heard(self, tokens: AudioTokens) -> AudioTokens:
        """The codes of what codes sound like: what whoever listens gets."""
        sound = {"array": self.decode(tokens), "sampling_rate": self.sample_rate}
        source = self.processor.composer.audio
        return source.tokens(sound, frames_per_query=tokens.frames_per_query)

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

    def window(
        self, controls: GenerationOptions = DEFAULT, tokens: AudioTokens | None = None
    ) -> int:
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
        controls: GenerationOptions,
    ) -> list[TaskOutput]:
        start = time.perf_counter()
        arguments = self.prompt(task, rows, seconds=seconds, controls=controls)
        generation = self.lm.generate(**arguments, seeds=list(seeds))
        share = (time.perf_counter() - start) / len(rows)
        return [
            self.made(row, share, new_only=fields.get(BEGIN) is not None)
            for row, fields in zip(generation, rows, strict=True)
        ]

    def made(self, row: GeneratedRow, seconds: float, *, new_only: bool = False) -> TaskOutput:
        """A generated row for people.

        Args:
            row: of `AudioLM.generate`.
            seconds: of computing it.
            new_only: without the audio that it was given to begin with.
        """
        if row.kind == "text":
            return TaskOutput(row, None, self.texts.text(row.ids), seconds)
        if not new_only:
            return TaskOutput(row, self.processor.audio_tokens(row), None, seconds)
        tokens = self.processor.composer.audio.of_codes(row.content, row.frames_per_query)
        return TaskOutput(row, tokens, None, seconds)

    def _rows(
        self, task: Task, rows: Sequence[Fields], controls: GenerationOptions
    ) -> dict[str, torch.Tensor]:
        """Prompts, padded on the left: `input_ids` `[B, L, 1+K]` and `attention_mask` `[B, L]`."""
        prompts = []
        for number, row in enumerate(rows):
            with error_context(f"row {number}" if len(rows) > 1 else task.name):
                prompts.append(self._prompt(task, row, controls))
        nothing = [Rows(one, torch.full_like(one, IGNORED)) for one in prompts]
        return collate(nothing, self.lm.config, "left")

    def _prompt(self, task: Task, row: Fields, controls: GenerationOptions) -> torch.Tensor:
        """One prompt `[L, 1+K]`, with the target's beginning if there is one."""
        fields = {name: value for name, value in row.items() if value is not None}
        begin, said = fields.pop(BEGIN, None), fields.pop(BEGIN_TEXT, None)
        if said is not None:
            fields["text"] = f"{said} {fields['text']}"
        w = controls.frames_per_query if begin is None else begin.frames_per_query
        reading = PromptOptions(frames_per_query=w, language=controls.language)
        composer = self.processor.composer
        prompt = composer.prompt(task.name, fields, reading)
        if begin is None:
            return prompt
        checked = composer.audio.tokens(begin, frames_per_query=begin.frames_per_query)
        grid = layout(self.lm.config).apply(checked.codes, ended=False)  # [R, K]
        empty = Vocabulary(self.lm.config).text_empty
        return torch.cat([prompt, F.pad(grid, (1, 0), value=empty)])

    def _options(self, task: Task, controls: GenerationOptions, views: int = 1) -> dict[str, Any]:
        given: dict[str, Any] = controls.sampling

        def changed(config: SamplingConfig) -> SamplingConfig:
            return dataclasses.replace(config, **given)

        special = set(self.processor.tokenizer.all_special_ids) - {self.texts.eos_id}
        return {
            "target": task.layout.target.kind,
            "eos_id": self.texts.eos_id,
            "audio_sampling": tuple(map(changed, task.sampling(self.lm.config.num_codebooks))),
            "text_sampling": changed(task.text_sampling),
            "guidance_scale": guidance_scale(task, controls, self.lm.config),
            "beam": beam_settings(task, controls, self.lm.config, views),
            "forbidden_text_ids": sorted(special),
        }

    def _limits(
        self, task: Task, row: Fields, seconds: float | None, controls: GenerationOptions
    ) -> Limits:
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
