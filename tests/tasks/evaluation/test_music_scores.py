"""Scores of music: retrieval, chance levels, and the figures of `almtok lm evaluate`."""

import numpy as np
import pytest

from almtok.core.metrics.music import Tune, measure_tune
from almtok.tasks.evaluation.evaluator import evaluate_facts
from almtok.tasks.evaluation.music_scores import caption_ranks, music_figures, tune_facts

from ...core.test_music import DARK, MELODY, RATE, tune

KINDS = [
    (notes, shift, beat) for notes in (MELODY, DARK) for shift in (0, 3, 6) for beat in (0.5, 0.3)
]
CAPTIONS = [f"tune {n}, in {('C', 'E flat', 'F sharp')[n // 2 % 3]} major" for n in range(12)]


@pytest.fixture(scope="module")
def tunes():
    """Two recordings of each of twelve tunes: the second in another timbre and with noise."""
    how = dict(seconds=4.0)
    first = [measure_tune(tune(*kind, **how), RATE) for kind in KINDS]
    other = dict(how, timbre=(1.0, 0.2, 0.3), seed=1)
    return first, [measure_tune(tune(*kind, **other), RATE) for kind in KINDS]


def test_made_tunes_find_their_captions(tunes):
    references, made = tunes
    assert np.mean([rank == 1 for rank in caption_ranks(made, references, CAPTIONS)]) > 0.9
    assert max(caption_ranks(references, references, CAPTIONS)) == 1


def test_tunes_of_other_captions_do_not(tunes):
    references, made = tunes
    ranks = [r for shift in range(1, 12) for r in caption_ranks(
        [*made[shift:], *made[:shift]], references, CAPTIONS
    )]  # fmt: skip
    assert np.mean([rank == 1 for rank in ranks]) < 0.05  # every one finds another caption
    assert 5 < np.mean(ranks) < 9


def test_a_caption_of_two_recordings_is_found_by_either(tunes):
    references, made = tunes
    ranks = caption_ranks(made[:3], references[:3], ["a", "a", "b"])
    assert ranks == [1, 1, 1]
    same = [Tune((1.0, *[0.0] * 11), 1.0, 100.0)] * 3
    assert caption_ranks(same, same, ["a", "b", "c"]) == [3, 3, 3]  # ties are not hits


def facts(made, original):
    return [
        {
            "id": f"c{n}", "domain": "music", "text": CAPTIONS[n], "caption": CAPTIONS[n],
            "seconds": 4.0, "made_tune": vars(made[n]), "original_tune": vars(original[n]),
        }
        for n in range(12)
    ]  # fmt: skip


def by_name(figures):
    return {figure.name.partition(", what was made")[0]: figure for figure in figures}


def test_figures_have_intervals_and_chance_levels(tunes):
    references, made = tunes
    figures = by_name(music_figures(facts(made, references)))
    chroma = figures["correlation of chroma with the recording"]
    assert chroma.value.mean > 0.8 and chroma.value.low <= chroma.value.mean <= chroma.value.high
    assert float(chroma.note.rsplit(" ", 1)[1]) < 0.5
    assert figures["onset rate, octaves off the recording's"].value.mean < 0.15
    found = figures["caption found first by chroma, onsets and tempo"]
    assert found.value.mean > 0.9 and found.note == "chance 8.3 of 12 captions"
    assert figures["tempo of the recording, its half or double (%)"].value.mean > 0.8
    key = figures["in the key of the caption"]
    assert key.percent and key.value.n == 12


def test_transposed_and_slower_tunes_lose_only_what_changed(tunes):
    references, _ = tunes
    how = dict(seconds=4.0)
    moved = [measure_tune(tune(n, s + 6, b, **how), RATE) for n, s, b in KINDS]
    slow = [measure_tune(tune(n, s, b * 2.7, **how), RATE) for n, s, b in KINDS]
    same, high, late = (
        by_name(music_figures(facts(other, references))) for other in (references, moved, slow)
    )
    chroma, onsets = (
        "correlation of chroma with the recording",
        "onset rate, octaves off the recording's",
    )
    assert same[chroma].value.mean == pytest.approx(1) and same[onsets].value.mean == 0
    assert high[chroma].value.mean < 0.3 and high[onsets].value.mean < 0.15
    assert late[chroma].value.mean > 0.6 and late[onsets].value.mean > 1


def test_the_table_has_the_figures_of_music(tunes):
    references, made = tunes
    clips = facts(made, references)
    table = evaluate_facts(clips, {})
    names = [figure.name for figure in table.figures if figure.task == "text_to_music"]
    assert sum("chroma" in name for name in names) == 3
    for clip in clips:
        del clip["made_tune"]
    assert not music_figures(clips) and not music_figures(facts(made, references)[:1])


def test_facts_of_tunes_are_plain_numbers():
    found = tune_facts(RATE, made=tune(seconds=1.0))
    assert set(found["made_tune"]) == {"chroma", "onset_rate", "tempo"}
    assert all(type(value) is float for value in found["made_tune"]["chroma"])
