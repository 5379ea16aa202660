"""Text in the form that a model was trained on, as ids, and back."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .normalize import clean, normalize, plain

TextForm = Literal["written", "spoken", "plain"]


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer, and what is done to a text before it.

    Example:
        >>> encoder = TextEncoder(tokenizer, form="plain")  # doctest: +SKIP
        >>> encoder.form_of("Dr. Lee paid $5!", spoken=True)  # doctest: +SKIP
        'doctor lee paid five dollars'
    """

    tokenizer: Any  # of Hugging Face
    # written: as it stands, cleaned. spoken: words of speech written out. plain: of everything,
    # lower-case words only (few texts: no capitals and no punctuation to learn).
    form: TextForm = "spoken"
    language: str | None = "en"

    def __post_init__(self) -> None:
        if self.form not in get_args(TextForm):
            raise ValueError(f"form must be one of {get_args(TextForm)}; came {self.form!r}")
        if self.tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no eos token: a text could not end")

    @property
    def eos_id(self) -> int:
        """The end of a text."""
        return int(self.tokenizer.eos_token_id)

    def form_of(self, text: str, *, spoken: bool, language: str | None = None) -> str:
        """The text as the model reads it.

        Args:
            text: what a user wrote.
            spoken: whether these are words of speech: those are written out by the language.
            language: if it is not the encoder's.

        Raises:
            ValueError: if this is no text, nothing is left of it, or the language is unknown.
        """
        if not isinstance(text, str):
            raise ValueError(f"a text is expected; came {type(text).__name__}")
        given = text
        text = "".join("\ufffd" if unicodedata.category(c) == "Cs" else c for c in text)
        if self.form != "written" and spoken:
            text = normalize(text, language or self.language)
        text = plain(text) if self.form == "plain" else clean(text)
        if not text:
            what = (
                "the text is empty" if not given.strip() else f"nothing of {given[:40]!r} is said"
            )
            raise ValueError(what)
        return text

    def ids(self, text: str, *, spoken: bool, language: str | None = None) -> tuple[int, ...]:
        """Ids of the text in its form, without special tokens.

        Raises:
            ValueError: as :meth:`form_of`, or if the tokenizer knows none of its characters.
        """
        text = self.form_of(text, spoken=spoken, language=language)
        # No special tokens: neither added ones nor such that a user has typed.
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        unknown = self.tokenizer.unk_token_id
        if unknown is not None and all(i == unknown for i in ids):
            raise ValueError(
                f"the tokenizer knows no character of {text[:40]!r}: train one with byte fallback "
                f"(almtok.lm.text.tokenizer) or choose a backbone that reads this script"
            )
        return tuple(ids)

    def text(self, ids: Any) -> str:
        """Ids back as text, up to the first end, without special tokens."""
        ids = [int(i) for i in ids]
        if self.eos_id in ids:
            ids = ids[: ids.index(self.eos_id)]
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()
