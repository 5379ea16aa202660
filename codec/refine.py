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

CLASSIFIER_NAME = "phoneme_classifier.safetensors"  # in a codec folder
_OLD_NAME = "listener.safetensors"  # of earlier versions, which is still read
_LOUDNESS_RATE = 16_000  # Hz, the lowest sample rate of the loudness loss
_WINDOWS, _MELS = (512, 1024, 2048), (24, 48, 160)


@dataclass(frozen=True)
class RefinedCodes:
    """Result of code refinement."""

    audio_codes: Tensor  # [1, K, Q] int64
    before: float  # weighted loss of the codes of the encoder, mean over the chunks
    after: float  # weighted loss of the refined codes


class CodeRefiner:
    """Encodes recordings and refines their codes.

    Args:
        model: The codec in evaluation mode; it is not modified.
        config: Steps and loss weights.
        phoneme_classifier: Phoneme classifier for the recognition loss (``almtok codec phonemes``).

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
        phoneme_classifier: PhonemeClassifier | None = None,
    ):
        self.model, self.config = model, config or RefineConfig()
        self.phoneme_classifier = (
            None if phoneme_classifier is None else phoneme_classifier.to(model.device)
        )
        rate, hop = model.sample_rate, model.config.hop_length
        if phoneme_classifier is not None:
            found = phoneme_classifier.config.sample_rate, phoneme_classifier.config.hop_length
            if found != (rate, hop):
                raise ValueError(
                    f"the phoneme classifier must have {rate} Hz and frames of {hop} samples, got"
                    f" {found[0]} Hz and {found[1]}: train another with 'almtok codec phonemes'"
                )
        self._mel = MelLoss(MelLossConfig(sample_rate=rate, windows=_WINDOWS, mels=_MELS))
        self._pitch = PitchLoss(rate, hop)
        use_loudness = rate >= _LOUDNESS_RATE and self.config.loudness > 0
        self._loudness = LoudnessLoss(rate) if use_loudness else None

    @classmethod
    def of(
        cls, source: str | os.PathLike[str], model: ALMTokenizer, config: RefineConfig | None = None
    ) -> CodeRefiner:
        """Create a refiner with the phoneme classifier in the codec's folder or hub id, if any."""
        folder = Path(source)
        if not folder.is_dir():
            names = [CLASSIFIER_NAME, _OLD_NAME]
            folder = Path(snapshot_download(str(source), allow_patterns=names))
        files = (folder / CLASSIFIER_NAME, folder / _OLD_NAME)
        file = next((file for file in files if file.is_file()), None)
        return cls(model, config, None if file is None else PhonemeClassifier.load(file))

    def tokenize(
        self,
        audio: str | os.PathLike[str],
        frames_per_query: int | None = None,
        *,
        progress: bool = False,
    ) -> AudioTokens:
        """Encode a file to :class:`AudioTokens`, like :meth:`ALMTokenizer.tokenize`."""
        model = self.model
        wav = torch.as_tensor(read_audio(audio, model.sample_rate))
        w = model.checked_window(frames_per_query)
        refined = self.encode(wav[None, None].to(model.device), w, progress=progress)
        codes = refined.audio_codes[0].cpu()
        return AudioTokens(codes, w, len(wav), model.sample_rate, model.fingerprint)

    @torch.inference_mode(False)
    def encode(
        self, input_values: Tensor, frames_per_query: int | None = None, *, progress: bool = False
    ) -> RefinedCodes:
        """Encode one recording and refine its codes.

        Args:
            input_values: `[1, 1, S]` in [-1, 1] at the codec's rate.
            frames_per_query: w; that of the codec by default.
            progress: Show a progress bar.

        Raises:
            ValueError: As in :meth:`ALMTokenizer.encode`, or there are several recordings.
        """
        model, w = self.model, self.model.checked_window(frames_per_query)
        check_waveform(input_values, None, model.sample_rate)
        if input_values.shape[0] != 1:
            raise ValueError(
                f"input_values must be one recording [1, 1, S], got {list(input_values.shape)}"
            )
        chunks = self._chunks(input_values.clone(), w)
        encoder_state, decoder_state = StepState(), StepState()
        codes, scores = [], []
        total = len(chunks) * self.config.steps
        with tqdm(total=total, desc="search", leave=False, disable=not progress) as bar:
            for chunk in chunks:
                with torch.no_grad():
                    frames, conv = model.patchify.step(chunk, encoder_state.conv)
                    queries, caches = model.encoder.step(frames, w, encoder_state.transformer)
                encoder_state = StepState(conv, caches)
                objective = self._objective(chunk, w, decoder_state)
                refined = self._optimize(queries.float(), objective, bar)
                with torch.no_grad():
                    _, decoder_state = model.decode_step(refined.audio_codes, w, decoder_state)
                codes.append(refined.audio_codes)
                scores.append((refined.before, refined.after))
        before, after = torch.tensor(scores).mean(dim=0).tolist()
        return RefinedCodes(torch.cat(codes, dim=-1), before, after)

    def _optimize(
        self, queries: Tensor, objective: Callable[[Tensor], Tensor], bar: tqdm
    ) -> RefinedCodes:
        """Optimize queries `[1, Q, D]` and keep the codes of the lowest loss."""
        quantizer, config = self.model.quantizer, self.config
        rate = config.rate * float(queries.std())
        latent = queries.clone().requires_grad_()
        optimizer = torch.optim.Adam([latent], rate, betas=(0.8, 0.95))
        best_loss = first_loss = torch.tensor(torch.inf)
        best_codes = quantizer.quantize(queries)
        with torch.enable_grad():
            for step in range(config.steps + 1):
                codes = quantizer.quantize(latent)
                quantized = quantizer.dequantize(codes)
                # Straight-through: the loss is that of the codes, its gradient goes to the queries.
                loss = objective(latent + (quantized - latent).detach())
                if step == 0:
                    first_loss = loss.detach()
                if loss < best_loss:
                    best_loss, best_codes = loss.detach(), codes
                if step == config.steps:
                    break
                optimizer.param_groups[0]["lr"] = rate * (1 - step / (config.steps + 1))
                (latent.grad,) = torch.autograd.grad(loss, [latent])
                optimizer.step()
                bar.update()
        return RefinedCodes(best_codes, float(first_loss), float(best_loss))

    def _objective(self, wav: Tensor, w: int, state: StepState) -> Callable[[Tensor], Tensor]:
        """Weighted loss of latents `[1, Q, D]` on a chunk `[1, 1, S]`, decoded from a state."""
        model, config = self.model, self.config
        phonemes = (
            None
            if self.phoneme_classifier is None
            else self.phoneme_classifier.target_log_posteriors(wav)
        )
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
            if self.phoneme_classifier is not None and phonemes is not None:
                with self._precision():
                    divergence = recognition_loss(self.phoneme_classifier, output, phonemes)
                total = total + config.recognition * divergence
            return total

        return objective

    def _precision(self) -> contextlib.AbstractContextManager[None]:
        enabled, device = self.config.bfloat16, self.model.device.type
        if enabled is None:
            enabled = device == "cpu" and native_bfloat16(device)
        return torch.autocast(device, torch.bfloat16, enabled=enabled)

    def _chunks(self, wav: Tensor, w: int) -> tuple[Tensor, ...]:
        """Split into chunks `[1, 1, S]` of whole windows and nearly equal length; pad the last."""
        window = self.model.config.hop_length * w
        queries = -(-wav.shape[-1] // window)
        wav = torch.nn.functional.pad(wav, (0, queries * window - wav.shape[-1]))
        chunk_queries = max(1, int(self.config.piece_seconds * self.model.sample_rate / window))
        # Attention to the future does not allow chunks.
        full = self.model.config.attention_mode == "full"
        count = 1 if full else -(-queries // chunk_queries)
        return wav.split(-(-queries // count) * window, dim=-1)
