"""AudioLMProcessor: texts and audio -> rows for the model, and what it makes -> for people.

    text  -TextEncoder-> ids        ┐
                                    ├─ layout of the task ─> rows [B, L, 1+K], padded on the left
    audio -codec-> codes [K, Q]     ┘
    waveforms [S], strings <─ codec, tokenizer ─ Generation

Letters: `B` batch, `L` rows, `K` codebooks, `Q` frames of codes, `S` samples, `w` frames per query.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import AutoProcessor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from ..codec.model import ALMTokenizer
from ..codec.tokens import AudioTokens
from ..core.audio import write_audio
from .audio_input import AudioInput
from .chat import Conversation, Part, as_string, is_batch, read_parts, task_of
from .config import AudioLMConfig
from .generation.output import GeneratedRow
from .processor_files import read_processor, write_codec, write_processor
from .prompt_builder import PromptBuilder, PromptOptions, error_context
from .sequences import IGNORED, Example, build_sequence, collate
from .sequences import Sequence as Rows
from .text.encoder import TextEncoder, TextForm
from .text.tokenizer import load_tokenizer

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_R = TypeVar("_R")


class AudioLMProcessor(ProcessorMixin):
    """Makes the model's inputs from texts and audio, and texts and audio from its outputs.

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
        """Put a processor together.

        Args:
            tokenizer: of the backbone.
            config: of the language model.
            audio_tokenizer: the codec, or where it lies: then it is loaded when it is needed.
            text_form: see :class:`TextEncoder`; the same in training and ever after.
            language: of texts where nothing else is said.

        Raises:
            ValueError: if tokenizer, codec and model do not fit one another.
        """
        if len(tokenizer) > config.vocab_size:
            raise ValueError(
                f"the tokenizer has {len(tokenizer)} ids, the language model {config.vocab_size}"
            )
        _compare_ends(tokenizer, config)
        self.tokenizer = tokenizer
        self.config = config
        self.chat_template = None  # message lists are segments, not text: see chat.py
        texts, audio = (
            TextEncoder(tokenizer, text_form, language),
            AudioInput(config, audio_tokenizer),
        )
        self.composer = PromptBuilder(config, texts, audio)

    # ------------------------------------------------------------------ to the model

    def __call__(  # type: ignore[override]
        self,
        text: str | Sequence[str | None] | None = None,
        audio: Any = None,
        *,
        task: str | Sequence[str],
        target: Any = None,
        frames_per_query: int | None = None,
        sampling_rate: int | None = None,
        language: str | None = None,
        return_tensors: str = "pt",
        **slots: Any,
    ) -> BatchFeature:
        """Make a batch of prompts, or of training sequences if there are targets.

        Every field is one value or a list of B, None where a row has none; one value stands for
        all rows. The layout of a task (`tasks/builtin`) names its fields: tts takes text and, for a
        voice, `voice=` with its transcript `voice_text=`; asr takes audio.

        Args:
            text: what to say, or a description.
            audio: AudioTokens, paths, samples `[S]` or mappings with `array` and `sampling_rate`.
            task: one for all rows, or one for each.
            target: what is to be learned, text or audio by the task: then there are labels.
            frames_per_query: w of all audio; by default that of tokens given, else the codec's.
            sampling_rate: Hz of samples; by default the codec's.
            language: of spoken texts, if not the processor's.
            return_tensors: "pt".
            slots: the other fields of the task.

        Returns:
            `input_ids` `[B, L, 1+K]` and `attention_mask` `[B, L]`, padded on the left; with
            targets also `labels` `[B, L, 1+K]`, and padding on the right.

        Raises:
            ValueError: for an unknown task or field, an empty text, audio that cannot be used, a
                prompt longer than the model. The row and the field are named.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors must be 'pt'; came {return_tensors!r}")
        reading = PromptOptions(
            frames_per_query=frames_per_query, sampling_rate=sampling_rate, language=language
        )
        rows = _rows({"task": task, "target": target, "text": text, "audio": audio, **slots})

        def make(row: dict[str, Any]) -> Any:
            name, goal = row.pop("task"), row.pop("target", None)
            if target is None:
                return self.composer.prompt(name, row, reading)
            if goal is None:
                raise ValueError("target: none came, while other rows have one")
            return self.composer.example(name, row, goal, reading)

        made = _each(make, rows)
        return self._prompts(made) if target is None else self._examples(made)

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
        """Turn message lists into a batch, as `CsmProcessor` does.

        Args:
            conversation: one or several; see `lm/chat.py`. Turns with text and audio before the
                last one show how the voice sounds.
            task: by default tts if the last part is text, asr if it is audio.
            tokenize: False gives a string to look at.
            return_dict: False gives only `input_ids`.
            output_labels: the last part is the target, to be learned.
            frames_per_query: as for a call.
            sampling_rate: as for a call.
            language: as for a call.
            add_generation_prompt: nothing but True: a prompt ends with the target's opening.
            return_tensors: "pt".

        Raises:
            ValueError: as for a call, and for messages that are not understood.
        """
        if return_tensors != "pt" or not (add_generation_prompt or output_labels):
            raise ValueError(
                f"return_tensors 'pt' and add_generation_prompt True are expected; came "
                f"{return_tensors!r} and {add_generation_prompt}"
            )
        several = is_batch(conversation)
        given: list[Any] = list(conversation) if several else [conversation]
        talks = _each(read_parts, given)
        before = [talk[:-1] or talk if output_labels else talk for talk in talks]
        names = [task_of(talk, task) for talk in before]
        if not tokenize:
            shown = [as_string(talk, name) for talk, name in zip(before, names, strict=True)]
            return shown if several else shown[0]
        reading = PromptOptions(
            frames_per_query=frames_per_query, sampling_rate=sampling_rate, language=language
        )
        compose = self.composer.talk_example if output_labels else self.composer.talk_prompt

        def make(talk: tuple[list[Part], str]) -> Any:
            return compose(talk[0], talk[1], reading)

        made = _each(make, list(zip(talks, names, strict=True)))
        batch = self._examples(made) if output_labels else self._prompts(made)
        return batch if return_dict else batch["input_ids"]

    # ------------------------------------------------------------------ from the model

    def batch_decode(self, outputs: Iterable[GeneratedRow]) -> list[Any]:
        """What was generated, for people: waveforms `[S]` of audio targets, strings of texts.

        Args:
            outputs: what `AudioLM.generate` returned.
        """
        return [self.decode(row) for row in outputs]

    def decode(self, output: GeneratedRow) -> Any:
        """One row of :meth:`batch_decode`; audio without a frame has no samples."""
        if output.kind == "text":
            return self.texts.text(output.ids)
        tokens = self.audio_tokens(output)
        return torch.zeros(0) if tokens is None else self.audio_tokenizer.detokenize(tokens).cpu()

    def audio_tokens(self, output: GeneratedRow) -> AudioTokens | None:
        """Codes of an audio target, with all that decoding needs; None if there are none.

        Raises:
            ValueError: if the target was text.
        """
        if output.codes is None:
            raise ValueError("this row holds text: its target was not audio")
        if not output.codes.shape[-1]:
            return None
        return self.composer.audio.of_codes(output.codes, output.frames_per_query)

    def save_audio(
        self, audio: Any, paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    ) -> None:
        """Write waveforms `[S]` to files; the suffix (.wav .flac .ogg .opus .mp3) says how.

        Raises:
            ValueError: if there are not as many files as waveforms, or one has no samples.
        """
        files: list[Any] = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        one = getattr(audio, "ndim", 2) == 1
        waves = [audio] if one else list(audio)
        if len(waves) != len(files):
            raise ValueError(f"{len(waves)} waveforms came for {len(files)} files")
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
        """Load what :meth:`save_pretrained` wrote; the codec's weights come when they are needed.

        Args:
            pretrained_model_name_or_path: a folder or hub id.
            audio_tokenizer: another place of the codec, or the codec.
            options: of the hub: revision, cache_dir, token, local_files_only, force_download.

        Raises:
            ValueError: if there is no processor.
        """
        files = read_processor(pretrained_model_name_or_path, options)
        return cls(
            load_tokenizer(files.folder),
            files.config,
            files.codec if audio_tokenizer is None else audio_tokenizer,
            text_form=files.text_form,
            language=files.language,
        )

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
            save_directory: made if it is missing; a language model may lie in it too.
            push_to_hub: refused: :meth:`push_to_hub` does that.
            include_codec: put the codec into `codec/`, so that the folder stands alone.
        """
        if push_to_hub:
            raise ValueError("this writes a folder: call push_to_hub(repo_id) to upload one")
        os.makedirs(save_directory, exist_ok=True)
        self.tokenizer.save_pretrained(save_directory)
        audio, said = self.composer.audio, self.to_dict()
        if include_codec and write_codec(save_directory, audio.loaded, audio.source):
            said["codec"] = None  # found in the folder, wherever that goes
        write_processor(save_directory, said)

    def to_dict(self) -> dict[str, Any]:
        """What `processor_config.json` holds."""
        return {
            "processor_class": type(self).__name__,
            "text_form": self.texts.form,
            "language": self.texts.language,
            "codec": self.composer.audio.source,
            "lm": self.config.to_dict(),
        }

    # ------------------------------------------------------------------ facts and inner works

    @property
    def texts(self) -> TextEncoder:
        """Texts to ids and back, in the form that the model reads."""
        return self.composer.texts

    @property
    def audio_tokenizer(self) -> ALMTokenizer:
        """The codec; loaded now if it was not."""
        return self.composer.audio.codec

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms that come out."""
        config = self.composer.audio.codec_config
        return self.audio_tokenizer.sample_rate if config is None else config.sample_rate

    @property
    def model_input_names(self) -> list[str]:
        """Names of what a prompt holds."""
        return ["input_ids", "attention_mask"]

    @classmethod
    def get_attributes(cls) -> list[str]:
        """Sub-processors that `ProcessorMixin` knows of."""
        return ["tokenizer"]

    def _prompts(self, prompts: list[Tensor]) -> BatchFeature:
        rows = [Rows(prompt, torch.full_like(prompt, IGNORED)) for prompt in prompts]
        batch = collate(rows, self.config, "left")
        batch.pop("labels")
        return BatchFeature(batch)

    def _examples(self, examples: list[Example]) -> BatchFeature:
        eos = self.texts.eos_id
        rows = [build_sequence(example, self.config, eos_id=eos) for example in examples]
        for number, row in enumerate(rows):
            if len(row) > self.config.max_positions:
                raise ValueError(
                    f"row {number}: {len(row)} rows are more than the {self.config.max_positions} "
                    f"positions of the model"
                )
        return BatchFeature(collate(rows, self.config, "right"))


def _compare_ends(tokenizer: Any, config: AudioLMConfig) -> None:
    """Say it when the model would end its texts by another id than it was taught."""
    known = config.backbone.get_text_config().eos_token_id  # type: ignore[union-attr]
    known = known[0] if isinstance(known, list) else known
    if known != tokenizer.eos_token_id:
        logger.warning(
            "the tokenizer ends a text by %s, the backbone's configuration by %s: set "
            "config.backbone.eos_token_id, or give generate eos_id",
            tokenizer.eos_token_id, known,
        )  # fmt: skip


def _rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One dict for each row, without what it does not have; single values stand for all rows.

    Raises:
        ValueError: for lists of different lengths, or empty ones.
    """
    lengths = {
        name: len(value) for name, value in columns.items() if isinstance(value, list | tuple)
    }
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"lists of one length, at least 1, are expected; came {found}")
    count = next(iter(lengths.values()), 1)
    rows = []
    for number in range(count):
        values = {n: v[number] if n in lengths else v for n, v in columns.items()}
        rows.append({name: value for name, value in values.items() if value is not None})
    return rows


def _each(make: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Make something of every item; an error says of which."""
    made = []
    for number, item in enumerate(items):
        with error_context(f"row {number}"):
            made.append(make(item))
    return made


AutoProcessor.register(AudioLMConfig, AudioLMProcessor)
