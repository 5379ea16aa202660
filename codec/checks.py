"""Checks of the inputs of the codec; each error names what is expected and what it got."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ..core.audio import MAX_PEAK

_BLOCK = 1 << 22  # samples checked at once, so that an hour of audio needs no second copy


def check_waveform(
    wav: Tensor, sampling_rate: int | None, expected_rate: int, *, allow_empty: bool = False
) -> None:
    """Raise a ValueError unless `wav` is a float waveform `[B, 1, S]` at the right rate.

    Its samples must be finite and not at the scale of integers.
    """
    if sampling_rate is not None and sampling_rate != expected_rate:
        raise ValueError(
            f"sampling_rate must be {expected_rate} Hz, got {sampling_rate} Hz: resample the audio"
            " first (almtok.core.audio.resample)"
        )
    if not isinstance(wav, Tensor):
        raise ValueError(f"the waveform must be a tensor [B, 1, S], got {type(wav).__name__}")
    if wav.ndim != 3:
        raise ValueError(f"the waveform must be [B, 1, S], got {list(wav.shape)}")
    if wav.shape[1] != 1:
        raise ValueError(f"the waveform must have 1 channel (mono), got {wav.shape[1]}")
    if not wav.is_floating_point():
        raise ValueError(f"the waveform must hold float samples in [-1, 1], got {wav.dtype}")
    if wav.shape[0] == 0 or (wav.shape[-1] == 0 and not allow_empty):
        raise ValueError(f"the waveform must not be empty, got {list(wav.shape)}")
    for block in wav.detach().split(_BLOCK, dim=-1):
        peak = float(block.abs().amax()) if block.numel() else 0.0  # NaN if one sample is
        if not math.isfinite(peak):
            raise ValueError("the waveform must be finite, got NaN or infinite samples")
        if peak > MAX_PEAK:
            raise ValueError(
                f"samples must lie in [-1, 1], got {peak:.0f}: divide integers by full scale, such"
                " as 32768"
            )


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
        raise ValueError(f"padding_mask must be {[batch, samples]}, got {list(padding_mask.shape)}")
    mask = mask.bool()
    lengths = mask.sum(dim=-1)
    if bool((mask != (torch.arange(samples, device=mask.device) < lengths[:, None])).any()):
        raise ValueError("padding_mask must be 1 for the signal, then 0: padding on the right only")
    if int(lengths.min()) == 0:
        row = int(lengths.argmin())
        raise ValueError(f"padding_mask must hold a 1 in every row, got only 0 in row {row}")
    return lengths.to(wav.device)


def check_codes(
    codes: Tensor, num_codebooks: int, codebook_size: int, *, allow_empty: bool = False
) -> None:
    """Raise a ValueError unless `codes` are `[B, 1..K, Q]` integers inside the codebooks."""
    if not isinstance(codes, Tensor) or codes.ndim != 3:
        found = list(codes.shape) if isinstance(codes, Tensor) else type(codes).__name__
        raise ValueError(f"codes must be a tensor [B, K, Q], got {found}")
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise ValueError(f"codes must be integers, got {codes.dtype} (a waveform?)")
    if not 1 <= codes.shape[1] <= num_codebooks:
        raise ValueError(f"codes must be of 1 to {num_codebooks} codebooks, got {codes.shape[1]}")
    if codes.shape[0] == 0 or (codes.shape[-1] == 0 and not allow_empty):
        raise ValueError(f"codes must not be empty, got {list(codes.shape)}")
    if codes.numel():
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= codebook_size:
            raise ValueError(
                f"codes must lie in 0..{codebook_size - 1}, got {low}..{high}: special ids must be"
                " removed, and codes of another codec cannot be decoded"
            )


def check_num_quantizers(count: int | None, num_codebooks: int) -> int:
    """Return the number of codebooks to use; None: all.

    Raises:
        ValueError: The codec has no such number.
    """
    if count is None:
        return num_codebooks
    if not 1 <= count <= num_codebooks:
        raise ValueError(f"num_quantizers must lie in 1..{num_codebooks}, got {count}")
    return count


def refuse_caches(others: Mapping[str, object]) -> None:
    """Refuse arguments of Mimi that the codec does not have, unless they are None or False.

    Raises:
        TypeError: The message names them.
    """
    if names := [
        name for name, value in others.items() if value is not None and value is not False
    ]:
        raise TypeError(
            f"the codec takes no {', '.join(names)}; streams are stream_encoder() and"
            " stream_decoder()"
        )
