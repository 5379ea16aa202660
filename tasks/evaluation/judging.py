"""Independent judges of generated speech, asked about recordings and codec reconstructions, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core.judges.base import Judge, JudgedAudio
from ...core.judges.recognizers import Recognizer
from ...core.judges.speakers import SpeakerEncoder, cosine

ORIGINAL, CODEC, TTS, VOICE = "original", "codec", "tts", "voice"


class SpeechJudges:
    """Asks judges about the versions of clips.

    The transcript of a version is ``judge_VERSION``, a predicted opinion score ``NAME_VERSION``.
    ``speaker_codec`` and ``speaker_tts`` are cosines of speaker embeddings: to the recording, and
    of generated speech to the recording of its voice, if it was given one. ``embedding`` is that of
    the recording.
    """

    def __init__(self, recognizer: Recognizer | None = None, others: Sequence[Judge] = ()) -> None:
        """Take the judges.

        Args:
            recognizer: independent speech recognizer.
            others: at most one speaker encoder, and predictors of opinion scores.
        """
        self.recognizer, self.others = recognizer, tuple(others)

    @property
    def key(self) -> Any:
        """All that findings depend on, for a log of results."""
        name = "none" if self.recognizer is None else self.recognizer.name
        return [name, *(judge.pinned for judge in self.others)] if self.others else name

    @property
    def pinned(self) -> dict[str, str]:
        """Names, weights, settings and versions by role."""
        judges = [self.recognizer, *self.others]
        return {judge.role: judge.pinned for judge in judges if judge is not None}

    def ask(self, clips: Sequence[Mapping[str, JudgedAudio]]) -> list[dict[str, Any]]:
        """Judge clips.

        Args:
            clips: versions of each: ``original``, ``codec``, ``tts``, and ``voice`` where speech
                was generated in the voice of another recording.
        """
        facts: list[dict[str, Any]] = [{} for _ in clips]
        if self.recognizer is not None:
            for version in (ORIGINAL, CODEC, TTS):
                texts = self.recognizer.transcribe_all([clip[version] for clip in clips])
                for entry, text in zip(facts, texts, strict=True):
                    entry[f"judge_{version}"] = text
        for judge in self.others:
            for entry, clip in zip(facts, clips, strict=True):
                found = dict(zip(clip, judge.judge_all(list(clip.values())), strict=True))
                if isinstance(judge, SpeakerEncoder):
                    entry |= _similarities({name: x["embedding"] for name, x in found.items()})
                else:
                    entry |= {
                        f"{name}_{version}": value
                        for version in (ORIGINAL, CODEC, TTS)
                        for name, value in found[version].items()
                    }
        return facts


def _similarities(embeddings: Mapping[str, list[float]]) -> dict[str, Any]:
    original = embeddings[ORIGINAL]
    return {
        "speaker_codec": cosine(original, embeddings[CODEC]),
        "speaker_tts": cosine(embeddings.get(VOICE, original), embeddings[TTS]),
        "embedding": original,
    }
