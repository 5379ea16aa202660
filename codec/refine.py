"""Code refinement: gradient-based optimization of the codes of one recording.

    queries -quantizer-> codes -decoder, unpatchify-> wav -losses-> gradient -Adam-> queries

The queries of a recording are optimized so that the decoded waveform approaches the recording
(analysis by synthesis, as in CELP: Schroeder and Atal, ICASSP 1985; for neural compression: Campos
et al., "Content adaptive optimization for neural image compression", CVPR workshops 2019). The
quantizer uses the straight-through gradient, and the best codes are kept. The codec does not
change, so every decoder of it decodes the result. Ours (D).

Refinement takes a few seconds per second of audio. Do not use it for training data of language
models: similar sounds get less similar codes.

Shapes: `B` batch, `S` samples, `Q` queries, `D` width, `K` codebooks, `w` frames per query.
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

LISTENER_NAME = "listener.safetensors"  # phoneme classifier in a codec folder
_LOUDNESS_RATE = 16_000  # Hz, the lowest sample rate of the loudness loss
_WINDOWS, _MELS = (512, 1024, 2048), (24, 48, 160)


@dataclass(frozen=True)
class RefinedCodes:
    """Result of code refinement."""

    audio_codes: Tensor  # [1, K, Q] int64
    before: float  # weighted loss of the codes of the encoder, mean over the pieces
    after: float  # the same of the refined codes


class CodeRefiner:
    """Encodes recordings and refines their codes.

    Args:
        model: The codec in evaluation mode; it is not modified.
        config: Steps and loss weights.
        listener: Phoneme classifier for the recognition loss (``almtok codec phonemes``).

    Raises:
        ValueError: sample rate or hop length of the classifier differ from the codec's.

    Example:
        >>> codec = ALMTokenizer.from_pretrained(folder).eval()  # doctest: +SKIP
        >>> codes = CodeRefiner(codec).encode(wav).audio_codes  # doctest: +SKIP
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
                    f"the phoneme classifier has {theirs[0]} Hz and frames of {theirs[1]} samples,"
                    f" the codec {rate} Hz and {hop}: train another by 'almtok codec phonemes'"
                )
        self._mel = MelLoss(MelLossConfig(sample_rate=rate, windows=_WINDOWS, mels=_MELS))
        self._pitch = PitchLoss(rate, hop)
        use_loudness = rate >= _LOUDNESS_RATE and self.config.loudness > 0
        self._loudness = LoudnessLoss(rate) if use_loudness else None

    @classmethod
    def of(
        cls, place: str | os.PathLike[str], model: ALMTokenizer, config: RefineConfig | None = None
    ) -> CodeRefiner:
        """Refine with the codec of a folder or hub id, and its phoneme classifier if it has one."""
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
        """Encode one recording and refine its codes.

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
                f"expected one recording [1, 1, S], got shape {list(input_values.shape)}"
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
                found = self._optimize(queries.float(), self._objective(piece, w, going), bar)
                with torch.no_grad():
                    _, going = model.decode_step(found.audio_codes, w, going)
                codes.append(found.audio_codes)
                scores.append((found.before, found.after))
        before, after = torch.tensor(scores).mean(dim=0).tolist()
        return RefinedCodes(torch.cat(codes, dim=-1), before, after)

    def _optimize(
        self, queries: Tensor, objective: Callable[[Tensor], Tensor], bar: tqdm
    ) -> RefinedCodes:
        """Optimize queries `[1, Q, D]` and keep the codes of the lowest loss."""
        quantizer, config = self.model.quantizer, self.config
        rate = config.rate * float(queries.std())
        moved = queries.clone().requires_grad_()
        optimizer = torch.optim.Adam([moved], rate, betas=(0.8, 0.95))
        best = first = torch.tensor(torch.inf)
        kept = quantizer.quantize(queries)
        with torch.enable_grad():
            for step in range(config.steps + 1):
                codes = quantizer.quantize(moved)
                quantized = quantizer.dequantize(codes)
                # Straight through: the loss is that of the codes, its gradient goes to the queries.
                loss = objective(moved + (quantized - moved).detach())
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

    def _objective(self, wav: Tensor, w: int, state: StepState) -> Callable[[Tensor], Tensor]:
        """The weighted loss of latents `[1, Q, D]` on a piece `[1, 1, S]` that follows a state."""
        model, config = self.model, self.config
        phonemes = None if self.listener is None else self.listener.target_log_posteriors(wav)
        voicing = self._pitch.track(wav) if config.pitch else None

        def objective(latent: Tensor) -> Tensor:
            with self._precision():
                frames, _ = model.decoder.step(latent, w, state.transformer)
            total = latent.new_zeros(())
            if isinstance(model.unpatchify, HarmonicVocoder):
                parameters = model.unpatchify.predict(frames.float())
                if voicing is not None:
                    total = total + config.pitch * self._pitch.compare(parameters.pitch, voicing)
                output, _ = model.unpatchify.synthesize(parameters, state.conv)
            else:
                output, _ = model.unpatchify.step(frames.float(), state.conv)
            total = total + config.mel * self._mel(output, wav)
            if self._loudness is not None:
                total = total + config.loudness * self._loudness(output, wav)
            if self.listener is not None and phonemes is not None:
                with self._precision():
                    divergence = recognition_loss(self.listener, output, phonemes)
                total = total + config.recognition * divergence
            return total

        return objective

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
        # Attention to the future does not allow pieces.
        count = 1 if self.model.config.attention_mode == "full" else -(-queries // most)
        each = -(-queries // count)
        return wav.split(each * window, dim=-1)
