"""``almtok lm evaluate``."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from ...core.audio import resample
from ...core.files import write_json, write_text
from ...core.judges.load import load_mos, load_recognizer, load_speaker_encoder
from ...core.judges.recognizers import CachedRecognizer
from ...core.printing import print_result
from ...lm.voices import check_cloning
from ..evaluation.classifier import RATE, SoundClassifier
from ..evaluation.clips import list_clips
from ..evaluation.evaluator import evaluate_facts, to_html, to_markdown
from ..evaluation.judging import SpeechJudges
from ..evaluation.measure import MeasureConfig, Measurer
from ..evaluation.scores import text_errors
from ..evaluation.sound_distance import DistanceMeasurer
from ..evaluation.speech_groups import mark_seen
from ..pipelines.base import AudioLMPipeline
from ..pipelines.options import GenerationOptions
from .batch import load_pipeline, model_stamp
from .outputs import print_status


def run_evaluation(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Evaluate, and write table.md, table.json and, with --html, report.html."""
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {args.limit}")
    clips = list_clips(args.data, limit=args.limit)
    if args.domains:
        clips = [clip for clip in clips if clip.domain in args.domains]
        if not clips:
            raise ValueError(f"no clip of {', '.join(args.domains)} has a text")
    speech = any(clip.domain == "speech" for clip in clips)
    if speech:
        text_errors("a", "a")  # raises now, not after an hour, if jiwer is missing
    judged = speech and args.generate
    judges = load_speech_judges(args) if judged else SpeechJudges()
    recognizer = judges.recognizer
    config = MeasureConfig(
        seed=args.seed,
        check=args.check is not None,
        tries=args.check or 1,
        keep_audio=args.keep_audio,
        draws=args.draws,
        voices=args.voices,
        generate=args.generate,
    )
    pipeline = load_pipeline(args)
    if args.voices:
        check_cloning(pipeline.lm.config)
    measurer = (functools.partial(DistanceMeasurer, args.fad) if args.fad else Measurer)(
        pipeline, args.out, config, options=options, judges=judges,
        classifiers=classifiers_of(args.classes, pipeline), model=model_stamp(args),
    )  # fmt: skip
    facts = mark_seen(measurer.run(clips), args.seen_texts)
    settings = {
        "checkpoint": str(args.checkpoint),
        "data": list(args.data),
        "recogniser": "none" if recognizer is None else recognizer.name,
        "judges": judges.pinned,
        "classes": list(args.classes),
        "fad": args.fad,
        **dataclasses.asdict(config),
        "sampling": dataclasses.asdict(options),
    }
    spelling = () if recognizer is None else recognizer.spelling
    table = evaluate_facts(facts, settings, spelling)
    if isinstance(measurer, DistanceMeasurer):
        figures = (*table.figures, *measurer.figures(facts))
        table = dataclasses.replace(table, figures=figures)
    markdown = to_markdown(table)
    write_json(args.out / "table.json", table.to_dict())
    write_text(args.out / "table.md", markdown)
    print_result(args, markdown, table.to_dict())
    print_status(f"table.md, table.json and clips.jsonl are in {args.out}")
    if args.html:
        page = to_html(table, facts, f"Language model {args.checkpoint}")
        write_text(args.out / "report.html", page)
        print_status(f"open {args.out / 'report.html'} in a browser")
    return 1 if table.not_measured else 0


def load_speech_judges(args: argparse.Namespace) -> SpeechJudges:
    """The judges that a command names; transcripts are kept in its cache."""
    recognizer = load_recognizer(args.recognizer, args.grammar, device=args.device)
    if recognizer is not None:
        recognizer = CachedRecognizer(recognizer, args.cache or args.out)
    encoder = load_speaker_encoder(args.speaker_encoder, device=args.device)
    return SpeechJudges(recognizer, [*([encoder] if encoder else []), *load_mos(args.mos)])


def classifiers_of(sources: Sequence[str], pipeline: AudioLMPipeline) -> dict[str, SoundClassifier]:
    """`named`, trained on recordings, and `coded`, trained on coded recordings too."""
    if not sources:
        return {}

    def through(wav: Any) -> Any:
        tokens = pipeline.tokens({"array": wav, "sampling_rate": RATE})
        return resample(pipeline.decode(tokens).numpy(), pipeline.sample_rate, RATE)

    named, coded = SoundClassifier.pair_of_sources(sources, through)
    return {"named": named, "coded": coded}
