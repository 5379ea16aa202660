"""Models ready to be timed: `prefill` reads a prompt, `step` writes one row after it.

Shapes: `B` batch, `L` rows of the prompt, `K` codebooks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import almtok  # noqa: F401  (installs the torchaudio guard before transformers is loaded)
from almtok.lm.generation.cache import CACHE_ARGUMENT
from almtok.lm.quantize import KINDS, QuantizedLinear, QuantizedPart, activation_dtype, quantize

from .systems import BACKBONES, SYSTEMS, TOY_HEADS

RATE = 6  # codec frames in a frame of codes: 12.5 Hz


@dataclass
class Model:
    """One model at one batch size."""

    prefill: Callable[[], None]
    step: Callable[[], None]
    heads_seconds: Callable[[], float]  # spent so far between the main transformer and the codes
    parameters: int
    main_bytes: int  # weights that one step reads in the main transformer
    heads_bytes: int  # and behind it: heads, depth Transformer


def floats_of(dtype: str) -> torch.dtype:
    """The floating point type of a precision by name; of what lies between quantized maps."""
    return activation_dtype(dtype) if dtype in KINDS else getattr(torch, dtype)


@contextmanager
def _dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _build(make: Callable[[], Any], dtype: torch.dtype) -> Any:
    """A model with weights that are quickly drawn: one block of noise, over and over."""
    from transformers.initialization import no_init_weights

    with _dtype(dtype), no_init_weights():
        model = make().eval()
    noise = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)).mul_(0.02).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter.fill_(1.0)
                continue
            # Memory that nobody wrote to is one page of zeros, and much too fast.
            for part in parameter.view(-1).split(len(noise)):
                part.copy_(noise[: len(part)])
    return model


def num_bytes(model: nn.Module) -> int:
    """Bytes of the weights that a call of all of a model reads; of tables only rows are read."""
    count = 0
    for module in model.modules():
        if isinstance(module, QuantizedLinear | QuantizedPart):
            count += module.num_bytes
        elif not isinstance(module, nn.Embedding):
            count += sum(p.numel() * p.element_size() for p in module.parameters(recurse=False))
    return count


def our_model(
    name: str,
    *,
    size: str,
    dtype: torch.dtype,
    option: str,
    batch: int,
    prompt: int,
    frames: int,
) -> Model:
    """Our model by pattern, run by the library's own generation."""
    from almtok.lm.config import AudioLMConfig
    from almtok.lm.model import AudioLM

    fields = dict(SYSTEMS[name].ours or {})
    if size == "toy":
        fields |= TOY_HEADS
    config = AudioLMConfig(backbone=dict(BACKBONES[size]), **fields)
    lm = _build(lambda: AudioLM(config), dtype)
    parameters = sum(p.numel() for p in lm.parameters())
    kind = option.split()[0]  # "int4 compile" is both
    if kind in KINDS:
        quantize(lm, kind=kind)
    # A row of the flattened layout is one code, so it takes one head.
    shares = config.num_codebooks if config.pattern == "flat" else 1
    run = _Generation(lm, option, batch, prompt, frames)
    return Model(
        prefill=run.prefill,
        step=run.step,
        heads_seconds=lambda: run.heads,
        parameters=parameters,
        main_bytes=num_bytes(lm.backbone.get_decoder()),
        heads_bytes=num_bytes(lm.heads) // shares,
    )


