"""Clips -> codes: buffers sorted by length, batches of bounded size, rows back in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ...codec.refine import CodeRefiner
from ...codec.refine_config import BY_SPECTRA
from .clips import Clip
from .recordings import Recording

if TYPE_CHECKING:
    from ...codec.model import ALMTokenizer


@dataclass(frozen=True, slots=True)
class Encoded:
    """A clip as codes; its samples are let go."""

    place: int  # in the list of recordings
    recording: Recording
    num_samples: int
    codes: NDArray[np.uint16]  # [K, Q]


def encode_clips(
    codec: ALMTokenizer,
    clips: Sequence[Clip],
    *,
    frames_per_query: int,
    batch_samples: int,
    passes: int = 1,
    search_seconds: float = 0.0,
) -> Iterator[list[Encoded]]:
    """Yield the clips of each batch as codes; the order is that of their lengths.

    Args:
        codec: In evaluation mode, on the device that is to compute.
        clips: Any number.
        frames_per_query: Rate, see the codec.
        batch_samples: Most samples of a batch, padding counted; one clip may have more.
        passes: Times through the codec; from the second on, of what the codes before sound like.
        search_seconds: Codes of clips that are no longer are searched for.
    """
    most = search_seconds * codec.sample_rate
    short = [clip for clip in clips if len(clip.wav) <= most]
    for batch in _batches([clip for clip in clips if len(clip.wav) > most], batch_samples):
        yield _encode(codec, batch, frames_per_query, passes)
    if short:
        search = CodeRefiner(codec, BY_SPECTRA)
        yield from ([_search(search, clip, frames_per_query)] for clip in short)


def _search(search: CodeRefiner, clip: Clip, frames_per_query: int) -> Encoded:
    wav = torch.from_numpy(clip.wav)[None, None].to(search.model.device)
    codes = search.encode(wav, frames_per_query).audio_codes[0].cpu().numpy().astype(np.uint16)
    return Encoded(clip.place, clip.recording, len(clip.wav), np.ascontiguousarray(codes))


def _batches(clips: Sequence[Clip], batch_samples: int) -> Iterator[list[Clip]]:
    """Cut at lengths: long ones first, so that memory that does not suffice is seen at once."""
    batch: list[Clip] = []
    for clip in sorted(clips, key=lambda clip: (-len(clip.wav), clip.place)):
        longest = len(batch[0].wav) if batch else len(clip.wav)
        if batch and longest * (len(batch) + 1) > batch_samples:
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch


def _encode(
    codec: ALMTokenizer, batch: list[Clip], frames_per_query: int, passes: int
) -> list[Encoded]:
    """Encode one batch; on a device whose memory does not suffice, in two halves."""
    lengths = torch.tensor([len(clip.wav) for clip in batch])
    wav = torch.zeros(len(batch), 1, int(lengths.max()))
    for row, clip in zip(wav, batch, strict=True):
        row[0, : len(clip.wav)] = torch.from_numpy(clip.wav)
    mask = torch.arange(wav.shape[-1]) < lengths[:, None]  # [B, S]
    try:
        wav, mask = wav.to(codec.device), mask.to(codec.device)
        out = codec.encode(wav, mask, frames_per_query)
        for _ in range(passes - 1):
            # Exactly as long as the recordings, without what the last column holds beyond them.
            heard = codec.decode(out.audio_codes, frames_per_query, lengths.to(codec.device))
            wav = heard.audio_values[..., : wav.shape[-1]]
            out = codec.encode(wav, mask, frames_per_query)
    except RuntimeError as error:  # not every device has a kind of its own for it
        if len(batch) == 1 or codec.device.type == "cpu" or "out of memory" not in str(error):
            raise
        torch.get_device_module(codec.device).empty_cache()
        half = len(batch) // 2
        return [
            *_encode(codec, batch[:half], frames_per_query, passes),
            *_encode(codec, batch[half:], frames_per_query, passes),
        ]
    codes = out.audio_codes.cpu().numpy().astype(np.uint16)  # [B, K, Q]
    counts = out.audio_codes_mask.sum(-1).tolist()
    return [
        Encoded(clip.place, clip.recording, len(clip.wav), np.ascontiguousarray(row[:, :count]))
        for clip, row, count in zip(batch, codes, counts, strict=True)
    ]
