"""LoRA adapters of a language model (Hu et al., "LoRA", ICLR 2022) by peft, see docs/lora.md.

An adapter has low-rank updates of linear layers of the backbone. Audio embeddings and heads are
either copied and trained in full, or get low-rank updates, too. A model can hold several adapters;
one is active, or each row of a batch has its own (`adapter_rows.py`).
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.model_card import write_model_card
from ..core.reading import CheckpointError
from .adapter_files import read_adapter, write_adapter
from .adapter_rows import BASE
from .inference import restore_layers
from .layouts import unknown
from .lora_settings import LoraSettings
from .model import AudioLM
from .quantize import is_quantized

# Beside "lora_A" and the like, parts of the paths of an adapted model, as an adapter's name is.
_NAMES_OF_PEFT = frozenset((BASE, "base_layer", "modules_to_save", "original_module"))
_USAGE = """\
from almtok import AudioLM
from almtok.lm.lora import load_adapter

lm = load_adapter(AudioLM.from_pretrained("BASE"), "FOLDER").eval()"""


@dataclass
class _Adapters:
    """All adapters of one model; not registered as a submodule."""

    base: str  # fingerprint
    base_tasks: list[str]
    tasks: dict[str, list[str]] = field(default_factory=dict)  # by adapter
    active: str | None = None
    tuner: Any = None  # peft's LoraModel


def add_lora(lm: AudioLM, settings: LoraSettings | None = None, name: str = "default") -> AudioLM:
    """Add a new adapter and activate it; the output of the model does not change.

    Afterwards only the parameters of the adapter require gradients.

    Raises:
        ValueError: if the name is taken or cannot be used, a target is no linear layer of the
            backbone, the model is quantized, or holds full copies where this has low-rank updates.
    """
    _refuse_quantized(lm)
    trial = _without_weights(lm)
    config = (settings or LoraSettings()).to_peft(trial)
    _try(trial, lm, config, name)
    _add(lm, config, name, list(lm.config.tasks))
    for key, parameter in lm.named_parameters():
        parameter.requires_grad_(f".{name}." in f"{key}.")
        if key.endswith(f".lora_embedding_B.{name}"):  # peft draws these with a deviation of 1
            parameter.data *= len(parameter) ** -0.5
    return lm


def adapter_names(lm: AudioLM) -> tuple[str, ...]:
    """Names of a model's adapters."""
    return tuple(_adapters(lm).tasks)


def use_adapter(lm: AudioLM, name: str | None) -> None:
    """Activate an adapter, or with None the base model.

    Raises:
        ValueError: if the model has no adapter of that name.
    """
    adapters = _adapters(lm)
    if name is not None and name not in adapters.tasks:
        raise ValueError(unknown("adapter", name, adapters.tasks))
    restore_layers(lm)
    trained = [(parameter, parameter.requires_grad) for parameter in lm.parameters()]
    for module in _peft_layers(lm):
        has_it = name in getattr(module, "modules_to_save", {name: None})
        module.set_adapter([] if name is None or not has_it else [name])
    for parameter, requires_grad in trained:
        parameter.requires_grad_(requires_grad)  # set_adapter changed it
    # In place: a processor may share the list.
    lm.config.tasks[:] = adapters.base_tasks if name is None else adapters.tasks[name]  # type: ignore[index]
    adapters.active = name


@contextmanager
def using_adapter(lm: AudioLM, name: str | None) -> Iterator[AudioLM]:
    """Activate an adapter inside a block (None: the base model)."""
    before = _adapters(lm).active
    use_adapter(lm, name)
    try:
        yield lm
    finally:
        use_adapter(lm, before)


