"""Which rows are decoded when, by a codec that only writes down what it gets."""

from functools import partial

import torch

from almtok.lm.generation.row_decoders import RowDecoders, RowFrames


class Decoder:
    """One sample a frame: its first code. Rows have a history each, to find mistaken rows.

    Codes are above zero: zeros pad the end of a row, after which it gets no more.
    """

    def __init__(self, codec, frames_per_query, histories=None):
        self.codec, self.frames_per_query = codec, frames_per_query
        self.histories = histories  # None: of as many rows as come first

    def push(self, codes):
        codes = codes if codes.ndim == 3 else codes[None]
        if codes.shape[-1] == 0:
            return codes[:, :1].float()
        self.codec.pushes.append(tuple(codes.shape[::2]))  # rows, frames
        self.histories = self.histories or [[] for _ in codes]
        for history, row in zip(self.histories, codes[:, 0].tolist(), strict=True):
            history += row
            count = len(history) - history.count(0)
            expected = range(history[0], history[0] + count)  # frames of a row count upwards
            assert history == [*expected, *[0] * history.count(0)]
            assert 0 not in history[: -len(row)]
        return codes[:, :1].float()

    def select(self, places):
        histories = self.histories and [list(self.histories[n]) for n in places]
        return Decoder(self.codec, self.frames_per_query, histories)

    def join(self, others):
        self.histories += [history for other in others for history in other.histories]


class Codec:
    device = torch.device("cpu")

    def __init__(self):
        self.pushes = []

    def stream_decoder(self, frames_per_query):
        return Decoder(self, frames_per_query)


def run(rows, chunk_frames=4, w=6, closed=()):
    """Rows by number: (first step, length). Returns sounds by row, and the pushes of each step."""
    codec = Codec()
    decoders = RowDecoders(codec)
    codes = {
        n: torch.arange(100 * n, 100 * n + count).repeat(3, 1) for n, (_, count) in rows.items()
    }
    sounds = {number: [] for number in rows}
    pushes = []
    for step in range(40):
        frames = {}
        for number, (first, count) in rows.items():
            if step == first:
                decoders.open(number, w, codes[number][:, :0], chunk_frames)
            if number in decoders.numbers and (number, step) not in closed:
                ready = min(step - first + 1, count)
                part = partial(lambda n, start, stop: codes[n][:, start:stop], number)
                frames[number] = RowFrames(ready, part, step - first + 1 >= count)
        codec.pushes = []
        for sound in decoders.decode(frames):
            assert sound.waveform.flatten().tolist() == sound.codes[0].tolist()
            sounds[sound.number].append(sound)
        pushes.append(codec.pushes)
    assert not decoders.numbers
    return sounds, pushes


def heard(sounds):
    return [code for sound in sounds for code in sound.codes[0].tolist()]


def test_every_frame_is_heard_once_and_in_order():
    rows = {1: (0, 9), 2: (2, 1), 3: (3, 14), 4: (3, 6), 5: (8, 5), 6: (25, 3)}
    sounds, _ = run(rows)
    for number, (_, count) in rows.items():
        assert heard(sounds[number]) == list(range(100 * number, 100 * number + count))
        assert [sound.last for sound in sounds[number]][-1]
        assert sum(sound.last for sound in sounds[number]) == 1
        assert sounds[number][0].codes.shape[1] == 1  # the first sound is not delayed


def test_rows_that_begin_and_end_do_not_let_the_others_be_decoded():
    rows = {1: (0, 17), 2: (2, 20), 3: (5, 3), 4: (6, 12)}
    _, pushes = run(rows)
    together = [step for step, pushed in enumerate(pushes) if any(size[0] > 1 for size in pushed)]
    assert len(together) <= 5 and all(
        b - a >= 4 for a, b in zip(together, together[1:], strict=False)
    )


def test_rows_that_begin_or_end_at_one_step_are_decoded_together():
    rows = {1: (0, 7), 2: (0, 12), 3: (0, 7), 4: (1, 6)}
    sounds, pushes = run(rows)
    assert pushes[0] == [(3, 1)] and pushes[1] == [(1, 1)]
    assert pushes[6] == [(3, 2)]  # the first, the third and the fourth
    for number, (_, count) in rows.items():
        assert heard(sounds[number]) == list(range(100 * number, 100 * number + count))


def test_rests_of_several_lengths_are_padded():
    """As of patterns whose last frames are complete at once."""
    codec = Codec()
    decoders = RowDecoders(codec)
    codes = {n: torch.arange(100 * n, 100 * n + 9).repeat(3, 1) for n in (1, 2, 3)}

    def frames(ready, ended):
        parts = {n: partial(lambda n, start, stop: codes[n][:, start:stop], n) for n in codes}
        return {n: RowFrames(ready[n], parts[n], ended) for n in codes}

    for number in codes:
        decoders.open(number, 6, codes[number][:, :0], 4)
    assert len(list(decoders.decode(frames({1: 1, 2: 1, 3: 1}, False)))) == 3
    sounds = {sound.number: sound for sound in decoders.decode(frames({1: 4, 2: 9, 3: 1}, True))}
    assert codec.pushes == [(3, 1), (3, 8)]
    assert {number: heard([sound]) for number, sound in sounds.items()} == {
        1: [101, 102, 103], 2: list(range(201, 209)), 3: [],
    }  # fmt: skip
    for sound in sounds.values():
        assert sound.last and sound.waveform.shape == (1, 1, sound.codes.shape[1])


def test_chunks_of_one_frame_are_not_delayed():
    sounds, _ = run({1: (0, 6), 2: (0, 6)}, chunk_frames=1)
    assert [sound.codes.shape[1] for sound in sounds[1]] == [1] * 6


def test_closed_rows_are_forgotten_wherever_they_are():
    rows = {1: (0, 30), 2: (0, 30), 3: (2, 30), 4: (9, 30)}
    # In the batch, waiting, and before the first sound; the last one is closed alone.
    closed = {(1, step) for step in range(6, 40)} | {(3, step) for step in range(3, 40)}
    closed |= {(4, step) for step in range(9, 40)}
    sounds, _ = run(rows, closed=closed)
    assert heard(sounds[2]) == list(range(200, 230))
    assert heard(sounds[3]) == [300] and not sounds[4]
    assert not any(sound.last for number in (1, 3) for sound in sounds[number])
