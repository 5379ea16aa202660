"""The tab Codec: a recording and its reconstruction at a chosen rate."""

from __future__ import annotations

from typing import Any

import gradio as gr
import torch

from ...codec.model import ALMTokenizer
from .controls import MODEL_EVENT, sound
from .errors import one_sentence
from .limits import MAX_CLIP_SECONDS, read_upload
from .markup import code_map, lines, spectrograms, table

LEAST, MOST = 2, 10  # frames per query that are offered


def add_codec_tab(codec: ALMTokenizer) -> None:
    """Add the components and events of the tab."""
    low, high = codec.config.frames_per_query_range
    audio = gr.Audio(sources=["upload", "microphone"], type="filepath", buttons=[],
                     label=f"Audio, at most {MAX_CLIP_SECONDS:.0f} s")  # fmt: skip
    w = gr.Slider(
        LEAST, MOST, codec.config.frames_per_query, step=1, label="Frames per code (w)",
        info=f"Trained with {low} to {high}; a larger w is a lower bit rate",
    )  # fmt: skip
    button = gr.Button("Encode and decode", variant="primary")
    with gr.Row():
        original = gr.Audio(label="Original", interactive=False, min_width=240, buttons=[])
        decoded = gr.Audio(label="Reconstruction", interactive=False, min_width=240,
                           buttons=["download"])  # fmt: skip
    report = gr.HTML(label="Report")
    button.click(
        one_sentence(_Reconstructor(codec).run), [audio, w], [original, decoded, report],
        **MODEL_EVENT,
    )  # fmt: skip


def untrained_rate(codec: ALMTokenizer, w: int) -> str | None:
    """A warning if the codec was not trained with `w` frames per code."""
    low, high = codec.config.frames_per_query_range
    if low <= w <= high:
        return None
    return f"The codec was not trained with w = {w} (only {low} to {high}): expect a worse sound."


class _Reconstructor:
    def __init__(self, codec: ALMTokenizer) -> None:
        self.codec = codec

    def run(self, path: str | None, w: float) -> tuple[Any, Any, str]:
        codec, w = self.codec, int(w)
        if not LEAST <= w <= MOST:
            raise ValueError(f"w must be a whole number from {LEAST} to {MOST}, got {w}.")
        wav = read_upload(path, codec.sample_rate, MAX_CLIP_SECONDS)
        warning = untrained_rate(codec, w)
        if warning:
            gr.Warning(warning, title="")
        tokens = codec.tokenize(torch.as_tensor(wav), codec.sample_rate, w)
        made = codec.detokenize(tokens).float().cpu().numpy()
        config, rate = codec.config, codec.sample_rate
        bits = tokens.codes.shape[1] * config.bits_per_second(w) / config.query_rate(w)
        facts = table(
            ("w", "codes per second", "bit rate", "size", "of 16-bit PCM"),
            [(
                w,
                f"{config.query_rate(w) * codec.num_codebooks:.1f}",
                f"{config.bits_per_second(w):.0f} bit/s",
                f"{bits / 8:.0f} bytes for {tokens.duration:.1f} s",
                f"1/{16 * rate / config.bits_per_second(w):.0f}",
            )],
            "Rate of the codes",
        )  # fmt: skip
        pictures = spectrograms(wav, made, rate) + code_map(tokens.codes.numpy())
        notes = lines([warning] if warning else [])
        return sound(wav, rate), sound(made, rate), notes + facts + pictures
