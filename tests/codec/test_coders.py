"""Query encoder and decoder: what each position sees, at once and step by step."""

import pytest
import torch
from torch import Tensor

from almtok.codec.coders import QueryDecoder, QueryEncoder

from .toy import toy_config

W = 3  # frames per query
WINDOW = 12  # positions: three blocks of W + 1


def coder(kind, **overrides):
    torch.manual_seed(0)
    return kind(toy_config(**overrides)).eval()


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", [QueryEncoder, QueryDecoder])
@pytest.mark.parametrize("mode", ["block_causal", "causal"])
@pytest.mark.parametrize("w", [2, 6])
def test_at_once_equals_step_by_step(kind, mode, w):
    # Training runs the one, every codec in use the other.
    net = coder(kind, attention_mode=mode)
    size = w if kind is QueryEncoder else 1  # positions of the input per window
    x = random(2, 30 * size)  # 90 or 210 positions, the attention window has 48
    state, parts = None, []
    for piece in x.split(4 * size, dim=1):
        part, state = net.step(piece, w, state)
        parts.append(part)
    torch.testing.assert_close(net(x, w), torch.cat(parts, dim=1), atol=1e-5, rtol=1e-4)


def seen(outputs: Tensor, inputs: Tensor) -> list[set[int]]:
    """For each output position of `[1, M, D]`, the input positions of `[1, N, D]` that move it."""
    found = []
    for output in outputs[0]:
        pull = torch.randn_like(output)
        (gradient,) = torch.autograd.grad((output * pull).sum(), inputs, retain_graph=True)
        found.append(set(gradient[0].abs().sum(dim=-1).nonzero().flatten().tolist()))
    return found


def sees(mode: str, i: int, j: int, block: int) -> bool:
    """Whether position i sees position j, by the definition of the attention window."""
    if mode == "causal":
        return 0 <= i - j < WINDOW
    distance = i // block - j // block
    return abs(distance) < WINDOW // block if mode == "full" else 0 <= distance < WINDOW // block


@pytest.mark.parametrize("mode", ["block_causal", "causal", "full"])
def test_a_query_sees_the_frames_inside_the_attention_window(mode):
    net = coder(QueryEncoder, attention_mode=mode, attention_window=WINDOW, encoder_layers=1)
    frames = random(1, 8 * W).requires_grad_()
    place = [t + t // W for t in range(8 * W)]  # of frame t in the interleaved sequence
    assert seen(net(frames, W), frames) == [
        {t for t in range(8 * W) if sees(mode, q * (W + 1) + W, place[t], W + 1)} for q in range(8)
    ]


@pytest.mark.parametrize("mode", ["block_causal", "causal", "full"])
def test_a_mask_sees_the_queries_inside_the_attention_window(mode):
    net = coder(QueryDecoder, attention_mode=mode, attention_window=WINDOW, decoder_layers=1)
    queries = random(1, 8).requires_grad_()
    first = mode == "causal"  # the query stands before its masks
    query = [q * (W + 1) + (0 if first else W) for q in range(8)]
    mask = [t + t // W + first for t in range(8 * W)]
    assert seen(net(queries, W), queries) == [
        {q for q in range(8) if sees(mode, mask[t], query[q], W + 1)} for t in range(8 * W)
    ]


@pytest.mark.parametrize("mode", ["block_causal", "causal", "full"])
def test_frames_alone_run_through_the_encoder_without_queries(mode):
    # Masked frames (paper.md 5.1)
    net = coder(QueryEncoder, attention_mode=mode, attention_window=WINDOW, encoder_layers=1)
    frames = random(1, 8 * W).requires_grad_()
    alone = net.encode_frames(frames, W)
    assert seen(alone, frames) == [
        {t for t in range(8 * W) if sees(mode, i, t, W)} for i in range(8 * W)
    ]
    alone.square().sum().backward()
    assert net.query.grad is None and net.places.projection.weight.grad is None


@pytest.mark.parametrize("mode", ["block_causal", "causal", "full"])
def test_with_mean_pooling_a_query_is_the_mean_of_its_window(mode):
    net = coder(QueryEncoder, attention_mode=mode, pooling="mean")
    assert net.query is None
    frames = random(2, 8 * W)
    windows = net.input(frames).unflatten(1, (-1, W)) + net.places(W)
    outputs = net.transformer(windows.flatten(1, 2), W).unflatten(1, (-1, W))
    torch.testing.assert_close(net(frames, W), net.norm(net.output(outputs.mean(dim=2))))
    net.transformer = coder(QueryEncoder, encoder_layers=0).transformer  # a LayerNorm only
    (gradient,) = torch.autograd.grad(net(frames.requires_grad_(), W)[:, 3].sum(), frames)
    assert gradient.abs().sum(dim=(0, 2)).nonzero().flatten().tolist() == [9, 10, 11]


@pytest.mark.parametrize("mode", ["block_causal", "causal"])
def test_with_mean_pooling_frames_see_their_own_query_and_earlier_ones(mode):
    net = coder(QueryDecoder, attention_mode=mode, attention_window=WINDOW, decoder_layers=1,
                pooling="mean")  # fmt: skip
    queries = random(1, 8).requires_grad_()
    frames = net(queries, W)
    assert list(frames.shape) == [1, 8 * W, 32]
    assert [max(found) for found in seen(frames, queries)] == [t // W for t in range(8 * W)]
    inside = frames[0].unflatten(0, (-1, W))
    assert (inside[:, 0] - inside[:, 1]).abs().max() > 1e-3  # by the embedding of the place


@pytest.mark.parametrize("kind", [QueryEncoder, QueryDecoder])
@pytest.mark.parametrize("w", [2, 6])
def test_mean_pooling_at_once_equals_step_by_step(kind, w):
    net = coder(kind, pooling="mean")
    size = w if kind is QueryEncoder else 1
    x = random(2, 30 * size)
    state, parts = None, []
    for piece in x.split(4 * size, dim=1):
        part, state = net.step(piece, w, state)
        parts.append(part)
    torch.testing.assert_close(net(x, w), torch.cat(parts, dim=1), atol=1e-5, rtol=1e-4)
