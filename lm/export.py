"""A `flat` language model as a plain Llama or Qwen checkpoint, for any engine that serves those.

One vocabulary for all streams, in the order of `AudioLM.joint_logits`:

    text 0..V-1 | controls | codes and end of codebook 1 | .. 2 | .. K        each codebook C + 1

Embeddings and head are stacked in that order; what lies between them is the backbone, unchanged.

Letters: `L` rows or ids, `K` codebooks, `C` codebook size, `V` text vocabulary.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from .config import AudioLMConfig
from .loss import joint_offset
from .model import AudioLM
from .vocabulary import Vocabulary

LAYOUT = "codes.json"


@dataclass(frozen=True)
class PlainIds:
    """Rows of our model as ids of the exported one, and back."""

    config: AudioLMConfig

    def __post_init__(self) -> None:
        if self.config.pattern != "flat":
            raise ValueError(
                f"only pattern 'flat' has one id for each row; this model has"
                f" {self.config.pattern!r}"
            )

    @property
    def size(self) -> int:
        """Ids in all."""
        return self.first(self.config.num_codebooks) + self.config.codebook_size + 1

    def first(self, stream: int) -> int:
        """Id of the first text (stream 0) or of code 0 of the codebook `stream` (1 to K)."""
        return joint_offset(self.config, stream)

    @property
    def audio_end(self) -> int:
        """The id that ends an audio."""
        return self.first(1) + Vocabulary(self.config).audio_end

    def from_rows(self, rows: Tensor) -> Tensor:
        """Ids `[L]` of rows `[L, 1+K]`.

        Raises:
            ValueError: a row says nothing, or more than one thing.
        """
        vocabulary = Vocabulary(self.config)
        empty = torch.tensor(
            [vocabulary.text_empty] + [vocabulary.audio_empty] * self.config.num_codebooks,
            device=rows.device,
        )
        says = rows != empty  # [L, 1+K]
        if bool((says.sum(dim=1) != 1).any()):
            place = int((says.sum(dim=1) != 1).nonzero()[0])
            raise ValueError(f"row {place} must say one thing, got {rows[place].tolist()}")
        streams = range(1 + self.config.num_codebooks)
        offsets = torch.tensor([self.first(k) for k in streams], device=rows.device)
        return ((rows + offsets) * says).sum(dim=1)

    def to_rows(self, ids: Tensor) -> Tensor:
        """Rows `[L, 1+K]` of ids `[L]`.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        if ids.numel() and not (0 <= int(ids.min()) and int(ids.max()) < self.size):
            raise ValueError(
                f"ids must be 0..{self.size - 1}, got {int(ids.min())}..{int(ids.max())}"
            )
        vocabulary = Vocabulary(self.config)
        rows = ids.new_full((len(ids), 1 + self.config.num_codebooks), vocabulary.audio_empty)
        rows[:, 0] = ids.where(ids < self.first(1), vocabulary.text_empty)
        for stream in range(1, 1 + self.config.num_codebooks):
            code = ids - self.first(stream)
            here = (code >= 0) & (code <= self.config.codebook_size)
            rows[here, stream] = code[here]
        return rows

    def describe(self) -> dict[str, Any]:
        """What somebody needs who knows nothing of us: which id is what."""
        vocabulary = Vocabulary(self.config)
        controls = {name: getattr(vocabulary, name) for name in ("open_text", "open_audio")}
        controls["no_condition"] = vocabulary.no_condition
        return {
            "text": {"first": 0, "size": self.config.vocab_size},
            "controls": controls,
            "tasks": {name: vocabulary.task(name) for name in self.config.tasks},
            "frames_per_query": {str(w): vocabulary.rate(w) for w in range(1, 17)},
            "codebooks": [
                {"first": self.first(k + 1), "size": self.config.codebook_size}
                for k in range(self.config.num_codebooks)
            ],
            "audio_end": self.audio_end,
            "codec": self.config.codec_fingerprint,
        }


@torch.no_grad()
def to_plain(lm: AudioLM) -> PreTrainedModel:
    """Return the plain causal model that computes what a `flat` model computes.

    Raises:
        ValueError: the pattern is another, conditions are read in both directions, or the backbone
            does more with its tables than look up and multiply.
    """
    ids = PlainIds(lm.config)
    if lm.config.bidirectional_conditions:
        raise ValueError(
            "engines for plain models read causally; this model was trained with"
            " bidirectional_conditions"
        )
    table, head = lm.backbone.get_input_embeddings(), lm.backbone.get_output_embeddings()
    softcap = getattr(lm.config.backbone, "final_logit_softcapping", None)
    if type(table) is not nn.Embedding or getattr(head, "bias", None) is not None or softcap:
        raise ValueError(
            f"only a backbone with plain tables can be exported; {type(lm.backbone).__name__} has"
            f" a {type(table).__name__}, a head with bias, or capped logits"
        )
    config: Any = copy.deepcopy(lm.config.backbone)
    config.vocab_size, config.tie_word_embeddings = ids.size, False
    plain = AutoModelForCausalLM.from_config(config).to(lm.dtype).eval()
    tables = (table.weight, head.weight)
    own = {key: value for key, value in lm.backbone.state_dict().items()}
    for key in [key for key, value in own.items() if any(_same(value, t) for t in tables)]:
        del own[key]
    plain.load_state_dict(own, strict=False)
    controls = lm.embedding.controls.weight
    heads = [out.weight for out in lm.heads.out]  # type: ignore[union-attr]
    plain.get_input_embeddings().weight.copy_(
        torch.cat([table.weight, controls, lm.embedding.audio.weight])
    )
    plain.get_output_embeddings().weight.copy_(torch.cat([head.weight, controls, *heads]))
    ends = [end for end in (_end(lm),) if end is not None]
    plain.generation_config = GenerationConfig(
        eos_token_id=[*ends, ids.audio_end],
        pad_token_id=ends[0] if ends else ids.audio_end,
        do_sample=False,
    )
    return plain


def export_plain(
    checkpoint: str | os.PathLike[str], out: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write the plain checkpoint of a saved `flat` model: model, tokenizer, `codes.json`.

    Args:
        checkpoint: folder or hub id of the model.
        out: folder to make.
        overwrite: replace a folder that is there.

    Raises:
        ValueError: the model cannot be exported, or the folder exists.
    """
    from .processor_files import NAME
    from .text.tokenizer import load_tokenizer

    place = Path(out)
    if place.exists() and any(place.iterdir()) and not overwrite:
        raise ValueError(f"{place} is not empty: choose another --out, or --overwrite it")
    folder = Path(checkpoint) / "model"
    source = folder if (folder / "config.json").exists() else Path(checkpoint)
    lm = AudioLM.from_pretrained(source if source.exists() else str(checkpoint)).eval()
    plain = to_plain(lm)
    aside = place.with_name(f"{place.name}.tmp-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    plain.save_pretrained(aside)
    text = json.dumps(PlainIds(lm.config).describe(), indent=1)
    (aside / LAYOUT).write_text(text + "\n", encoding="utf-8")
    if (source / NAME).exists():
        load_tokenizer(source).save_pretrained(aside)
    shutil.rmtree(place, ignore_errors=True)
    os.replace(aside, place)
    return place


def _same(value: Tensor, other: Tensor) -> bool:
    return value.shape == other.shape and value.data_ptr() == other.data_ptr()


def _end(lm: AudioLM) -> int | None:
    """The backbone's own end of text."""
    text: Any = lm.config.backbone
    end = text.get_text_config().eos_token_id
    return end[0] if isinstance(end, list) else end
