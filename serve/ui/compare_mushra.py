"""The MUSHRA test of the tab Compare (ITU-R BS.1534): hidden reference and low anchor."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .answers import AnswerFile
from .controls import LIGHT_EVENT
from .errors import one_sentence
from .listening_items import MAX_SYSTEMS, REFERENCE, ListeningItems
from .markup import lines, player
from .trials import MushraSession, new_mushra

_MOST = MAX_SYSTEMS + 1  # stimuli of a page: the systems, among them the reference, and the anchor
_HELP = (
    "Score every clip against the reference: 0 bad, 20 poor, 40 fair, 60 good, 80 excellent, "
    "100 no difference. One of the clips is the reference itself."
)


def add_mushra(answers: AnswerFile, items: gr.State, listener: gr.Textbox) -> None:
    """Add the components and events."""
    start = gr.Button("Start MUSHRA")
    session = gr.State(None)
    heading = gr.HTML(label="Reference")
    rows, clips, scores = [], [], []
    for number in range(_MOST):
        with gr.Row(visible=False, elem_classes="almtok-stimulus") as row:
            rows.append(row)
            clips.append(gr.HTML(min_width=260))
            name = chr(ord("A") + number)
            scores.append(gr.Slider(0, 100, 0, step=1, label=f"Score of {name}"))
    confirm = gr.Button("Next", variant="primary", visible=False)
    test = _MushraTest(answers)
    shown = [session, heading, confirm, *rows, *clips, *scores]
    start.click(one_sentence(test.start), [items, listener], shown, **LIGHT_EVENT)
    confirm.click(one_sentence(test.answer), [items, session, *scores], shown, **LIGHT_EVENT)


class _MushraTest:
    def __init__(self, answers: AnswerFile) -> None:
        self.answers = answers

    def start(self, items: ListeningItems | None, listener: str) -> list[Any]:
        """Begin a session."""
        if items is None:
            raise ValueError("There are no clips to compare: make them first.")
        return _shown(items, new_mushra(items, listener))

    def answer(
        self, items: ListeningItems, session: MushraSession | None, *scores: float
    ) -> list[Any]:
        """Store the scores of a page and go on."""
        if session is None or session.page is None:
            raise ValueError("This session is over: start another one.")
        given = [float(score) for score in scores[: len(session.page.stimuli)]]
        if not any(given):
            raise ValueError("Move the sliders: every score is 0.")
        if not all(0 <= score <= 100 for score in given):
            raise ValueError("Scores must lie between 0 and 100.")
        self.answers.add_mushra(session, session.page, given)
        return _shown(items, session.after())


def _shown(items: ListeningItems, session: MushraSession) -> list[Any]:
    page = session.page
    stimuli = page.stimuli if page else ()
    if page is None:
        heading = lines(["Thank you: all pages are stored. 'Results' shows the scores."])
    else:
        heading = lines([f"Page {session.position + 1} of {len(session.pages)}", _HELP]) + player(
            items.wav(REFERENCE, page.item), items.sample_rate, "Reference"
        )
    rows = [gr.Row(visible=number < len(stimuli)) for number in range(_MOST)]
    clips = [""] * _MOST
    for number, system in enumerate(stimuli):
        assert page is not None
        name = f"Clip {chr(ord('A') + number)}"
        clips[number] = player(items.wav(system, page.item), items.sample_rate, name)
    return [session, heading, gr.Button(visible=page is not None), *rows, *clips, *([0] * _MOST)]
