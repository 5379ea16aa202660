"""Every clip of a test set through the tasks: a line of facts for each, so a kill costs a batch.

Speech is transcribed and said; sound and music are described and made of their descriptions.
"""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...codec.tokens import AudioTokens
from ...core.audio import read_audio
from ...core.data.reader import EntryReader
from ...core.results_log import ResultsLog, key_of
from ...lm.data.recordings import Recording
from ...lm.data.sources import list_recordings
from ..commands.inputs import safe_name
from ..pipelines.audio_captioning import AudioCaptioner
from ..pipelines.audio_generation import AudioGenerator
from ..pipelines.base import AudioLMPipeline
from ..pipelines.options import DEFAULT, GenerationOptions
from ..pipelines.outputs import GeneratedAudio, Speech
from ..pipelines.speech_recognition import SpeechRecognizer
from ..pipelines.text_to_speech import TextToSpeech, Voice
from .classifier import SoundClassifier
from .recognizers import Recognizer
from .retrieval import TextRetrieval

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
    draws: int = 4  # sounds made of each description for classifiers to name
    voices: bool = False  # speak in the voice of another clip of the speaker

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1; came {self.draws}")


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


@dataclass(frozen=True)
class _Job:
    """A clip that is to be measured."""

    clip: Clip
    key: str  # of all that its facts depend on
    retrieval: TextRetrieval | None
    reference: Clip | None  # whose voice speaks
    keep: bool  # what is made of it


@dataclass(frozen=True)
class _Ready:
    """The same, with its audio."""

    job: _Job
    wav: Any
    tokens: AudioTokens


def _known(clip: Clip) -> dict[str, Any]:
    return {"id": clip.id, "domain": clip.domain, "text": clip.text}


def _batches(jobs: Sequence[_Job], size: int) -> Iterator[list[_Job]]:
    """Batches of one domain each, in order."""
    for domain in dict.fromkeys(job.clip.domain for job in jobs):
        mine = [job for job in jobs if job.clip.domain == domain]
        for first in range(0, len(mine), size):
            yield mine[first : first + size]


