"""ALMTokenizer: from waveforms to codes and back.

    wav [B,1,S] -patchify-> frames [B,T,D] -encoder-> queries [B,Q,D] -quantizer-> codes [B,K,Q]
    wav [B,1,S] <-unpatchify- frames [B,T,D] <-decoder- queries [B,Q,D] <-quantizer- codes [B,K,Q]

Letters: `B` batch, `S` samples, `T` frames, `Q` queries, `K` codebooks, `D` width,
`w` frames per query.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.modeling_utils import PreTrainedAudioTokenizerBase
from transformers.utils import can_return_tuple

from ..core.derived import outdate_derived, state_of
from ..core.loading import LoadsAllWeights, refuse_infinite_weights
from .card import write_card
from .checks import check_codes, check_num_quantizers, check_waveform, lengths_of, refuse_caches
from .codebook import Codebook
from .coders import QueryDecoder, QueryEncoder
from .config import ALMTokenizerConfig
from .conv import CausalConv
from .fingerprint import code_weights, fingerprint
from .output import ALMTokenizerDecoderOutput, ALMTokenizerEncoderOutput, ALMTokenizerOutput
from .patchify import build_patchify, build_unpatchify
from .quantizer import ResidualQuantizer
from .queries import num_queries
from .streaming import StepState
from .tokens import TokensMixin
from .transformer import Transformer

# Size of the largest feature map of one chunk.
_CHUNK_NUMBERS = 3 * 2**18


class ALMTokenizer(LoadsAllWeights, TokensMixin, PreTrainedAudioTokenizerBase):
    """The codec of "ALMTokenizer" (ICML 2025), with the interface of the Hugging Face codecs.

    Example:
        >>> codec = ALMTokenizer(ALMTokenizerConfig.preset("tiny")).eval()
        >>> out = codec.encode(torch.randn(1, 1, 24_000))
        >>> list(out.audio_codes.shape)
        [1, 3, 13]
        >>> list(codec.decode(out.audio_codes, length=24_000).audio_values.shape)
        [1, 1, 24000]
    """

    config_class = ALMTokenizerConfig
    base_model_prefix = "almtokenizer"
    main_input_name = "input_values"
    supports_gradient_checkpointing = True
    _keep_in_fp32_modules_strict = ["quantizer"]
    _keys_to_ignore_on_load_missing = [r"codebook\.total$"]  # Codebook.restore_total

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__(config)
        self.patchify = build_patchify(config)
        self.encoder = QueryEncoder(config)
        self.quantizer = ResidualQuantizer(config)
        self.decoder = QueryDecoder(config)
        self.unpatchify = build_unpatchify(config)
        # Seconds of audio, over the batch, in one chunk of a long recording: chunks bound the
        # memory and keep the features between layers in the processor's cache.
        inner = config.ffn_ratio * max(config.encoder_width, config.decoder_width)
        self.chunk_seconds = min(10.0, _CHUNK_NUMBERS / (config.frame_rate * inner))
        self._fingerprint: tuple[tuple[int, ...], str] | None = None
        self.post_init()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; values derived from weights are computed again."""
        outdate_derived()
        return super().train(mode)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, *args: Any, **kwargs: Any
    ) -> ALMTokenizer:
        """Load a codec from a folder or hub id, in float32 unless `dtype` is given.

        Raises:
            ValueError: Weights are missing, unexpected, damaged, NaN or infinite.
        """
        loaded: Any = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        refuse_infinite_weights(model, pretrained_model_name_or_path or "the state_dict")
        return loaded  # type: ignore[no-any-return]

    def save_pretrained(
        self, save_directory: Any, *args: Any, card: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Save as `PreTrainedModel.save_pretrained` does, with the feature extractor and a card.

        The extractor is EnCodec's, as that of Mimi: `AutoFeatureExtractor` loads it.

        Args:
            save_directory: the folder.
            args: as of `PreTrainedModel.save_pretrained`.
            card: metadata of the hub for the card, such as `{"license": "mit"}`.
            kwargs: as `args`.
        """
        from transformers import EncodecFeatureExtractor  # imports torchaudio

        super().save_pretrained(save_directory, *args, **kwargs)
        if not kwargs.get("is_main_process", True):
            return
        EncodecFeatureExtractor(sampling_rate=self.sample_rate).save_pretrained(save_directory)
        write_card(save_directory, self.config, self.fingerprint, card)

    # ------------------------------------------------------------------ encoding and decoding

    @torch.no_grad()
    @can_return_tuple
    def encode(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        num_quantizers: int | None = None,
        *,
        frames_per_query: int | None = None,
        sampling_rate: int | None = None,
        **others: object,
    ) -> ALMTokenizerEncoderOutput:
        """Encode waveforms to codes.

        Args:
            input_values: waveforms `[B, 1, S]` in [-1, 1] at `sample_rate`, S at least 1.
            padding_mask: `[B, S]` (or `[B, 1, S]`), 1 for signal, 0 for padding on the right.
            num_quantizers: L, the number of codebooks to return, the first ones; by default all.
            frames_per_query: w; the default of the config is 6 (12.5 Hz). Smaller is finer.
            sampling_rate: of the input; None skips the check.
            others: `return_dict=False` returns a tuple; other arguments of Mimi must be None.

        Returns:
            Codes `[B, L, Q]` with `Q = ceil(S / (hop * w))`, their mask and the row lengths.

        Raises:
            ValueError: for another sampling rate, more than one channel, no samples, NaN or
                infinite samples, integers, floats at their scale, or a mask of another shape.
            TypeError: for caches; streams are :meth:`stream_encoder`.
        """
        refuse_caches(others)
        kept = slice(check_num_quantizers(num_quantizers, self.num_codebooks))
        w = self.checked_window(frames_per_query)
        check_waveform(input_values, sampling_rate, self.config.sample_rate)
        lengths = lengths_of(input_values, padding_mask)
        if self._sees_future and bool((lengths != lengths[0]).any()):
            rows = self._encode_rows(input_values, lengths, w)
            rows.audio_codes = rows.audio_codes[:, kept]
            return rows
        codes, state = [], StepState()
        for chunk in self._chunks(input_values, lengths, w):
            code, state = self.encode_step(chunk, w, state)
            codes.append(code)
        audio_codes = torch.cat(codes, dim=-1)
        ends = self.get_encoded_length(lengths, w)
        mask = torch.arange(audio_codes.shape[-1], device=ends.device) < ends[:, None]
        return ALMTokenizerEncoderOutput((audio_codes * mask[:, None])[:, kept], mask, lengths)

    @torch.no_grad()
    @can_return_tuple
    def decode(
        self,
        audio_codes: Tensor,
        padding_mask: Tensor | None = None,
        *,
        frames_per_query: int | None = None,
        length: int | Tensor | None = None,
        **others: object,
    ) -> ALMTokenizerDecoderOutput:
        """Decode codes to waveforms.

        Args:
            audio_codes: `[B, L, Q]` int64, from the first `L <= K` codebooks.
            padding_mask: that of the encoding, `[B, S]`, instead of `length`.
            frames_per_query: w of the encoding.
            length: samples to keep, one number or `[B]`; all windows by default.
            others: as of :meth:`encode`.

        Returns:
            Waveforms `[B, 1, S]` float32, zero beyond each row's length.

        Raises:
            ValueError: for codes of another shape or type, or outside `0 .. codebook_size - 1`, or
                for a mask beside a length.
            TypeError: for caches; streams are :meth:`stream_decoder`.
        """
        refuse_caches(others)
        if padding_mask is not None:
            if length is not None:
                raise ValueError("padding_mask must be None with length")
            length = lengths_of(padding_mask, padding_mask)
        w = self.checked_window(frames_per_query)
        self.check_codes(audio_codes)
        window = self.config.hop_length * w
        total = audio_codes.shape[-1] * window
        ends = torch.as_tensor(total if length is None else length, device=audio_codes.device)
        if self._sees_future and ends.ndim and bool((ends != ends[0]).any()):
            return self._decode_rows(audio_codes, ends, w)
        longest = min(total, int(ends.max()))
        audio = torch.zeros(audio_codes.shape[0], 1, longest, device=audio_codes.device)
        state, start = StepState(), 0
        for chunk in audio_codes.split(self._chunk_queries(audio_codes.shape[0], w), dim=-1):
            wav, state = self.decode_step(chunk, w, state)
            audio[..., start : start + wav.shape[-1]] = wav[..., : max(0, longest - start)]
            start += wav.shape[-1]
        if ends.ndim:
            for row, end in zip(audio, ends.tolist(), strict=True):
                row[:, end:] = 0
        return ALMTokenizerDecoderOutput(audio)

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        num_quantizers: int | None = None,
        audio_codes: Tensor | None = None,
        *,
        frames_per_query: int | None = None,
        **others: object,
    ) -> ALMTokenizerOutput:
        """Encode and decode waveforms `[B, 1, S]`; given `audio_codes` `[B, L, Q]` are decoded."""
        refuse_caches(others)
        w = frames_per_query
        lengths = lengths_of(input_values, padding_mask)
        if audio_codes is None:
            encoded = self.encode(
                input_values, padding_mask, num_quantizers, frames_per_query=w, return_dict=True
            )
            audio_codes = encoded.audio_codes
        decoded = self.decode(audio_codes, frames_per_query=w, length=lengths, return_dict=True)
        return ALMTokenizerOutput(audio_codes, decoded.audio_values)

    def get_encoded_length(self, input_length: Tensor, frames_per_query: int | None = None) -> Any:
        """Columns of codes of waveforms of these lengths in samples."""
        window = self.config.hop_length * self.checked_window(frames_per_query)
        return -(-input_length // window)

    def get_audio_codes_mask(
        self, padding_mask: Tensor, padding_side: str = "right", frames_per_query: int | None = None
    ) -> Tensor:
        """Mask `[B, Q]` of codes from the mask `[B, S]` of waveforms."""
        counts = self.get_encoded_length(padding_mask.sum(dim=-1), frames_per_query)
        mask = torch.arange(int(counts.max()), device=counts.device) < counts[:, None]
        return mask if padding_side == "right" else mask.flip(dims=[-1])

    def encode_step(
        self, wav: Tensor, frames_per_query: int, state: StepState
    ) -> tuple[Tensor, StepState]:
        """Encode the next whole windows `[B, 1, q * w * hop]` of a stream to codes `[B, K, q]`."""
        frames, conv = self.patchify.step(wav.to(self.dtype), state.conv)
        queries, caches = self.encoder.step(frames, frames_per_query, state.transformer)
        return self.quantizer.quantize(queries), StepState(conv, caches)

    def decode_step(
        self, codes: Tensor, frames_per_query: int, state: StepState
    ) -> tuple[Tensor, StepState]:
        """Decode the next codes `[B, K, q]` of a stream to a waveform `[B, 1, q * w * hop]`."""
        queries = self.quantizer.dequantize(codes).to(self.decoder.input.weight.dtype)
        frames, caches = self.decoder.step(queries, frames_per_query, state.transformer)
        wav, conv = self.unpatchify.step(frames, state.conv)
        return wav.float(), StepState(conv, caches)

    def decode_in(self, dtype: torch.dtype) -> ALMTokenizer:
        """Convert the decoder to `dtype`; encoding does not change."""
        self.decoder.to(dtype)
        self.unpatchify.to(dtype)
        return self

    # ------------------------------------------------------------------ properties

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform."""
        return self.config.sample_rate

    @property
    def frame_rate(self) -> float:
        """Columns of codes per second at the config's w."""
        return self.config.query_rate()

    @property
    def frame_size(self) -> int:
        """Samples per column of codes at the config's w."""
        return self.config.hop_length * self.config.frames_per_query

    @property
    def num_codebooks(self) -> int:
        """Codes per column."""
        return self.config.num_codebooks

    @property
    def codebook_size(self) -> int:
        """Entries per codebook."""
        return self.config.codebook_size

    @property
    def fingerprint(self) -> str:
        """Hash of the config and the weights that define the meaning of codes.

        Decoder and UnPatchify are not part of it, so decoder adaptation keeps the fingerprint.
        Weights are rounded to bfloat16, so the stored precision does not matter.
        """
        weights = code_weights(self.state_dict())
        key = state_of(tuple(weights.values()))
        if self._fingerprint is None or self._fingerprint[0] != key:
            self._fingerprint = (key, fingerprint(self.config, weights))
        return self._fingerprint[1]

    # ------------------------------------------------------------------ checks and internals

    def check_waveform(self, wav: Tensor, *, allow_empty: bool = False) -> None:
        """Raise a ValueError unless `wav` is a finite float waveform `[B, 1, S]`."""
        check_waveform(wav, None, self.config.sample_rate, allow_empty=allow_empty)

    def check_codes(self, codes: Tensor, *, allow_empty: bool = False) -> None:
        """Raise a ValueError unless `codes` are `[B, 1..K, Q]` inside the codebooks."""
        check_codes(codes, self.num_codebooks, self.codebook_size, allow_empty=allow_empty)

    def checked_window(self, frames_per_query: int | None) -> int:
        """Return w (None: that of the config); ``ValueError`` if attention cannot span a window."""
        w = self.config.frames_per_query if frames_per_query is None else frames_per_query
        if isinstance(w, bool | float) or not 1 <= w < self.config.attention_window:
            raise ValueError(
                f"frames_per_query must be an integer in 1..{self.config.attention_window - 1}"
                f" (attention_window - 1), got {w!r}"
            )
        return w

    @property
    def _sees_future(self) -> bool:
        return self.config.attention_mode == "full"

    def _encode_rows(self, wav: Tensor, lengths: Tensor, w: int) -> ALMTokenizerEncoderOutput:
        """Encode rows separately: in mode `full` a row would attend to its padding."""
        rows = [
            self.encode(wav[i : i + 1, :, :end], frames_per_query=w, return_dict=True).audio_codes[
                0
            ]
            for i, end in enumerate(lengths.tolist())
        ]
        codes = wav.new_zeros(len(rows), self.num_codebooks, max(r.shape[-1] for r in rows)).long()
        mask = torch.zeros(len(rows), codes.shape[-1], dtype=torch.bool, device=wav.device)
        for i, row in enumerate(rows):
            codes[i, :, : row.shape[-1]] = row
            mask[i, : row.shape[-1]] = True
        return ALMTokenizerEncoderOutput(codes, mask, lengths)

    def _decode_rows(self, codes: Tensor, ends: Tensor, w: int) -> ALMTokenizerDecoderOutput:
        """Decode rows separately: in mode `full` a row would attend to its padding."""
        window = self.config.hop_length * w
        audio = torch.zeros(len(codes), 1, int(ends.max()), device=codes.device)
        for i, end in enumerate(ends.tolist()):
            row = codes[i : i + 1, :, : -(-end // window)]
            out = self.decode(row, frames_per_query=w, length=end, return_dict=True)
            audio[i, :, :end] = out.audio_values[0]
        return ALMTokenizerDecoderOutput(audio)

    def _chunk_queries(self, batch: int, w: int) -> int:
        """Queries per chunk of a long recording; a single chunk in mode `full`."""
        if self._sees_future:
            return 2**31
        window = self.config.hop_length * w
        return max(1, int(self.chunk_seconds * self.sample_rate) // (window * batch))

    def _chunks(self, wav: Tensor, lengths: Tensor, w: int) -> Iterator[Tensor]:
        """Split `[B, 1, S]` into chunks of whole windows; padding becomes zero."""
        window = self.config.hop_length * w
        total = num_queries(wav.shape[-1], self.config.hop_length, w) * window
        size = min(self._chunk_queries(wav.shape[0], w) * window, total)
        for start in range(0, total, size):
            chunk = wav[..., start : start + size]
            if int(lengths.min()) < start + chunk.shape[-1]:
                positions = torch.arange(start, start + chunk.shape[-1], device=wav.device)
                chunk = chunk * (positions < lengths[:, None, None])
            yield F.pad(chunk, (0, min(size, total - start) - chunk.shape[-1]))

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Initialise a new model, or weights that `from_pretrained` did not find."""
        if isinstance(module, Transformer):
            depth = max(1, len(module.layers))
            for layer in module.layers:
                for linear in (layer.attention.qkv, layer.attention.out, layer.ffn_in):
                    torch.nn.init.xavier_uniform_(linear.weight)
                torch.nn.init.xavier_uniform_(layer.ffn_out.weight, gain=depth**-0.5)
        elif isinstance(module, CausalConv):
            module.reset_parameters()
        elif isinstance(module, Codebook):
            module.restore_total()
