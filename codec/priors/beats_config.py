"""Configuration of a BEATs encoder, from the ``cfg`` or the weight shapes of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BEATsConfig:
    """Fields named as in the official ``cfg``; the defaults are those of the published models.

    The defaults of the reference *class* match no published model (deep_norm off, max_distance
    1280, no relative positions), so they are not used.
    """

    input_patch_size: int = 16
    embed_dim: int = 512
    conv_bias: bool = False
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    activation_fn: str = "gelu"
    layer_norm_first: bool = False
    deep_norm: bool = True
    conv_pos: int = 128
    conv_pos_groups: int = 16
    relative_position_embedding: bool = True
    gru_rel_pos: bool = True
    num_buckets: int = 320
    max_distance: int = 800
    finetuned_model: bool = False
    predictor_class: int = 527

    def __post_init__(self) -> None:
        if self.input_patch_size != 16:
            raise ValueError(f"input_patch_size must be 16, got {self.input_patch_size}")
        if self.activation_fn != "gelu":
            raise ValueError(f"activation_fn must be 'gelu', got {self.activation_fn!r}")
        if self.layer_norm_first:
            raise ValueError(
                "layer_norm_first must be False (as in all published models), got True"
            )
        if self.encoder_embed_dim % self.encoder_attention_heads:
            raise ValueError(
                f"encoder_embed_dim must be a multiple of {self.encoder_attention_heads} heads,"
                f" got {self.encoder_embed_dim}"
            )

    @property
    def residual_scale(self) -> float:
        """Factor of the residual in both halves of a layer (deep norm)."""
        return (2 * self.encoder_layers) ** 0.25 if self.deep_norm else 1.0

    @classmethod
    def from_cfg(cls, cfg: Mapping[str, Any]) -> BEATsConfig:
        """Read the fields for inference from an official ``cfg``.

        Training fields (dropouts, layer drop, gradient decay) are ignored. A missing field is an
        error, because the defaults of the reference match no published model.
        """
        # Only fine-tuned checkpoints have the predictor.
        needed = {field.name for field in fields(cls)} - {"finetuned_model", "predictor_class"}
        missing = sorted(needed - cfg.keys())
        if missing:
            raise ValueError(f"cfg of the checkpoint lacks {', '.join(missing)}")
        return cls(**{field.name: cfg[field.name] for field in fields(cls) if field.name in cfg})

    @classmethod
    def from_shapes(cls, weights: Mapping[str, Tensor]) -> BEATsConfig:
        """Infer the sizes from the weights of a file without ``cfg``.

        Shapes do not determine ``deep_norm``, ``max_distance`` and ``layer_norm_first``: these are
        those of the published models.
        """
        patch = weights["patch_embedding.weight"]  # [embed_dim, 1, 16, 16]
        first = "encoder.layers.0."
        width, narrow, taps = weights["encoder.pos_conv.0.weight_v"].shape
        table = weights[first + "self_attn.relative_attention_bias.weight"]
        layers = {key.split(".")[2] for key in weights if key.startswith("encoder.layers.")}
        predictor = weights.get("predictor.weight")
        return cls(
            input_patch_size=patch.shape[-1],
            embed_dim=patch.shape[0],
            conv_bias="patch_embedding.bias" in weights,
            encoder_layers=len(layers),
            encoder_embed_dim=width,
            encoder_ffn_embed_dim=weights[first + "fc1.weight"].shape[0],
            encoder_attention_heads=table.shape[1],
            conv_pos=taps,
            conv_pos_groups=width // narrow,
            gru_rel_pos=first + "self_attn.grep_a" in weights,
            num_buckets=table.shape[0],
            finetuned_model=predictor is not None,
            predictor_class=527 if predictor is None else predictor.shape[0],
        )
