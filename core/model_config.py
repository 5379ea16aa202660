"""Checks that the configurations of the codec and of the language model share."""

from __future__ import annotations

import difflib
import functools
import math
import os
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from huggingface_hub.dataclasses import strict as _strict
from huggingface_hub.errors import StrictDataclassError
from transformers import GenerationConfig, PreTrainedConfig

from .reading import UnreadableFile, describe, reading

Class = TypeVar("Class", bound=type)

MOST_LAYERS = 10_000  # far above any model; lists and modules are made for each
_LARGEST = 2**31 - 1


def strict(kind: Class) -> Class:
    """Check the types of a configuration; every error is a `ValueError` of one line.

    `huggingface_hub.dataclasses.strict` does the checks, but raises errors of several lines that
    are no `ValueError`, and refuses whole numbers where floats are expected.
    """
    checked: Any = _strict(kind)
    init, assign = checked.__init__, checked.__setattr__
    floats = {n for n, f in checked.__dataclass_fields__.items() if f.type in (float, float | None)}

    def with_floats(self: Any, name: str, value: Any) -> None:
        try:
            assign(self, name, float(value) if name in floats and type(value) is int else value)
        except StrictDataclassError as error:
            raise UnreadableFile(f"{kind.__name__}: {_cause(error)}") from error

    checked.__setattr__ = with_floats

    @functools.wraps(init)
    def one_line(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except (ValueError, NotImplementedError) as error:
            if "\n" in str(error):
                raise UnreadableFile(describe(error)) from error
            raise
        except Exception as error:
            raise UnreadableFile(f"{kind.__name__}: {_cause(error)}") from error

    checked.__init__ = one_line
    return checked  # type: ignore[no-any-return]


def check_numbers(config: PreTrainedConfig, may_be_zero: Collection[str]) -> None:
    """Check that integers are positive and floats finite, in lists too.

    Args:
        config: Of our models; inherited fields are not checked.
        may_be_zero: Names of integers that may be zero.

    Raises:
        ValueError: Otherwise; the message names the field.
    """
    for name, field in config.__dataclass_fields__.items():
        if name in PreTrainedConfig.__dataclass_fields__:
            continue
        value = getattr(config, name)
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{name} must be a finite number, got {number}")
            if type(number) is int and "float" not in str(field.type):
                least = 0 if name in may_be_zero else 1
                repeated = "layers" in name or name in ("num_codebooks", "num_residual_units")
                most = MOST_LAYERS if repeated else _LARGEST
                if not least <= number <= most:
                    raise ValueError(f"{name} must be within {least}..{most}, got {number}")


def check_backbone(values: Mapping[str, Any], where: str = "backbone") -> None:
    """Check a text model's configuration for what would be slow to find out, or unsafe.

    Raises:
        ValueError: It has too many layers or labels, or names code on the hub as its attention.
    """
    check_labels(values, f"{where}.num_labels")
    for key, value in values.items():
        name = str(key)
        if isinstance(value, Mapping):
            check_backbone(value, f"{where}.{name}")
        elif name.endswith("_implementation") and "/" in str(value):
            raise ValueError(
                f"{where}.{name} names code on the hub ({value!r}), which is never run: remove it"
            )
        elif "layers" in name and isinstance(value, int) and value > MOST_LAYERS:
            raise ValueError(f"{where}.{name} must be at most {MOST_LAYERS}, got {value}")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{where}.{name} must be a finite number, got {value}")


def check_labels(values: Mapping[str, Any], name: str) -> None:
    """Refuse a classifier of many labels: a text would be made for each."""
    labels = values.get("num_labels")
    if isinstance(labels, int) and labels > MOST_LAYERS:
        raise ValueError(f"{name} must be at most {MOST_LAYERS}, got {labels}")


def _cause(error: Exception) -> str:
    """The last line of an error of `strict` names types and value; other errors name themselves."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if type(error).__name__.startswith("StrictDataclass") and lines:
        return lines[-1].removeprefix("TypeError: ").removeprefix("ValueError: ")
    return describe(error)


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
    def register_for_auto_class(cls, auto_class: object = None) -> None:
        """Do nothing: transformers would copy the code of the class into every saved folder."""

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
            # Generation settings are ignored by transformers, too; `auto_map` is the class's own.
            if value is not None and name not in generation | {"auto_map"}:
                setattr(config, name, value)
        return made
