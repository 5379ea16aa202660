"""AudioLMProcessor: texts and audio -> inputs of the model, and its outputs -> texts and audio.

    text  -TextEncoder-> ids        ┐
                                    ├─ layout of the task ─> rows [B, L, 1+K], padded on the left
    audio -codec-> codes [K, Q]     ┘
    waveforms [S], strings <─ codec, tokenizer ─ Generation

Shapes: `B` batch, `L` rows, `K` codebooks, `Q` frames of codes, `S` samples, `w` frames per query.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from ..codec.model import ALMTokenizer
from ..codec.tokens import AudioTokens
from ..core.audio import write_audio
from ..core.reading import reading
from .audio_input import AudioInput
from .chat import Conversation, Part, default_task, is_batch, read_parts, to_string
from .config import AudioLMConfig
from .feature_extractor import AudioLMFeatureExtractor
from .generation.output import PADDING, GeneratedRow
from .processor_files import read_processor, write_codec, write_processor
from .prompt_builder import (
    PromptBuilder,
    PromptOptions,
    collate_prompts,
    map_rows,
    rows_of,
    task_of,
)
from .sequences import Example, build_sequence, collate
from .text.encoder import TextEncoder, TextForm
from .text.tokenizer import check_vocabulary, load_tokenizer

logger = logging.getLogger(__name__)


class AudioLMProcessor(ProcessorMixin):
    """Converts texts and audio to inputs of the model, and its outputs to texts and audio.

    Example:
        >>> processor = AudioLMProcessor.from_pretrained("checkpoints/mini")  # doctest: +SKIP
        >>> batch = processor(task="tts", text=["Good morning!"])  # doctest: +SKIP
        >>> out = lm.generate(**batch, seed=0)  # doctest: +SKIP
        >>> processor.save_audio(processor.batch_decode(out), ["morning.wav"])  # doctest: +SKIP
    """

    def __init__(
        self,
        tokenizer: Any,
        config: AudioLMConfig,
        audio_tokenizer: ALMTokenizer | str | os.PathLike[str] | None = None,
        *,
        text_form: TextForm = "spoken",
        language: str | None = "en",
    ) -> None:
        """Create a processor.

        Args:
            tokenizer: tokenizer of the backbone.
            config: configuration of the language model.
            audio_tokenizer: the codec, or its folder or hub id, from which it is loaded when
                needed.
            text_form: text form that the model was trained on, see :class:`TextEncoder`.
            language: default language of texts.

        Raises:
            ValueError: if tokenizer, codec and model do not match.
        """
        check_vocabulary(tokenizer, config.vocab_size, config.tokenizer_fingerprint)
        _compare_eos(tokenizer, config)
        self.tokenizer = tokenizer
        self.config = config
        self.chat_template = None  # conversations become segments, not text: see chat.py
        self.text_encoder = TextEncoder(tokenizer, text_form, language)
        self.audio_input = AudioInput(config, audio_tokenizer)
        self.prompt_builder = PromptBuilder(config, self.text_encoder, self.audio_input)

    # ------------------------------------------------------------------ inputs of the model

    def __call__(  # type: ignore[override]
        self,
        text: str | Sequence[str | None] | None = None,
        audio: Any = None,
        *,
        task: str | Sequence[str] | None = None,
        target: Any = None,
        frames_per_query: int | None = None,
        sampling_rate: int | None = None,
        language: str | None = None,
        return_tensors: str = "pt",
        **slots: Any,
    ) -> BatchFeature:
        """Make a batch of prompts, or of training sequences if there are targets.

        A field is a list of B values, None for rows without it, or one value for all rows. The
        layout of a task (`tasks/builtin.py`) names its fields: tts takes text and `speaker=`, the
        name of a voice ("" for none; by default the model's first one), or `voice=`, a reference,
        with its transcript `voice_text=`; asr takes audio.

        Args:
            text: text to speak, or a description.
            audio: AudioTokens, paths, samples `[S]` or mappings with `array` and `sampling_rate`.
            task: for all rows, or for each; by default tts of text and asr of audio.
            target: training targets, texts or audio by the task.
            frames_per_query: w of all audio; by default that of the tokens, else the codec's.
            sampling_rate: Hz of samples; by default the codec's.
            language: of transcripts; by default the processor's.
            return_tensors: "pt".
            slots: other fields of the task.

        Returns:
            `input_ids` `[B, L, 1+K]` and `attention_mask` `[B, L]`, padded on the left; with
            targets also `labels` `[B, L, 1+K]`, and padding on the right.

        Raises:
            ValueError: for an unknown task or field, an empty text, audio that cannot be used, or a
                prompt that is too long; the message names the row and the field.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors must be 'pt', got {return_tensors!r}")
        options = PromptOptions(
            frames_per_query=frames_per_query, sampling_rate=sampling_rate, language=language
        )
        if task is None:
            task = task_of(text, audio)
        rows = rows_of({"task": task, "target": target, "text": text, "audio": audio, **slots})

        def make(row: dict[str, Any]) -> Any:
            name, row_target = row.pop("task"), row.pop("target", None)
            if target is None:
                return self.prompt_builder.prompt(name, row, options)
            if row_target is None:
                raise ValueError("target must be given for all rows or for none, got None")
            return self.prompt_builder.example(name, row, row_target, options)

        results = map_rows(make, rows)
        return self._collate_prompts(results) if target is None else self._collate_examples(results)

    def apply_chat_template(  # type: ignore[override]
        self,
        conversation: Conversation | Sequence[Conversation],
        *,
        task: str | None = None,
        tokenize: bool = True,
        return_dict: bool = True,
        output_labels: bool = False,
        frames_per_query: int | None = None,
        sampling_rate: int | None = None,
        language: str | None = None,
        add_generation_prompt: bool = True,
        return_tensors: str = "pt",
    ) -> Any:
        """Convert message lists to a batch, as `CsmProcessor` does.

        Args:
            conversation: one or several, see `lm/chat.py`. Turns with text and audio before the
                last one are voice references.
            task: by default tts if the last part is text, asr if it is audio.
            tokenize: False returns a string.
            return_dict: False returns only `input_ids`.
            output_labels: use the last part as training target.
            frames_per_query: as in :meth:`__call__`.
            sampling_rate: as in :meth:`__call__`.
            language: as in :meth:`__call__`.
            add_generation_prompt: must be True: a prompt ends with the opening of the target.
            return_tensors: "pt".

        Raises:
            ValueError: as in :meth:`__call__`, and for malformed messages.
        """
        if return_tensors != "pt" or not (add_generation_prompt or output_labels):
            raise ValueError(
                f"return_tensors must be 'pt' and add_generation_prompt True, got "
                f"{return_tensors!r} and {add_generation_prompt}"
            )
        batched = is_batch(conversation)
        conversations: list[Any] = list(conversation) if batched else [conversation]
        parts = map_rows(read_parts, conversations)
        prompts = [row[:-1] or row if output_labels else row for row in parts]
        tasks = [task or default_task(row) for row in prompts]
        if not tokenize:
            strings = [to_string(row, name) for row, name in zip(prompts, tasks, strict=True)]
            return strings if batched else strings[0]
        options = PromptOptions(
            frames_per_query=frames_per_query, sampling_rate=sampling_rate, language=language
        )
        builder = self.prompt_builder

        def make(row: tuple[list[Part], str]) -> Any:
            if output_labels:
                return builder.conversation_example(*row, options)
            return builder.conversation_prompt(*row, options)

        results = map_rows(make, list(zip(parts, tasks, strict=True)))
        batch = self._collate_examples(results) if output_labels else self._collate_prompts(results)
        return batch if return_dict else batch["input_ids"]

    # ------------------------------------------------------------------ outputs of the model

    def batch_decode(self, outputs: Iterable[GeneratedRow] | Tensor) -> list[Any]:
        """Decode generated rows: audio targets to waveforms `[S]`, text targets to strings.

        Args:
            outputs: output of `AudioLM.generate`, or its sequences: `[B, T]` or `[B, K, Q]`.
        """
        return [self.decode(row) for row in outputs]

    def decode(self, output: GeneratedRow | Tensor) -> Any:
        """One row of :meth:`batch_decode`; audio without a frame has no samples.

        A batch of codes `[B, K, Q]` is decoded to a list.
        """
        if isinstance(output, Tensor):
            if output.ndim == 3:
                return self.batch_decode(output)
            if output.ndim == 1:
                return self.text_encoder.decode(output)
            codes = output[:, (output != PADDING).all(dim=0)]
            w = self.audio_input.default_frames_per_query
            return self._waveform(self.audio_input.from_codes(codes, w) if len(codes[0]) else None)
        if output.kind == "text":
            return self.text_encoder.decode(output.ids)
        return self._waveform(self.audio_tokens(output))

    def _waveform(self, tokens: AudioTokens | None) -> Tensor:
        return torch.zeros(0) if tokens is None else self.audio_tokenizer.detokenize(tokens).cpu()

    def audio_tokens(self, output: GeneratedRow) -> AudioTokens | None:
        """Tokens of an audio target, input of the codec's decoder; None without frames.

        Raises:
            ValueError: if the target was text.
        """
        if output.codes is None:
            raise ValueError("the target of the row must be audio, got text")
        if not output.codes.shape[-1]:
            return None
        return self.audio_input.from_codes(output.codes, output.frames_per_query)

    def save_audio(
        self, audio: Any, paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    ) -> None:
        """Write waveforms `[S]` to files in the format of the suffix (.wav .flac .ogg .opus .mp3).

        Raises:
            ValueError: if there are not as many files as waveforms, or one has no samples.
        """
        files: list[Any] = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        waves = [audio] if getattr(audio, "ndim", 2) == 1 else list(audio)
        if len(waves) != len(files):
            raise ValueError(
                f"paths must be as many as the {len(waves)} waveforms, got {len(files)}"
            )
        for number, (wav, path) in enumerate(zip(waves, files, strict=True)):
            if not len(wav):
                raise ValueError(f"waveform {number} has no samples to write to {path}")
            write_audio(path, wav, self.sample_rate)

    # ------------------------------------------------------------------ folders

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        audio_tokenizer: ALMTokenizer | str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> AudioLMProcessor:
        """Load a processor; the weights of the codec are loaded when they are needed.

        Args:
            pretrained_model_name_or_path: a folder or hub id.
            audio_tokenizer: the codec or its folder, instead of the saved one.
            options: for the hub: revision, cache_dir, token, local_files_only, force_download.

        Raises:
            ValueError: if the folder holds no processor, a damaged one, or that of another model.
            OSError: if the folder cannot be read.
        """
        files = read_processor(pretrained_model_name_or_path, options, audio_tokenizer)
        tokenizer = load_tokenizer(files.folder)
        how: Any = {"text_form": files.text_form, "language": files.language}
        with reading(files.folder):
            return cls(tokenizer, files.config, files.codec, **how)

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | os.PathLike[str],
        push_to_hub: bool = False,
        *,
        include_codec: bool = True,
        **_: Any,
    ) -> None:
        """Write a folder that :meth:`from_pretrained` and `AutoProcessor` load.

        Args:
            save_directory: created if missing; may be the folder of the language model.
            push_to_hub: must be False; use :meth:`push_to_hub`.
            include_codec: also save the codec, to `codec/`.
        """
        if push_to_hub:
            raise ValueError("push_to_hub must be False: call push_to_hub(repo_id) to upload")
        os.makedirs(save_directory, exist_ok=True)
        self.tokenizer.save_pretrained(save_directory)
        values = self.to_dict()
        if include_codec and write_codec(
            save_directory, self.audio_input.loaded_codec, self.audio_input.source
        ):
            values["codec"] = None  # found in the folder
        write_processor(save_directory, values)

    def to_dict(self) -> dict[str, Any]:
        """Contents of `processor_config.json`."""
        return {
            "processor_class": type(self).__name__,
            "text_form": self.text_encoder.form,
            "language": self.text_encoder.language,
            "codec": self.audio_input.source,
            "lm": self.config.to_dict(),
            "feature_extractor": self.feature_extractor.to_dict(),
        }

    # ------------------------------------------------------------------ properties and internals

    @property
    def audio_tokenizer(self) -> ALMTokenizer:
        """The codec, loaded at the first access."""
        return self.audio_input.codec

    @property
    def feature_extractor(self) -> AudioLMFeatureExtractor:
        """Audio as prompts, for the pipelines of transformers."""
        return AudioLMFeatureExtractor(self.prompt_builder)

    @property
    def sample_rate(self) -> int:
        """Sample rate of decoded waveforms in Hz."""
        config = self.audio_input.codec_config
        return self.audio_tokenizer.sample_rate if config is None else config.sample_rate

    @property
    def model_input_names(self) -> list[str]:
        """Names of the inputs of `AudioLM.generate`."""
        return ["input_ids", "attention_mask"]

    @classmethod
    def get_attributes(cls) -> list[str]:
        """Sub-processors of `ProcessorMixin`."""
        return ["tokenizer"]

    def _collate_prompts(self, prompts: list[Tensor]) -> BatchFeature:
        return BatchFeature(collate_prompts(prompts, self.config))

    def _collate_examples(self, examples: list[Example]) -> BatchFeature:
        eos = self.text_encoder.eos_id
        rows = [build_sequence(example, self.config, eos_id=eos) for example in examples]
        for number, row in enumerate(rows):
            if len(row) > self.config.max_positions:
                raise ValueError(
                    f"row {number}: an example must have at most {self.config.max_positions} "
                    f"positions, got {len(row)}"
                )
        return BatchFeature(collate(rows, self.config, "right"))


def _compare_eos(tokenizer: Any, config: AudioLMConfig) -> None:
    """Warn if tokenizer and backbone have different end tokens."""
    eos_id = config.backbone.get_text_config().eos_token_id  # type: ignore[union-attr]
    eos_id = eos_id[0] if isinstance(eos_id, list) else eos_id
    if eos_id != tokenizer.eos_token_id:
        logger.warning(
            "the end token of the tokenizer is %s, that of the backbone %s: set "
            "config.backbone.eos_token_id, or pass eos_id to generate",
            tokenizer.eos_token_id, eos_id,
        )  # fmt: skip
