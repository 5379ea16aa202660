"""A text tokenizer from scratch: SentencePiece trained on the recipe's texts, run by `tokenizers`.

SentencePiece learns the pieces; the same pieces and merges then become a plain Hugging Face fast
tokenizer, so that `AutoTokenizer` loads it anywhere, without remote code and without sentencepiece.
Bytes stand in for characters that the texts did not have: nothing is ever lost or unknown.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ...core.loading import check_place
from ...core.reading import reading

logger = logging.getLogger(__name__)

# Ids 0, 1, 2; a text opens by a control, so no bos. The end has the id that a Llama expects.
PAD, UNK, EOS = "<pad>", "<unk>", "</s>"
_SPACE = "▁"  # U+2581, SentencePiece's sign for a space: as a character of a text it reads as one
_RESERVED = 3 + 256  # special tokens, then one piece for each byte
# Below this not even the letters of one alphabet fit beside the bytes.
SMALLEST_VOCABULARY = _RESERVED + 29
_LONGEST_LINE = 2000  # characters; the trainer would silently skip lines above its own limit
# Characters rarer than one in a million are left to the bytes.
_RARE = 1e-6


def train_tokenizer(
    texts: Iterable[str], *, vocab_size: int = 1024, max_length: int | None = None
) -> PreTrainedTokenizerFast:
    """Train a tokenizer on texts; few texts give a smaller vocabulary, and a message says so.

    Args:
        texts: What the model will read and write, in the form in which it will see it.
        vocab_size: Ids at most, the 3 special tokens and the 256 bytes counted.
        max_length: Tokens that the model can take, if the tokenizer is to know it.

    Returns:
        A tokenizer with `eos`, `pad` and `unk`, that adds none of them by itself.

    Raises:
        ValueError: if there is no text, or `vocab_size` is too small for any alphabet.

    Example:
        >>> tokenizer = train_tokenizer(["the cat sat on the mat", "the dog ran"])
        >>> tokenizer.decode(tokenizer("the cat ran 😀").input_ids)
        'the cat ran 😀'
    """
    return tokenizer_from_sentencepiece(
        train_sentencepiece(texts, vocab_size=vocab_size), max_length=max_length
    )


def train_sentencepiece(texts: Iterable[str], *, vocab_size: int = 1024) -> bytes:
    """Train a SentencePiece model (BPE, byte fallback); the same texts give the same bytes.

    Raises:
        ValueError: as :func:`train_tokenizer`.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise ValueError(
            f"vocab_size {vocab_size} is too small: 3 special tokens, 256 bytes and an alphabet "
            f"need at least {SMALLEST_VOCABULARY}"
        )
    lines = [line for text in texts for line in _lines(text)]
    if not lines:
        raise ValueError("no text to train a tokenizer on: every text is empty")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_without_rare(lines, vocab_size)),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        byte_fallback=True,
        # Text arrives as it is to be spoken; whatever else stands in it must come back the same.
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        max_sentence_length=8 * _LONGEST_LINE,
        pad_id=0, unk_id=1, eos_id=2, bos_id=-1,
        pad_piece=PAD, unk_piece=UNK, eos_piece=EOS,
        num_threads=1,
        minloglevel=2,
    )  # fmt: skip
    learned = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).vocab_size()
    if learned < vocab_size:
        logger.warning(
            "tokenizer: %d lines of text support %d pieces, %d were asked for",
            len(lines), learned, vocab_size,
        )  # fmt: skip
    return model.getvalue()


def tokenizer_from_sentencepiece(
    model: bytes, *, max_length: int | None = None
) -> PreTrainedTokenizerFast:
    """Turn a SentencePiece BPE model with byte fallback into a Hugging Face tokenizer."""
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocabulary = {pieces.id_to_piece(i): i for i in range(pieces.vocab_size())}
    tokenizer = Tokenizer(
        BPE(vocabulary, _merges(pieces), unk_token=UNK, fuse_unk=True, byte_fallback=True)
    )
    # Not a Metaspace pre-tokenizer: that one gives a text with a leading space no second one.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(_SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    limit: dict[str, Any] = {} if max_length is None else {"model_max_length": max_length}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        # "</s>" in a user's text is five characters, not the end.
        split_special_tokens=True,
        model_input_names=["input_ids", "attention_mask"],
        **limit,
    )


