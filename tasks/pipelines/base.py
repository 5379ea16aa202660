"""AudioLMPipeline: a language model, its processor and its codec, loaded from one folder.

    FOLDER/lm/      config.json, model.safetensors, the tokenizer, processor_config.json
    FOLDER/codec/   config.json, model.safetensors

Shapes: `S` samples, `w` frames per query.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from ...codec.tokens import AudioTokens
from ...core.files import link_or_copy, replaced_folder
from ...core.hub import hub_folder, is_hub_id
from ...core.reading import reading
from ...core.runtime import choose_dtype, find_device
from ...lm.config import AudioLMConfig
from ...lm.generation.output import GeneratedRow
from ...lm.lora import load_adapter
from ...lm.model import AudioLM
from ...lm.patterns import layout
from ...lm.processor import AudioLMProcessor
from ...lm.quantize import KINDS, activation_dtype, quantize
from ...lm.text.encoder import TextEncoder
from ..base import Task, get_task
from .arguments import (
    PREFIX,
    AdapterNames,
    Fields,
    adapter_per_request,
    check_one_per_request,
    generation_arguments,
    num_encodings,
)
from .options import DEFAULT, GenerationOptions
from .outputs import TaskOutput


@dataclass
class AudioLMPipeline:
    """Runs any task of a language model; the other pipelines wrap it."""

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
        """Load a checkpoint.

        Args:
            folder: a folder with `lm/` and `codec/`, the run folder of a training, the folder of
                the language model itself, or a hub id with such a folder, `org/name@revision`.
            adapter: folder of a LoRA adapter of this model.
            device: "auto" (an accelerator if there is one), "cpu", "cuda", "mps".
            dtype: of the language model's weights: "auto" (core/runtime.py), "float32", "bfloat16",
                "float16"; on a CPU also "int8" and "int4", to which no adapter can be added later.
                The codec decodes in this precision ("int8": float32; "int4": bfloat16 where that is
                native) and always encodes in float32.

        Raises:
            ValueError: if there is no checkpoint, no codec or no such device, or if the folder
                holds adapters of single tasks (`adapters/TASK/`).
            OSError: if a hub id cannot be downloaded.
        """
        text = os.fspath(folder)
        root = Path(hub_folder(text) if is_hub_id(text) else text)
        if any(root.glob("adapters/*/adapter*.json")):
            raise ValueError(
                f"{root / 'adapters'} holds adapters of single tasks, which are not supported: "
                f"move them out of the folder and load the one that you need (--adapter, adapter=)"
            )
        place = _language_model(root)
        codec = _first_checkpoint(root, "codec/model", "codec")
        processor = AudioLMProcessor.from_pretrained(place, codec)
        if processor.audio_input.source is None:
            raise ValueError(
                f"no codec beside the language model in {place}: expected {root / 'codec'}, or a"
                " folder that its processor_config.json names"
            )
        where = find_device(device)
        floats = activation_dtype(dtype) if dtype in KINDS else choose_dtype(dtype, where, place)
        lm = AudioLM.from_pretrained(place, dtype=floats).eval().to(where)
        processor.config.tasks = lm.config.tasks  # one list: adapters may add tasks
        processor.config.voices = lm.config.voices
        processor.config.supports_cloning = lm.config.supports_cloning
        processor.audio_tokenizer.to(where).decode_in(floats)
        pipeline = cls(lm, processor)
        if adapter is not None:
            pipeline.load_adapter(adapter)
        if dtype in KINDS:
            quantize(lm, kind=dtype)
        return pipeline

    @staticmethod
    def config_of(folder: str | os.PathLike[str]) -> AudioLMConfig:
        """Read the configuration of the language model of a checkpoint, without its weights.

        Raises:
            ValueError: if there is no checkpoint, or its configuration is damaged.
        """
        place = _language_model(Path(folder))
        with reading(place):
            return AudioLMConfig.from_pretrained(place)

    def load_adapter(self, folder: str | os.PathLike[str], name: str = "default") -> None:
        """Load a LoRA adapter and activate it.

        Several adapters can be loaded under different names: give the name to each request
        (`adapter`), or switch with `almtok.lm.lora.use_adapter`.

        Raises:
            ValueError: if it was trained on another model.
        """
        load_adapter(self.lm, folder, name)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write a checkpoint: `lm/` with the processor, and `codec/`.

        An existing checkpoint is replaced as a whole; other files of the folder are kept.
        """
        place = Path(folder)
        with replaced_folder(place) as aside:
            for other in place.iterdir() if place.is_dir() else ():
                if other.name not in ("lm", "codec"):
                    link_or_copy(other, aside / other.name)
            self.lm.save_pretrained(aside / "lm")
            self.processor.save_pretrained(aside / "lm", include_codec=False)
            self.processor.audio_tokenizer.save_pretrained(aside / "codec")

    # ------------------------------------------------------------------ running tasks

    def run(
        self,
        task: str | Task,
        rows: Sequence[Fields],
        *,
        seed: int = 0,
        seeds: Sequence[int] | None = None,
        seconds: float | Sequence[float | None] | None = None,
        options: GenerationOptions = DEFAULT,
        adapter: AdapterNames = None,
        progress: Callable[[int], Any] | None = None,
    ) -> list[TaskOutput]:
        """Run a task on prompts, in batches of `options.batch_size`.

        The output of a prompt does not depend on the other prompts.

        Args:
            task: a task or its name.
            rows: the conditions of each prompt, by slot.
            seed: row i is sampled with `seed + i`.
            seeds: instead, a seed for each row.
            seconds: duration of the audio condition, or the longest audio target; for all rows, or
                for each.
            options: these replace defaults of the task.
            adapter: name of a loaded adapter for all prompts, or for each; None: the active one.
            progress: called with the number of finished prompts after each batch.

        Raises:
            ValueError: for fields that the task does not take or cannot use.
        """
        task = get_task(task) if isinstance(task, str) else task
        for row in rows:
            if not isinstance(row, Mapping):
                raise ValueError(f"rows must be mappings of fields by slot, got {row!r:.80}")
        seeds = [seed + number for number in range(len(rows))] if seeds is None else list(seeds)
        lengths = list(seconds) if isinstance(seconds, Sequence) else [seconds] * len(rows)
        check_one_per_request("seeds", seeds, len(rows))
        check_one_per_request("seconds", lengths, len(rows))
        adapters = adapter_per_request(adapter, len(rows))
        outputs: list[TaskOutput] = []
        for first in range(0, len(rows), options.batch_size):
            part = slice(first, first + options.batch_size)
            outputs += self._run_batch(
                task, rows[part], seeds[part], lengths[part], options, adapters[part]
            )
            if progress is not None:
                progress(len(outputs))
        return outputs

    def prompt(
        self,
        task: str | Task,
        rows: Sequence[Fields],
        *,
        seconds: Sequence[float | None] | None = None,
        options: GenerationOptions = DEFAULT,
    ) -> dict[str, Any]:
        """Arguments of `AudioLM.generate` for one batch of prompts, without seeds."""
        task = get_task(task) if isinstance(task, str) else task
        return generation_arguments(self, task, rows, seconds or [None] * len(rows), options)

    def to_output(
        self, row: GeneratedRow, seconds: float, *, without_prefix: bool = False
    ) -> TaskOutput:
        """Convert a row of `AudioLM.generate` to text or tokens.

        Args:
            row: the generated row.
            seconds: compute time.
            without_prefix: leave out the audio that the target was given to begin with.
        """
        if row.kind == "text":
            return TaskOutput(row, None, self.text_encoder.decode(row.ids), seconds)
        if not without_prefix:
            return TaskOutput(row, self.processor.audio_tokens(row), None, seconds)
        tokens = self.processor.audio_input.from_codes(row.content, row.frames_per_query)
        return TaskOutput(row, tokens, None, seconds)

    # ------------------------------------------------------------------ audio and tokens

    def tokens(
        self,
        audio: Any,
        *,
        options: GenerationOptions = DEFAULT,
        voice: bool = False,
        lead: int = 0,
    ) -> AudioTokens:
        """Encode audio with the codec of the model.

        Args:
            audio: a path, bytes, samples `[S]`, a mapping with `array` and `sampling_rate`, or
                tokens, which are checked.
            options: of these `frames_per_query` is used.
            voice: refuse audio that is silent or too short for a voice reference.
            lead: samples of silence to put before the audio.

        Raises:
            ValueError: for audio that cannot be used, or tokens of another codec.
        """
        source = self.processor.audio_input
        w = self.frames_per_query(options, audio if isinstance(audio, AudioTokens) else None)
        return source.tokens(audio, frames_per_query=w, voice=voice, lead=lead)

    def shifted_encodings(
        self, audio: Any, task: str, *, options: GenerationOptions = DEFAULT
    ) -> list[AudioTokens]:
        """Encode audio as often as the task's beam search uses it; tokens are returned alone.

        With n encodings, encoding i has i / n of a codec window of silence before it, so that what
        a window boundary cuts in one encoding is whole in another.
        """
        tokens = audio if isinstance(audio, AudioTokens) else None
        count = 1 if tokens is not None else num_encodings(get_task(task), options, self.lm.config)
        samples = self.codec.config.hop_length * self.frames_per_query(options, tokens)
        leads = [number * samples // count for number in range(count)]
        return [self.tokens(audio, options=options, lead=lead) for lead in leads]

    def decode(self, tokens: AudioTokens) -> torch.Tensor:
        """Decode tokens to samples `[S]`, float32 on the CPU."""
        return self.codec.detokenize(tokens).float().cpu()

    def reencode(self, tokens: AudioTokens) -> AudioTokens:
        """Decode tokens and encode the waveform again."""
        sound = {"array": self.decode(tokens), "sampling_rate": self.sample_rate}
        source = self.processor.audio_input
        return source.tokens(sound, frames_per_query=tokens.frames_per_query)

    def join(self, parts: Sequence[AudioTokens]) -> AudioTokens:
        """Concatenate tokens of one frame rate."""
        codes = torch.cat([part.codes for part in parts], dim=1)
        return self.processor.audio_input.from_codes(codes, parts[0].frames_per_query)

    def cut(self, tokens: AudioTokens, start: int, stop: int) -> AudioTokens:
        """Frames `start:stop` of tokens."""
        codes = tokens.codes[:, start:stop].contiguous()
        return self.processor.audio_input.from_codes(codes, tokens.frames_per_query)

    def save(self, audio: Any, path: str | os.PathLike[str]) -> None:
        """Decode tokens, or an output with tokens, and write an audio file.

        Raises:
            ValueError: if the output is a text.
        """
        tokens = audio if isinstance(audio, AudioTokens) else audio.tokens
        if tokens is None:
            raise ValueError(f"the output has no audio to write to {path}")
        self.processor.save_audio(self.decode(tokens), path)

    # ------------------------------------------------------------------ properties

    @property
    def codec(self) -> Any:
        """The codec."""
        return self.processor.audio_tokenizer

    @property
    def text_encoder(self) -> TextEncoder:
        """Encodes texts in the text form of the model."""
        return self.processor.text_encoder

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.codec.sample_rate

    def frames_per_query(
        self, options: GenerationOptions = DEFAULT, tokens: AudioTokens | None = None
    ) -> int:
        """`w` of the tokens, else of the options, else the codec's default."""
        if tokens is not None:
            return tokens.frames_per_query
        return options.frames_per_query or self.processor.audio_input.default_frames_per_query

    def frame_rate(self, w: int) -> float:
        """Frames of codes per second, in Hz."""
        return self.codec.sample_rate / (self.codec.config.hop_length * w)

    def capacity_seconds(self, share: float, w: int) -> float:
        """Seconds of audio that fill this share of the model's positions."""
        rows = layout(self.lm.config).stride
        return self.lm.config.max_positions * share / (rows * self.frame_rate(w))

    # ------------------------------------------------------------------ internals

    def _run_batch(
        self,
        task: Task,
        rows: Sequence[Fields],
        seeds: Sequence[int],
        seconds: Sequence[float | None],
        options: GenerationOptions,
        adapters: Sequence[str | None],
    ) -> list[TaskOutput]:
        start = time.perf_counter()
        arguments = self.prompt(task, rows, seconds=seconds, options=options)
        generated = self.lm.generate(**arguments, seeds=list(seeds), adapter_names=adapters)
        share = (time.perf_counter() - start) / len(rows)
        return [
            self.to_output(row, share, without_prefix=fields.get(PREFIX) is not None)
            for row, fields in zip(generated, rows, strict=True)
        ]


@dataclass(frozen=True)
class TaskPipeline:
    """Base of the pipelines of single tasks: they can share one loaded :class:`AudioLMPipeline`."""

    pipeline: AudioLMPipeline
    options: GenerationOptions = DEFAULT

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        options: GenerationOptions = DEFAULT,
        **loading: Any,
    ) -> Self:
        """Load a checkpoint; arguments as of :meth:`AudioLMPipeline.from_pretrained`."""
        return cls(AudioLMPipeline.from_pretrained(folder, **loading), options)


def as_list(items: Any) -> list[Any]:
    """The items as a list: one string or path is one item, not its letters."""
    return [items] if isinstance(items, str | bytes | os.PathLike) else list(items)


def _language_model(root: Path) -> Path:
    """The folder of the language model of a checkpoint."""
    place = _first_checkpoint(root, "lm/model", "lm", "model", ".")
    if place is None:
        raise ValueError(
            f"no checkpoint of a language model in {root}: expected lm/config.json (and "
            f"codec/config.json), or the run folder of 'almtok lm train'"
        )
    return place


def _first_checkpoint(root: Path, *names: str) -> Path | None:
    """The first of these folders with a config.json; a run folder has one beside `model/`."""
    folders = [root / name for name in names]
    return next((folder for folder in folders if (folder / "config.json").is_file()), None)
