"""Search for codes: a recording's encoder guesses them, here the guess is improved by listening.

    queries -quantizer-> codes -decoder, unpatchify-> wav -losses-> gradient -Adam-> queries

An encoder sees a recording once and was trained on a few hours. The decoder can be asked what its
codes sound like, so the queries of one recording are moved until what is decoded is nearer to it
(analysis by synthesis, as in CELP: Schroeder and Atal, ICASSP 1985; for neural compression: Campos
et al., "Content adaptive optimization for neural image compression", CVPR workshops 2019). The
gradient passes the quantizer straight through, the best codes that were met are kept, and the codec
itself does not change: anybody decodes the codes as all others. Ours (D).

It costs a few seconds for each second of audio, for recordings that are to sound well and not for
data of language models: codes that were searched are less alike for like sounds.

Letters: `B` batch, `S` samples, `Q` queries, `D` width, `K` codebooks, `w` frames per query.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from tqdm import tqdm

from ..core.audio import read_audio
from ..core.runtime import native_bfloat16
from .checks import check_waveform
from .losses.loudness import LoudnessLoss
from .losses.phones import recognition_loss
from .losses.pitch import PitchLoss
from .losses.reconstruction import MelLoss, MelLossConfig
from .model import ALMTokenizer
from .phonemes import PhonemeClassifier
from .refine_config import RefineConfig
from .streaming import StepState
from .tokens import AudioTokens
from .vocoder import HarmonicVocoder

LISTENER_NAME = "listener.safetensors"  # beside the weights of a codec that was trained with one
_LOUDNESS_RATE = 16_000  # Hz; below, the loudness loss has nothing to hear
_WINDOWS, _MELS = (512, 1024, 2048), (24, 48, 160)


@dataclass(frozen=True)
class RefinedCodes:
    """What a search found."""

    audio_codes: Tensor  # [1, K, Q] int64
    before: float  # weighted losses of the encoder's codes, mean over the pieces
    after: float  # of these


class CodeRefiner:
    """Encodes recordings with a codec, slowly and better.

    Args:
        model: The codec, in evaluation mode; it is only read.
        config: Steps and weights.
        listener: What names phones, so that words count; made by ``almtok codec phonemes``.

    Raises:
        ValueError: the listener hears another sample rate, or frames of another length.

    Example:
        >>> codec = ALMTokenizer.from_pretrained(folder).eval()  # doctest: +SKIP
        >>> codes = CodeSearch(codec).encode(wav).audio_codes  # doctest: +SKIP
        >>> better = codec.decode(codes).audio_values  # doctest: +SKIP
    """

    def __init__(
        self,
        model: ALMTokenizer,
        config: RefineConfig | None = None,
        listener: PhonemeClassifier | None = None,
    ):
        self.model, self.config = model, config or RefineConfig()
        self.listener = None if listener is None else listener.to(model.device)
        rate, hop = model.sample_rate, model.config.hop_length
        if listener is not None:
            theirs = listener.config.sample_rate, listener.config.hop_length
            if theirs != (rate, hop):
                raise ValueError(
                    f"the listener hears {theirs[0]} Hz in frames of {theirs[1]} samples, the codec"
                    f" has {rate} Hz and {hop}: make another by 'almtok codec phonemes'"
                )
        self._mel = MelLoss(MelLossConfig(sample_rate=rate, windows=_WINDOWS, mels=_MELS))
        self._pitch = PitchLoss(rate, hop)
        hears_loudness = rate >= _LOUDNESS_RATE and self.config.loudness > 0
        self._loudness = LoudnessLoss(rate) if hears_loudness else None

    @classmethod
    def of(
        cls, place: str | os.PathLike[str], model: ALMTokenizer, config: RefineConfig | None = None
    ) -> CodeRefiner:
        """Search with the codec of a folder or hub id, and with its listener if it has one."""
        folder = Path(place)
        if not folder.is_dir():
            folder = Path(snapshot_download(str(place), allow_patterns=LISTENER_NAME))
        file = folder / LISTENER_NAME
        return cls(model, config, PhonemeClassifier.load(file) if file.is_file() else None)

    def tokenize(
        self,
        audio: str | os.PathLike[str],
        frames_per_query: int | None = None,
        *,
        progress: bool = False,
    ) -> AudioTokens:
        """Turn a file into :class:`AudioTokens`, as :meth:`ALMTokenizer.tokenize` does."""
        model = self.model
        wav = torch.as_tensor(read_audio(audio, model.sample_rate))
        w = model.checked_window(frames_per_query)
        found = self.encode(wav[None, None].to(model.device), w, progress=progress)
        codes = found.audio_codes[0].cpu()
        return AudioTokens(codes, w, len(wav), model.sample_rate, model.fingerprint)

    @torch.inference_mode(False)
    def encode(
        self, input_values: Tensor, frames_per_query: int | None = None, *, progress: bool = False
    ) -> RefinedCodes:
        """Search codes of one recording.

        Args:
            input_values: `[1, 1, S]` in [-1, 1] at the codec's rate.
            frames_per_query: w, the codec's own by default.
            progress: Show a bar over the steps.

        Raises:
            ValueError: for what :meth:`ALMTokenizer.encode` refuses, or several recordings.
        """
        model, w = self.model, self.model.checked_window(frames_per_query)
        check_waveform(input_values, None, model.sample_rate)
        if input_values.shape[0] != 1:
            raise ValueError(
                f"one recording [1, 1, S] is searched at a time, came {list(input_values.shape)}"
            )
        pieces = self._pieces(input_values.clone(), w)
        coming, going = StepState(), StepState()
        codes, scores = [], []
        total = len(pieces) * self.config.steps
        with tqdm(total=total, desc="search", leave=False, disable=not progress) as bar:
            for piece in pieces:
                with torch.no_grad():
                    frames, conv = model.patchify.step(piece, coming.conv)
                    queries, caches = model.encoder.step(frames, w, coming.transformer)
                coming = StepState(conv, caches)
                found = self._improve(queries.float(), self._judge(piece, w, going), bar)
                with torch.no_grad():
                    _, going = model.decode_step(found.audio_codes, w, going)
                codes.append(found.audio_codes)
                scores.append((found.before, found.after))
        before, after = torch.tensor(scores).mean(dim=0).tolist()
        return RefinedCodes(torch.cat(codes, dim=-1), before, after)

    def _improve(
        self, queries: Tensor, judge: Callable[[Tensor], Tensor], bar: tqdm
    ) -> RefinedCodes:
        """Move queries `[1, Q, D]` downhill and keep the best codes on the way."""
        quantizer, config = self.model.quantizer, self.config
        rate = config.rate * float(queries.std())
        moved = queries.clone().requires_grad_()
        optimizer = torch.optim.Adam([moved], rate, betas=(0.8, 0.95))
        best = first = torch.tensor(torch.inf)
        kept = quantizer.quantize(queries)
        with torch.enable_grad():
            for step in range(config.steps + 1):
                codes = quantizer.quantize(moved)
                said = quantizer.dequantize(codes)
                # What is judged are the codes; the gradient goes to the queries straight through.
                loss = judge(moved + (said - moved).detach())
                if step == 0:
                    first = loss.detach()
                if loss < best:
                    best, kept = loss.detach(), codes
                if step == config.steps:
                    break
                optimizer.param_groups[0]["lr"] = rate * (1 - step / (config.steps + 1))
                (moved.grad,) = torch.autograd.grad(loss, [moved])
                optimizer.step()
                bar.update()
        return RefinedCodes(kept, float(first), float(best))

    def _judge(self, wav: Tensor, w: int, state: StepState) -> Callable[[Tensor], Tensor]:
        """The weighted loss of latents `[1, Q, D]` against a piece `[1, 1, S]`, after a state."""
        model, config = self.model, self.config
        heard = None if self.listener is None else self.listener.hear(wav)
        voicing = self._pitch.listen(wav) if config.pitch else None

        def judge(latent: Tensor) -> Tensor:
            with self._precision():
                frames, _ = model.decoder.step(latent, w, state.transformer)
            total = latent.new_zeros(())
            if isinstance(model.unpatchify, HarmonicVocoder):
                described = model.unpatchify.describe(frames.float())
                if voicing is not None:
                    total = total + config.pitch * self._pitch.compare(described.pitch, voicing)
                output, _ = model.unpatchify.render(described, state.conv)
            else:
                output, _ = model.unpatchify.step(frames.float(), state.conv)
            total = total + config.mel * self._mel(output, wav)
            if self._loudness is not None:
                total = total + config.loudness * self._loudness(output, wav)
            if self.listener is not None and heard is not None:
                with self._precision():
                    told = recognition_loss(self.listener, output, heard)
                total = total + config.recognition * told
            return total

        return judge

    def _precision(self) -> contextlib.AbstractContextManager[None]:
        wanted, device = self.config.bfloat16, self.model.device.type
        if wanted is None:
            wanted = device == "cpu" and native_bfloat16(device)
        return torch.autocast(device, torch.bfloat16, enabled=wanted)

    def _pieces(self, wav: Tensor, w: int) -> tuple[Tensor, ...]:
        """Pieces `[1, 1, S]` of whole windows and nearly one length, the last one padded."""
        window = self.model.config.hop_length * w
        queries = -(-wav.shape[-1] // window)
        wav = torch.nn.functional.pad(wav, (0, queries * window - wav.shape[-1]))
        most = max(1, int(self.config.piece_seconds * self.model.sample_rate / window))
        # A model that sees the future cannot go piece by piece.
        count = 1 if self.model.config.attention_mode == "full" else -(-queries // most)
        each = -(-queries // count)
        return wav.split(each * window, dim=-1)