class Measurer:
    """Measures clips; of a batch none depends on another."""

    def __init__(
        self,
        pipeline: AudioLMPipeline,
        out: Path,
        config: MeasureConfig,
        *,
        options: GenerationOptions = DEFAULT,
        recogniser: Recognizer | None = None,
        classifiers: Mapping[str, SoundClassifier] | None = None,
        model: str = "",
    ) -> None:
        """Open the journal of the folder `out`; `model` names the checkpoint in it.

        What the classifier called `named` says of the sounds made of a clip is the fact
        `named_made`.
        """
        self.pipeline, self.out, self.config = pipeline, out, config
        self.recogniser, self.classifiers = recogniser, dict(classifiers or {})
        self.batch_size = options.batch_size
        self.speaker = TextToSpeech(pipeline, options)
        quiet = GenerationOptions(
            batch_size=options.batch_size,
            beams=options.beams,
            lm_weight=options.lm_weight,
            views=options.views,
        )
        self.recognizer = SpeechRecognizer(pipeline, quiet)
        self.captioner = AudioCaptioner(pipeline, quiet)
        self.generator = AudioGenerator(pipeline, options)
        self.journal = ResultsLog(out / "clips.jsonl")
        judge = recogniser.name if recogniser is not None else "none"
        said = {**dataclasses.asdict(options), "batch_size": None}  # which changes no result
        self._facts = (model, dataclasses.asdict(config), said, judge)
        self._reader = EntryReader()

    def run(self, clips: Sequence[Clip]) -> list[dict[str, Any]]:
        """Facts of every clip; those that are known already are not measured again."""
        jobs = self._jobs(clips)
        facts = {job.clip.id: self.journal.get(job.clip.id, job.key) for job in jobs}
        waiting = [job for job in jobs if facts[job.clip.id] is None]
        with tqdm(
            total=len(jobs), initial=len(jobs) - len(waiting), desc="measure", unit="clip"
        ) as bar:
            for batch in _batches(waiting, self.batch_size):
                for job, found in zip(batch, self._measure(batch), strict=True):
                    self.journal.add(job.clip.id, job.key, found)
                    facts[job.clip.id] = found
                bar.update(len(batch))
        return [found for found in facts.values() if found is not None]

    def _jobs(self, clips: Sequence[Clip]) -> list[_Job]:
        retrievals = {domain: self._retrieval(clips, domain) for domain in _TOLD}
        references = _references(clips) if self.config.voices else {}
        jobs, kept = [], dict[str, int]()
        for clip in clips:
            kept[clip.domain] = kept.get(clip.domain, 0) + 1
            retrieval, reference = retrievals.get(clip.domain), references.get(clip.id)
            texts = retrieval.texts if retrieval is not None else None
            voice = None if reference is None else reference.id
            key = key_of(self._facts, clip.id, clip.text, texts, voice, *self._named_by(clip))
            keep = kept[clip.domain] <= self.config.keep_audio
            jobs.append(_Job(clip, key, retrieval, reference, keep))
        return jobs

    def _measure(self, batch: Sequence[_Job]) -> list[dict[str, Any]]:
        """Facts of clips of one domain; one that cannot be used is counted, not fatal."""
        facts: dict[str, dict[str, Any]] = {}
        ready = []
        for job in batch:
            try:
                wav = self._wav(job.clip)
                ready.append(_Ready(job, wav, self.pipeline.tokens(wav)))
            except ValueError as error:
                facts[job.clip.id] = {"error": str(error)}
        facts |= self._found_of(ready)
        return [_known(job.clip) | facts[job.clip.id] for job in batch]

    def _found_of(self, ready: Sequence[_Ready]) -> dict[str, dict[str, Any]]:
        """What the tasks find of clips, by id; those that no batch can have are tried alone."""
        if not ready:
            return {}
        domain = ready[0].job.clip.domain
        measure = {"speech": self._speech, **dict.fromkeys(_TOLD, self._sound)}.get(domain)
        if measure is None:
            nothing = {"error": f"domain {domain!r} has no measure"}
            return {one.job.clip.id: nothing for one in ready}
        try:
            return {
                one.job.clip.id: {"seconds": round(one.tokens.duration, 3)} | found
                for one, found in zip(ready, measure(ready), strict=True)
            }
        except ValueError as error:
            if len(ready) == 1:
                return {ready[0].job.clip.id: {"error": str(error)}}
            return {name: found for one in ready for name, found in self._found_of([one]).items()}

    def _wav(self, clip: Clip) -> Any:
        recording = clip.recording
        content = self._reader.open(recording.entry)
        return read_audio(
            content, self.pipeline.sample_rate, start=recording.start, seconds=recording.seconds
        )

    def _speech(self, batch: Sequence[_Ready]) -> list[dict[str, Any]]:
        clips = [one.job.clip for one in batch]
        heard = self.recognizer.transcribe_all([one.wav for one in batch])
        spoken = self.speaker.speak_all(
            [clip.text for clip in clips],
            voice=[self._voice(one.job.reference) for one in batch],
            seeds=[self.config.seed] * len(batch),
            check=self.config.check,
            tries=self.config.tries,
        )
        again = self.recognizer.transcribe_all([speech.tokens for speech in spoken])
        facts: list[dict[str, Any]] = []
        for one, asr, speech, own in zip(batch, heard, spoken, again, strict=True):
            facts.append({
                "asr": asr.text,
                "asr_rtf": asr.rtf,
                "tts_seconds": round(speech.duration, 3),
                "tts_finish": speech.finish,
                "tts_rtf": speech.rtf,
                "tts_own": own.text,
                "tts_confidence": speech.confidence,
                **self._judged(one, speech),
            })  # fmt: skip
            if one.job.keep:
                speech.save(self.out / "audio" / f"{safe_name(one.job.clip.id)}.tts.flac")
        return facts

    def _voice(self, reference: Clip | None) -> Voice | None:
        if reference is None:
            return None
        return self.speaker.voice(self._wav(reference), reference.text)

    def _judged(self, one: _Ready, speech: Speech) -> dict[str, str]:
        """What another recogniser hears, if there is one."""
        if self.recogniser is None:
            return {}
        rate = self.pipeline.sample_rate
        return {
            "judge_original": self.recogniser.hear(one.wav, rate),
            "judge_codec": self.recogniser.hear(self.pipeline.decode(one.tokens), rate),
            "judge_tts": self.recogniser.hear(speech.wav, rate),
        }

    def _sound(self, batch: Sequence[_Ready]) -> list[dict[str, Any]]:
        domain = batch[0].job.clip.domain
        told = self.captioner.caption_all([one.tokens for one in batch], music=domain == "music")
        facts: list[dict[str, Any]] = [{"caption": caption.text} for caption in told]
        room = [self.pipeline.capacity_seconds(0.5, one.tokens.frames_per_query) for one in batch]
        for one, most, mine in zip(batch, room, facts, strict=True):
            if one.tokens.duration <= most:
                mine |= self._found("original", one.job, one.tokens)
            mine |= self._named(one.job, recording=one.wav, codec=self._decoded(one))
        if not self.config.make:
            return facts
        lengths = [min(one.tokens.duration, most) for one, most in zip(batch, room, strict=True)]
        for one, sounds, mine in zip(batch, self._made(batch, lengths), facts, strict=True):
            sound = sounds[0]
            mine |= {"made_seconds": round(sound.duration, 3), "made_rtf": sound.rtf}
            mine |= self._found("made", one.job, sound.tokens)
            named = [self._named(one.job, made=each.wav) for each in sounds]
            # By each classifier, what it calls every draw.
            mine |= named[0] | {
                key: [facts[key] for facts in named] for key in named[0] if key.endswith("_made")
            }
            if one.job.keep:
                sound.save(self.out / "audio" / f"{safe_name(one.job.clip.id)}.made.flac")
        return facts

    def _made(
        self, batch: Sequence[_Ready], seconds: Sequence[float]
    ) -> list[list[GeneratedAudio]]:
        """Sounds of each description, at most so long: one, or `draws` where they are named."""
        clips = [one.job.clip for one in batch]
        counts = [self.config.draws if self._named_by(clip) else 1 for clip in clips]
        wanted = [
            # Clips may share a description, and are to be made of it one by one.
            (clip.text, most, (self.config.seed + zlib.crc32(clip.id.encode()) + draw) % 2**31)
            for clip, most, count in zip(clips, seconds, counts, strict=True)
            for draw in range(count)
        ]
        texts, lengths, seeds = zip(*wanted, strict=True)
        rows = [{"text": text} for text in texts]
        made = iter(
            self.generator.generate(_MADE[clips[0].domain], rows, seconds=lengths, seeds=seeds)
        )
        return [list(itertools.islice(made, count)) for count in counts]

    def _found(self, what: str, job: _Job, tokens: AudioTokens) -> dict[str, Any]:
        """Which of all descriptions fits best, and the place of its own."""
        retrieval, text = job.retrieval, job.clip.text
        if retrieval is None or text not in retrieval.texts:
            return {}
        found = retrieval.of(tokens)
        place = retrieval.texts.index(text)
        return {
            f"{what}_class": retrieval.texts[found.best],
            f"{what}_rank": found.rank(place),
            "classes": len(retrieval.texts),
        }

    def _named_by(self, clip: Clip) -> list[str]:
        """Stamps of classifiers, if they know this clip's class: a bell in a tune is another."""
        judges, label = self.classifiers.values(), clip.recording.entry.label
        known = all(clip.domain in judge.domains and label in judge.classes for judge in judges)
        return [*(judge.stamp for judge in judges), label] if judges and known else []

    def _decoded(self, one: _Ready) -> Any:
        return self.pipeline.decode(one.tokens) if self._named_by(one.job.clip) else None

    def _named(self, job: _Job, **wavs: Any) -> dict[str, Any]:
        """What the classifiers call these `[S]`, beside the class of the clip."""
        if not self._named_by(job.clip):
            return {}
        rate, label = self.pipeline.sample_rate, job.clip.recording.entry.label
        facts: dict[str, Any] = {"label": label}
        for key, judge in self.classifiers.items():
            facts["classes_known"] = len(judge.classes)
            facts |= {f"{key}_{what}": judge.name(wav, rate) for what, wav in wavs.items()}
        return facts

    def _retrieval(self, clips: Sequence[Clip], domain: str) -> TextRetrieval | None:
        texts = list(dict.fromkeys(clip.text for clip in clips if clip.domain == domain))
        if len(texts) < 2:
            return None
        return TextRetrieval(self.pipeline, texts[:MOST_CLASSES], _TOLD[domain])
