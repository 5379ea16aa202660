"""Adapters: LoRA on the backbone, with audio tables and heads of their own, on an untouched base.

A language model can carry several adapters (voices, tasks) and switch between them from one
request to the next: LoRA layers by peft, tables and heads by being put in the place of the base's.

    adapter.safetensors   LoRA matrices, and the tables and heads (or low-rank changes of them)
                          if they were trained
    adapter.json          settings, tasks, and the fingerprint of the base
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..core.training.checkpoint import CheckpointError
from .inference import restore_layers
from .layouts import unknown
from .low_rank import add_low_rank, low_rank_parameters, merge_low_rank
from .model import AudioLM
from .quantize import is_quantized

WEIGHTS, CARD = "adapter.safetensors", "adapter.json"
_MODULES = ("embedding", "heads")  # of the model, that an adapter may have of its own


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Shape of an adapter."""

    rank: int = 16
    alpha: float | None = None  # LoRA is scaled by alpha / rank; None: 2 x rank
    targets: tuple[str, ...] = ()  # linear layers of the backbone; none: all inside its layers
    dropout: float = 0.0  # on the input of LoRA, in training
    audio: bool = True  # audio tables and heads of its own; False: those of the base, frozen
    audio_rank: int = 0  # with audio: low-rank changes of the base's, scaled alike; 0: copies

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"the rank of LoRA must be at least 1; came {self.rank}")
        if self.audio_rank < 0 or (self.audio_rank and not self.audio):
            raise ValueError(
                f"audio_rank is 0 or more, and needs audio=True; came {self.audio_rank} with"
                f" audio={self.audio}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); came {self.dropout}")

    @property
    def scale(self) -> float:
        """What the product of the two matrices is multiplied by."""
        return (2 * self.rank if self.alpha is None else self.alpha) / self.rank


@dataclass
class _Adapter:
    settings: LoraSettings
    tasks: list[str]
    modules: dict[str, nn.Module]  # embedding and heads, if it has its own


@dataclass
class _Adapters:
    """All that one model carries; lies beside its modules, not among them."""

    fingerprint: str  # of the base
    tasks: list[str]  # of the base
    modules: dict[str, nn.Module]  # of the base
    by_name: dict[str, _Adapter] = field(default_factory=dict)
    active: str | None = None


def add_lora(lm: AudioLM, settings: LoraSettings | None = None, name: str = "default") -> AudioLM:
    """Add a new adapter to a model and make it the one that is used and trained.

    The model computes what it did before: the adapter begins as the identity. Only the adapter's
    parameters require a gradient afterwards.

    Raises:
        ValueError: the name is taken, or a target is no linear layer of the backbone.
    """
    settings = settings or LoraSettings()
    _refuse_quantized(lm)
    restore_layers(lm)
    adapters = _adapters(lm)
    if name in adapters.by_name or not name.isidentifier():
        raise ValueError(
            f"an adapter's name must be a new Python name; came {name!r} beside"
            f" {', '.join(adapters.by_name) or 'none'}"
        )
    modules: dict[str, nn.Module] = {}
    if settings.audio:
        modules = {part: copy.deepcopy(adapters.modules[part]) for part in _MODULES}
    if settings.audio_rank:
        for module in modules.values():
            add_low_rank(module, settings.audio_rank, settings.scale)
    _inject(lm, settings, name)
    adapters.by_name[name] = _Adapter(settings, list(lm.config.tasks), modules)
    use_adapter(lm, name)
    for parameter in lm.parameters():
        parameter.requires_grad_(False)
    for parameter in _parameters(lm, name).values():
        parameter.requires_grad_(True)
    return lm


def adapter_names(lm: AudioLM) -> tuple[str, ...]:
    """Adapters that a model carries."""
    return tuple(_adapters(lm).by_name)


