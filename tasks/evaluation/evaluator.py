"""Figures with intervals and tables, from the measurements of clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...codec.evaluation.judged import JUDGED_METRICS
from ...codec.evaluation.markdown import SCALE_ROWS
from ...core.judges.speakers import speaker_scale
from ...core.metrics.intervals import Score, bootstrap_interval, format_interval
from ...core.report.render import render
from ..base import get_task
from .failures import KINDS, FailureRow, Utterance, failure_table, rate_ratio
from .figure import Figure
from .music_scores import music_figures
from .scores import Spelling, word_scores
from .speech_groups import group_figures

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class TaskEvaluation:
    """All figures of a language model on one test set."""

    figures: tuple[Figure, ...]
    failures: tuple[FailureRow, ...]  # of TTS, by the length of the text
    # Failures that the same judge finds in the recordings, and in them through the codec.
    failing_recordings: Mapping[str, tuple[FailureRow, ...]]
    recognizer: str  # that found the failures
    not_measured: Mapping[str, str]  # error by clip
    settings: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "settings": dict(self.settings),
            "figures": [asdict(figure) for figure in self.figures],
            "failures": [asdict(row) for row in self.failures],
            "failing_recordings": {
                name: [asdict(row) for row in rows]
                for name, rows in self.failing_recordings.items()
            },
            "failures_heard_by": self.recognizer,
            "not_measured": dict(self.not_measured),
        }


def evaluate_facts(
    facts: Sequence[Facts], settings: Mapping[str, Any], spelling: Spelling = ()
) -> TaskEvaluation:
    """Compute the figures of a test set.

    Args:
        facts: measurements of the clips.
        settings: of the evaluation.
        spelling: of the recognizer, see `scores.normaliser`.

    Raises:
        ValueError: if no clip could be measured.
    """
    good = [clip for clip in facts if "error" not in clip]
    bad = {clip["id"]: clip["error"] for clip in facts if "error" in clip}
    if not good:
        raise ValueError(f"none of {len(facts)} clips could be measured: {next(iter(bad.items()))}")
    speech = [clip for clip in good if clip["domain"] == "speech"]
    judge = str(settings.get("recogniser", "none"))
    judged = bool(speech) and "judge_tts" in speech[0]
    figures = _speech_figures(speech, judge, spelling) + _judged_figures(speech)
    figures += group_figures(speech, judge, spelling)
    for domain, generation_task, caption_task in (
        ("sound", "text_to_audio", "audio_caption"),
        ("music", "text_to_music", "music_caption"),
    ):
        figures += _sound_figures(
            [clip for clip in good if clip["domain"] == domain], generation_task, caption_task
        )
    figures += music_figures([clip for clip in good if clip["domain"] == "music"])
    column = "judge_tts" if judged else "tts_own"
    spoken = bool(speech) and "tts_own" in speech[0]
    failures = failure_table(_utterance(clip, column) for clip in speech) if spoken else []
    recordings = {
        name: tuple(failure_table(_recorded(clip, column) for clip in speech))
        for name, column in _RECORDINGS.items()
        if judged
    }
    judge = judge if judged else "its own ASR"
    return TaskEvaluation(tuple(figures), tuple(failures), recordings, judge, bad, settings)


def to_markdown(evaluation: TaskEvaluation) -> str:
    """Tables with intervals, in Markdown."""
    judges = evaluation.settings.get("judges") or {}
    lines = [
        "Means with 95 % bootstrap intervals over clips.",
        "",
        *(f"* {role}: {name}" for role, name in judges.items()),
        *([""] if judges else []),
        "| task | figure | value | n | |",
        "| --- | --- | --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in _rows(evaluation)),
    ]
    if evaluation.failures:
        lines += [
            "",
            f"TTS failures by length of the text, heard by {evaluation.recognizer} (%).",
            "",
            f"| {' | '.join(_failure_head(evaluation))} |",
            "|" + " --- |" * len(_failure_head(evaluation)),
            *(f"| {' | '.join(row)} |" for row in _failure_rows(evaluation)),
        ]
    if evaluation.not_measured:
        lines += ["", f"Not measured: {len(evaluation.not_measured)} clips."]
        lines += [f"* {name}: {why}" for name, why in sorted(evaluation.not_measured.items())]
    return "\n".join(lines) + "\n"


# Facts of a clip in the table of the page, in this order.
_CLIP_COLUMNS = (
    "text",
    "asr",
    "tts_own",
    "judge_original",
    "judge_tts",
    "caption",
    "made_class",
    "label",
    "named_recording",
    "named_made",
)


def to_html(evaluation: TaskEvaluation, facts: Sequence[Facts], title: str) -> str:
    """An HTML page with the tables and the facts of every clip."""
    columns = [name for name in _CLIP_COLUMNS if any(name in clip for clip in facts)]
    return render(
        "task_evaluation.html",
        title=title,
        figures=_rows(evaluation),
        failure_head=_failure_head(evaluation),
        failures=_failure_rows(evaluation),
        recognizer=evaluation.recognizer,
        judges=evaluation.settings.get("judges") or {},
        columns=columns,
        clips=[[clip["id"], *(clip.get(name, "") for name in columns)] for clip in facts],
    )


def _speech_figures(speech: Sequence[Facts], judge: str, spelling: Spelling) -> list[Figure]:
    if not speech:
        return []
    figures = _rates(speech, "asr", "asr", "own ASR on recordings")
    speed = _mean("asr", "RTF", [clip["asr_rtf"] for clip in speech])
    if "tts_own" not in speech[0]:
        return [*figures, speed]
    figures += _rates(speech, "tts", "tts_own", "own ASR on its own speech")
    if "judge_tts" in speech[0]:
        languages = [clip.get("language", "") for clip in speech]
        for version, words in _VERSIONS.items():
            heard = [clip[f"judge_{version}"] for clip in speech]
            scores = word_scores(heard, [clip["text"] for clip in speech], languages, spelling)
            figures += [_percent("tts", score, f"{judge} on {words}") for score in scores]
    tempo = [rate_ratio(_utterance(clip, "tts_own")) for clip in speech]
    figures.append(_mean("tts", "tempo, by the recording's", tempo))
    figures.append(_mean("tts", "RTF", [clip["tts_rtf"] for clip in speech]))
    return [*figures, speed]


def _rates(facts: Sequence[Facts], task: str, column: str, words: str) -> list[Figure]:
    return [_percent(task, score, words) for score in _scores(facts, task, column)]


def _percent(task: str, score: Score, words: str) -> Figure:
    return Figure(task, f"{score.name}, {words} (%)", score.value, score.percent)


_VERSIONS = {
    "original": "recordings",
    "codec": "recordings through the codec",
    "tts": "speech that was made",
}


def _judged_figures(speech: Sequence[Facts]) -> list[Figure]:
    """Similarity of speakers, its scale, and predicted opinion scores."""
    figures = []
    voices = {"codec": "recordings through the codec", "tts": "speech that was made, to its voice"}
    for version, words in voices.items():
        values = [clip[f"speaker_{version}"] for clip in speech if f"speaker_{version}" in clip]
        if values:
            figures.append(_mean("tts", f"similarity of speakers, {words}", values))
    embeddings = {clip["id"]: clip["embedding"] for clip in speech if "embedding" in clip}
    speakers = {clip["id"]: clip.get("speaker", "") for clip in speech}
    for kind, interval in speaker_scale(embeddings, speakers, speakers).items():
        figures.append(
            Figure("tts", f"similarity of speakers, {SCALE_ROWS[kind]}", interval, False)
        )
    for metric in JUDGED_METRICS.values():
        for version, words in _VERSIONS.items():
            column = f"{metric.name}_{version}"
            values = [clip[column] for clip in speech if column in clip]
            if values and metric.name != "speaker":
                figures.append(_mean("tts", f"{metric.label}, {words}", values))
    return figures


def _scores(facts: Sequence[Facts], task: str, column: str) -> list[Score]:
    outputs, references = [clip[column] for clip in facts], [clip["text"] for clip in facts]
    return get_task(task).score(outputs, references, [clip.get("language", "") for clip in facts])


def _sound_figures(facts: Sequence[Facts], generation_task: str, caption_task: str) -> list[Figure]:
    if not facts:
        return []
    figures = [
        Figure(caption_task, f"{score.name}, against the caption", score.value, score.percent)
        for score in _scores(facts, caption_task, "caption")
    ]
    for what, task, words in (
        ("original", caption_task, "recordings"),
        ("made", generation_task, "what was made of the caption"),
    ):
        ranked = [clip for clip in facts if f"{what}_rank" in clip]
        if not ranked:
            continue
        note = f"chance {100 / ranked[0]['classes']:.1f} of {ranked[0]['classes']} captions"
        for name, fits in _RANKS.items():
            hits = [float(fits(clip[f"{what}_rank"])) for clip in ranked]
            figures.append(
                Figure(task, f"{name}, {words} (%)", bootstrap_interval(hits), True, note)
            )
    figures += _classifier_figures([clip for clip in facts if "label" in clip], generation_task)
    if any("made_rtf" in clip for clip in facts):
        figures.append(
            _mean(
                generation_task, "RTF", [clip["made_rtf"] for clip in facts if "made_rtf" in clip]
            )
        )
    return figures


def _classifier_figures(facts: Sequence[Facts], task: str) -> list[Figure]:
    """Accuracy of classifiers trained on recordings."""
    figures = []
    for key, judge in (
        ("named", "a classifier of recordings"),
        ("coded", "one that heard them through the codec too"),
    ):
        for what, words in (
            ("recording", "recordings"),
            ("codec", "recordings through the codec"),
            ("made", "what was made of the caption"),
        ):
            clips = [clip for clip in facts if f"{key}_{what}" in clip]
            if clips:
                correct = [_share(clip[f"{key}_{what}"], clip["label"]) for clip in clips]
                name = f"called by its class by {judge}, {words} (%)"
                note = f"{clips[0]['classes_known']} classes"
                figures.append(Figure(task, name, bootstrap_interval(correct), True, note))
    return figures


def _share(names: str | list[str], label: str) -> float:
    """How often a class is named: of one sound, or of several that were made of a caption."""
    each = [names] if isinstance(names, str) else names
    return float(np.mean([name == label for name in each]))


_RANKS: dict[str, Callable[[int], bool]] = {
    "caption found first": lambda rank: rank == 1,
    "caption among the first five": lambda rank: rank <= 5,
}


def _mean(task: str, name: str, values: Sequence[float]) -> Figure:
    finite = [value for value in values if np.isfinite(value)]
    return Figure(task, name, bootstrap_interval(finite or [0.0]), False)


def _utterance(facts: Facts, column: str) -> Utterance:
    return Utterance(
        text=facts["text"],
        transcript=facts[column],
        seconds=facts["tts_seconds"],
        ended=facts["tts_finish"] == "end",
        reference_seconds=facts["seconds"],
    )


def _recorded(facts: Facts, column: str) -> Utterance:
    """The recording itself, judged like generated speech."""
    seconds = facts["seconds"]
    return Utterance(
        text=facts["text"],
        transcript=facts[column],
        seconds=seconds,
        ended=True,
        reference_seconds=seconds,
    )


_RECORDINGS = {"recordings": "judge_original", "through the codec": "judge_codec"}


def _failure_head(evaluation: TaskEvaluation) -> list[str]:
    return ["words", "failed", "n", *KINDS, *evaluation.failing_recordings]


def _rows(evaluation: TaskEvaluation) -> list[list[str]]:
    return [
        [f.task, f.name, format_interval(f.value, percent=f.percent), str(f.value.n), f.note]
        for f in evaluation.figures
    ]


def _failure_rows(evaluation: TaskEvaluation) -> list[list[str]]:
    rows = []
    for number, row in enumerate(evaluation.failures):
        least, most = row.words
        words = "all" if (least, most) == (1, 10**9) else f"{least}-{most}"
        words = f"{least}+" if most == 10**9 and least > 1 else words
        kinds = [f"{100 * row.by_kind[kind]:.1f}" for kind in KINDS]
        beside = [
            format_interval(others[number].rate)
            for others in evaluation.failing_recordings.values()
        ]
        rows.append([words, format_interval(row.rate), str(row.rate.n), *kinds, *beside])
    return rows
