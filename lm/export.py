"""``almtok lm export``: a `flat` language model as a plain Llama or Qwen checkpoint.

The exported model has one vocabulary for all streams, in the order of `AudioLM.joint_logits`:

    text 0..V-1 | controls | codes and end of codebook 1 | .. 2 | .. K        each codebook C + 1

Embeddings and head are concatenated in that order; the backbone between them is unchanged.
Importing this file loads no torch.

Shapes: `L` rows or ids, `K` codebooks, `C` codebook size, `V` text vocabulary.
"""

from __future__ import annotations

import argparse
import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.choices import add_json, add_out
from ..core.printing import print_result

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from .config import AudioLMConfig
    from .model import AudioLM

LAYOUT = "codes.json"

DESCRIPTION = """\
Export a language model of pattern 'flat' as a plain Llama or Qwen checkpoint, for engines that
serve this architecture. Text, control and audio tokens get one vocabulary, described in
OUT/codes.json.
"""
EXAMPLES = """
almtok lm train --model '{"pattern": "flat"}' --data tokens/ --out runs/flat
almtok lm export --checkpoint runs/flat --out plain/
>>> AutoModelForCausalLM.from_pretrained("plain/").generate(ids)
"""


def register(commands: Any) -> None:
    """Add ``export`` to the sub-parsers of ``almtok lm``."""
    parser = commands.add_parser(
        "export",
        help="export a language model of pattern flat as a plain Llama/Qwen checkpoint",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.group("input")
    text = "run folder, model or hub id"
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help=text)
    add_out(parser)
    add_json(parser, advanced=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run ``almtok lm export``."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    out = export_plain(args.checkpoint, args.out, overwrite=args.overwrite)
    text = f"plain checkpoint: {out}; its ids: {out / LAYOUT}"
    print_result(args, text, {"model": out, "ids": out / LAYOUT})
    return 0


@dataclass(frozen=True)
class PlainIds:
    """Maps rows of an :class:`AudioLM` to ids of the exported model, and back."""

    config: AudioLMConfig

    def __post_init__(self) -> None:
        if self.config.pattern != "flat":
            raise ValueError(
                f"pattern must be 'flat', with one id per row, got {self.config.pattern!r}"
            )

    @property
    def size(self) -> int:
        """Size of the vocabulary."""
        return self.first(self.config.num_codebooks) + self.config.codebook_size + 1

    def first(self, stream: int) -> int:
        """First id of the text (stream 0) or of the codebook `stream` (1 to K)."""
        from .loss import joint_offset

        return joint_offset(self.config, stream)

    @property
    def audio_end(self) -> int:
        """Id of the end of audio."""
        from .vocabulary import Vocabulary

        return self.first(1) + Vocabulary(self.config).audio_end

    def from_rows(self, rows: Tensor) -> Tensor:
        """Ids `[L]` of rows `[L, 1+K]`.

        Raises:
            ValueError: a row has no id, or several.
        """
        import torch

        from .vocabulary import Vocabulary

        vocabulary = Vocabulary(self.config)
        streams = range(1 + self.config.num_codebooks)
        empty = [vocabulary.text_empty] + [vocabulary.audio_empty] * self.config.num_codebooks
        present = rows != torch.tensor(empty, device=rows.device)  # [L, 1+K]
        wrong = (present.sum(dim=1) != 1).nonzero()
        if len(wrong):
            number = int(wrong[0])
            raise ValueError(f"row {number} must have one id, got {rows[number].tolist()}")
        offsets = torch.tensor([self.first(k) for k in streams], device=rows.device)
        return ((rows + offsets) * present).sum(dim=1)

    def to_rows(self, ids: Tensor) -> Tensor:
        """Rows `[L, 1+K]` of ids `[L]`.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        from .vocabulary import Vocabulary

        if ids.numel() and not (0 <= int(ids.min()) and int(ids.max()) < self.size):
            raise ValueError(
                f"ids must be 0..{self.size - 1}, got {int(ids.min())}..{int(ids.max())}"
            )
        vocabulary = Vocabulary(self.config)
        rows = ids.new_full((len(ids), 1 + self.config.num_codebooks), vocabulary.audio_empty)
        rows[:, 0] = ids.where(ids < self.first(1), vocabulary.text_empty)
        for stream in range(1, 1 + self.config.num_codebooks):
            code = ids - self.first(stream)
            in_stream = (code >= 0) & (code <= self.config.codebook_size)
            rows[in_stream, stream] = code[in_stream]
        return rows

    def describe(self) -> dict[str, Any]:
        """The meaning of all ids, for `codes.json`."""
        from .vocabulary import Vocabulary

        vocabulary = Vocabulary(self.config)
        controls = {name: getattr(vocabulary, name) for name in ("open_text", "open_audio")}
        controls["no_condition"] = vocabulary.no_condition
        return {
            "text": {"first": 0, "size": self.config.vocab_size},
            "controls": controls,
            "tasks": {name: vocabulary.task(name) for name in self.config.tasks},
            "voices": {name: vocabulary.voice(name) for name in self.config.voices},
            "frames_per_query": {str(w): vocabulary.rate(w) for w in range(1, 17)},
            "codebooks": [
                {"first": self.first(k + 1), "size": self.config.codebook_size}
                for k in range(self.config.num_codebooks)
            ],
            "audio_end": self.audio_end,
            "codec": self.config.codec_fingerprint,
        }


def to_plain(lm: AudioLM) -> PreTrainedModel:
    """Return the plain causal model with the same outputs as a `flat` model.

    Raises:
        ValueError: the model has another pattern or bidirectional conditions, or its backbone does
            more with its embeddings than look up and multiply.
    """
    import torch
    from torch import nn
    from transformers import AutoModelForCausalLM, GenerationConfig

    ids = PlainIds(lm.config)
    if lm.config.bidirectional_conditions:
        raise ValueError("bidirectional_conditions must be off: exported models are causal")
    table, head = lm.backbone.get_input_embeddings(), lm.backbone.get_output_embeddings()
    softcap = getattr(lm.config.backbone, "final_logit_softcapping", None)
    if type(table) is not nn.Embedding or getattr(head, "bias", None) is not None or softcap:
        raise ValueError(
            f"the backbone must have plain embeddings and a head without bias and softcap, got"
            f" {type(lm.backbone).__name__} with {type(table).__name__}"
        )
    config: Any = copy.deepcopy(lm.config.backbone)
    config.vocab_size, config.tie_word_embeddings = ids.size, False
    plain = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    plain = plain.to(lm.dtype).eval()
    tables = {table.weight.data_ptr(), head.weight.data_ptr()}
    state = lm.backbone.state_dict()
    inner = {key: value for key, value in state.items() if value.data_ptr() not in tables}
    plain.load_state_dict(inner, strict=False)
    controls = lm.embedding.controls.weight
    heads: list[Any] = [out.weight for out in lm.heads.out]
    with torch.no_grad():
        plain.get_input_embeddings().weight.copy_(
            torch.cat([table.weight, controls, lm.embedding.audio.weight])
        )
        plain.get_output_embeddings().weight.copy_(torch.cat([head.weight, controls, *heads]))
    eos_id = lm.config.backbone.get_text_config().eos_token_id  # type: ignore[union-attr]
    eos_id = eos_id[0] if isinstance(eos_id, list) else eos_id
    plain.generation_config = GenerationConfig(
        eos_token_id=[ids.audio_end] if eos_id is None else [eos_id, ids.audio_end],
        pad_token_id=ids.audio_end if eos_id is None else eos_id,
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
        overwrite: replace an existing folder.

    Raises:
        ValueError: the model cannot be exported, or the folder exists.
    """
    from ..core.files import replaced_folder, write_json
    from .model import AudioLM
    from .processor_files import NAME
    from .text.tokenizer import load_tokenizer

    out = Path(out)
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise ValueError(f"{out} is not empty: choose another --out, or --overwrite it")
    folder = Path(checkpoint) / "model"
    source = folder if (folder / "config.json").exists() else Path(checkpoint)
    place = source if source.exists() else str(checkpoint)
    lm = AudioLM.from_pretrained(place, dtype="auto").eval()
    plain = to_plain(lm)
    with replaced_folder(out) as temporary:
        plain.save_pretrained(temporary)
        write_json(temporary / LAYOUT, PlainIds(lm.config).describe())
        if (source / NAME).exists():
            load_tokenizer(source).save_pretrained(temporary)
    return out
