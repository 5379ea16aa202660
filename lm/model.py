"""AudioLM: a causal language model over rows of text and audio codes.

    rows [B,L,1+K] -embed-> [B,L,D] -backbone-> hidden [B,L,D] -> text logits [B,L,V]
                                                               -> heads: codes of the next row

Shapes: `B` batch, `L` rows, `K` codebooks, `C` codebook size, `V` text vocabulary, `D` width, `N`
positions with a target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.utils import can_return_tuple
from transformers.utils.deprecation import deprecate_kwarg

from ..core.loading import LoadsAllWeights, refuse_adapter
from ..core.reading import reading
from .adapter_rows import by_adapter
from .card import write_card
from .config import AudioLMConfig
from .generation.cache import CACHE_ARGUMENT
from .generation.generate import GenerateMixin
from .heads import AudioHeads, DepthHeads, LinearHeads
from .loss import blank_id, ctc_loss
from .output import AudioLMOutput, check_rows, refuse_arguments
from .packed_attention import packed_mask
from .packing import Packing, enable_packing
from .prefix_lm_mask import check_prefix_lm, packed_conditions, prefix_lm_mask
from .sequences import IGNORED
from .targets import stream_targets
from .vocabulary import Vocabulary


class RowEmbedding(nn.Module):
    """Embeddings beside those of the backbone: controls, and one table for all codebooks.

    Codebook k (from 0) has the rows k * (C + 1) to k * (C + 1) + C: with K = 3 and
    C = 2048, code 5 of the second codebook is row 2049 + 5. The last row of each is `audio_end`.
    """

    def __init__(self, config: AudioLMConfig):
        super().__init__()
        self.vocabulary = Vocabulary(config)
        self.num_text = config.vocab_size
        self.num_codes = config.codebook_size + 1
        self.controls = nn.Embedding(self.vocabulary.num_controls, config.hidden_size)
        self.audio = nn.Embedding(config.num_codebooks * self.num_codes, config.hidden_size)

    def forward(self, rows: Tensor, embed_text: Callable[[Tensor], Tensor]) -> Tensor:
        """Embed rows `[B, L, 1+K]` as `[B, L, D]`; `embed_text` is that of the backbone."""
        text, codes = rows[..., 0], rows[..., 1:]
        is_text = text < self.num_text
        is_control = ~is_text & (text < self.vocabulary.text_empty)
        is_code = codes < self.num_codes  # [B, L, K]
        offsets = torch.arange(codes.shape[-1], device=codes.device) * self.num_codes
        audio = self.audio((codes + offsets).where(is_code, 0))  # [B, L, K, D]
        control = self.controls((text - self.num_text).where(is_control, 0))
        return (
            embed_text(text.where(is_text, 0)) * is_text[..., None]
            + control * is_control[..., None]
            + (audio * is_code[..., None]).sum(dim=-2)
        )


class AudioLM(LoadsAllWeights, GenerateMixin, PreTrainedModel):
    """A language model over text and the codes of one codec."""

    config: AudioLMConfig
    config_class = AudioLMConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    accepts_loss_kwargs = True  # the Trainer passes num_items_in_batch

    def __init__(self, config: AudioLMConfig):
        super().__init__(config)
        check_prefix_lm(config)
        self.backbone = AutoModelForCausalLM.from_config(config.backbone, trust_remote_code=False)
        self.embedding = RowEmbedding(config)
        heads = DepthHeads if config.pattern == "depth" else LinearHeads
        self.heads: AudioHeads = heads(config)
        self.post_init()

    @classmethod
    def from_backbone(cls, name_or_path: str, config: AudioLMConfig, **kwargs: Any) -> AudioLM:
        """Build a model around a pretrained text model; the other parts are initialised.

        Args:
            name_or_path: what `AutoModelForCausalLM.from_pretrained` takes.
            config: everything but the backbone, which is replaced by the pretrained one's.
            kwargs: for `from_pretrained`: dtype, revision, ...

        Raises:
            ValueError: if the text model cannot be read, needs code of its own, or has an adapter.
            OSError: if there is no such folder or hub id.
        """
        with reading(name_or_path):
            refuse_adapter(name_or_path, kwargs)
            backbone: Any = AutoModelForCausalLM.from_pretrained(
                name_or_path, trust_remote_code=False, **kwargs
            )
        values = {**config.to_dict(), "backbone": backbone.config.to_dict()}
        values.pop("transformers_version", None)
        model = cls(AudioLMConfig(**values)).to(backbone.dtype)
        model.backbone = backbone
        return model

    def save_pretrained(
        self, save_directory: Any, *args: Any, card: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Save as `PreTrainedModel.save_pretrained` does, with a model card.

        Args:
            save_directory: the folder.
            args: as of `PreTrainedModel.save_pretrained`.
            card: metadata of the hub for the card, such as `{"license": "mit"}`.
            kwargs: as `args`.

        Raises:
            ValueError: if the model has adapters, which are saved by themselves.
        """
        if hasattr(self, "peft_config"):
            raise ValueError(
                "the model has adapters: save them with save_adapter, and the model after"
                " merge_adapter or remove_adapters"
            )
        super().save_pretrained(save_directory, *args, **kwargs)
        if not kwargs.get("is_main_process", True):
            return
        write_card(save_directory, self.config, self.num_parameters(), card)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> AudioLM:
        """Change device or precision; buffers, the rotary frequencies, keep their precision.

        Rounded to 8 bits they would turn late positions by a radian, and `from_pretrained` does not
        round them.
        """
        exact = [(module, dict(module._buffers)) for module in self.modules()]
        super()._apply(fn, recurse)
        for module, buffers in exact:
            for name, before in buffers.items():
                after = module._buffers[name]
                if before is not None and after is not None and after.dtype != before.dtype:
                    module._buffers[name] = before.to(after.device)
        return self

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embed rows `[B, L, 1+K]` as `[B, L, D]`."""
        return by_adapter(self.embedding, input_ids, self.backbone.get_input_embeddings())

    def advance(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool = False,
        packing: Packing | None = None,
    ) -> Tensor:
        """Return the hidden states `[B, L, D]` of rows `[B, L, 1+K]`; a given cache is filled.

        With `bidirectional_conditions` a prompt must be read in one call (`prefix_lm_mask.py`). Of
        a packed row `[1, T, 1+K]`, `packing` gives the examples (:meth:`pack`).
        """
        read = self._read(
            input_ids, attention_mask, position_ids, cache, use_cache, packing=packing
        )
        return read.last_hidden_state  # type: ignore[no-any-return]

    def _read(
        self,
        input_ids: Any,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        cache: Cache | None,
        use_cache: bool,
        inputs_embeds: Tensor | None = None,
        packing: Packing | None = None,
        **options: Any,
    ) -> Any:
        if packing is None:
            mask = prefix_lm_mask(input_ids, attention_mask, self.config, cache)
        else:
            packing.conditions = packed_conditions(input_ids, packing, self.config)
            mask, position_ids = packed_mask(packing.device), packing.position_ids
            options["packing"] = packing  # for packed_attention
        return self.backbone.get_decoder()(
            inputs_embeds=self.embed(input_ids) if inputs_embeds is None else inputs_embeds,
            attention_mask=mask,
            position_ids=position_ids,
            use_cache=use_cache,
            **{CACHE_ARGUMENT: cache},
            **options,
        )

    def pack(self, document_lengths: Sequence[int] | Tensor, input_ids: Tensor) -> Packing:
        """Describe the examples of a packed row, and let the backbone read such rows.

        Args:
            document_lengths: rows of each example, `[N]`.
            input_ids: `[1, T, ...]`, for T and the device.

        Raises:
            ValueError: there are several rows, the lengths do not add up to T, or the backbone
                cannot be trained with packing.
        """
        if input_ids.shape[0] != 1:
            raise ValueError(f"packed examples are one row, got {input_ids.shape[0]} rows")
        enable_packing(self)
        return Packing(document_lengths, input_ids.shape[1], input_ids.device)

    def _packing_of(
        self, lengths: Sequence[int] | Tensor | None, input_ids: Tensor | None, *others: object
    ) -> Packing | None:
        """The packing of rows, if lengths are given.

        Raises:
            ValueError: as :meth:`pack`; for a mask, positions or a cache, or without the rows.
        """
        if lengths is None:
            return None
        if input_ids is None or any(other is not None for other in others):
            raise ValueError("packing needs input_ids, without mask, position_ids or cache")
        return self.pack(lengths, input_ids)

    def text_logits(self, hidden: Tensor) -> Tensor:
        """Logits `[..., V]` of the next text id."""
        return self.backbone.get_output_embeddings()(hidden)

    def ctc_logits(self, hidden: Tensor) -> Tensor:
        """Logits `[..., V]` of CTC; `[..., V + 1]` if the blank is no text id (`lm/loss.py`)."""
        text = self.text_logits(hidden)
        if blank_id(self.config) < text.shape[-1]:
            return text
        last = torch.tensor(self.embedding.vocabulary.blank, device=hidden.device)
        blank = hidden @ self.embedding.controls(last).to(hidden.dtype)
        return torch.cat([text, blank[..., None]], dim=-1)

    def joint_logits(self, hidden: Tensor) -> Tensor:
        """Logits `[N, V + controls + K * (C+1)]` of one vocabulary for all streams (`flat`).

        Controls are scored by their own embeddings and are never targets: an exported model learns
        not to predict them.
        """
        audio = self.heads.teacher_forced(hidden, hidden.new_zeros(0))
        ids = torch.arange(self.embedding.vocabulary.num_controls, device=hidden.device)
        controls = hidden @ self.embedding.controls(ids).T
        return torch.cat([self.text_logits(hidden), controls, audio.flatten(1)], dim=-1)

    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool = False,
        num_items_in_batch: Tensor | int | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        document_lengths: Sequence[int] | Tensor | None = None,
        logits_to_keep: int = 0,
        return_logits: bool | None = None,
        output_hidden_states: bool | None = None,
        **others: object,
    ) -> AudioLMOutput:
        """Compute the loss of labels, and the logits of every next row.

        Args:
            input_ids: rows `[B, L, 1+K]`, see `lm/vocabulary.py`.
            attention_mask: `[B, L]`, 0 at padding (either side); with a cache, of the whole past.
            labels: `[B, L, 1+K]`, equal to `input_ids` at targets, else -100.
            position_ids: `[B, L]`; by default counted from the mask, without padding.
            cache: key-value cache; also as `past_key_values`, its former name.
            use_cache: create a cache if there is none.
            num_items_in_batch: divisor of the summed loss (see the Trainer of transformers).
            inputs_embeds: `[B, L, D]`, instead of `embed(input_ids)`; rows that no head reads may
                be None, without packing.
            document_lengths: `[N]`, rows of each example of a packed row (`lm/packing.py`).
            logits_to_keep: logits of this many last positions only; 0: of all.
            return_logits: whether to compute logits; by default not beside a loss in training.
            output_hidden_states: also return the states of all layers of the backbone.
            others: `return_dict=False` returns a tuple; other arguments of causal models are None.

        Raises:
            TypeError: if one of the others is not None.
            ValueError: if shapes are not those of the model, rows are missing, or by :meth:`pack`.
        """
        refuse_arguments(others)
        if return_logits is None:
            return_logits = labels is None or not self.training
        length = check_rows(self.config, input_ids, labels, inputs_embeds, return_logits)
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config.backbone)
        packing = self._packing_of(document_lengths, input_ids, attention_mask, position_ids, cache)
        if position_ids is None and attention_mask is not None:
            position_ids = (attention_mask.cumsum(dim=1) - 1).clamp_min(0)[:, -length:]
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        more: dict[str, Any] = {"output_hidden_states": True} if output_hidden_states else {}
        more |= {"inputs_embeds": inputs_embeds, "packing": packing}
        read = self._read(input_ids, attention_mask, position_ids, cache, cache is not None, **more)
        hidden = read.last_hidden_state
        fields = {"cache": cache, "hidden_states": read.get("hidden_states")}
        if return_logits:
            fields |= self._logits(hidden, input_ids, logits_to_keep)
        if labels is not None:
            fields |= self._losses(hidden, input_ids, labels, num_items_in_batch, packing)
        return AudioLMOutput(**fields)

    def _losses(
        self,
        hidden: Tensor,
        input_ids: Tensor | None,
        labels: Tensor,
        num_items_in_batch: Tensor | int | None,
        packing: Packing | None,
    ) -> AudioLMOutput:
        """Losses of labels `[B, L, 1+K]` by hidden states `[B, L, D]`."""
        if input_ids is None:  # rows of targets are their labels, and empty where there is none
            input_ids = labels.where(labels != IGNORED, self.heads.empty)
        if packing is not None:
            labels = packing.hide_starts(labels)
        targets = stream_targets(self, hidden[:, :-1], input_ids[:, 1:], labels[:, 1:])
        smoothing = self.config.label_smoothing if self.training else 0.0
        streams = {name: stream.loss(smoothing) for name, stream in targets.items()}
        ctc = None
        if self.config.ctc_weight > 0:
            weights = (self.get_output_embeddings(), self.embedding)
            ctc = ctc_loss(
                hidden, input_ids, labels, self.config, self.ctc_logits, weights, packing
            )
        return AudioLMOutput.from_losses(
            streams, ctc, self.config, num_items_in_batch, hidden=hidden
        )

    def get_input_embeddings(self) -> nn.Module:
        """The backbone's text table."""
        return self.backbone.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The backbone's text head."""
        return self.backbone.get_output_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the backbone's text table."""
        self.backbone.set_input_embeddings(value)

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the backbone's text head."""
        self.backbone.set_output_embeddings(new_embeddings)

    def _logits(self, hidden: Tensor, input_ids: Tensor | None, last: int) -> dict[str, Tensor]:
        """Logits of the rows that follow the last rows of `[B, L, 1+K]`, 0: all, by field."""
        kept = slice(-last, None) if last else slice(None)
        ids = hidden[..., :2] if input_ids is None else input_ids  # read by no head then
        hidden, rows = hidden[:, kept], ids[:, kept, 1:]
        batch, length, width = hidden.shape
        end = rows.new_full((batch, 1, rows.shape[-1]), self.heads.empty)
        following = torch.cat([rows[:, 1:], end], dim=1)
        logits = self.heads.teacher_forced(
            hidden.reshape(-1, width), following.reshape(batch * length, -1)
        )
        audio_logits = logits.view(batch, length, *logits.shape[1:])
        return {"text_logits": self.text_logits(hidden), "audio_logits": audio_logits}
