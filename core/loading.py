"""`from_pretrained` of our models: fast, without code from the folder, and with clear errors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from transformers.initialization import no_init_weights
from transformers.utils import find_adapter_config_file, logging

from .hub import hub_folder, is_hub_id
from .model_card import PushesWithCard
from .reading import UnreadableFile, reading
from .size_limit import SizeLimit


class LoadsAllWeights(PushesWithCard):
    """Mixin of models whose files contain all weights; precedes `PreTrainedModel` in the bases."""

    @classmethod
    def register_for_auto_class(cls, auto_class: object = None) -> None:
        """Do nothing: transformers would copy the code of the class into every saved folder."""

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, *args: Any, **kwargs: Any
    ) -> Self:
        """Load a folder or hub id: a JSON configuration and safetensors; no code is run.

        Weights are float32 unless `dtype` is given: checkpoints may be stored in half precision to
        save space, but codes should be computed, and models be trained, in float32, which every
        device has. `dtype="auto"` takes the stored type.

        Args:
            pretrained_model_name_or_path: Folder or hub id; None with `config` and `state_dict`.
            args: Of transformers' `from_pretrained`.
            kwargs: The same.

        Raises:
            ValueError: The configuration is invalid or describes a model much larger than the
                weights, or weights are missing, left over or damaged.
            OSError: There is no such folder or hub id.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        older_name = kwargs.pop("torch_dtype", None)
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = torch.float32 if older_name is None else older_name
        kwargs |= {"use_safetensors": True, "trust_remote_code": False}
        load = super().from_pretrained  # type: ignore[misc]
        if pretrained_model_name_or_path is None:
            model, info = load(None, *args, output_loading_info=True, **kwargs)
            refuse_other_weights(info, f"the state_dict does not fit {cls.__name__}")
            return (model, info) if wants_info else model  # type: ignore[return-value]
        place = check_place(pretrained_model_name_or_path)
        with reading(place):
            folder = Path(place, kwargs.get("subfolder") or "")
            refuse_adapter(place, kwargs)
            with SizeLimit.of_files(folder.glob("model*.safetensors")):
                model, info = load(place, *args, output_loading_info=True, **kwargs)
            refuse_other_weights(info, f"{place} does not fit this version of {cls.__name__}")
        return (model, info) if wants_info else model  # type: ignore[return-value]

    @classmethod
    def get_init_context(cls, *args: Any, **kwargs: Any) -> list[Any]:
        """Return transformers' contexts for loading, with empty CPU tensors instead of "meta".

        Some operations on the meta device make torch import its compiler and sympy, which takes one
        or two seconds. The random state of the caller does not change.
        """
        contexts: list[Any] = super().get_init_context(*args, **kwargs)  # type: ignore[misc]
        others = [context for context in contexts if context != torch.device("meta")]
        if len(others) == len(contexts):  # DeepSpeed
            return contexts
        return [*others, no_init_weights(), torch.random.fork_rng(devices=[])]


def check_place(place: str | os.PathLike[str]) -> str:
    """Return a folder or hub id as text; a path that does not exist is not looked up as a hub id.

    A pinned id, `org/name@revision`, is downloaded: its folder is returned.

    Raises:
        FileNotFoundError: It can only be a folder, and there is none.
        OSError: A pinned id cannot be downloaded.
    """
    text = os.fspath(place)
    if "@" in text and is_hub_id(text):
        return hub_folder(text)
    if not Path(text).is_dir() and (text.startswith((".", "~", os.sep)) or text.count("/") > 1):
        raise FileNotFoundError(f"no such folder: {text}")
    return text


def refuse_adapter(place: str | os.PathLike[str], options: Mapping[str, Any]) -> None:
    """Refuse a model with an adapter of PEFT: transformers would load it, and perhaps its base.

    Args:
        place: Folder or hub id.
        options: Of `from_pretrained`.

    Raises:
        UnreadableFile: The message names the file that describes the adapter.
    """
    names = ("cache_dir", "proxies", "token", "revision", "local_files_only", "subfolder")
    where = {name: options[name] for name in names if options.get(name)}
    found = find_adapter_config_file(os.fspath(place), **where)
    if found is not None:
        raise UnreadableFile(
            f"{found}: adapters of PEFT are not loaded with a model; remove the file"
        )


def load_float32(kind: Any, place: str, model_type: str, *, unused: tuple[str, ...] = ()) -> Any:
    """Load a pretrained model of transformers in float32, frozen, for inference; no code is run.

    Args:
        kind: Class of the model.
        place: Folder or hub id.
        model_type: What its configuration must say.
        unused: Beginnings of the names of weights that the files may lack.

    Raises:
        ValueError: The model is of another type or lacks weights.
        OSError: There is no such folder or hub id.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(check_place(place), trust_remote_code=False)
    if config.model_type != model_type:
        raise ValueError(f"model_type of {place} must be {model_type!r}, got {config.model_type!r}")
    refuse_adapter(place, {})
    with no_inner_bars():
        model, report = kind.from_pretrained(
            place,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
        )
    # transformers would use random weights instead.
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith(unused)):
        raise ValueError(f"{place} lacks weights of {model_type}: {', '.join(missing[:4])}")
    return model.eval().requires_grad_(False)


def refuse_other_weights(info: dict[str, Any], what: str) -> None:
    """Refuse a checkpoint with missing or other weights; transformers would keep random ones.

    Args:
        info: The loading info of transformers' `from_pretrained`.
        what: First words of the error.

    Raises:
        ValueError: Weights are missing, unexpected or of another shape.
    """
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(str(name) for name in info[problem]):
            raise ValueError(
                f"{what}: {len(names)} {problem.replace('_', ' ')}, such as {names[0]}"
            )


@torch.no_grad()
def refuse_infinite_weights(model: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        UnreadableFile: The message names the folder and the first such tensor.
    """
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        # NaN and infinities survive a sum of products with zero.
        if value.is_floating_point() and not bool(torch.isfinite((value.float() * 0).sum())):
            raise UnreadableFile(f"{os.fspath(folder)}: {name} has NaN or infinite weights")


@contextmanager
def no_inner_bars() -> Iterator[None]:
    """Hide the progress bars of transformers for loading and saving weights."""
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()
