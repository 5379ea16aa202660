"""StrictConfig: configurations that refuse unknown fields, and load what transformers adds."""

from __future__ import annotations

import difflib
import os
from typing import Any

from transformers import GenerationConfig, PreTrainedConfig

from .model_config import check_labels
from .reading import reading

# Arguments of PreTrainedConfig that are not among its dataclass fields.
_ARGUMENTS = {
    "attn_implementation", "experts_implementation", "model_type", "name_or_path", "num_labels",
    "output_attentions", "torch_dtype",
}  # fmt: skip
# Names that transformers itself writes to a `config.json`: the Trainer sets `use_cache` and the
# special tokens, `register_for_auto_class` the `auto_map`, a quantizer its configuration, and
# versions before 5 wrote their common attributes.
_WRITTEN = {
    "add_cross_attention", "auto_map", "bos_token_id", "cross_attention_hidden_size",
    "decoder_start_token_id", "eos_token_id", "finetuning_task", "is_decoder", "pad_token_id",
    "prefix", "pruned_heads", "quantization_config", "sep_token_id", "task_specific_params",
    "tf_legacy_loss", "tie_encoder_decoder", "tie_word_embeddings", "tokenizer_class",
    "torchscript", "use_bfloat16", "use_cache",
}  # fmt: skip


class StrictConfig:
    """Mixin of configurations; precedes `PreTrainedConfig` in the bases."""

    def __post_init__(self, **kwargs: Any) -> None:
        """Set further arguments of `PreTrainedConfig`.

        Raises:
            ValueError: one is neither a field nor such an argument; names the most similar field.
        """
        check_labels(kwargs, "num_labels")
        fields = [name for name in self.__dataclass_fields__ if not name.startswith("_")]  # type: ignore[attr-defined]
        for name in kwargs:
            if name in _ARGUMENTS or name.startswith("_"):
                continue
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown field {name!r} for {type(self).__name__}{hint}")
        super().__post_init__(**kwargs)  # type: ignore[misc]

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> Any:
        """Read the configuration of a folder or hub id.

        Raises:
            ValueError: It is not valid; the message names the folder.
            OSError: There is none.
        """
        with reading(pretrained_model_name_or_path):
            return super().from_pretrained(  # type: ignore[misc]
                pretrained_model_name_or_path, **kwargs
            )

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make a configuration of a dict, e.g. of a `config.json`.

        Fields that transformers adds when it saves or trains a model are attributes of the result.

        Args:
            config_dict: the fields.
            kwargs: as of `PreTrainedConfig.from_dict`.

        Raises:
            ValueError: a field is unknown to the class and to transformers.
        """
        own = cls.__dataclass_fields__  # type: ignore[attr-defined]
        generation = set(GenerationConfig._get_default_generation_params())
        added = {
            name: value
            for name, value in config_dict.items()
            if name not in own and name in _WRITTEN | generation
        }
        rest = {name: value for name, value in config_dict.items() if name not in added}
        made = super().from_dict(rest, **kwargs)  # type: ignore[misc]
        config: PreTrainedConfig = made[0] if isinstance(made, tuple) else made
        for name, value in added.items():
            if value is not None and name not in generation:  # transformers ignores these too
                setattr(config, name, value)
        return made
