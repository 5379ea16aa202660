"""LoRA adapters of a language model (Hu et al., "LoRA", ICLR 2022), see docs/lora.md.

The linear layers of the backbone are adapted by peft. Audio embeddings and heads are either copied
and trained in full, or get low-rank updates (`low_rank.py`); the modules of the active adapter take
the place of the base's. A model can hold several adapters, one of which is active.

    adapter.safetensors   LoRA matrices; audio embeddings and heads, or their low-rank updates
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
_MODULES = ("embedding", "heads")  # children of the model that an adapter may replace


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Settings of an adapter."""

    rank: int = 16
    alpha: float | None = None  # LoRA is scaled by alpha / rank; None: 2 x rank
    targets: tuple[str, ...] = ()  # names of linear layers of the backbone; empty: all
    dropout: float = 0.0  # on the input of LoRA, in training
    audio: bool = True  # train audio embeddings and heads; False: keep those of the base
    audio_rank: int = 0  # with audio: rank of their updates, scaled alike; 0: train full copies

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
        """Factor of the product of the two LoRA matrices."""
        return (2 * self.rank if self.alpha is None else self.alpha) / self.rank


@dataclass
class _Adapter:
    settings: LoraSettings
    tasks: list[str]
    modules: dict[str, nn.Module]  # its embedding and heads; empty: those of the base


@dataclass
class _Adapters:
    """All adapters of one model; not registered as a submodule."""

    fingerprint: str  # of the base
    tasks: list[str]  # of the base
    modules: dict[str, nn.Module]  # of the base
    by_name: dict[str, _Adapter] = field(default_factory=dict)
    active: str | None = None


def add_lora(lm: AudioLM, settings: LoraSettings | None = None, name: str = "default") -> AudioLM:
    """Add a new adapter and activate it; the output of the model does not change.

    Afterwards only the parameters of the adapter require gradients.

    Raises:
        ValueError: if the name is taken or no identifier, a target is no linear layer of the
            backbone, or the model is quantized.
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
    """Names of a model's adapters."""
    return tuple(_adapters(lm).by_name)


def use_adapter(lm: AudioLM, name: str | None) -> None:
    """Activate an adapter, or with None the base model.

    Raises:
        ValueError: if the model has no adapter of that name.
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
        parameter.requires_grad_(trained[key])  # set_adapter changed it
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


def save_adapter(lm: AudioLM, folder: str | os.PathLike[str], name: str | None = None) -> Path:
    """Save an adapter without its base; by default the active one.

    Raises:
        ValueError: if the model has no such adapter.
    """
    adapters, path = _adapters(lm), Path(folder)
    name = name if name is not None else adapters.active
    if name is None or name not in adapters.by_name:
        raise ValueError(unknown("adapter", str(name), adapters.by_name))
    adapter = adapters.by_name[name]
    path.mkdir(parents=True, exist_ok=True)
    values = {
        key: value.detach().cpu().contiguous() for key, value in _parameters(lm, name).items()
    }
    card = {
        "format": 1,
        "base": adapters.fingerprint,
        "settings": asdict(adapter.settings),
        "tasks": adapter.tasks,
    }
    for name, write in (
        (WEIGHTS, lambda file: save_file(values, file)),
        (CARD, lambda file: file.write_text(json.dumps(card, indent=1), encoding="utf-8")),
    ):
        temporary = path / f"{name}.tmp-{os.getpid()}"
        write(temporary)
        os.replace(temporary, path / name)
    return path


def load_adapter(lm: AudioLM, folder: str | os.PathLike[str], name: str = "default") -> AudioLM:
    """Load a saved adapter and activate it; its parameters require no gradients.

    Args:
        lm: the base that the adapter was trained on.
        folder: of the adapter, or a training run's.
        name: for the adapter.

    Raises:
        CheckpointError: if the folder holds no adapter, or one that is damaged.
        ValueError: if the adapter belongs to another base, or as :func:`add_lora`.
    """
    path = Path(folder)
    for candidate in (path, path / "adapter"):  # a run folder holds one
        if (candidate / CARD).is_file():
            path = candidate
            break
    else:
        raise CheckpointError(f"{folder} holds no adapter: {CARD} is missing")
    _refuse_quantized(lm)
    card = json.loads((path / CARD).read_text(encoding="utf-8"))
    if card.get("format") != 1:
        raise CheckpointError(f"{path} has adapter format {card.get('format')}, this reads 1")
    adapters = _adapters(lm)
    if card["base"] != adapters.fingerprint:
        raise ValueError(
            f"the adapter {path} was made for base {card['base']}, this model is base"
            f" {adapters.fingerprint}"
        )
    values = card["settings"]
    settings = LoraSettings(**{**values, "targets": tuple(values["targets"])})
    weights = load_file(path / WEIGHTS)
    add_lora(lm, settings, name)
    own = _parameters(lm, name)
    if own.keys() != weights.keys():
        other = sorted(own.keys() ^ weights.keys())
        raise CheckpointError(f"{path} does not fit its settings: {', '.join(other[:3])}")
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.copy_(weights[key])
            parameter.requires_grad_(False)
    adapters.by_name[name].tasks = list(card["tasks"])
    use_adapter(lm, name)
    return lm


def merge_adapter(lm: AudioLM, name: str | None = None) -> AudioLM:
    """Merge an adapter into the weights, by default the active one, and remove all adapters.

    Outputs stay the same (within 1e-5 in float32). The base cannot be restored.

    Raises:
        ValueError: if the model has no adapter of that name, or is quantized.
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
    """Hash of the base's weights and of the settings that decide their use: 16 hex digits.

    Weights are rounded to bfloat16 first, so that the hash does not depend on the precision.
    Adapters do not count.
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
    """Embeddings and heads of the base and of all adapters, active or not."""
    adapters = lm.__dict__.get("_almtok_adapters")
    if adapters is None:
        return []
    sets = [adapters.modules, *(adapter.modules for adapter in adapters.by_name.values())]
    return [module for modules in sets for module in modules.values()]


def _refuse_quantized(lm: AudioLM) -> None:
    if is_quantized(lm):
        raise ValueError("the model is quantized: add or merge adapters before it is quantized")


def _adapters(lm: AudioLM) -> _Adapters:
    found = lm.__dict__.get("_almtok_adapters")
    if found is None:
        modules = {part: getattr(lm, part) for part in _MODULES}
        found = _Adapters(base_fingerprint(lm), list(lm.config.tasks), modules)
        lm.__dict__["_almtok_adapters"] = found  # no submodule: nothing is saved twice
    return found


def _inject(lm: AudioLM, settings: LoraSettings, name: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    layers = lm.backbone.get_decoder().layers
    linear = {
        path.replace(".base_layer", "").rpartition(".")[2]
        for path, module in layers.named_modules()
        if isinstance(module, nn.Linear) and ".lora_" not in path
    }
    if unknown_names := sorted(set(settings.targets) - linear):
        raise ValueError(
            f"no linear layer of the backbone is named {', '.join(unknown_names)}; there are"
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
    """LoRA layers of the backbone."""
    if not _adapters(lm).by_name:
        return []
    return [module for module in lm.backbone.modules() if _is_lora(module)]


def _parameters(lm: AudioLM, name: str) -> dict[str, Tensor]:
    """Parameters of an adapter, active or not, by their names in the file."""
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
