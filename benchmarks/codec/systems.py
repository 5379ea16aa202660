"""The codecs of the benchmark: our presets and published architectures, with random weights.

Cost does not depend on the weights, so nothing is downloaded.
Shapes: B batch, S samples, K codebooks, Q positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import almtok  # noqa: F401  (installs the torchaudio guard before transformers is loaded)

OURS = ("tiny", "mini", "base", "paper")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A published codec."""

    model_type: str  # of transformers
    frame_rate: float
    codebooks: int
    about: str
    mb_per_second: float  # measured peak memory per second of audio: decides what fits
    config: dict[str, Any] = field(default_factory=dict)  # where it differs from the default
    encode_options: dict[str, Any] = field(default_factory=dict)


# The defaults of EnCodec and Mimi in transformers are those of the 24 kHz checkpoints.
PEERS = {
    "encodec": Peer(
        model_type="encodec", frame_rate=75.0, codebooks=8, about="EnCodec 24 kHz, 6 kbit/s",
        mb_per_second=18.0, encode_options={"bandwidth": 6.0},
    ),
    "dac": Peer(
        model_type="dac", frame_rate=75.0, codebooks=32, about="DAC 24 kHz, 24 kbit/s",
        mb_per_second=60.0, config={
            "sampling_rate": 24_000, "downsampling_ratios": [2, 4, 5, 8], "n_codebooks": 32,
        },
    ),
    "mimi": Peer(
        model_type="mimi", frame_rate=12.5, codebooks=8, about="Mimi, 8 codebooks, 1.1 kbit/s",
        mb_per_second=31.0, encode_options={"num_quantizers": 8},
    ),
}  # fmt: skip
NAMES = (*OURS, *PEERS)


@dataclass
class System:
    """A codec to measure."""

    name: str
    model: Any
    frame_rate: float
    codebooks: int
    codebook_size: int
    encode: Callable[[Any], Any]  # wav [B, 1, S] -> codes
    decode: Callable[[Any], Any]  # codes -> wav
    step: Callable[[Any], Any]  # wav [B, 1, S] -> (reconstruction, other losses), with gradient

    def codes(self, batch: int, seconds: float) -> Any:
        """Random codes for so much audio, in the shape that `decode` takes."""
        import torch

        shape = [batch, self.codebooks, max(1, math.ceil(seconds * self.frame_rate))]
        codes = torch.randint(0, self.codebook_size, shape)
        return codes[None] if self.name == "encodec" else codes  # EnCodec: chunks first

    def flops(self) -> tuple[float, float]:
        """FLOPs of encoding and of decoding one second of audio; a multiply-add counts as two."""
        if self.name in OURS:
            from almtok.codec.plan import make_plan

            plan = make_plan(self.model.config)
            return plan.encode_flops, plan.decode_flops
        import torch

        wav = torch.randn(1, 1, 24_000 * 4)
        return tuple(  # type: ignore[return-value]
            _count(self.model, run) / 4
            for run in (lambda: self.encode(wav), lambda: self.decode(self.codes(1, 4)))
        )


def build(name: str, *, dtype: str = "float32", compiled: bool = False, seed: int = 0) -> System:
    """Build a codec with random weights.

    Args:
        name: one of `NAMES`.
        dtype: ``"float32"`` or ``"bfloat16"``; ours casts its weights, peers run under autocast.
        compiled: let torch compile the heavy parts.
        seed: of the weights.
    """
    import torch

    if name not in NAMES:
        raise ValueError(f"codec must be one of {', '.join(NAMES)}, got {name!r}")
    torch.manual_seed(seed)
    if compiled:
        # One code object serves layers of many widths: the default of 8 would end in eager mode.
        torch._dynamo.config.recompile_limit = 256
    return (_ours if name in OURS else _peer)(name, getattr(torch, dtype), compiled)


