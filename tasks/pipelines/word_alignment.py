"""Word times of audio whose text is known, by the model's own CTC (lm/ctc_alignment.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter

from ...codec.tokens import AudioTokens
from ...lm.ctc_alignment import Span, align_batch, check_ctc
from ...lm.prompt_builder import PromptOptions, collate_prompts
from ...lm.text.encoder import TextEncoder
from ...lm.text.word_mapping import map_words
from ..word_times import TimedWord, in_order, spread_evenly, word_bounds
from .arguments import AdapterNames, adapter_per_request, check_one_per_request, in_adapter_groups
from .base import AudioLMPipeline
from .options import DEFAULT, GenerationOptions
from .outputs import Speech

TimedWords = tuple[TimedWord, ...]


def check_timestamps(pipeline: AudioLMPipeline) -> None:
    """Check that a model can tell when words are said.

    Raises:
        ValueError: if it was not trained with CTC, or its tokenizer does not tell places in a text.
    """
    check_ctc(pipeline.lm.config)
    tokenizer = pipeline.text_encoder.tokenizer
    if not tokenizer.is_fast:
        raise ValueError(f"timestamps need a fast tokenizer, got a {type(tokenizer).__name__}")


def align_words(
    pipeline: AudioLMPipeline,
    audio: Sequence[AudioTokens],
    texts: Sequence[str],
    *,
    options: GenerationOptions = DEFAULT,
    adapter: AdapterNames = None,
) -> list[TimedWords]:
    """Times of the words of each text in its audio.

    Numbers and abbreviations have the time of the words that they are spoken as. Words without a
    sound, such as a dash, are joined to a neighbour. A text that cannot be aligned, because it
    needs more frames than its audio has, is spread evenly over the audio, with confidence 0.

    Args:
        pipeline: a model trained with CTC.
        audio: each no longer than a window of the recognizer, about 20 s.
        texts: what each audio says; an empty text has no words.
        options: of these `language` and `batch_size` are used.
        adapter: name of a loaded adapter for all audio, or for each; None: the active one.

    Raises:
        ValueError: as :func:`check_timestamps`.
    """
    check_timestamps(pipeline)
    check_one_per_request("texts", texts, len(audio))
    names = adapter_per_request(adapter, len(texts))

    def aligned(own: list[int]) -> list[TimedWords]:
        found: list[TimedWords] = []
        for first in range(0, len(own), options.batch_size):
            batch = own[first : first + options.batch_size]
            chosen = [audio[n] for n in batch], [texts[n] for n in batch]
            found += _align_batch(pipeline, *chosen, options.language)
        return found

    return in_adapter_groups(pipeline.lm, names, aligned)


def speech_words(
    pipeline: AudioLMPipeline,
    speeches: Sequence[Speech],
    *,
    options: GenerationOptions = DEFAULT,
    adapter: AdapterNames = None,
) -> list[TimedWords]:
    """Times of the words of speech, part by part.

    Args:
        pipeline: the model that spoke.
        speeches: with their parts.
        options: as of :func:`align_words`.
        adapter: of all speeches, or of each.

    Raises:
        ValueError: as :func:`check_timestamps`.
    """
    names = adapter_per_request(adapter, len(speeches))
    parts = [part for speech in speeches for part in speech.parts]
    aligned = iter(
        align_words(
            pipeline,
            [part.tokens for part in parts],
            [part.text for part in parts],
            options=options,
            adapter=[n for s, n in zip(speeches, names, strict=True) for _ in s.parts],
        )
    )
    found = []
    for speech in speeches:
        words: list[TimedWord] = []
        start = 0.0
        for part in speech.parts:
            words += [word.shifted(start) for word in next(aligned)]
            start += part.tokens.duration
        found.append(in_order(words, speech.duration))
    return found


@dataclass(frozen=True)
class _Text:
    """A text to align: written words with their runs of spoken words, and ids of these."""

    written: list[str]
    runs: list[tuple[int, int]]
    ids: tuple[int, ...]
    owners: tuple[int, ...]  # the spoken word of each id

    @classmethod
    def read(cls, text: str, encoder: TextEncoder, language: str | None) -> _Text:
        """Encode a text; without ids if it cannot be said."""
        try:
            spoken, ids, owners = encoder.word_pieces(text, language=language)
        except ValueError:
            return cls(text.split(), [], (), ())
        if set(owners) != set(range(len(spoken))):  # a piece of several words
            return cls(text.split(), [], (), ())
        speak = partial(encoder.apply_form, transcript=True, language=language)
        return cls(
            *_join_unspoken(text.split(), map_words(text.split(), spoken, speak)), ids, owners
        )

    def times(self, spans: Sequence[Span], frame_rate: float, duration: float) -> TimedWords:
        """Times of the written words, of the spans of the ids."""
        pairs = groupby(zip(self.owners, spans, strict=True), itemgetter(0))
        pieces = [[span for _, span in own] for _, own in pairs]
        frames = [(own[0].start, own[-1].stop) for own in pieces]
        bounds = word_bounds(frames, frame_rate, duration)
        found = []
        for word, (first, stop) in zip(self.written, self.runs, strict=True):
            own = [span.log_probability for piece in pieces[first:stop] for span in piece]
            confidence = math.exp(sum(own) / len(own))
            found.append(TimedWord(word, bounds[first][0], bounds[stop - 1][1], confidence))
        return tuple(found)


def _align_batch(
    pipeline: AudioLMPipeline,
    audio: Sequence[AudioTokens],
    texts: Sequence[str],
    language: str | None,
) -> list[TimedWords]:
    read = [_Text.read(text, pipeline.text_encoder, language) for text in texts]
    builder, options = pipeline.processor.prompt_builder, PromptOptions()
    batch = collate_prompts(
        [builder.prompt("asr", {"audio": tokens}, options) for tokens in audio], pipeline.lm.config
    )
    ids = [text.ids for text in read]
    spans = align_batch(pipeline.lm, batch["input_ids"], batch["attention_mask"], ids)
    return [
        text.times(own, pipeline.frame_rate(tokens.frames_per_query), tokens.duration)
        if own
        else tuple(spread_evenly(text.written, tokens.duration))
        for text, own, tokens in zip(read, spans, audio, strict=True)
    ]


def _join_unspoken(
    written: Sequence[str], runs: Sequence[tuple[int, int]]
) -> tuple[list[str], list[tuple[int, int]]]:
    """Join words without a sound to the word before them, or to the first word with one."""
    words: list[str] = []
    kept: list[tuple[int, int]] = []
    for word, (first, stop) in zip(written, runs, strict=True):
        if words and (first == stop or kept[-1][0] == kept[-1][1]):
            words[-1] += f" {word}"
            kept[-1] = kept[-1][0], stop
        else:
            words.append(word)
            kept.append((first, stop))
    return words, kept