def load_tokenizer(source: str | os.PathLike[str]) -> Any:
    """Load the tokenizer of a folder or hub id; code in the folder is not run.

    Raises:
        ValueError: if it is damaged, needs code of its own, or has no end token: a text could not
            end.
        OSError: if there is no such folder or hub id.
    """
    with reading(source):
        tokenizer = AutoTokenizer.from_pretrained(check_place(source), trust_remote_code=False)
        if tokenizer.eos_token_id is None:
            raise ValueError(f"the tokenizer of {source} has no eos token: a text could not end")
    return tokenizer


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Hash of the vocabulary with its ids, as 16 hex digits: what the ids of a model mean."""
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()[:16]


def check_vocabulary(tokenizer: Any, size: int, fingerprint: str | None) -> None:
    """Check that a tokenizer is the one that a model was trained with.

    Args:
        tokenizer: Of the processor.
        size: Text ids of the model.
        fingerprint: Of the model's vocabulary; None if it is not known.

    Raises:
        ValueError: It has more ids, or others.
    """
    if len(tokenizer) > size:
        raise ValueError(
            f"the tokenizer must have at most {size} ids, the vocab_size of the language model, got"
            f" {len(tokenizer)}"
        )
    if fingerprint is not None and tokenizer_fingerprint(tokenizer) != fingerprint:
        raise ValueError(
            f"vocabulary of the tokenizer must be {fingerprint}, that of the language model, got"
            f" {tokenizer_fingerprint(tokenizer)}: its ids mean other texts"
        )


def _lines(text: str) -> Iterator[str]:
    """Lines of a text that hold more than whitespace, in pieces that the trainer does not skip."""
    for line in text.splitlines():
        for start in range(0, len(line), _LONGEST_LINE):
            part = line[start : start + _LONGEST_LINE].strip()
            if part:
                yield part


def _without_rare(lines: list[str], vocab_size: int) -> list[str]:
    """Leave to the bytes what would fill more than half of the free pieces, or hardly occurs.

    The trainer's own `character_coverage` ends at 0.98: too high for many alphabets in few pieces.
    """
    counts = Counter(char for line in lines for char in line)
    places = max(SMALLEST_VOCABULARY - _RESERVED, (vocab_size - _RESERVED) // 2) - 1
    least = counts.total() * _RARE
    rare = [c for rank, (c, n) in enumerate(counts.most_common()) if rank >= places or n < least]
    if not rare:
        return lines
    table = str.maketrans(dict.fromkeys(rare, " "))
    kept = (line.translate(table).strip() for line in lines)
    return [line for line in kept if line]


def _merges(pieces: sentencepiece.SentencePieceProcessor) -> list[tuple[str, str]]:
    """Every pair of pieces that makes a piece, best piece first: SentencePiece's order of merging.

    Of one piece's pairs the one with the longer left side comes first: SentencePiece merges equals
    from the left, which leaves the shorter rest on the right ("mmm" is "mm" and "m").
    """
    normal = [
        i
        for i in range(pieces.vocab_size())
        if not (pieces.is_byte(i) or pieces.is_control(i) or pieces.is_unknown(i))
    ]
    names = {pieces.id_to_piece(i) for i in normal}
    merges = []
    for i in sorted(normal, key=lambda i: -pieces.get_score(i)):
        piece = pieces.id_to_piece(i)
        for cut in range(len(piece) - 1, 0, -1):
            if piece[:cut] in names and piece[cut:] in names:
                merges.append((piece[:cut], piece[cut:]))
    return merges
