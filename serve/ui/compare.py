"""The tab Compare: blind listening tests, ABX and MUSHRA, and their results."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from ...codec.model import ALMTokenizer
from ...core.metrics.intervals import format_interval
from .answers import AnswerFile, abx_results, binomial_p, mushra_results
from .codec import LEAST, MOST, untrained_rate
from .compare_abx import add_abx
from .compare_mushra import add_mushra
from .controls import LIGHT_EVENT, MODEL_EVENT
from .errors import one_sentence
from .limits import MAX_TEST_SECONDS
from .listening_items import REFERENCE, ListeningItems, items_of_codec
from .markup import lines, table


@dataclass(frozen=True)
class ListeningTest:
    """What the tab compares, None until a visitor makes clips, and where answers are stored."""

    items: ListeningItems | None
    answers: AnswerFile


def add_compare_tab(codec: ALMTokenizer, test: ListeningTest) -> None:
    """Add the components and events of the tab."""
    items = gr.State(test.items)
    listener = gr.Textbox(label="Listener", info="Optional; stored with the answers",
                          max_length=80)  # fmt: skip
    ready = gr.HTML(lines([_described(test.items)]))
    made = None if test.items else _add_maker(codec)
    with gr.Tabs():
        with gr.Tab("ABX"):
            pair = add_abx(test.answers, items, listener)
        with gr.Tab("MUSHRA"):
            add_mushra(test.answers, items, listener)
        with gr.Tab("Results"):
            refresh = gr.Button("Show results")
            results = gr.HTML(label="Results")
            refresh.click(one_sentence(_Results(test.answers).show), None, results, **LIGHT_EVENT)
    if made is None:
        return
    button, inputs = made
    button.click(one_sentence(_Maker(codec).make), inputs, [items, ready, *pair], **MODEL_EVENT)


def _add_maker(codec: ALMTokenizer) -> tuple[gr.Button, list[Any]]:
    low, high = codec.config.frames_per_query_range
    files = gr.File(
        file_count="multiple", file_types=["audio"], type="filepath", height=170,
        label=f"Recordings, at most {MAX_TEST_SECONDS:.0f} s each",
    )  # fmt: skip
    rates = gr.CheckboxGroup(
        [str(w) for w in range(LEAST, MOST + 1)],
        value=[str(w) for w in sorted({low, high})], label="Frames per code (w)",
        info=f"The codec was trained with {low} to {high}",
    )  # fmt: skip
    return gr.Button("Make clips", variant="primary"), [files, rates]


class _Maker:
    def __init__(self, codec: ALMTokenizer) -> None:
        self.codec = codec

    def make(self, files: list[str] | None, rates: list[str]) -> tuple[Any, ...]:
        """The clips, their description, and the menus of the pair for ABX."""
        chosen = [int(w) for w in rates]
        for w in chosen:
            if not LEAST <= w <= MOST:
                raise ValueError(f"w must be a whole number from {LEAST} to {MOST}, got {w}.")
            if warning := untrained_rate(self.codec, w):
                gr.Warning(warning, title="")
        above = Path(get_upload_folder())
        above.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="clips-", dir=above))
        items = items_of_codec(self.codec, files or [], chosen, folder)
        first, second = items.systems[:2]
        menus = [gr.Dropdown(choices=list(items.systems), value=name) for name in (first, second)]
        return items, lines([_described(items)]), *menus


def _described(items: ListeningItems | None) -> str:
    if items is None:
        return (
            "Make clips with the codec: of your recordings, or without any of three test sentences."
        )
    count = len(items.names)
    return f"Ready: {count} clip{'s' * (count != 1)} of {', '.join(items.systems)}."


class _Results:
    def __init__(self, answers: AnswerFile) -> None:
        self.answers = answers

    def show(self) -> str:
        """Tables of all answers."""
        answers = self.answers.read()
        pairs = [
            (first, second, f"{right} of {count}", f"{binomial_p(right, count):.3f}")
            for (first, second), (right, count) in sorted(abx_results(answers).items())
        ]
        scores = [
            (system, format_interval(score, percent=False, digits=1), score.n)
            for system, score in mushra_results(answers).items()
        ]
        shown = lines([f"{len(answers)} answers in {self.answers.path.name}."])
        if pairs:
            shown += table(("system", "system", "right", "p of guessing"), pairs, "ABX")
        if scores:
            shown += table(("system", "mean [95 % interval]", "scores"), scores, "MUSHRA")
            low = sum(
                answer["scores"].get(REFERENCE, 100) < 90
                for answer in answers
                if answer["test"] == "mushra"
            )
            shown += lines([f"Pages with a hidden reference below 90: {low}."])
        return shown
