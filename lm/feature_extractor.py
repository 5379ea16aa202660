"""AudioLMFeatureExtractor: audio -> prompts, for the pipelines of transformers."""

from __future__ import annotations

import os
from typing import Any, Self

from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin

from .audio_input import AudioInput
from .processor_files import read_processor
from .prompt_builder import PromptBuilder, PromptOptions, collate_prompts
from .text.encoder import TextEncoder
from .text.tokenizer import load_tokenizer


class AudioLMFeatureExtractor(FeatureExtractionMixin):
    """Encodes recordings with the codec and lays them out as prompts of a task.

    `pipeline("automatic-speech-recognition")` of transformers takes its `input_values`. Elsewhere
    :class:`AudioLMProcessor` does the same and more.
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(self, prompt_builder: PromptBuilder) -> None:
        """Create a feature extractor with the codec and text form of a prompt builder."""
        super().__init__()
        self.prompt_builder = prompt_builder

    @property
    def sampling_rate(self) -> int:
        """Hz of the codec."""
        return self.prompt_builder.audio_input.codec.sample_rate

    def __call__(
        self,
        raw_speech: Any,
        sampling_rate: int | None = None,
        return_tensors: str = "pt",
        task: str = "asr",
        **_: Any,
    ) -> BatchFeature:
        """Make a batch of prompts.

        Args:
            raw_speech: samples `[S]`, or a list of B recordings.
            sampling_rate: Hz; by default the codec's.
            return_tensors: "pt".
            task: one that takes audio only.

        Returns:
            `input_values`: rows `[B, L, 1+K]`, the `input_ids` of the model, and `attention_mask`
            `[B, L]`, padded on the left.

        Raises:
            ValueError: for audio that cannot be used.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors must be 'pt', got {return_tensors!r}")
        recordings = raw_speech if isinstance(raw_speech, list | tuple) else [raw_speech]
        options = PromptOptions(sampling_rate=sampling_rate)
        builder = self.prompt_builder
        prompts = [builder.prompt(task, {"audio": audio}, options) for audio in recordings]
        batch = collate_prompts(prompts, builder.config)
        return BatchFeature(
            {"input_values": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        )

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **options: Any
    ) -> Self:
        """Load from the folder or hub id of a processor; options are those of the hub.

        Raises:
            ValueError: if the folder holds no processor.
        """
        files = read_processor(pretrained_model_name_or_path, options)
        encoder = TextEncoder(load_tokenizer(files.folder), files.text_form, files.language)
        return cls(PromptBuilder(files.config, encoder, AudioInput(files.config, files.codec)))

    def to_dict(self) -> dict[str, Any]:
        """Part of `processor_config.json`; the rest is in the processor's files."""
        return {"feature_extractor_type": type(self).__name__}
