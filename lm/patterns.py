"""Patterns: the layout of codes `[K, Q]` in the rows of a language model.

    depth, parallel   one row per frame                       Q + 1 rows
    delay             stream k lies k rows later              Q + K - 1 rows (Q + 1 for K = 1)
    flat              one code per row, frame by frame        Q * K + 1 rows

`depth` and `parallel` have the same layout and differ in the head that predicts a row: one code
after the other, or all at once. With `depth_delay` all streams after the first lie one row later;
the last of them share the end row. The row after the last code of the first stream has `audio_end`
there; streams without a code have `audio_empty`. Everything else (training, sampling, caching) is
the same for all patterns (patterns as data, as in AudioCraft).

Shapes: `K` codebooks, `Q` frames of codes, `R` rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .config import AudioLMConfig
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Layout:
    """A pattern: `stride` rows per frame, stream k delayed by `shift[k]` rows."""

    num_codebooks: int
    stride: int
    shift: tuple[int, ...]
    end: int
    empty: int

    def num_rows(self, num_frames: int) -> int:
        """Rows of `Q` frames, including the end row."""
        last = (num_frames - 1) * self.stride + max(self.shift)  # of the last code, if any
        return max(self.end_row(num_frames), last) + 1

    def end_row(self, num_frames: int) -> int:
        """Index of the row with `audio_end`."""
        return num_frames * self.stride

    def streams(self, row: int, num_frames: int | None = None) -> tuple[int, ...]:
        """Streams with a code in a row, of `Q` frames or of audio without an end."""
        return tuple(
            k
            for k, shift in enumerate(self.shift)
            if row >= shift
            and (row - shift) % self.stride == 0
            and (num_frames is None or (row - shift) // self.stride < num_frames)
        )

    def apply(self, codes: Tensor, *, ended: bool = True) -> Tensor:
        """Convert codes `[K, Q]` to rows `[R, K]`.

        Args:
            codes: int64.
            ended: include the end row. If False, only the rows that are complete: a prefix of audio
                that continues.

        Raises:
            ValueError: if there are not K streams.
        """
        if codes.ndim != 2 or codes.shape[0] != self.num_codebooks:
            raise ValueError(f"codes must be [{self.num_codebooks}, Q], got {list(codes.shape)}")
        count = codes.shape[1]
        rows = codes.new_full((self.num_rows(count), self.num_codebooks), self.empty)
        for k, stream in enumerate(codes):
            rows[self._rows_of(k, count, codes.device), k] = stream
        if not ended:
            return rows[: self.end_row(count)]
        rows[self.end_row(count), 0] = self.end
        return rows

    def revert(self, rows: Tensor) -> Tensor:
        """Codes `[K, Q]` of rows `[R, K]`, of all complete frames."""
        first = rows[:: self.stride, 0]
        ends = (first == self.end).nonzero()
        count = int(ends[0]) if len(ends) else len(first)
        while count and (count - 1) * self.stride + max(self.shift) >= len(rows):
            count -= 1
        streams = [rows[self._rows_of(k, count, rows.device), k] for k in range(self.num_codebooks)]
        return torch.stack(streams) if streams else rows.new_zeros(self.num_codebooks, 0)

    def _rows_of(self, stream: int, count: int, device: torch.device) -> Tensor:
        return torch.arange(count, device=device) * self.stride + self.shift[stream]


def layout(config: AudioLMConfig | Vocabulary) -> Layout:
    """Return the layout of the pattern of a configuration (or of its vocabulary)."""
    vocabulary = Vocabulary.of(config)
    count = vocabulary.num_codebooks
    steps = tuple(range(count))
    stride, shift = {
        "depth": (1, (0, *[int(vocabulary.config.depth_delay)] * (count - 1))),
        "parallel": (1, (0,) * count),
        "delay": (1, steps),
        "flat": (count, steps),
    }[vocabulary.config.pattern]
    return Layout(count, stride, shift, vocabulary.audio_end, vocabulary.audio_empty)
