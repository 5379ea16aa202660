"""Fingerprints: codecs with equal fingerprints have exchangeable codes."""

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
    """Return the weights that define codes, by name in sorted order.

    Those are the weights of Patchify, encoder and quantizer, without the statistics of codebooks.
    """
    return {
        name: weights[name]
        for name in sorted(weights)
        if name.startswith(_PARTS) and not name.endswith(_STATISTICS)
    }


def fingerprint(config: ALMTokenizerConfig, weights: Mapping[str, Tensor]) -> str:
    """Hash the weights of :func:`code_weights` and their configuration: 16 hex digits.

    Weights are rounded to bfloat16, so the fingerprint does not depend on the stored precision.
    """
    digest = hashlib.sha256(json.dumps({n: getattr(config, n) for n in _FIELDS}).encode())
    for name, tensor in weights.items():
        digest.update(f"{name}{list(tensor.shape)}".encode())
        rounded = tensor.detach().cpu().to(torch.bfloat16).contiguous()
        digest.update(rounded.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]