class _Generation:
    """`lm.generate`, one step at a time, begun anew whenever it is complete."""

    def __init__(self, lm: Any, option: str, batch: int, prompt: int, frames: int):
        from almtok.lm.inference import faster_layers
        from almtok.lm.sequences import TextSegment, build_prompt

        self.lm, self.option, self.frames = lm, option, frames
        self.layers = faster_layers(lm, compiled=option.endswith("compile"))
        self.layers.__enter__()  # until the end of the process
        # Task, rate, two openings and the text's end are the other five rows.
        text = TextSegment(tuple(2 + i % 200 for i in range(max(1, prompt - 5))))
        rows = build_prompt("tts", [text], "audio", lm.config, frames_per_query=RATE, eos_id=1)
        self.input_ids = rows.expand(batch, -1, -1)
        self.heads = 0.0
        self.decoding: Any = None

    def prefill(self) -> None:
        """Read the prompt and write the first row."""
        from almtok.lm.generation.generate import prepare

        self.decoding = prepare(
            self.lm,
            self.input_ids,
            target="audio",
            eos_id=1,
            min_frames=self.frames,
            max_frames=self.frames,
            guards=None,
            cache="dynamic" if self.option == "dynamic cache" else "static",
            compile=self.option.endswith("compile"),
        )
        for writer in {id(w): w for w, _ in self.decoding.rows.values()}.values():
            writer.step = self._timed(writer.step)
        self.decoding.step()

    def step(self) -> None:
        """Write one row."""
        if not self.decoding.running:
            self.prefill()
        self.decoding.step()

    def _timed(self, inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def timed(hidden: Any) -> Any:
            start = time.perf_counter()
            rows = inner(hidden)
            self.heads += time.perf_counter() - start
            return rows

        return timed


def musicgen(*, dtype: torch.dtype, batch: int, prompt: int, frames: int) -> Model:
    """MusicGen's decoder, with 16 states of a text to attend to; codes are not even chosen."""
    from transformers import (
        DynamicCache,
        EncoderDecoderCache,
        MusicgenDecoderConfig,
        MusicgenForCausalLM,
    )

    config = MusicgenDecoderConfig(**SYSTEMS["musicgen"].config)
    model = _build(lambda: MusicgenForCausalLM(config), dtype)
    streams = batch * config.num_codebooks
    ids = torch.randint(0, config.vocab_size, (streams, prompt))
    states = torch.randn(batch, 16, config.hidden_size, dtype=dtype)
    state: dict[str, Any] = {}

    def read(new_ids: torch.Tensor) -> None:
        model(
            input_ids=new_ids,
            encoder_hidden_states=states,
            use_cache=True,
            **{CACHE_ARGUMENT: state["cache"]},
        )
        state["length"] = state.get("length", 0) + new_ids.shape[1]

    def prefill() -> None:
        state.update(cache=EncoderDecoderCache(DynamicCache(), DynamicCache()), length=0)
        read(ids)

    def step() -> None:
        if state["length"] >= prompt + frames:
            prefill()
        read(ids[:, :1])

    return Model(
        prefill=prefill,
        step=step,
        heads_seconds=lambda: 0.0,
        parameters=sum(p.numel() for p in model.parameters()),
        main_bytes=num_bytes(model.model),
        heads_bytes=num_bytes(model.lm_heads),
    )


def csm(*, dtype: torch.dtype, batch: int, prompt: int, frames: int) -> Model:
    """CSM: one step of the backbone and 31 of the depth decoder for each frame of 32 codes."""
    from transformers import CsmConfig, CsmForConditionalGeneration, DynamicCache

    config = CsmConfig(**SYSTEMS["csm"].config)
    model = _build(lambda: CsmForConditionalGeneration(config), dtype)
    count = config.num_codebooks
    text = torch.randint(0, 1000, (batch, prompt))
    frame = torch.randint(0, 1000, (batch, 1, count))
    state: dict[str, Any] = {"heads": 0.0}

    def prefill() -> None:
        state.update(cache=DynamicCache(), length=prompt)
        embedded = model.embed_text_tokens(text)
        model.backbone_model(
            inputs_embeds=embedded, use_cache=True, **{CACHE_ARGUMENT: state["cache"]}
        )

    def step() -> None:
        if state["length"] >= prompt + frames:
            prefill()
        out = model.backbone_model(
            input_ids=frame, use_cache=True, **{CACHE_ARGUMENT: state["cache"]}
        )
        state["length"] += 1
        start = time.perf_counter()
        hidden = out.last_hidden_state[:, -1]
        model.lm_head(hidden)
        cache = DynamicCache()
        # A place for the backbone's state and the first code, then code after code.
        model.depth_decoder(
            input_ids=frame[:, 0, :2],
            backbone_last_hidden_state=hidden,
            use_cache=True,
            logits_to_keep=1,
            **{CACHE_ARGUMENT: cache},
        )
        for k in range(2, count):
            model.depth_decoder(
                input_ids=frame[:, 0, k : k + 1],
                use_cache=True,
                logits_to_keep=1,
                **{CACHE_ARGUMENT: cache},
            )
        state["heads"] += time.perf_counter() - start

    inner = num_bytes(model.depth_decoder.model)
    return Model(
        prefill=prefill,
        step=step,
        heads_seconds=lambda: state["heads"],
        parameters=sum(p.numel() for p in model.parameters()),
        main_bytes=num_bytes(model.backbone_model),
        heads_bytes=num_bytes(model.lm_head)
        + (count - 1) * inner
        + num_bytes(model.depth_decoder.codebooks_head),
    )


def build(cell: dict[str, Any]) -> Model:
    """The model of a cell."""
    if cell["system"] not in SYSTEMS:
        raise ValueError(f"system must be one of {', '.join(SYSTEMS)}, got {cell['system']!r}")
    common = {
        "dtype": floats_of(cell["dtype"]),
        "batch": cell["batch"],
        "prompt": cell["prompt"],
        "frames": cell["frames"],
    }
    if SYSTEMS[cell["system"]].ours is None:
        return {"musicgen": musicgen, "csm": csm}[cell["system"]](**common)
    return our_model(cell["system"], size=cell["size"], option=cell["option"], **common)
