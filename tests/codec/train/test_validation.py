"""Validation measures what the averaged codec makes of held-out crops, at its own rate."""

import copy
from collections.abc import Callable

import pytest
import torch

from almtok.codec.losses.reconstruction import MelLoss
from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.monitor import validate
from almtok.codec.train.state import build_state as build_bare_state
from almtok.codec.train.update import optimizer_step
from almtok.core.data import SegmentBatch
from almtok.core.training.loop import Requests

from .toy import build_state

Make = Callable[..., CodecTrainConfig]
Batch = Callable[..., SegmentBatch]


@pytest.mark.parametrize("stage", ["1", "2", "adapt"])
def test_values_are_those_of_the_exported_codec(
    toy_config: Make, toy_batch: Batch, stage: str
) -> None:
    state = build_state(toy_config(stage, init_from="x", ema_decay=0.9))
    for step in range(2):
        optimizer_step(state, [toy_batch(seed=step)], Requests())
    assert state.average is not None
    codec = copy.deepcopy(state.model).eval()
    codec.load_state_dict({**codec.state_dict(), **state.average.state_dict()})
    batches = []
    for seed, domains in ((5, ("speech", "music")), (6, ("music", "music"))):
        batch = toy_batch(2, seed, frames=31)
        batches.append(SegmentBatch(batch.wav, batch.ids, domains, batch.seeds))
    found = validate(state, batches)

    mel = MelLoss(state.mel_loss.config)
    rows = []
    with torch.no_grad():
        for batch in batches:
            # Whole windows of the codec's own w, which is 3; without queries, whole frames.
            target = batch.wav[..., : (31 if stage == "1" else 30) * 320]
            made = (
                codec.unpatchify(codec.patchify(target))
                if stage == "1"
                else codec(target).audio_values
            )
            for n, domain in enumerate(batch.domains):
                pair = made[n : n + 1], target[n : n + 1]
                time = float((pair[0] - pair[1]).abs().mean())
                rows.append((domain, float(mel(*pair)), time, pair))
    assert len(found.samples) == len(found.targets) == 4
    for sample, target, (*_, pair) in zip(found.samples, found.targets, rows, strict=True):
        assert torch.equal(target, pair[1][0, 0])
        torch.testing.assert_close(sample, pair[0][0, 0], atol=1e-5, rtol=1e-4)
    for name, group in (("all", rows), ("speech", rows[:1]), ("music", rows[1:])):
        for value, column in ((found.mel, 1), (found.time, 2)):
            mean = sum(row[column] for row in group) / len(group)
            assert value[name] == pytest.approx(mean, rel=1e-4)
    assert found.mel.keys() == found.time.keys() == {"all", "speech", "music"}


def test_before_the_codebooks_are_placed_queries_are_decoded_as_they_are(
    toy_config: Make, toy_batch: Batch
) -> None:
    state, batch = build_bare_state(toy_config("2", ema_decay=0.0)), toy_batch(1)
    (sample,) = validate(state, [batch]).samples
    model = state.model.eval()
    with torch.no_grad():
        queries = model.encoder(model.patchify(batch.wav), 3)
        expected = model.unpatchify(model.decoder(queries, 3))[0, 0]
    torch.testing.assert_close(sample, expected, atol=1e-5, rtol=1e-4)
