"""The name of what codes mean: equal fingerprints, exchangeable codes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from .config import ALMTokenizerConfig

# Configuration that changes codes without changing the shape of a weight.
_FIELDS = (
    "sample_rate",
    "strides",
    "patchify",
    "normalize_frames",
    "normalize_queries",
    "attention_mode",
    "attention_window",
    "rope_theta",
    "num_attention_heads",
)
_PARTS = ("patchify.", "encoder.", "quantizer.")
_STATISTICS = (".count", ".total", ".initialised", ".num_speech", ".updates")


def code_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keep the weights that make codes or give them a vector, by name in sorted order.

    The decoder half may be adapted without changing what codes mean, and the counters of the
    codebooks say only how they were used.
    """
    return {
        name: weights[name]
        for name in sorted(weights)
        if name.startswith(_PARTS) and not name.endswith(_STATISTICS)
    }


def fingerprint(config: ALMTokenizerConfig, weights: Mapping[str, Tensor]) -> str:
    """Hash what :func:`code_weights` kept, and the configuration around it: 16 hex digits.

    Weights enter rounded to bfloat16, so a checkpoint means the same in any precision.
    """
    digest = hashlib.sha256(json.dumps({n: getattr(config, n) for n in _FIELDS}).encode())
    for name, tensor in weights.items():
        digest.update(f"{name}{list(tensor.shape)}".encode())
        rounded = tensor.detach().cpu().to(torch.bfloat16).contiguous()
        digest.update(rounded.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]
