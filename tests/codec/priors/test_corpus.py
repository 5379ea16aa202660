import numpy as np
import pytest

from almtok.codec.priors.corpus import Piece, in_half, plan_reading, sample_frames

from .arrays import ArrayCorpus, noises


def plan(corpus, half, **overrides):
    settings = {
        "sample_rate": 24000,
        "piece_seconds": 0.5,
        "min_seconds": 0.1,
        "shard_seconds": 1.0,
        "seed": 0,
    }
    return plan_reading(corpus.clips, half, **(settings | overrides))


@pytest.mark.parametrize(
    ("domain", "speech", "sound"),
    [
        ("speech", True, False),
        ("sound", False, True),
        ("music", False, True),
        ("audio", True, True),
        ("", True, True),
        (None, True, True),
    ],
)
def test_which_half_a_domain_serves(domain, speech, sound):
    assert (in_half(domain, "speech"), in_half(domain, "sound")) == (speech, sound)


def test_pieces_cover_every_clip_but_short_ends():
    corpus = noises()
    made = plan(corpus, "sound")
    pieces = [piece for shard in made.shards for piece in shard]
    assert made.num_clips == 6 and made.num_samples == sum(piece.length for piece in pieces)
    for number, clip in enumerate(corpus.clips):
        own = sorted((p.start, p.length) for p in pieces if p.clip == number)
        if clip.domain == "speech":
            assert own == []
            continue
        assert [start for start, _ in own] == [12000 * n for n in range(len(own))]
        assert 0 <= clip.num_samples - sum(length for _, length in own) < 2400


def test_order_is_a_function_of_ids_and_seed():
    corpus = noises()
    turned = ArrayCorpus(
        [(c.id, c.domain, corpus.arrays[c.number]) for c in reversed(corpus.clips)]
    )

    def names(made):
        return [[(piece.id, piece.start) for piece in shard] for shard in made.shards]

    assert names(plan(corpus, "speech")) == names(plan(turned, "speech"))
    assert names(plan(corpus, "speech")) != names(plan(corpus, "speech", seed=1))


def test_short_clips_are_counted():
    corpus = ArrayCorpus([("a", "speech", np.zeros(100, np.float32))])
    made = plan(corpus, "speech")
    assert made.shards == () and made.too_short == 1 and made.num_clips == 0


def test_thinning_keeps_the_share_and_depends_on_the_piece_alone():
    pieces = [Piece(0, f"clip-{number}", 0, 1) for number in range(300)]
    kept = [sample_frames(10, 0.25, piece, 0) for piece in pieces]
    assert sum(map(len, kept)) == pytest.approx(750, rel=0.1)
    assert all((np.diff(rows) > 0).all() for rows in kept)
    assert (sample_frames(10, 0.25, pieces[7], 0) == kept[7]).all()
    assert len(sample_frames(10, 1.0, pieces[0], 0)) == 10
