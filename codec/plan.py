"""Parameters, FLOPs and rates of a codec configuration.

FLOPs are counted: each part runs once on the `meta` device, where tensors have shapes but no
values, and all matrix products are summed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..core.linear import unpacked
from .config import ALMTokenizerConfig
from .conv import Lstm, LstmState
from .model import ALMTokenizer
from .quantizer import ResidualQuantizer

PARTS = ("patchify", "encoder", "quantizer", "decoder", "unpatchify")

# Long enough that the attention window is full nearly everywhere.
SECONDS = 60
# Of a convolutional Patchify, which runs in many chunks; its FLOPs grow in proportion to the audio.
CONVOLVED_SECONDS = 4


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Size, cost and rates of one configuration at one `frames_per_query`."""

    name: str
    parameters: dict[str, int]  # by part, in the order of the data
    flops: dict[str, float]  # by part, per second of audio; a multiply-add counts as two
    query_rate: float  # columns of codes per second
    tokens_per_second: float
    bits_per_second: float
    latency_seconds: float  # audio per query: the minimum latency of a stream

    @property
    def num_parameters(self) -> int:
        """Parameters of all parts."""
        return sum(self.parameters.values())

    @property
    def encode_flops(self) -> float:
        """FLOPs to encode one second of audio."""
        return self.flops["patchify"] + self.flops["encoder"] + self.flops["quantizer"]

    @property
    def decode_flops(self) -> float:
        """FLOPs to decode one second of audio."""
        return self.flops["decoder"] + self.flops["unpatchify"]


def make_plan(
    config: ALMTokenizerConfig, *, name: str = "", frames_per_query: int | None = None
) -> Plan:
    """Compute the plan of a configuration.

    Args:
        config: of the codec.
        name: of the row in the table.
        frames_per_query: w; that of the configuration by default.
    """
    w = frames_per_query or config.frames_per_query
    with torch.device("meta"):
        model = ALMTokenizer(config).eval()
    return Plan(
        name=name,
        parameters={part: _num_parameters(getattr(model, part)) for part in PARTS},
        flops=_count_flops(model, w),
        query_rate=config.query_rate(w),
        tokens_per_second=config.query_rate(w) * config.num_codebooks,
        bits_per_second=config.bits_per_second(w),
        latency_seconds=w / config.frame_rate,
    )


def _num_parameters(module: torch.nn.Module) -> int:
    """Number of weights and codebook entries (buffers, since no gradient trains them)."""
    tensors: list[torch.Tensor] = list(module.parameters())
    tensors += [buffer for name, buffer in module.named_buffers() if name.endswith("entries")]
    return sum(tensor.numel() for tensor in tensors)


@torch.no_grad()
def _count_flops(model: ALMTokenizer, frames_per_query: int) -> dict[str, float]:
    """Count the FLOPs of each part per second of audio.

    The counter supports plain operations only: no packed weights, and attention as two products.
    """
    config = model.config
    # Whole queries, in frames.
    long, short = (
        int(seconds * config.query_rate(frames_per_query)) * frames_per_query
        for seconds in (SECONDS, CONVOLVED_SECONDS if config.patchify == "conv" else SECONDS)
    )
    counted: dict[str, float] = {}

    def run(part: str, num_frames: int, call: Callable[[], torch.Tensor]) -> torch.Tensor:
        counter = FlopCounterMode(display=False)
        with counter, unpacked(), sdpa_kernel(SDPBackend.MATH), _lstm_as_products():
            output = call()
        counted[part] = counter.get_total_flops() / (num_frames / config.frame_rate)
        return output

    wav = torch.zeros(1, 1, short * config.hop_length, device="meta")  # [B, 1, S]
    some = run("patchify", short, lambda: model.patchify(wav))  # [B, T, D]
    frames = torch.zeros(1, long, some.shape[-1], device="meta")
    hidden = run("encoder", long, lambda: model.encoder(frames, frames_per_query))  # [B, Q, D]
    # The search for the nearest entry needs values, so the (small) quantizer runs on the CPU.
    quantizer = ResidualQuantizer(config).eval()
    run("quantizer", long, lambda: quantizer(torch.zeros(hidden.shape)).quantized)  # [B, Q, D]
    run("decoder", long, lambda: model.decoder(hidden, frames_per_query))  # [B, T, D]
    run("unpatchify", short, lambda: model.unpatchify(some))  # [B, 1, S]
    return counted


@contextmanager
def _lstm_as_products() -> Iterator[None]:
    """Let LSTM layers compute their matrix products only, for all steps at once.

    On the meta device an LSTM runs step by step in Python: minutes instead of milliseconds.
    """

    def step(self: Lstm, x: Tensor, state: LstmState | None) -> tuple[Tensor, LstmState]:
        for w_input, w_state, *_ in self.lstm.all_weights:  # [4C, C]
            F.linear(x, w_input)
            F.linear(x, w_state)
        last = x[:, -1:].expand(-1, self.lstm.num_layers, -1)  # [B, layers, C]
        return x, (last, last)

    original = Lstm.step
    Lstm.step = step  # type: ignore[method-assign]
    try:
        yield
    finally:
        Lstm.step = original  # type: ignore[method-assign]


def format_plans(plans: list[Plan]) -> str:
    """Format plans as a text table with a row per plan."""
    head = ["", *PARTS, "total", "GFLOP/s enc", "GFLOP/s dec", "Hz", "tokens/s", "kbps", "delay"]
    rows = [head]
    for plan in plans:
        sizes = [plan.parameters[part] for part in PARTS] + [plan.num_parameters]
        rows.append(
            [plan.name]
            + [f"{size / 1e6:.2f} M" for size in sizes]
            + [f"{plan.encode_flops / 1e9:.2f}", f"{plan.decode_flops / 1e9:.2f}"]
            + [f"{plan.query_rate:g}", f"{plan.tokens_per_second:g}"]
            + [f"{plan.bits_per_second / 1e3:.4g}", f"{plan.latency_seconds * 1e3:.0f} ms"]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    ]
    note = "GFLOP per second of audio; a multiply-add counts as two. Delay: one query of audio."
    return "\n".join([*lines, "", note])