def use_adapter(lm: AudioLM, name: str | None) -> None:
    """Switch to an adapter, or with None to the base as it was.

    Raises:
        ValueError: the model carries no adapter of that name.
    """
    adapters = _adapters(lm)
    if name is not None and name not in adapters.by_name:
        raise ValueError(unknown("adapter", name, adapters.by_name))
    restore_layers(lm)
    own = adapters.by_name[name].modules if name is not None else {}
    for part in _MODULES:
        setattr(lm, part, own.get(part, adapters.modules[part]))
    lm.config.tasks = list(adapters.tasks if name is None else adapters.by_name[name].tasks)
    trained = {key: p.requires_grad for key, p in lm.backbone.named_parameters()}
    for layer in _layers(lm):
        layer.enable_adapters(name is not None)
        if name is not None:
            layer.set_adapter(name)
    for key, parameter in lm.backbone.named_parameters():
        parameter.requires_grad_(trained[key])  # peft makes adapters trainable by the way
    adapters.active = name


@contextmanager
def using_adapter(lm: AudioLM, name: str | None) -> Iterator[AudioLM]:
    """Use an adapter for one request; afterwards the one before is used again."""
    before = _adapters(lm).active
    use_adapter(lm, name)
    try:
        yield lm
    finally:
        use_adapter(lm, before)


def save_adapter(lm: AudioLM, folder: str | os.PathLike[str], name: str | None = None) -> Path:
    """Write an adapter, without its base; by default the one that is used.

    Raises:
        ValueError: the model carries no such adapter.
    """
    adapters, place = _adapters(lm), Path(folder)
    name = name if name is not None else adapters.active
    if name is None or name not in adapters.by_name:
        raise ValueError(unknown("adapter", str(name), adapters.by_name))
    adapter = adapters.by_name[name]
    place.mkdir(parents=True, exist_ok=True)
    values = {
        key: value.detach().cpu().contiguous() for key, value in _parameters(lm, name).items()
    }
    card = {
        "format": 1,
        "base": adapters.fingerprint,
        "settings": asdict(adapter.settings),
        "tasks": adapter.tasks,
    }
    for file, write in (
        (WEIGHTS, lambda path: save_file(values, path)),
        (CARD, lambda path: path.write_text(json.dumps(card, indent=1), encoding="utf-8")),
    ):
        aside = place / f"{file}.tmp-{os.getpid()}"
        write(aside)
        os.replace(aside, place / file)
    return place


def load_adapter(lm: AudioLM, folder: str | os.PathLike[str], name: str = "default") -> AudioLM:
    """Put a saved adapter onto its base and use it; nothing requires a gradient afterwards.

    Raises:
        CheckpointError: there is no adapter.
        ValueError: the adapter was made for another base, or the name is taken.
    """
    place = Path(folder)
    for candidate in (place, place / "adapter"):  # a run folder holds one
        if (candidate / CARD).is_file():
            place = candidate
            break
    else:
        raise CheckpointError(f"{folder} holds no adapter: {CARD} is missing")
    _refuse_quantized(lm)
    card = json.loads((place / CARD).read_text(encoding="utf-8"))
    if card.get("format") != 1:
        raise CheckpointError(f"{place} has adapter format {card.get('format')}, this reads 1")
    adapters = _adapters(lm)
    if card["base"] != adapters.fingerprint:
        raise ValueError(
            f"the adapter {place} was made for base {card['base']}, this model is base"
            f" {adapters.fingerprint}: on another base it means nothing"
        )
    values = card["settings"]
    settings = LoraSettings(**{**values, "targets": tuple(values["targets"])})
    weights = load_file(place / WEIGHTS)
    add_lora(lm, settings, name)
    own = _parameters(lm, name)
    if own.keys() != weights.keys():
        odd = sorted(own.keys() ^ weights.keys())
        raise CheckpointError(f"{place} does not fit its settings: {', '.join(odd[:3])}")
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.copy_(weights[key])
            parameter.requires_grad_(False)
    adapters.by_name[name].tasks = list(card["tasks"])
    use_adapter(lm, name)
    return lm