def save_adapter(
    lm: AudioLM,
    folder: str | os.PathLike[str],
    name: str | None = None,
    *,
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Save an adapter without its base, in the format of peft; by default the active one.

    Args:
        lm: the model.
        folder: of the adapter.
        name: of the adapter.
        card: metadata of the hub for the card, such as `base_model` or `license`.

    Raises:
        ValueError: if the model has no such adapter.
    """
    from peft import get_peft_model_state_dict

    adapters, path = _adapters(lm), Path(folder)
    name = name if name is not None else adapters.active
    if name is None or name not in adapters.tasks:
        raise ValueError(unknown("adapter", str(name), adapters.tasks))
    weights = get_peft_model_state_dict(lm, adapter_name=name, save_embedding_layers=False)
    config: Any = lm.peft_config[name]  # type: ignore[index]
    write_adapter(path, config, weights, base=adapters.base, tasks=adapters.tasks[name])
    tasks = adapters.tasks[name]
    write_model_card(
        path,
        title="LoRA adapter of an AudioLM",
        pipeline_tag="text-to-speech" if "tts" in tasks else "text-to-audio",
        tags=["audio-language-model", "lora", "peft", *tasks],
        facts=[f"fingerprint of its base: `{adapters.base}`"],
        usage=_USAGE,
        card=card,
    )
    return path


def load_adapter(lm: AudioLM, folder: str | os.PathLike[str], name: str = "default") -> AudioLM:
    """Load an adapter of almtok or peft and activate it; no parameter requires gradients.

    Args:
        lm: the base that the adapter was trained on.
        folder: of the adapter, or a training run's.
        name: for the adapter.

    Raises:
        CheckpointError: if the folder holds no adapter, or one that is damaged or does not fit.
        ValueError: if the adapter belongs to another base, or as :func:`add_lora`.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    _refuse_quantized(lm)
    adapters, trial = _adapters(lm), _without_weights(lm)
    stored = read_adapter(folder, trial)
    if stored.base is not None and stored.base != adapters.base:
        raise ValueError(
            f"the adapter {folder} was made for base {stored.base}, this model is base"
            f" {adapters.base}"
        )
    _try(trial, lm, stored.config, name, source=stored.file.parent)
    expected = get_peft_model_state_dict(trial, adapter_name=name, save_embedding_layers=False)
    weights = stored.fitted(expected)
    _add(lm, stored.config, name, stored.tasks or list(adapters.base_tasks))
    set_peft_model_state_dict(lm, weights, adapter_name=name)
    return lm.requires_grad_(False)


def merge_adapter(lm: AudioLM, name: str | None = None) -> AudioLM:
    """Merge an adapter into the weights, by default the active one, and remove all adapters.

    Outputs stay the same (within 1e-5 in float32). The base cannot be restored.

    Raises:
        ValueError: if the model has no adapter of that name, is quantized, or ties the text
            embedding to the text head, and the adapter changes one of them.
    """
    _refuse_quantized(lm)
    use_adapter(lm, _adapters(lm).active if name is None else name)
    text = {lm.get_input_embeddings(), lm.get_output_embeddings()}
    tied = lm.config.backbone.get_text_config().tie_word_embeddings  # type: ignore[union-attr]
    if tied and text & set(_peft_layers(lm)):
        raise ValueError(
            "the adapter changes the text embedding or the text head, which share one weight in"
            " this model: it cannot be merged"
        )
    return _unload(lm, merge=_adapters(lm).active is not None)


def remove_adapters(lm: AudioLM) -> AudioLM:
    """Remove all adapters: the base model as it was, bit for bit."""
    use_adapter(lm, None)
    return _unload(lm, merge=False)


def base_fingerprint(lm: AudioLM) -> str:
    """Hash of the base's weights and of the settings that decide their use: 16 hex digits.

    Weights are rounded to bfloat16 first, so that the hash does not depend on the precision.
    Adapters do not count.
    """
    adapters = lm.__dict__.get("_adapters")
    if adapters is not None:
        return str(adapters.base)
    config = lm.config
    backbone: Any = config.backbone
    pattern = f"{config.pattern}-delayed" if config.depth_delay else config.pattern
    facts = [pattern, config.num_codebooks, config.codebook_size]
    facts += [backbone.model_type, config.hidden_size, config.vocab_size]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for key, value in sorted(dict(lm.named_parameters()).items()):
        digest.update(f"{key}{list(value.shape)}".encode())
        rounded = value.detach().cpu().to(torch.bfloat16).contiguous()
        digest.update(rounded.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def _adapters(lm: AudioLM) -> _Adapters:
    found = lm.__dict__.get("_adapters")
    if found is None:
        found = _Adapters(base_fingerprint(lm), list(lm.config.tasks))
        lm.__dict__["_adapters"] = found  # no submodule: nothing is saved twice
    return found


def _refuse_quantized(lm: AudioLM) -> None:
    if is_quantized(lm):
        raise ValueError("the model is quantized: add or merge adapters before it is quantized")


def _without_weights(lm: AudioLM) -> AudioLM:
    """A model of the same structure, on the meta device and without adapters."""
    with torch.device("meta"):
        return AudioLM(copy.deepcopy(lm.config))


def _try(
    trial: AudioLM, lm: AudioLM, config: Any, name: str, *, source: Path | None = None
) -> None:
    """Add the adapter to a model without weights, so that errors leave `lm` as it is."""
    from peft import LoraModel

    known = adapter_names(lm)
    paths = (
        path for named in (trial.named_modules(), trial.named_parameters()) for path, _ in named
    )
    taken = _NAMES_OF_PEFT.union(known, *(path.split(".") for path in paths))
    if name in taken or name.startswith("lora_") or not name.isidentifier():
        raise ValueError(
            f"an adapter's name must be a new Python name, and not that of a module, got {name!r}"
            f" beside {', '.join(known) or 'none'}"
        )
    try:
        with torch.device("meta"):
            LoraModel(trial, copy.deepcopy(config), name)
    except (TypeError, ValueError, KeyError) as error:
        if source is None:
            raise
        raise CheckpointError(f"{source} does not fit this model: {error}") from error
    _check_kinds(lm, trial)
    _check_kinds(trial, lm)


def _check_kinds(one: AudioLM, other: AudioLM) -> None:
    """Refuse full copies of modules that have low-rank updates: peft would mix them up."""
    copied = [path for path, module in one.named_modules() if hasattr(module, "modules_to_save")]
    for path, module in other.named_modules():
        inside = [part for part in copied if f"{path}.".startswith(f"{part}.")]
        if inside and hasattr(module, "lora_A"):
            raise ValueError(
                f"one adapter has a full copy of {inside[0]}, another a low-rank update of {path}:"
                f" a model can hold only one kind"
            )


def _add(lm: AudioLM, config: Any, name: str, tasks: list[str]) -> None:
    from peft import LoraModel

    adapters = _adapters(lm)
    restore_layers(lm)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        adapters.tuner = LoraModel(lm, config, name)
    for module in _peft_layers(lm):
        module.train(lm.training)
    adapters.tasks[name] = tasks
    use_adapter(lm, name)


def _unload(lm: AudioLM, *, merge: bool) -> AudioLM:
    """Put the plain layers back."""
    adapters = lm.__dict__.pop("_adapters")
    restore_layers(lm)
    if adapters.tuner is not None and merge:
        adapters.tuner.merge_and_unload(adapter_names=[adapters.active])
    elif adapters.tuner is not None:
        adapters.tuner.unload()
    return lm.requires_grad_(True)


def _peft_layers(lm: nn.Module) -> list[Any]:
    """Layers of peft: LoRA, and modules with full copies."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import AuxiliaryTrainingWrapper

    kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
    return [module for module in lm.modules() if isinstance(module, kinds)]
