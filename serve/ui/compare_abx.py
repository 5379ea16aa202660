"""The ABX test of the tab Compare."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .answers import AnswerFile, binomial_p
from .controls import LIGHT_EVENT
from .errors import one_sentence
from .listening_items import ListeningItems
from .markup import lines, player
from .trials import AbxSession, new_abx

MAX_TRIALS = 50
_CHOICES = [("X is A", "A"), ("X is B", "B")]


def add_abx(
    answers: AnswerFile, items: gr.State, listener: gr.Textbox
) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Add the components and events; return the menus of the pair of systems."""
    given: ListeningItems | None = items.value
    systems = list(given.systems) if given else []
    with gr.Row():
        first, second = (
            gr.Dropdown(systems, value=systems[number] if systems else None, label=label)
            for number, label in enumerate(("First system", "Second system"))
        )
        count = gr.Slider(4, MAX_TRIALS, 10, step=1, label="Trials")
    start = gr.Button("Start ABX")
    session = gr.State(None)
    trial = gr.HTML(label="Trial")
    answer = gr.Radio(_CHOICES, label="Your answer", visible=False)
    confirm = gr.Button("Next", variant="primary", visible=False)
    test = _AbxTest(answers)
    shown = [session, trial, answer, confirm]
    start.click(
        one_sentence(test.start), [items, first, second, count, listener], shown, **LIGHT_EVENT
    )
    confirm.click(one_sentence(test.answer), [items, session, answer], shown, **LIGHT_EVENT)
    return first, second


class _AbxTest:
    def __init__(self, answers: AnswerFile) -> None:
        self.answers = answers

    def start(
        self, items: ListeningItems | None, first: str, second: str, count: float, listener: str
    ) -> tuple[Any, ...]:
        """Begin a session."""
        if items is None:
            raise ValueError("There are no clips to compare: make them first.")
        if not 1 <= count <= MAX_TRIALS:
            raise ValueError(f"A session has 1 to {MAX_TRIALS} trials, got {count}.")
        return _shown(items, new_abx(items, (first, second), int(count), listener))

    def answer(
        self, items: ListeningItems, session: AbxSession | None, answer: str | None
    ) -> tuple[Any, ...]:
        """Store an answer and go on."""
        if session is None or session.trial is None:
            raise ValueError("This session is over: start another one.")
        if answer not in ("A", "B"):
            raise ValueError("Choose whether X is A or B.")
        self.answers.add_abx(session, session.trial, answer)
        return _shown(items, session.after(session.trial.correct(answer)))


def _shown(items: ListeningItems, session: AbxSession) -> tuple[Any, ...]:
    trial = session.trial
    if trial is None:
        count = len(session.trials)
        p = binomial_p(session.right, count)
        text = (
            f"{session.right} of {count} right; by guessing, at least as many are right with"
            f" probability {p:.3f}."
        )
        return session, lines([text]), gr.Radio(visible=False), gr.Button(visible=False)
    systems = {"A": trial.a, "B": trial.b, "X": trial.x}
    players = "".join(
        player(items.wav(system, trial.item), items.sample_rate, name)
        for name, system in systems.items()
    )
    heading = lines([f"Trial {session.position + 1} of {len(session.trials)}"])
    return session, heading + players, gr.Radio(value=None, visible=True), gr.Button(visible=True)
