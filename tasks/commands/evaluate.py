"""``almtok lm evaluate``, once its options are read."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from ...core.audio import resample
from ...core.files import write_json, write_text
from ..evaluation.classifier import RATE, SoundClassifier
from ..evaluation.evaluator import evaluate_facts, to_html, to_markdown
from ..evaluation.measure import MeasureConfig, Measurer, clips_of
from ..evaluation.recognizers import CachedRecognizer, load_recognizer
from ..evaluation.scores import text_errors
from ..pipelines.base import AudioLMPipeline
from ..pipelines.options import GenerationOptions
from .outputs import say
from .speak import load_bundle, model_stamp


def run_evaluation(options: argparse.Namespace, controls: GenerationOptions) -> int:
    """Measure, and write table.md, table.json and, if asked for, report.html."""
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit must be at least 1; came {options.limit}")
    clips = clips_of(options.data, limit=options.limit)
    if options.domains:
        clips = [clip for clip in clips if clip.domain in options.domains]
        if not clips:
            raise ValueError(f"no clip of {', '.join(options.domains)} has a text")
    speech = any(clip.domain == "speech" for clip in clips)
    if speech:
        text_errors("a", "a")  # what is missing is said now, not after an hour
    recogniser = load_recognizer(options.recogniser, options.grammar) if speech else None
    if recogniser is not None:
        recogniser = CachedRecognizer(recogniser, options.cache or options.out)
    config = MeasureConfig(
        seed=options.seed,
        check=options.check is not None,
        tries=options.check or 1,
        keep_audio=options.keep_audio,
        make=not options.no_make,
        draws=options.draws,
        voices=options.voices,
    )
    bundle = load_bundle(options)
    measurer = Measurer(
        bundle, options.out, config, controls=controls, recogniser=recogniser,
        classifiers=classifiers_of(options.classes, bundle), model=model_stamp(options),
    )  # fmt: skip
    facts = measurer.run(clips)
    settings = {
        "checkpoint": str(options.checkpoint),
        "data": list(options.data),
        "recogniser": "none" if recogniser is None else recogniser.name,
        "classes": list(options.classes),
        **dataclasses.asdict(config),
        "sampling": dataclasses.asdict(controls),
    }
    table = evaluate_facts(facts, settings)
    markdown = to_markdown(table)
    write_json(options.out / "table.json", table.to_dict())
    write_text(options.out / "table.md", markdown)
    print(markdown)
    say(f"table.md, table.json and clips.jsonl are in {options.out}")
    if options.html:
        page = to_html(table, facts, f"Language model {options.checkpoint}")
        write_text(options.out / "report.html", page)
        say(f"open {options.out / 'report.html'} in a browser")
    return 1 if table.not_measured else 0


def classifiers_of(sources: Sequence[str], bundle: AudioLMPipeline) -> dict[str, SoundClassifier]:
    """`named`, that knows recordings, and `coded`, that heard each through the codec too."""
    if not sources:
        return {}

    def through(wav: Any) -> Any:
        tokens = bundle.tokens({"array": wav, "sampling_rate": RATE})
        return resample(bundle.decode(tokens).numpy(), bundle.sample_rate, RATE)

    named, coded = SoundClassifier.pair_of_sources(sources, through)
    return {"named": named, "coded": coded}
