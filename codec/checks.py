"""Checks of what a user hands to the codec: one clear error that names what came."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_PIECE = 1 << 22  # samples looked at in one go, so that an hour of audio needs no second copy


def check_waveform(
    wav: Tensor, sampling_rate: int | None, expected_rate: int, *, allow_empty: bool = False
) -> None:
    """Raise a ValueError unless `wav` is a finite float waveform `[B, 1, S]` at the right rate."""
    if sampling_rate is not None and sampling_rate != expected_rate:
        raise ValueError(
            f"audio at {sampling_rate} Hz came, the codec expects {expected_rate} Hz: "
            f"resample it first (almtok.core.audio.resample)"
        )
    if not isinstance(wav, Tensor):
        raise ValueError(f"a waveform tensor [B, 1, S] is expected, came {type(wav).__name__}")
    if wav.ndim != 3:
        raise ValueError(f"a waveform of shape [B, 1, S] is expected, came {list(wav.shape)}")
    if wav.shape[1] != 1:
        raise ValueError(f"audio of {wav.shape[1]} channels came, the codec expects 1 (mono)")
    if not wav.is_floating_point():
        raise ValueError(f"float samples in [-1, 1] are expected, came {wav.dtype}")
    if wav.shape[0] == 0 or (wav.shape[-1] == 0 and not allow_empty):
        raise ValueError(f"empty audio came: shape {list(wav.shape)}")
    for piece in wav.split(_PIECE, dim=-1):
        # NaN and infinities survive a sum of products with zero
        if not bool(torch.isfinite((piece * 0).sum())):
            raise ValueError("the audio holds NaN or infinite samples")


def lengths_of(wav: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Return the samples of each row, `[B]` int64, from a mask with padding on the right.

    Raises:
        ValueError: for a mask of another shape, padding on the left or inside, or an empty row.
    """
    batch, samples = wav.shape[0], wav.shape[-1]
    if padding_mask is None:
        return torch.full((batch,), samples, device=wav.device)
    mask = padding_mask.reshape(batch, -1) if padding_mask.ndim == 3 else padding_mask
    if tuple(mask.shape) != (batch, samples):
        raise ValueError(
            f"padding_mask of shape {list(padding_mask.shape)} came, expected {[batch, samples]}"
        )
    mask = mask.bool()
    lengths = mask.sum(dim=-1)
    if bool((mask != (torch.arange(samples, device=mask.device) < lengths[:, None])).any()):
        raise ValueError("padding_mask must be 1 for the signal, then 0: padding on the right only")
    if int(lengths.min()) == 0:
        raise ValueError(f"row {int(lengths.argmin())} of the batch is empty (its mask is all 0)")
    return lengths.to(wav.device)


def check_codes(
    codes: Tensor, num_codebooks: int, codebook_size: int, *, allow_empty: bool = False
) -> None:
    """Raise a ValueError unless `codes` are `[B, 1..K, Q]` integers inside the codebooks."""
    if not isinstance(codes, Tensor) or codes.ndim != 3:
        came = list(codes.shape) if isinstance(codes, Tensor) else type(codes).__name__
        raise ValueError(f"codes of shape [B, K, Q] are expected, came {came}")
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise ValueError(f"integer codes are expected, came {codes.dtype} (a waveform?)")
    if not 1 <= codes.shape[1] <= num_codebooks:
        raise ValueError(
            f"codes of {codes.shape[1]} codebooks came, this codec has {num_codebooks}"
        )
    if codes.shape[0] == 0 or (codes.shape[-1] == 0 and not allow_empty):
        raise ValueError(f"empty codes came: shape {list(codes.shape)}")
    if codes.numel():
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= codebook_size:
            raise ValueError(
                f"codes from {low} to {high} came, this codec knows 0..{codebook_size - 1}: "
                f"special ids must be removed, and codes of another codec cannot be decoded"
            )


def refuse_other_weights(info: dict[str, Any], what: str) -> None:
    """Refuse a checkpoint that lacks weights, or has others: transformers would leave chance.

    Args:
        info: What transformers' `from_pretrained` says of loading.
        what: Begins the error.

    Raises:
        ValueError: then, with the first name.
    """
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(str(name) for name in info[problem]):
            raise ValueError(
                f"{what}: {len(names)} {problem.replace('_', ' ')}, such as {names[0]}"
            )