def _ours(name: str, dtype: Any, compiled: bool) -> System:
    import torch

    from almtok.codec.config import ALMTokenizerConfig
    from almtok.codec.model import ALMTokenizer

    model = ALMTokenizer(ALMTokenizerConfig.preset(name)).eval()
    if dtype != torch.float32:
        model = model.to(dtype)
        model.quantizer.float()  # as from_pretrained(dtype=...) leaves it
    if compiled:
        model.encode_step = torch.compile(model.encode_step)
        model.decode_step = torch.compile(model.decode_step)
    w = model.config.frames_per_query

    def step(wav: Any) -> Any:
        window = model.config.hop_length * w
        wav = wav[..., : wav.shape[-1] // window * window]
        out = model.quantizer(model.encoder(model.patchify(wav), w))
        return model.unpatchify(model.decoder(out.quantized, w)), out.commitment_loss

    return System(
        name=name,
        model=model,
        frame_rate=model.config.query_rate(),
        codebooks=model.config.num_codebooks,
        codebook_size=model.config.codebook_size,
        encode=lambda wav: model.encode(wav).audio_codes,
        decode=lambda codes: model.decode(codes).audio_values,
        step=step,
    )


def _peer(name: str, dtype: Any, compiled: bool) -> System:
    import torch
    from transformers import AutoConfig, AutoModel

    peer = PEERS[name]
    model: Any = AutoModel.from_config(
        AutoConfig.for_model(peer.model_type, **peer.config), trust_remote_code=False
    ).eval()
    if compiled:
        model.encoder = torch.compile(model.encoder)
        model.decoder = torch.compile(model.decoder)

    def cast() -> Any:
        return torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32)

    def encode(wav: Any) -> Any:
        with cast():
            return model.encode(wav, **peer.encode_options).audio_codes

    def decode(codes: Any) -> Any:
        with cast():
            scales = {"audio_scales": [None]} if name == "encodec" else {}
            return model.decode(audio_codes=codes, **scales).audio_values

    return System(
        name=name,
        model=model,
        frame_rate=peer.frame_rate,
        codebooks=peer.codebooks,
        codebook_size=model.config.codebook_size,
        encode=encode,
        decode=decode,
        step=_peer_step(name, model),
    )


def _peer_step(name: str, model: Any) -> Callable[[Any], Any]:
    """Training step with a straight-through quantiser, which transformers lacks."""
    import torch

    def encodec(wav: Any) -> Any:
        z = model.encoder(wav)
        with torch.no_grad():
            q = model.quantizer.decode(model.quantizer.encode(z, bandwidth=6.0))
        return model.decoder(z + (q - z).detach()), 0.0

    def dac(wav: Any) -> Any:
        q = model.quantizer(model.encoder(wav))
        return model.decoder(q[0]), q[3].mean() + q[4].mean()

    def mimi(wav: Any) -> Any:
        z = model.encoder(wav).latents
        with torch.no_grad():
            q = model.quantizer.decode(model.quantizer.encode(z, 8).transpose(0, 1))
        return model.decoder(z + (q - z).detach()).audio_values, 0.0

    return {"encodec": encodec, "dac": dac, "mimi": mimi}[name]


def _count(model: Any, run: Callable[[], Any]) -> float:
    """FLOPs of one call; fused LSTMs, which the counter does not see, are added by hand."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    extra = 0.0

    def lstm(module: Any, inputs: Any, _: Any) -> None:
        nonlocal extra
        frames = inputs[0].shape[0] * inputs[0].shape[1]
        width = module.hidden_size
        for layer in range(module.num_layers):
            entering = module.input_size if layer == 0 else width
            extra += frames * 2.0 * 4.0 * width * (entering + width)

    hooks = [
        module.register_forward_hook(lstm)
        for module in model.modules()
        if isinstance(module, torch.nn.LSTM)
    ]
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        run()
    for hook in hooks:
        hook.remove()
    return float(counter.get_total_flops()) + extra
