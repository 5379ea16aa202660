"""Measurements of all clips of a test set, logged per clip so that an evaluation can be resumed.

Speech is transcribed, and generated from its text; sound and music are described, and generated
from their captions.
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
from ...core.data.entries import EntryReader
from ...core.files import file_name
from ...core.judges.base import JudgedAudio
from ...core.results_log import ResultsLog, key_of
from ...lm.voices import default_voice
from ..pipelines.audio_captioning import AudioCaptioner
from ..pipelines.audio_generation import AudioGenerator
from ..pipelines.base import AudioLMPipeline
from ..pipelines.options import DEFAULT, GenerationOptions
from ..pipelines.outputs import GeneratedAudio, Speech
from ..pipelines.speech_job import Voice
from ..pipelines.speech_recognition import SpeechRecognizer
from ..pipelines.text_to_speech import TextToSpeech
from .classifier import SoundClassifier
from .clips import EvaluationClip, voice_references
from .judging import CODEC, ORIGINAL, TTS, VOICE, SpeechJudges
from .music_scores import tune_facts
from .retrieval import TextRetrieval

MAX_CLASSES = 50  # captions to choose from in retrieval
_GENERATED_BY = {"sound": "text_to_audio", "music": "text_to_music"}
_DESCRIBED_BY = {"sound": "audio_caption", "music": "music_caption"}


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """Settings of an evaluation."""

    seed: int = 0
    check: bool = False  # TTS with self-check
    tries: int = 3
    keep_audio: int = 4  # clips of each domain whose audio is kept
    draws: int = 4  # sounds generated for each caption and classifier
    voices: bool = False  # TTS in the voice of another clip of the speaker
    generate: bool = True  # False: transcripts and captions only

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")


@dataclass(frozen=True)
class _Job:
    """A clip to measure."""

    clip: EvaluationClip
    key: str  # hash of all that its measurements depend on
    retrieval: TextRetrieval | None
    reference: EvaluationClip | None  # voice of TTS
    keep: bool  # whether to keep generated audio
    voice: str | None = None  # of the model, if there is no reference


@dataclass(frozen=True)
class _Ready:
    """A clip with its audio."""

    job: _Job
    wav: Any
    tokens: AudioTokens


def _clip_facts(clip: EvaluationClip) -> dict[str, Any]:
    language = {"language": clip.recording.language} if clip.recording.language else {}
    speaker = {"speaker": clip.recording.speaker} if clip.recording.speaker else {}
    return {"id": clip.id, "domain": clip.domain, "text": clip.text, **language, **speaker}


def _batches(jobs: Sequence[_Job], size: int) -> Iterator[list[_Job]]:
    """Batches of one domain each, in order."""
    for domain in dict.fromkeys(job.clip.domain for job in jobs):
        own = [job for job in jobs if job.clip.domain == domain]
        for first in range(0, len(own), size):
            yield own[first : first + size]


class Measurer:
    """Measures clips; a result does not depend on the other clips of its batch."""

    def __init__(
        self,
        pipeline: AudioLMPipeline,
        out: Path,
        config: MeasureConfig,
        *,
        options: GenerationOptions = DEFAULT,
        judges: SpeechJudges | None = None,
        classifiers: Mapping[str, SoundClassifier] | None = None,
        model: str = "",
    ) -> None:
        """Open the log of the folder.

        Args:
            pipeline: the model.
            out: folder of `clips.jsonl` and of audio.
            config: what to measure.
            options: of generation.
            judges: of generated speech.
            classifiers: by name; the class that `NAME` gives a generated sound is the field
                `NAME_made`.
            model: hash of the checkpoint, for the log.
        """
        self.pipeline, self.out, self.config = pipeline, out, config
        self.judges, self.classifiers = judges or SpeechJudges(), dict(classifiers or {})
        self.batch_size = options.batch_size
        self.tts = TextToSpeech(pipeline, options)
        quiet = GenerationOptions(
            batch_size=options.batch_size,
            beams=options.beams,
            lm_weight=options.lm_weight,
            views=options.views,
        )
        self.asr = SpeechRecognizer(pipeline, quiet)
        self.captioner = AudioCaptioner(pipeline, quiet)
        self.generator = AudioGenerator(pipeline, options)
        self.log = ResultsLog(out / "clips.jsonl")
        settings = dataclasses.asdict(config)
        if config.generate:  # as in the logs from before there was a choice
            del settings["generate"]
        self._facts: tuple[Any, ...] = (model, settings, options.facts, self.judges.key)
        self._reader = EntryReader()

    def run(self, clips: Sequence[EvaluationClip]) -> list[dict[str, Any]]:
        """Measure all clips that are not in the log; return the measurements of all."""
        jobs = self._jobs(clips)
        facts = {job.clip.id: self.log.get(job.clip.id, job.key) for job in jobs}
        waiting = [job for job in jobs if facts[job.clip.id] is None]
        with tqdm(
            total=len(jobs), initial=len(jobs) - len(waiting), desc="measure", unit="clip"
        ) as bar:
            for batch in _batches(waiting, self.batch_size):
                for job, found in zip(batch, self._measure(batch), strict=True):
                    self.log.add(job.clip.id, job.key, found)
                    facts[job.clip.id] = found
                bar.update(len(batch))
        return [found for found in facts.values() if found is not None]

    def _jobs(self, clips: Sequence[EvaluationClip]) -> list[_Job]:
        retrievals = {domain: self._retrieval(clips, domain) for domain in _DESCRIBED_BY}
        references = voice_references(clips) if self.config.voices else {}
        jobs, kept = [], dict[str, int]()
        for clip in clips:
            kept[clip.domain] = kept.get(clip.domain, 0) + 1
            retrieval, reference = retrievals.get(clip.domain), references.get(clip.id)
            texts = retrieval.texts if retrieval is not None else None
            voice = self._voice_name(clip) if reference is None else None
            spoken = voice if reference is None else reference.id
            key = key_of(self._facts, clip.id, clip.text, texts, spoken, *self._named_by(clip))
            keep = kept[clip.domain] <= self.config.keep_audio
            jobs.append(_Job(clip, key, retrieval, reference, keep, voice))
        return jobs

    def _measure(self, batch: Sequence[_Job]) -> list[dict[str, Any]]:
        """Measurements of clips of one domain; those that cannot be used get an error."""
        facts: dict[str, dict[str, Any]] = {}
        ready = []
        for job in batch:
            try:
                wav = self._wav(job.clip)
                ready.append(_Ready(job, wav, self.pipeline.tokens(wav)))
            except ValueError as error:
                facts[job.clip.id] = {"error": str(error)}
        facts |= self._measure_ready(ready)
        return [
            _clip_facts(job.clip) | ({"voice": job.voice} if job.voice else {}) | facts[job.clip.id]
            for job in batch
        ]

    def _measure_ready(self, ready: Sequence[_Ready]) -> dict[str, dict[str, Any]]:
        """Measurements by id; if the batch fails, clips are tried one by one."""
        if not ready:
            return {}
        domain = ready[0].job.clip.domain
        measure = {"speech": self._speech, **dict.fromkeys(_DESCRIBED_BY, self._sound)}.get(domain)
        if measure is None:
            error = {"error": f"domain {domain!r} has no measure"}
            return {item.job.clip.id: error for item in ready}
        try:
            return {
                item.job.clip.id: {"seconds": round(item.tokens.duration, 3)} | found
                for item, found in zip(ready, measure(ready), strict=True)
            }
        except ValueError as error:
            if len(ready) == 1:
                return {ready[0].job.clip.id: {"error": str(error)}}
            return {
                name: found for item in ready for name, found in self._measure_ready([item]).items()
            }

    def _wav(self, clip: EvaluationClip) -> Any:
        return self._reader.read(clip.recording, self.pipeline.sample_rate)

    def _speech(self, batch: Sequence[_Ready]) -> list[dict[str, Any]]:
        for item in batch:
            self.pipeline.text_encoder.check_language(item.job.clip.recording.language)
        transcripts = self.asr.transcribe_all([item.wav for item in batch])
        facts: list[dict[str, Any]] = [{"asr": x.text, "asr_rtf": x.rtf} for x in transcripts]
        if self.config.generate:
            for entry, made in zip(facts, self._spoken(batch), strict=True):
                entry |= made
        return facts

    def _spoken(self, batch: Sequence[_Ready]) -> list[dict[str, Any]]:
        """Measurements of speech that is generated of the texts."""
        speeches = self.tts.speak_all(
            [item.job.clip.text for item in batch],
            voice=[self._voice(item.job) for item in batch],
            seeds=[self.config.seed] * len(batch),
            check=self.config.check,
            tries=self.config.tries,
        )
        again = self.asr.transcribe_all([speech.tokens for speech in speeches])
        judged = self.judges.ask(
            [self._versions(item, speech) for item, speech in zip(batch, speeches, strict=True)]
        )
        facts: list[dict[str, Any]] = []
        for item, speech, own, found in zip(batch, speeches, again, judged, strict=True):
            facts.append({
                "tts_seconds": round(speech.duration, 3),
                "tts_finish": speech.finish,
                "tts_rtf": speech.rtf,
                "tts_own": own.text,
                "tts_confidence": speech.confidence,
                **found,
            })  # fmt: skip
            if item.job.keep:
                speech.save(self.out / "audio" / f"{file_name(item.job.clip.id)}.tts.flac")
        return facts

    def _voice(self, job: _Job) -> str | Voice | None:
        if job.reference is None:
            return job.voice
        return self.tts.voice(self._wav(job.reference), job.reference.text)

    def _voice_name(self, clip: EvaluationClip) -> str | None:
        """The speaker of a clip, or the default voice; None of a model without voices."""
        speaker, config = clip.recording.speaker, self.pipeline.lm.config
        return speaker if speaker in config.voices else default_voice(config)

    def _versions(self, item: _Ready, speech: Speech) -> dict[str, JudgedAudio]:
        """Audio of a clip for the judges."""
        clip, voice = item.job.clip, item.job.reference
        wavs = (
            {
                ORIGINAL: item.wav,
                CODEC: self.pipeline.decode(item.tokens),
                TTS: speech.wav,
            }
            if self.judges.pinned
            else {}
        )
        if wavs and voice is not None:
            wavs[VOICE] = self._wav(voice)
        rate, language = self.pipeline.sample_rate, clip.recording.language
        return {name: JudgedAudio(wav, rate, language) for name, wav in wavs.items()}

    def _sound(self, batch: Sequence[_Ready]) -> list[dict[str, Any]]:
        music = batch[0].job.clip.domain == "music"
        captions = self.captioner.caption_all([item.tokens for item in batch], music=music)
        facts: list[dict[str, Any]] = [{"caption": caption.text} for caption in captions]
        longest = [
            self.pipeline.capacity_seconds(0.5, item.tokens.frames_per_query) for item in batch
        ]
        for item, seconds, entry in zip(batch, longest, facts, strict=True):
            if item.tokens.duration <= seconds:
                entry |= self._retrieved("original", item.job, item.tokens)
            entry |= self._named(item.job, recording=item.wav, codec=self._decoded(item))
            if music:
                entry |= self._tunes(original=item.wav, codec=self.pipeline.decode(item.tokens))
        if not self.config.generate:
            return facts
        lengths = [min(i.tokens.duration, most) for i, most in zip(batch, longest, strict=True)]
        generated = self._generate(batch, lengths)
        for item, draws, entry in zip(batch, generated, facts, strict=True):
            first = draws[0]
            entry |= {"made_seconds": round(first.duration, 3), "made_rtf": first.rtf}
            entry |= self._retrieved("made", item.job, first.tokens)
            if music:
                entry |= self._tunes(made=first.wav)
            named = [self._named(item.job, made=draw.wav) for draw in draws]
            # For each classifier, the classes of all draws.
            entry |= named[0] | {
                key: [names[key] for names in named] for key in named[0] if key.endswith("_made")
            }
            if item.job.keep:
                first.save(self.out / "audio" / f"{file_name(item.job.clip.id)}.made.flac")
        return facts

    def _generate(
        self, batch: Sequence[_Ready], seconds: Sequence[float]
    ) -> list[list[GeneratedAudio]]:
        """Generated sounds of each caption: one, or `draws` for the classifiers."""
        clips = [item.job.clip for item in batch]
        counts = [self.config.draws if self._named_by(clip) else 1 for clip in clips]
        prompts = [
            # Clips may share a caption, and need different seeds.
            (clip.text, most, (self.config.seed + zlib.crc32(clip.id.encode()) + draw) % 2**31)
            for clip, most, count in zip(clips, seconds, counts, strict=True)
            for draw in range(count)
        ]
        texts, lengths, seeds = zip(*prompts, strict=True)
        rows = [{"text": text} for text in texts]
        task = _GENERATED_BY[clips[0].domain]
        outputs = iter(self.generator.generate(task, rows, seconds=lengths, seeds=seeds))
        return [list(itertools.islice(outputs, count)) for count in counts]

    def _retrieved(self, what: str, job: _Job, tokens: AudioTokens) -> dict[str, Any]:
        """The best caption by retrieval, and the rank of the right one."""
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

    def _named_by(self, clip: EvaluationClip) -> list[str]:
        """Stamps of the classifiers and the label, if all know the class and domain of the clip."""
        judges, label = self.classifiers.values(), clip.recording.label
        usable = all(clip.domain in judge.domains and label in judge.classes for judge in judges)
        return [*(judge.stamp for judge in judges), label] if judges and usable else []

    def _tunes(self, **wavs: Any) -> dict[str, Any]:
        return tune_facts(self.pipeline.sample_rate, **wavs)

    def _decoded(self, item: _Ready) -> Any:
        return self.pipeline.decode(item.tokens) if self._named_by(item.job.clip) else None

    def _named(self, job: _Job, **wavs: Any) -> dict[str, Any]:
        """Predicted classes of samples `[S]`, and the label of the clip."""
        if not self._named_by(job.clip):
            return {}
        rate, label = self.pipeline.sample_rate, job.clip.recording.label
        facts: dict[str, Any] = {"label": label}
        for key, judge in self.classifiers.items():
            facts["classes_known"] = len(judge.classes)
            facts |= {f"{key}_{what}": judge.name(wav, rate) for what, wav in wavs.items()}
        return facts

    def _retrieval(self, clips: Sequence[EvaluationClip], domain: str) -> TextRetrieval | None:
        texts = list(dict.fromkeys(clip.text for clip in clips if clip.domain == domain))
        if len(texts) < 2:
            return None
        return TextRetrieval(self.pipeline, texts[:MAX_CLASSES], _DESCRIBED_BY[domain])
