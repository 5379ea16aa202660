"""Text in the form that a model was trained on, as ids, and back."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .normalize import normalize, plain
from .phones import phones

TextForm = Literal["written", "spoken", "plain", "phones"]
_REMEMBERED = 200_000  # texts, about 100 MB


def in_form(
    text: str, form: TextForm = "spoken", *, spoken: bool, language: str | None = "en"
) -> str:
    """Bring a text into the form that a model reads, and that its tokenizer is trained on.

    Args:
        text: what a user or a corpus wrote.
        form: "written" only cleans; "spoken" writes words of speech out by the language; "plain"
            keeps of that only lower-case words (few texts: no capitals, no signs to learn), and so
            does "phones", for all that is not to be said, see :meth:`TextEncoder.form_of`.
        spoken: whether these are words of speech, not a description.
        language: code; None leaves words of speech as they are written.

    Raises:
        ValueError: if this is no text, nothing is left of it, or the language is unknown.

    Example:
        >>> in_form("Dr. Lee paid $5!", "plain", spoken=True)
        'doctor lee paid five dollars'
    """
    whole = _written_out(text, language if form != "written" and spoken else None)
    whole = plain(whole) if form in ("plain", "phones") else whole
    if not whole:
        raise ValueError(
            f"nothing of {text[:40]!r} can be said" if text.strip() else "the text is empty"
        )
    return whole


def _written_out(text: str, language: str | None) -> str:
    """A text as a language speaks it, with its punctuation; only cleaned if that is None."""
    if not isinstance(text, str):
        raise ValueError(f"a text is expected; came {type(text).__name__}")
    # Half of a surrogate pair cannot be written as bytes.
    whole = "".join("\ufffd" if unicodedata.category(c) == "Cs" else c for c in text)
    return normalize(whole, language)


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer, and what is done to a text before it."""

    tokenizer: Any  # of Hugging Face
    form: TextForm = "spoken"  # see in_form
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

    def form_of(
        self, text: str, *, spoken: bool, said: bool = False, language: str | None = None
    ) -> str:
        """The text as the model reads it.

        Args:
            text: what a user wrote.
            spoken: whether these are words of speech.
            said: whether the model is to say them: in the form "phones" it is told how.
            language: if it is not the encoder's.

        Raises:
            ValueError: as :func:`in_form`.
            ImportError: phones are wanted, and espeak-ng is missing.
        """
        language = language or self.language
        words = in_form(text, self.form, spoken=spoken, language=language)
        if not said or self.form != "phones":
            return words
        # With its punctuation, which says where a reader pauses.
        return phones(_written_out(text, language if spoken else None), language)

    def ids(
        self, text: str, *, spoken: bool, said: bool = False, language: str | None = None
    ) -> tuple[int, ...]:
        """Ids of the text in its form, without special tokens.

        Args:
            text: what a user wrote.
            spoken: as in :meth:`form_of`.
            said: as there.
            language: as there.

        Raises:
            ValueError: as :meth:`form_of`, or if the tokenizer knows none of its characters.
            ImportError: as :meth:`form_of`.
        """
        text = self.form_of(text, spoken=spoken, said=said, language=language)
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


@dataclass(frozen=True)
class RememberingEncoder(TextEncoder):
    """An encoder that does nothing twice: for training, where texts come back in every epoch.

    Nothing that ids depend on may change meanwhile.
    """

    _known: dict[tuple[str, bool, bool, str | None], tuple[int, ...]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    @classmethod
    def of(cls, texts: TextEncoder) -> RememberingEncoder:
        """The same encoder, with a memory."""
        return cls(texts.tokenizer, texts.form, texts.language)

    def ids(
        self, text: str, *, spoken: bool, said: bool = False, language: str | None = None
    ) -> tuple[int, ...]:
        """As :meth:`TextEncoder.ids`."""
        key = text, spoken, said, language
        known = self._known.get(key)
        if known is None:
            known = super().ids(text, spoken=spoken, said=said, language=language)
            if len(self._known) < _REMEMBERED:
                self._known[key] = known
        return known
