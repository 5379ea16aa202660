"""Every clip of a test set through the tasks: one line of facts a clip, so that a kill costs one.

Speech is transcribed and said; sound and music are described and made of their descriptions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..codec.audio import read_audio
from ..codec.data.reader import EntryReader
from ..codec.tokens import AudioTokens
from ..lm.data.recordings import Recording
from ..lm.data.sources import list_recordings
from .bundle import Bundle
from .controls import DEFAULT, Controls
from .inputs import safe_name
from .journal import Journal, key_of
from .maker import Maker
from .recognisers import Recogniser
from .retrieval import TextRetrieval
from .speaker import Speaker
from .transcriber import Transcriber

MOST_CLASSES = 50  # descriptions among which a sound is looked for
_MADE = {"sound": "text_to_audio", "music": "text_to_music"}
_TOLD = {"sound": "audio_caption", "music": "music_caption"}


@dataclass(frozen=True)
class Clip:
    """One recording of the test set."""

    id: str
    domain: str
    text: str
    recording: Recording


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """What is measured."""

    seed: int = 0
    check: bool = False  # say again what the self-check finds wrong
    tries: int = 3
    keep_audio: int = 4  # of each domain
    make: bool = True  # sound and music too: slow
    voices: bool = False  # speak in the voice of another clip of the speaker


def clips_of(sources: Sequence[str], *, limit: int | None = None) -> list[Clip]:
    """Clips that have a text, at most `limit` of each domain; of split `test` if there is any.

    The first ones are taken of every source in turn, so that a limit leaves no source out.

    Raises:
        ValueError: if no clip has a text.
    """
    of_source = []
    for source in sources:
        found = [one for one in list_recordings([source]) if one.entry.text.strip()]
        tests = [one for one in found if one.split == "test"]
        of_source.append(tests or found)
    clips: list[Clip] = []
    counts: dict[str, int] = {}
    seen: dict[str, int] = {}
    for place in range(max(map(len, of_source), default=0)):
        for recordings in of_source:
            if place >= len(recordings):
                continue
            entry = recordings[place].entry
            counts[entry.domain] = counts.get(entry.domain, 0) + 1
            if limit is None or counts[entry.domain] <= limit:
                times = seen[entry.id] = seen.get(entry.id, 0) + 1
                name = entry.id if times == 1 else f"{entry.id}#{times}"
                clips.append(Clip(name, entry.domain, entry.text, recordings[place]))
    if not clips:
        raise ValueError(f"no clip of {', '.join(sources)} has a text: there is nothing to measure")
    return clips


def _references(clips: Sequence[Clip]) -> dict[str, Clip]:
    """For each clip the next one of its speaker; none where the speaker has no other."""
    of_speaker: dict[str, list[Clip]] = {}
    for clip in clips:
        if clip.domain == "speech" and clip.recording.entry.speaker:
            of_speaker.setdefault(clip.recording.entry.speaker, []).append(clip)
    return {
        clip.id: mine[(place + 1) % len(mine)]
        for mine in of_speaker.values()
        for place, clip in enumerate(mine)
        if len(mine) > 1
    }


class Measurer:
    """Measures clips, one after another."""

    def __init__(
        self,
        bundle: Bundle,
        out: Path,
        config: MeasureConfig,
        *,
        controls: Controls = DEFAULT,
        recogniser: Recogniser | None = None,
        model: str = "",
    ) -> None:
        """Open the journal of the folder `out`; `model` names the checkpoint in it."""
        self.bundle, self.out, self.config = bundle, out, config
        self.recogniser = recogniser
        self.speaker = Speaker(bundle, controls)
        self.transcriber = Transcriber(bundle)
        self.maker = Maker(bundle, controls)
        self.journal = Journal(out / "clips.jsonl")
        judge = recogniser.name if recogniser is not None else "none"
        self._facts = (model, dataclasses.asdict(config), dataclasses.asdict(controls), judge)
        self._reader = EntryReader()

    def run(self, clips: Sequence[Clip]) -> list[dict[str, Any]]:
        """Facts of every clip; those that are known already are not measured again."""
        return list(tqdm(self._run(clips), total=len(clips), desc="measure", unit="clip"))

    def _run(self, clips: Sequence[Clip]) -> Iterator[dict[str, Any]]:
        retrievals = {domain: self._retrieval(clips, domain) for domain in _TOLD}
        references = _references(clips) if self.config.voices else {}
        kept: dict[str, int] = {}
        for clip in clips:
            kept[clip.domain] = kept.get(clip.domain, 0) + 1
            retrieval = retrievals.get(clip.domain)
            texts = retrieval.texts if retrieval is not None else None
            reference = references.get(clip.id)
            voice = None if reference is None else reference.id
            key = key_of(self._facts, clip.id, clip.text, texts, voice)
            known = self.journal.get(clip.id, key)
            if known is not None:
                yield known
                continue
            keep = kept[clip.domain] <= self.config.keep_audio
            facts = self._measure(clip, retrieval, reference, keep)
            self.journal.add(clip.id, key, facts)
            yield facts

    def _measure(
        self, clip: Clip, retrieval: TextRetrieval | None, reference: Clip | None, keep: bool
    ) -> dict[str, Any]:
        facts: dict[str, Any] = {"id": clip.id, "domain": clip.domain, "text": clip.text}
        try:
            wav = self._wav(clip)
            tokens = self.bundle.tokens(wav)
            facts["seconds"] = round(tokens.duration, 3)
            if clip.domain == "speech":
                return facts | self._speech(clip, wav, tokens, reference, keep)
            if clip.domain in _TOLD:
                return facts | self._sound(clip, tokens, retrieval, keep)
            return facts | {"error": f"domain {clip.domain!r} has no measure"}
        except ValueError as error:  # a clip that cannot be used is counted, not fatal
            return facts | {"error": str(error)}

    def _wav(self, clip: Clip) -> Any:
        recording = clip.recording
        content = self._reader.open(recording.entry)
        return read_audio(
            content, self.bundle.sample_rate, start=recording.start, seconds=recording.seconds
        )

    def _speech(
        self, clip: Clip, wav: Any, tokens: AudioTokens, reference: Clip | None, keep: bool
    ) -> dict[str, Any]:
        heard = self.transcriber.transcribe(tokens)
        voice = None
        if reference is not None:
            voice = self.speaker.voice(self._wav(reference), reference.text)
        speech = self.speaker.speak(
            clip.text,
            voice=voice,
            seed=self.config.seed,
            check=self.config.check,
            tries=self.config.tries,
        )
        again = self.transcriber.transcribe(speech.tokens)
        facts: dict[str, Any] = {
            "asr": heard.text,
            "asr_rtf": heard.rtf,
            "tts_seconds": round(speech.duration, 3),
            "tts_finish": speech.finish,
            "tts_rtf": speech.rtf,
            "tts_own": again.text,
            "tts_confidence": speech.confidence,
        }
        if self.recogniser is not None:
            rate = self.bundle.sample_rate
            facts |= {
                "judge_original": self.recogniser.hear(wav, rate),
                "judge_codec": self.recogniser.hear(self.bundle.decode(tokens), rate),
                "judge_tts": self.recogniser.hear(speech.wav, rate),
            }
        if keep:
            speech.save(self.out / "audio" / f"{safe_name(clip.id)}.tts.flac")
        return facts

    def _sound(
        self, clip: Clip, tokens: AudioTokens, retrieval: TextRetrieval | None, keep: bool
    ) -> dict[str, Any]:
        told = self.transcriber.describe(tokens, music=clip.domain == "music")
        facts: dict[str, Any] = {"caption": told.text}
        most = self.bundle.seconds_of_room(0.5, tokens.frames_per_query)
        if retrieval is not None and tokens.duration <= most:
            facts |= self._found("original", retrieval, tokens, clip.text)
        if not self.config.make:
            return facts
        rows = [{"text": clip.text}]
        seconds = min(tokens.duration, most)
        (sound,) = self.maker.make(
            _MADE[clip.domain], rows, seconds=seconds, seeds=[self.config.seed]
        )
        facts |= {"made_seconds": round(sound.duration, 3), "made_rtf": sound.rtf}
        if retrieval is not None:
            facts |= self._found("made", retrieval, sound.tokens, clip.text)
        if keep:
            sound.save(self.out / "audio" / f"{safe_name(clip.id)}.made.flac")
        return facts

    def _found(
        self, what: str, retrieval: TextRetrieval, tokens: AudioTokens, text: str
    ) -> dict[str, Any]:
        if text not in retrieval.texts:
            return {}
        found = retrieval.of(tokens)
        place = retrieval.texts.index(text)
        return {
            f"{what}_class": retrieval.texts[found.best],
            f"{what}_rank": found.rank(place),
            "classes": len(retrieval.texts),
        }

    def _retrieval(self, clips: Sequence[Clip], domain: str) -> TextRetrieval | None:
        texts = list(dict.fromkeys(clip.text for clip in clips if clip.domain == domain))
        if len(texts) < 2:
            return None
        return TextRetrieval(self.bundle, texts[:MOST_CLASSES], _TOLD[domain])
