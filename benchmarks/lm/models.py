"""Models ready to be timed: `prefill` reads a prompt, `step` writes one row after it.

Shapes: `B` batch, `L` rows of the prompt, `K` codebooks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import almtok  # noqa: F401  (installs the torchaudio guard before transformers is loaded)
from almtok.lm.generation.cache import CACHE_ARGUMENT
from almtok.lm.quantize import KINDS, QuantizedLinear, QuantizedPart, activation_dtype, quantize

from .systems import BACKBONES, SYSTEMS, TOY_HEADS

RATE = 6  # codec frames in a frame of codes: 12.5 Hz


def floats_of(dtype: str) -> torch.dtype:
    """The floating point type of a precision by name; of what lies between quantized maps."""
    return activation_dtype(dtype) if dtype in KINDS else getattr(torch, dtype)


def _build(make: Callable[[], Any], dtype: torch.dtype) -> Any:
    """A model with weights that are quickly drawn: one block of noise, over and over."""
    from transformers.initialization import no_init_weights

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with no_init_weights():
            model = make().eval()
    finally:
        torch.set_default_dtype(before)
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


class Model:
    """One model at one batch size.

    Attributes:
        parameters: all of them.
        main_bytes: weights that one step reads in the main transformer.
        heads_bytes: and behind it: heads, depth Transformer.
        heads: seconds spent so far between the main transformer and the codes.
    """

    parameters: int
    main_bytes: int
    heads_bytes: int
    heads = 0.0

    def __init__(self, cell: dict[str, Any]) -> None:
        self.dtype = floats_of(cell["dtype"])
        self.batch, self.prompt, self.frames = cell["batch"], cell["prompt"], cell["frames"]

    def prefill(self) -> None:
        """Read the prompt."""
        raise NotImplementedError

    def step(self) -> None:
        """Write one row."""
        raise NotImplementedError

    def heads_seconds(self) -> float:
        """Seconds spent so far between the main transformer and the codes."""
        return self.heads

    def timed(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time counts as that of the heads."""

        def timed(*args: Any) -> Any:
            start = time.perf_counter()
            result = inner(*args)
            self.heads += time.perf_counter() - start
            return result

        return timed


class OurModel(Model):
    """Ours by pattern: `lm.generate`, one step at a time, begun anew whenever it is complete."""

    def __init__(self, cell: dict[str, Any]) -> None:
        from almtok.lm.config import AudioLMConfig
        from almtok.lm.inference import faster_layers
        from almtok.lm.model import AudioLM
        from almtok.lm.sequences import TextSegment, build_prompt

        super().__init__(cell)
        fields = dict(SYSTEMS[cell["system"]].ours or {})
        fields |= TOY_HEADS if cell["size"] == "toy" else {}
        config = AudioLMConfig(backbone=dict(BACKBONES[cell["size"]]), **fields)
        self.lm = lm = _build(lambda: AudioLM(config), self.dtype)
        self.parameters = sum(p.numel() for p in lm.parameters())
        self.option = cell["option"]
        kind = self.option.split()[0]  # "int4 compile" is both
        if kind in KINDS:
            quantize(lm, kind=kind)
        self.main_bytes = num_bytes(lm.backbone.get_decoder())
        # A row of the flattened layout is one code, so it takes one head.
        shares = config.num_codebooks if config.pattern == "flat" else 1
        self.heads_bytes = num_bytes(lm.heads) // shares
        self.layers = faster_layers(lm, compiled=self.option.endswith("compile"))
        self.layers.__enter__()  # until the end of the process
        # Task, rate, two openings and the text's end are the other five rows.
        text = TextSegment(tuple(2 + i % 200 for i in range(max(1, self.prompt - 5))))
        rows = build_prompt("tts", [text], "audio", config, frames_per_query=RATE, eos_id=1)
        self.input_ids = rows.expand(self.batch, -1, -1)
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
            writer.step = self.timed(writer.step)
        self.decoding.step()

    def step(self) -> None:
        """Write one row."""
        if not self.decoding.running:
            self.prefill()
        self.decoding.step()


