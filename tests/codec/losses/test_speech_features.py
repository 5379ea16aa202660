"""Losses by a teacher of speech: what they compare, and whom they teach."""

import pytest
import torch

from almtok.codec.losses.base import ForwardPass
from almtok.codec.losses.speech_features import (
    FirstCodebookDistillation,
    QueryDistillation,
    SpeechFeaturesLoss,
    window_means,
)
from almtok.codec.whisper import WhisperFeatures

from ..tiny_whisper import save_whisper

HOP = 320


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> WhisperFeatures:
    folder = save_whisper(tmp_path_factory.mktemp("whisper"))
    return WhisperFeatures.from_pretrained(folder, layers=(1, 3), sample_rate=24_000)


def forward_of(teacher: WhisperFeatures, target: torch.Tensor, **tensors) -> ForwardPass:
    speech = tensors.pop("speech", torch.arange(len(target)))
    features = teacher.features(target[speech])
    given = {"frames_per_query": 3, **tensors}
    return ForwardPass(
        target=target, seeds=torch.arange(len(target)), speech=speech, features=features, **given
    )


def noise(clips: int, frames: int = 30) -> torch.Tensor:
    return 0.1 * torch.randn(clips, 1, frames * HOP)


def test_the_distance_vanishes_for_the_same_audio_and_teaches_the_output_alone(teacher) -> None:
    loss, target = SpeechFeaturesLoss(teacher), noise(2)
    assert not list(loss.parameters()) and not loss.state_dict()
    same = loss.compute(forward_of(teacher, target, output=target.clone()))
    assert float(same) == pytest.approx(0.0, abs=1e-6)
    output = noise(2).requires_grad_()
    other = loss.compute(forward_of(teacher, target, output=output))
    other.backward()
    assert float(other.detach()) > 0.1
    assert output.grad.flatten(1).norm(dim=1).min() > 0
    assert all(weight.grad is None for weight in teacher.parameters())


def test_a_batch_is_the_mean_of_its_clips_and_sounds_count_as_zero(teacher) -> None:
    loss, target, output = SpeechFeaturesLoss(teacher), noise(3), noise(3)
    head = QueryDistillation(8, teacher.dim, hop_length=HOP, feature_hop=teacher.hop_length)
    queries = torch.randn(3, 10, 8)
    alone = [
        [one.compute(forward_of(teacher, target[n : n + 1], output=output[n : n + 1],
                                queries=queries[n : n + 1])) for n in range(3)]
        for one in (loss, head)
    ]  # fmt: skip
    for speech in ([0, 1, 2], [0, 2], []):
        whole = forward_of(
            teacher, target, output=output, queries=queries, speech=torch.tensor(speech).long()
        )
        for one, values in zip((loss, head), alone, strict=True):
            wanted = sum((values[n] for n in speech), torch.zeros(())) / 3
            torch.testing.assert_close(one.compute(whole), wanted, atol=1e-5, rtol=1e-4)
    output = output.requires_grad_()  # without speech the balancer still needs a gradient
    whole = forward_of(teacher, target, output=output, speech=torch.tensor([]).long())
    loss.compute(whole).backward()
    assert output.grad is not None and not output.grad.any()


@pytest.mark.parametrize("frames_per_query", range(1, 11))
def test_windows_have_the_mean_of_the_features_that_lie_in_them(frames_per_query) -> None:
    windows, hop = 7, 480
    samples = windows * frames_per_query * HOP
    features = torch.randn(2, -(-samples // hop), 4)
    found = window_means(
        features, num_windows=windows, window=frames_per_query * HOP, feature_hop=hop
    )
    by_sample = features.repeat_interleave(hop, dim=1)[:, :samples]
    wanted = by_sample.unflatten(1, (windows, -1)).mean(dim=2)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [QueryDistillation, FirstCodebookDistillation])
@pytest.mark.parametrize("window", [2, 10])
def test_queries_are_taught_at_any_rate_and_can_learn_it(teacher, kind, window) -> None:
    head = kind(16, teacher.dim, hop_length=HOP, feature_hop=teacher.hop_length)
    layers = torch.randn(2, 20 // window, 3, 16).requires_grad_()
    optimizer = torch.optim.Adam([layers, *head.parameters()], 0.03)
    made = forward_of(teacher, noise(2, 20), frames_per_query=window)
    losses = []
    for _ in range(150):
        made.layers, made.queries = layers, layers.sum(dim=2)
        losses.append(head.compute(made))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert float(losses[-1].detach()) < 0.3 * float(losses[0].detach())
    taught = layers.grad.abs().sum(dim=(0, 1, 3)) > 0
    assert taught.tolist() == [True, kind is QueryDistillation, kind is QueryDistillation]
    assert all(weight.grad is None for weight in teacher.parameters())
