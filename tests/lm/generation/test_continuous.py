"""A target that joins or leaves a batch is the target alone."""

from collections.abc import Iterator

import pytest
import torch

from almtok.lm.generation.decoding import Decoding
from almtok.lm.generation.generate import prompt_batch
from almtok.lm.generation.sampling import SamplingConfig
from almtok.lm.inference import evaluating

from ..toy import EOS
from .conftest import EXAMPLES

# (example, step at which it joins, options): audio and text, with and without guidance.
REQUESTS = (
    (0, 0, dict(seed=1, max_frames=30, min_frames=12)),
    (3, 0, dict(seed=2, max_text_tokens=9)),
    (2, 2, dict(seed=3, max_frames=8)),
    (0, 3, dict(seed=4, max_frames=5, guidance_scale=2.0)),
    (2, 3, dict(seed=9, max_frames=7)),
    (1, 3, dict(seed=5, max_text_tokens=20, guidance_scale=2.0)),
    (2, 7, dict(seed=6, max_frames=40, min_frames=20, repeat=False)),
    (0, 9, dict(seed=7, max_frames=6)),
    (0, 30, dict(seed=8, max_frames=9, guidance_scale=2.0)),
)
PENALTY = SamplingConfig(temperature=2.0, repetition_penalty=1.5, repetition_window=4)


def requests(learned, **changes) -> Iterator[tuple[int, dict]]:
    for example, step, options in REQUESTS:
        options = dict(options, eos_id=EOS, **changes)
        penalty = options.pop("repeat", True)
        options["audio_sampling"] = SamplingConfig(temperature=2.0) if penalty else PENALTY
        options["text_sampling"] = SamplingConfig(temperature=2.0)
        yield step, {**learned.prompts([EXAMPLES[example]]), **options}


def run(lm, arrivals, dropped=()) -> list:
    """Rows of requests that join at their steps; those of numbers in `dropped` leave at step 4."""
    decoding, waiting = Decoding(lm), list(arrivals)
    with evaluating(lm):
        for step in range(500):
            while waiting and waiting[0][0] <= step:
                decoding.join(prompt_batch(lm, **waiting.pop(0)[1]))
            if decoding.running:
                decoding.step()
            if step == 4:
                decoding.drop(dropped)
            if not waiting and not decoding.running:
                return [decoding.finished.get(number) for number in range(len(arrivals))]
    raise AssertionError("the targets do not end")


def assert_alone(lm, arrivals, rows):
    for (_, request), row in zip(arrivals, rows, strict=True):
        (alone,) = lm.generate(**request)
        assert row.finish == alone.finish and row.steps == alone.steps
        assert row.prefix == alone.prefix and row.num_choices == alone.num_choices
        assert torch.equal(row.content, alone.content)
        assert row.log_probability == pytest.approx(alone.log_probability, rel=1e-4)


@pytest.mark.parametrize("cache", ["static", "dynamic"])
def test_targets_that_join_and_leave_are_those_alone(learned, cache):
    arrivals = list(requests(learned, cache=cache))
    assert_alone(learned.lm, arrivals, run(learned.lm, arrivals))


def test_a_continued_target_can_join(learned):
    """Prefixes of several lengths, so that patterns with several rows per frame are out of step."""
    codes = EXAMPLES[0].segments[-1].codes
    arrivals = []
    for step, length in ((0, 0), (1, 5), (2, 2), (9, 7)):
        batch = learned.batch(learned.prompt(EXAMPLES[0], codes[:, :length] if length else None))
        sampling = SamplingConfig(temperature=2.0)
        arrivals.append((step, dict(batch, max_frames=9, seed=step, audio_sampling=sampling)))
    assert_alone(learned.lm, arrivals, run(learned.lm, arrivals))


def test_prompts_are_read_together_in_the_order_in_which_they_join(learned):
    """Guided and not, of both kinds; one of them is read before, by itself."""
    lm, arrivals = learned.lm, list(requests(learned))
    decoding = Decoding(lm)
    with evaluating(lm):
        batches = [prompt_batch(lm, **request) for _, request in arrivals]
        batches[2].read()
        for batch in batches:
            decoding.join(batch)
        while decoding.running:
            decoding.step()
    # One pass for those before the third, one for those after it.
    assert [n for n, batch in enumerate(batches) if batch.keys is not None] == [0, 2, 3]
    rows = [decoding.finished[number] for number in range(len(arrivals))]
    assert_alone(lm, arrivals, rows)


def test_targets_that_are_dropped_have_no_result(learned):
    arrivals = list(requests(learned))
    rows = run(learned.lm, arrivals, dropped=[0, 3])
    assert rows[0] is None and rows[3] is None
    left = [number for number in range(len(rows)) if rows[number] is not None]
    assert len(left) == len(rows) - 2
    assert_alone(learned.lm, [arrivals[n] for n in left], [rows[n] for n in left])


def test_memory_does_not_grow_with_the_steps(depth):
    """Columns that no target uses any more are dropped, in the cache and in the grids."""
    lm, decoding, columns = depth.lm, Decoding(depth.lm), []
    with evaluating(lm):
        for number in range(20):  # two targets at any time
            request = dict(depth.prompts([EXAMPLES[0]]), seed=number, min_frames=10, max_frames=10)
            decoding.join(prompt_batch(lm, **request))
            for _ in range(6):
                decoding.step()
            ((state, _), *_) = decoding.rows.values()
            columns.append(state.grid.shape[1])
    assert max(columns[3:]) == columns[3] and len(decoding.finished) > 15
    assert len(decoding.prompts) <= 2