def merge_adapter(lm: AudioLM, name: str | None = None) -> AudioLM:
    """Make an adapter part of the model: a plain model again, that computes the same.

    All adapters are gone afterwards, and the base with them.

    Raises:
        ValueError: the model has weights of 8 bits.
    """
    _refuse_quantized(lm)
    adapters = _adapters(lm)
    use_adapter(lm, adapters.active if name is None else name)
    active = adapters.active
    restore_layers(lm)
    for path, module in list(lm.backbone.named_modules()):
        if not _is_lora(module):
            continue
        if active is not None:
            module.merge(adapter_names=[active])
        parent, _, leaf = path.rpartition(".")
        setattr(lm.backbone.get_submodule(parent), leaf, module.get_base_layer())
    for part in _MODULES:
        merge_low_rank(getattr(lm, part))
    lm.backbone.__dict__.pop("peft_config", None)
    lm.__dict__.pop("_almtok_adapters", None)
    for parameter in lm.parameters():
        parameter.requires_grad_(True)
    return lm


def base_fingerprint(lm: AudioLM) -> str:
    """Hash of a base's weights and of what decides how they are used: 16 hex digits.

    Weights enter rounded to bfloat16, so that a base is the same in any precision. Adapters do not
    enter.
    """
    adapters = lm.__dict__.get("_almtok_adapters")
    if adapters is not None:
        return str(adapters.fingerprint)
    config = lm.config
    backbone: Any = config.backbone
    facts = [config.pattern, config.num_codebooks, config.codebook_size]
    facts += [backbone.model_type, config.hidden_size, config.vocab_size]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for key, value in sorted(dict(lm.named_parameters()).items()):
        digest.update(f"{key}{list(value.shape)}".encode())
        rounded = value.detach().cpu().to(torch.bfloat16).contiguous()
        digest.update(rounded.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def spare_modules(lm: AudioLM) -> list[nn.Module]:
    """Tables and heads of the base and of adapters that are not used just now."""
    adapters = lm.__dict__.get("_almtok_adapters")
    if adapters is None:
        return []
    sets = [adapters.modules, *(one.modules for one in adapters.by_name.values())]
    return [module for modules in sets for module in modules.values()]


def _refuse_quantized(lm: AudioLM) -> None:
    if is_quantized(lm):
        raise ValueError(
            "this model has weights of few bits: put adapters on, or merge them, before it is "
            "quantized"
        )


def _adapters(lm: AudioLM) -> _Adapters:
    found = lm.__dict__.get("_almtok_adapters")
    if found is None:
        modules = {part: getattr(lm, part) for part in _MODULES}
        found = _Adapters(base_fingerprint(lm), list(lm.config.tasks), modules)
        lm.__dict__["_almtok_adapters"] = found  # not a module: its parts must not be saved twice
    return found


def _inject(lm: AudioLM, settings: LoraSettings, name: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    layers = lm.backbone.get_decoder().layers
    linear = {
        path.replace(".base_layer", "").rpartition(".")[2]
        for path, module in layers.named_modules()
        if isinstance(module, nn.Linear) and ".lora_" not in path
    }
    if strange := sorted(set(settings.targets) - linear):
        raise ValueError(
            f"no linear layer of the backbone is named {', '.join(strange)}; there are"
            f" {', '.join(sorted(linear))}"
        )
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.scale * settings.rank,  # type: ignore[arg-type]
        target_modules=sorted(settings.targets or linear),
        lora_dropout=settings.dropout,
        layers_pattern=None,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        inject_adapter_in_model(config, lm.backbone, name)


def _is_lora(module: nn.Module) -> bool:
    from peft.tuners.lora import LoraLayer

    return isinstance(module, LoraLayer)


def _layers(lm: AudioLM) -> list[Any]:
    """LoRA layers; none before the first adapter."""
    if not _adapters(lm).by_name:
        return []
    return [module for module in lm.backbone.modules() if _is_lora(module)]


def _parameters(lm: AudioLM, name: str) -> dict[str, Tensor]:
    """An adapter's parameters by name, whichever adapter is used; its own name is not in them."""
    found: dict[str, Tensor] = {}
    for key, parameter in lm.backbone.named_parameters():
        if ".lora_" in key and f".{name}." in key:
            found[f"backbone.{key.replace(f'.{name}.', '.')}"] = parameter
    adapter = _adapters(lm).by_name[name]
    low_rank = adapter.settings.audio_rank > 0
    for part, module in adapter.modules.items():
        own = low_rank_parameters(module) if low_rank else dict(module.named_parameters())
        for key, parameter in own.items():
            found[f"{part}.{key}"] = parameter
    return found