class MusicGen(Model):
    """MusicGen's decoder, with 16 states of a text to attend to; codes are not even chosen."""

    def __init__(self, cell: dict[str, Any]) -> None:
        from transformers import MusicgenDecoderConfig, MusicgenForCausalLM

        super().__init__(cell)
        config = MusicgenDecoderConfig(**SYSTEMS["musicgen"].config)
        self.model = model = _build(lambda: MusicgenForCausalLM(config), self.dtype)
        streams = self.batch * config.num_codebooks
        self.ids = torch.randint(0, config.vocab_size, (streams, self.prompt))
        self.states = torch.randn(self.batch, 16, config.hidden_size, dtype=self.dtype)
        self.parameters = sum(p.numel() for p in model.parameters())
        self.main_bytes, self.heads_bytes = num_bytes(model.model), num_bytes(model.lm_heads)

    def _read(self, ids: torch.Tensor) -> None:
        options = {"use_cache": True, CACHE_ARGUMENT: self.cache}
        self.model(input_ids=ids, encoder_hidden_states=self.states, **options)
        self.length += ids.shape[1]

    def prefill(self) -> None:
        """Read the prompt."""
        from transformers import DynamicCache, EncoderDecoderCache

        self.cache, self.length = EncoderDecoderCache(DynamicCache(), DynamicCache()), 0
        self._read(self.ids)

    def step(self) -> None:
        """Read one more row."""
        if self.length >= self.prompt + self.frames:
            self.prefill()
        self._read(self.ids[:, :1])


class Csm(Model):
    """CSM: one step of the backbone and 31 of the depth decoder for each frame of 32 codes."""

    def __init__(self, cell: dict[str, Any]) -> None:
        from transformers import CsmConfig, CsmForConditionalGeneration

        super().__init__(cell)
        config = CsmConfig(**SYSTEMS["csm"].config)
        self.model = model = _build(lambda: CsmForConditionalGeneration(config), self.dtype)
        self.text = torch.randint(0, 1000, (self.batch, self.prompt))
        self.frame = torch.randint(0, 1000, (self.batch, 1, config.num_codebooks))
        self.parameters = sum(p.numel() for p in model.parameters())
        self.main_bytes = num_bytes(model.backbone_model)
        decoder = model.depth_decoder
        self.heads_bytes = num_bytes(model.lm_head) + num_bytes(decoder.codebooks_head)
        self.heads_bytes += (config.num_codebooks - 1) * num_bytes(decoder.model)
        self._depth = self.timed(self._depth)

    def _backbone(self, **inputs: torch.Tensor) -> torch.Tensor:
        options = {"use_cache": True, CACHE_ARGUMENT: self.cache}
        return self.model.backbone_model(**inputs, **options).last_hidden_state[:, -1]

    def prefill(self) -> None:
        """Read the prompt."""
        from transformers import DynamicCache

        self.cache, self.length = DynamicCache(), self.prompt
        self._backbone(inputs_embeds=self.model.embed_text_tokens(self.text))

    def step(self) -> None:
        """Write one frame."""
        if self.length >= self.prompt + self.frames:
            self.prefill()
        self.length += 1
        self._depth(self._backbone(input_ids=self.frame))

    def _depth(self, hidden: torch.Tensor) -> None:
        from transformers import DynamicCache

        self.model.lm_head(hidden)
        options = {"use_cache": True, "logits_to_keep": 1, CACHE_ARGUMENT: DynamicCache()}
        # A place for the backbone's state and the first code, then code after code.
        first = {"input_ids": self.frame[:, 0, :2], "backbone_last_hidden_state": hidden}
        self.model.depth_decoder(**first, **options)
        for k in range(2, self.frame.shape[-1]):
            self.model.depth_decoder(input_ids=self.frame[:, 0, k : k + 1], **options)


def build(cell: dict[str, Any]) -> Model:
    """The model of a cell."""
    if cell["system"] not in SYSTEMS:
        raise ValueError(f"system must be one of {', '.join(SYSTEMS)}, got {cell['system']!r}")
    return {"musicgen": MusicGen, "csm": Csm}.get(cell["system"], OurModel)(cell)
