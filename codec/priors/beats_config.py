"""Sizes of a BEATs encoder, from a checkpoint's ``cfg`` or from the shapes of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BEATsConfig:
    """Fields named as in the official ``cfg``; the defaults are those of the published models.

    The defaults of the reference *class* are wrong for every published model (deep_norm off,
    max_distance 1280, no relative positions), so nothing is taken from there.
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
            raise ValueError(f"patches must be 16 wide, got {self.input_patch_size}")
        if self.activation_fn != "gelu":
            raise ValueError(f"the activation must be 'gelu', got {self.activation_fn!r}")
        if self.layer_norm_first:
            raise ValueError("layer_norm_first is used by no published model and not written here")
        if self.encoder_embed_dim % self.encoder_attention_heads:
            raise ValueError(
                f"width {self.encoder_embed_dim} is no multiple of "
                f"{self.encoder_attention_heads} heads"
            )

    @property
    def residual_scale(self) -> float:
        """Factor of the residual in both halves of a layer (deep norm)."""
        return (2 * self.encoder_layers) ** 0.25 if self.deep_norm else 1.0

    @classmethod
    def from_cfg(cls, cfg: Mapping[str, Any]) -> BEATsConfig:
        """Take what matters in inference from an official ``cfg``.

        Training fields (dropouts, layer drop, gradient decay) are left aside. A field that matters
        and is missing is an error, because the reference's defaults fit no published model.
        """
        # The predictor is only there in fine-tuned files.
        needed = {field.name for field in fields(cls)} - {"finetuned_model", "predictor_class"}
        missing = sorted(needed - cfg.keys())
        if missing:
            raise ValueError(f"the checkpoint's cfg lacks {', '.join(missing)}")
        return cls(**{field.name: cfg[field.name] for field in fields(cls) if field.name in cfg})

    @classmethod
    def from_shapes(cls, weights: Mapping[str, Tensor]) -> BEATsConfig:
        """Read the sizes off the weights of a file without ``cfg``.

        ``deep_norm``, ``max_distance`` and ``layer_norm_first`` leave no trace in shapes: they are
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
