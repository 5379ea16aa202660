"""How the codes `[K, Q]` of an audio lie in the rows that a language model reads and writes.

    depth, parallel   one row per frame                       Q + 1 rows
    delay             stream k lies k rows later              Q + K - 1 rows (Q + 1 for K = 1)
    flat              one code per row, frame by frame        Q * K + 1 rows

`depth` and `parallel` lie alike and differ in the head that predicts a row: code after code, or all
at once. The first row after the last code of the first stream holds `audio_end` there; streams
without a code hold `audio_empty`. Everything else (training, sampling, caching) is the same for
all patterns (AudioCraft's idea of patterns as data; ours is a grid and its inverse).

Letters: `K` codebooks, `Q` frames of codes, `R` rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .config import AudioLMConfig
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Layout:
    """Rows for frames; `shift[k]` rows of delay in stream k, `stride` rows per frame."""

    num_codebooks: int
    stride: int
    shift: tuple[int, ...]
    end: int
    empty: int

    def num_rows(self, num_frames: int) -> int:
        """Rows of `Q` frames, the end row included."""
        last = (num_frames - 1) * self.stride + max(self.shift)  # of the last code, if any
        return max(self.end_row(num_frames), last) + 1

    def end_row(self, num_frames: int) -> int:
        """The row whose first stream says that the audio has ended."""
        return num_frames * self.stride

    def streams(self, row: int, num_frames: int | None = None) -> tuple[int, ...]:
        """The streams that hold a code in this row: of `Q` frames, or of an audio that goes on."""
        return tuple(
            k
            for k, shift in enumerate(self.shift)
            if row >= shift
            and (row - shift) % self.stride == 0
            and (num_frames is None or (row - shift) // self.stride < num_frames)
        )

    def apply(self, codes: Tensor, *, ended: bool = True) -> Tensor:
        """Lay codes `[K, Q]` out as rows `[R, K]`.

        Args:
            codes: int64.
            ended: with the end row; without it only the rows that are known in full from these
                codes: the beginning of an audio that goes on.

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
        """Return the codes `[K, Q]` of rows `[R, K]`: of all frames whose every code is there."""
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
        "depth": (1, (0,) * count),
        "parallel": (1, (0,) * count),
        "delay": (1, steps),
        "flat": (count, steps),
    }[vocabulary.config.pattern]
    return Layout(count, stride, shift, vocabulary.audio_end, vocabulary.audio_empty)
