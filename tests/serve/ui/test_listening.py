"""Listening tests without a browser: clips, random orders, stored answers, results."""

import json
import threading
import types

import numpy as np
import pytest
import soundfile

pytest.importorskip("gradio")

from almtok.serve.ui.answers import (  # noqa: E402
    AnswerFile,
    abx_results,
    binomial_p,
    mushra_results,
)
from almtok.serve.ui.listening_items import (  # noqa: E402
    ANCHOR,
    REFERENCE,
    common_rate,
    items_of_codec,
    items_of_folder,
)
from almtok.serve.ui.trials import new_abx, new_mushra  # noqa: E402

RATE = 24_000


@pytest.fixture
def folder(tmp_path):
    """Two clips by two systems and the reference: sums of 1 kHz and 6 kHz."""
    time = np.arange(RATE) / RATE
    tones = 0.2 * np.sin(2 * np.pi * 1000 * time) + 0.2 * np.sin(2 * np.pi * 6000 * time)
    for system in (REFERENCE, "ours", "theirs"):
        for name in ("one", "two"):
            (tmp_path / "clips" / system).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "clips" / system / f"{name}.wav", tones, RATE)
    return tmp_path / "clips"


@pytest.fixture
def items(folder):
    return items_of_folder(folder, common_rate(folder))


def test_a_folder_gives_its_systems_and_clips(items):
    assert set(items.systems) == {REFERENCE, "ours", "theirs"}
    assert items.names == ("one", "two") and items.sample_rate == RATE
    assert items.wav("ours", "one").shape == (RATE,)


def test_the_anchor_has_nothing_above_its_edge(items):
    original, low = (np.abs(np.fft.rfft(items.wav(s, "one"))) for s in (REFERENCE, ANCHOR))
    assert low[1000] == pytest.approx(original[1000], rel=0.02)
    assert low[6000] < 1e-3 * original[6000]


def test_a_missing_clip_and_a_missing_system_are_named(folder, tmp_path):
    (folder / "ours" / "two.wav").unlink()
    with pytest.raises(ValueError, match="ours has no clip 'two', which others have"):
        items_of_folder(folder, RATE)
    with pytest.raises(ValueError, match="no subfolders with audio files"):
        items_of_folder(folder / "ours", RATE)
    with pytest.raises(FileNotFoundError):
        items_of_folder(tmp_path / "gone", RATE)


def test_two_clips_of_one_name_are_refused(folder, tmp_path):
    (folder / "ours" / "one.wav").rename(folder / "ours" / "two.flac")
    with pytest.raises(ValueError, match="ours are named 'two': rename one of them"):
        items_of_folder(folder, RATE)
    codec = types.SimpleNamespace(sample_rate=RATE)
    with pytest.raises(ValueError, match="the upload are named 'talk'"):
        items_of_codec(codec, ["a/talk.wav", "b/talk.mp3"], [6], tmp_path)


def test_trials_are_random_and_every_clip_occurs(items):
    session = new_abx(items, ("ours", "theirs"), 40, "")
    assert {trial.item for trial in session.trials[:2]} == {"one", "two"}
    assert {(trial.a, trial.x == trial.a) for trial in session.trials} == {
        (system, first) for system in ("ours", "theirs") for first in (True, False)
    }
    with pytest.raises(ValueError, match="two different systems"):
        new_abx(items, ("ours", "ours"), 4, "")
    pages = new_mushra(items, "").pages
    assert {page.item for page in pages} == {"one", "two"}
    assert all(set(page.stimuli) == {*items.systems, ANCHOR} for page in pages)
    orders = {new_mushra(items, "").pages[0].stimuli for _ in range(30)}
    assert len(orders) > 5


def test_answers_of_several_threads_and_after_a_torn_line_are_all_kept(items, tmp_path):
    file = AnswerFile(tmp_path / "new" / "answers.jsonl")
    session = new_abx(items, ("ours", "theirs"), 10, "Bo")

    def answer():
        for trial in session.trials:
            file.add_abx(session, trial, "A")

    threads = [threading.Thread(target=answer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(file.path, "a") as torn:
        torn.write('{"session": "x", "te')
    file.add_abx(session, session.trials[0], "B")
    lines = [json.loads(line) for line in file.path.read_text().splitlines()]
    assert len(lines) == len(file.read()) == 41
    assert {line["listener"] for line in lines} == {"Bo"}
    right = sum(trial.correct("A") for trial in session.trials)
    last = session.trials[0].correct("B")
    assert abx_results(file.read()) == {("ours", "theirs"): (4 * right + last, 41)}
    file.path.write_text("[]\n")
    with pytest.raises(ValueError, match="line 1 is not an answer"):
        file.read()


def test_results_have_means_with_intervals_and_binomial_probabilities(items, tmp_path):
    file = AnswerFile(tmp_path / "answers.jsonl")
    session = new_mushra(items, "")
    for page, shift in zip(session.pages, (0, 10), strict=True):
        file.add_mushra(session, page, [20.0 * n + shift for n in range(len(page.stimuli))])
    results = mushra_results(file.read())
    assert sum(score.n for score in results.values()) == 8
    assert list(results) == sorted(results, key=lambda system: -results[system].mean)
    assert all(score.low <= score.mean <= score.high for score in results.values())
    assert binomial_p(0, 5) == 1.0 and binomial_p(5, 5) == 1 / 32
    assert binomial_p(9, 10) == pytest.approx(11 / 1024)
