"""TextEncoder: text -> ids in the text form of a model, and back."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .normalize import NothingToSay, base_of, is_known, normalize, plain
from .phones import phones

TextForm = Literal["written", "spoken", "plain", "phones"]
_MAX_CACHED = 200_000  # texts, about 100 MB
_BYTE = re.compile("<0x([0-9A-F]{2})>")  # piece of a vocabulary with byte fallback


def apply_text_form(
    text: str, form: TextForm = "spoken", *, transcript: bool, language: str | None = "en"
) -> str:
    """Convert a text to a text form, the one that the tokenizer of a model is trained on.

    Args:
        text: input text.
        form: "written" only cleans; "spoken" also writes numbers and abbreviations of transcripts
            out; "plain" then keeps lower-case words without punctuation, and so does "phones" for
            texts that are not phonemized (see :meth:`TextEncoder.apply_form`).
        transcript: whether the text is a transcript of speech, and not a description.
        language: language code; with None transcripts are not normalised.

    Raises:
        NothingToSay: if no word is left of it.
        ValueError: if the text is not a string, or as :func:`normalize`.

    Example:
        >>> apply_text_form("Dr. Lee paid $5!", "plain", transcript=True)
        'doctor lee paid five dollars'
    """
    result = _normalize(text, language if form != "written" and transcript else None)
    result = plain(result) if form in ("plain", "phones") else result
    if not result:
        raise NothingToSay(
            f"nothing of {text[:40]!r} can be said" if text.strip() else "the text is empty"
        )
    return result


def _normalize(text: str, language: str | None) -> str:
    """A text normalised by the rules of a language, with punctuation; only cleaned if None."""
    if not isinstance(text, str):
        raise ValueError(f"a text must be a str, got {type(text).__name__}")
    # A lone surrogate cannot be encoded as UTF-8.
    text = "".join("\ufffd" if unicodedata.category(c) == "Cs" else c for c in text)
    return normalize(text, language)


def _script(char: str) -> str:
    return unicodedata.name(char, "unnamed").split()[0]


def _scripts(tokenizer: Any) -> frozenset[str]:
    """Scripts of the letters in the pieces of a vocabulary."""
    pieces = (piece for piece in tokenizer.get_vocab() if not _BYTE.fullmatch(piece))
    return frozenset(_script(char) for char in set("".join(pieces)) if char.isalnum())


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer with the text form of its model."""

    tokenizer: Any  # of transformers
    form: TextForm = "spoken"  # see apply_text_form
    language: str | None = "en"

    def __post_init__(self) -> None:
        if self.form not in get_args(TextForm):
            raise ValueError(f"form must be one of {get_args(TextForm)}, got {self.form!r}")
        if self.tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer must have an eos token, got None")

    @property
    def eos_id(self) -> int:
        """Id of the end of a text."""
        return int(self.tokenizer.eos_token_id)

    def check_language(self, language: str | None) -> None:
        """Check that a model of this encoder speaks a language.

        Raises:
            ValueError: if it is another language than the encoder's. The encoder of a model of
                several languages has the language None.
        """
        if language and self.language and base_of(language) != base_of(self.language):
            raise ValueError(
                f"language must be {self.language!r}, which this model speaks, got {language!r} "
                f"(a model of several languages has language None in its processor)"
            )

    def apply_form(
        self, text: str, *, transcript: bool, phonemize: bool = False, language: str | None = None
    ) -> str:
        """Convert a text to the form of the model.

        Args:
            text: input text.
            transcript: whether it is a transcript of speech.
            phonemize: with the form "phones", convert it to phones.
            language: language code; the encoder's if None.

        Raises:
            ValueError: as :func:`apply_text_form`.
            ImportError: if phones are needed and espeak-ng is not installed.
        """
        language = language or self.language
        words = apply_text_form(text, self.form, transcript=transcript, language=language)
        if not phonemize or self.form != "phones":
            return words
        # With its punctuation, which marks pauses.
        return phones(_normalize(text, language if transcript else None), language)

    def encode(
        self, text: str, *, transcript: bool, phonemize: bool = False, language: str | None = None
    ) -> tuple[int, ...]:
        """Ids of a text in the form of the model, without special tokens.

        Numbers of a description are written out, as those of transcripts are, if the vocabulary
        lacks their digits and there is a normalizer of the language.

        Args:
            text: input text.
            transcript: as in :meth:`apply_form`.
            phonemize: as in :meth:`apply_form`.
            language: as in :meth:`apply_form`.

        Raises:
            ValueError: as :meth:`apply_form`, or if all its characters are unknown.
            ImportError: as :meth:`apply_form`.
        """
        words = self.apply_form(text, transcript=transcript, phonemize=phonemize, language=language)
        ids = self._ids(words)
        code = language or self.language
        if not transcript and code and is_known(code) and any(map(str.isnumeric, words)):
            if any(map(str.isnumeric, self._unlearned(ids))):
                ids = self._ids(self.apply_form(text, transcript=True, language=language))
        return ids

    def _ids(self, text: str) -> tuple[int, ...]:
        # No special tokens: neither added ones nor those typed by a user.
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        unknown = self.tokenizer.unk_token_id
        if unknown is not None and all(i == unknown for i in ids):
            raise ValueError(
                f"the tokenizer knows no character of {text[:40]!r}: train one with byte fallback "
                f"(almtok.lm.text.tokenizer) or choose a backbone that supports this script"
            )
        return tuple(ids)

    def _unlearned(self, ids: Sequence[int]) -> list[str]:
        """Letters and digits that stand as bytes, of scripts without any piece."""
        pieces = self.tokenizer.convert_ids_to_tokens(list(ids))
        matches = [_BYTE.fullmatch(piece) for piece in pieces]
        spelled = bytes(int(match[1], 16) if match else 32 for match in matches)
        odd = [char for char in spelled.decode("utf-8", "ignore") if char.isalnum()]
        known = _scripts(self.tokenizer) if odd else frozenset()
        return [char for char in odd if _script(char) not in known]

    def word_pieces(
        self, text: str, *, language: str | None = None
    ) -> tuple[list[str], tuple[int, ...], tuple[int, ...]]:
        """Words of a transcript in the form of the model, its ids, and the word of each id.

        Args:
            text: a transcript.
            language: as in :meth:`apply_form`.

        Returns:
            The words; the ids, as of :meth:`encode`; and for each id the number of its word.

        Raises:
            ValueError: as :meth:`apply_form`.
            NotImplementedError: if the tokenizer has no offsets: a slow one of transformers.
        """
        form = self.apply_form(text, transcript=True, language=language)
        encoded = self.tokenizer(
            form, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        # Word of each character; of a space, the word after it.
        owners = list(itertools.accumulate(char.isspace() for char in form))
        # The last character decides: a piece may begin with the space before its word.
        places = [max(start, stop - 1) for start, stop in encoded.offset_mapping]
        return form.split(), tuple(encoded.input_ids), tuple(owners[place] for place in places)

    def check_learned(self, ids: Sequence[int]) -> None:
        """Check that a model can have learned the letters and digits of a text that it is given.

        Bytes stand in for characters that the vocabulary lacks. Rare letters of a script that it
        has are learned so; but of a script without any piece, no training text had letters.

        Args:
            ids: of the text.

        Raises:
            ValueError: otherwise, with the characters; or if a part of the text is unknown.
        """
        odd, unknown = self._unlearned(ids), self.tokenizer.unk_token_id
        if odd or (unknown is not None and unknown in ids):
            found = f"{''.join(odd[:20])!r} ({', '.join(dict.fromkeys(map(_script, odd)))})"
            raise ValueError(
                "the text must have letters that the vocabulary of the model has, got "
                + (found if odd else "unknown characters")
                + ("; write numbers as words" if "DIGIT" in found else "")
            )

    def decode(self, ids: Any) -> str:
        """Text of ids up to the first end, without special tokens."""
        ids = [int(i) for i in ids]
        if self.eos_id in ids:
            ids = ids[: ids.index(self.eos_id)]
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()


@dataclass(frozen=True)
class CachedTextEncoder(TextEncoder):
    """A :class:`TextEncoder` that caches ids, for training, where texts recur in every epoch.

    The tokenizer must not change.
    """

    _cache: dict[tuple[str, bool, bool, str | None], tuple[int, ...]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    @classmethod
    def of(cls, encoder: TextEncoder) -> CachedTextEncoder:
        """The same encoder with a cache."""
        return cls(encoder.tokenizer, encoder.form, encoder.language)

    def encode(
        self, text: str, *, transcript: bool, phonemize: bool = False, language: str | None = None
    ) -> tuple[int, ...]:
        """As :meth:`TextEncoder.encode`."""
        key = text, transcript, phonemize, language
        ids = self._cache.get(key)
        if ids is None:
            ids = super().encode(
                text, transcript=transcript, phonemize=phonemize, language=language
            )
            if len(self._cache) < _MAX_CACHED:
                self._cache[key] = ids
        return ids
