"""Streams remember their window, whatever its end: room, forks, long streams, modes of autograd."""

import pytest
import torch

from almtok.codec.cache import AttentionCache
from almtok.codec.transformer import Transformer

BLOCK = 3


def toy(mode="block_causal"):
    torch.manual_seed(0)
    return Transformer(
        width=16, num_layers=2, num_heads=2, ffn_size=32, window=24, layer_scale=1.0, mode=mode
    ).eval()


def run(net, x, sizes, state=None):
    """Push blocks in steps of these sizes, over and over; outputs and states of all steps."""
    outputs, states, at, turn = [], [], 0, 0
    while at < x.shape[1]:
        size = sizes[turn % len(sizes)] * BLOCK
        y, state = net.step(x[:, at : at + size], BLOCK, state)
        outputs.append(y)
        states.append(state)
        at, turn = at + size, turn + 1
    return torch.cat(outputs, dim=1), states


@pytest.mark.parametrize("mode", ["block_causal", "causal"])
@pytest.mark.parametrize("sizes", [[1], [1, 2, 9], [40, 1, 1, 1], [7], [8]])
@torch.no_grad()
def test_steps_of_any_size_equal_one_piece(mode, sizes):
    net = toy(mode)
    x = torch.randn(2, 120 * BLOCK, 16)
    y, _ = run(net, x, sizes)
    torch.testing.assert_close(y, net(x, BLOCK), atol=1e-5, rtol=0)


@torch.no_grad()
def test_small_steps_write_into_the_same_room():
    net = toy()
    _, states = run(net, torch.randn(1, 200 * BLOCK, 16), [1])
    buffers = [state[0].buffer for state in states]
    assert all(buffer.tensor.shape[3] <= 3 * net.window for buffer in buffers)  # bounded
    new = sum(before is not after for before, after in zip(buffers, buffers[1:], strict=False))
    assert new <= 200 * BLOCK // (net.window - BLOCK)  # copied once in a window, not every step
    assert states[-1][0].keys.shape[2] == net.window - BLOCK


@torch.no_grad()
def test_a_state_can_be_continued_twice():
    net = toy()
    x, other = torch.randn(2, 1, 30 * BLOCK, 16)
    _, states = run(net, x[:, : 20 * BLOCK], [1])
    first, _ = run(net, x[:, 20 * BLOCK :], [1], states[-1])
    run(net, other, [1], states[-1])  # writes where the first continuation wrote
    again, _ = run(net, x[:, 20 * BLOCK :], [1], states[-1])
    assert torch.equal(first, again)
    late, _ = run(net, x[:, 10 * BLOCK :], [1], states[9])
    torch.testing.assert_close(late[:, 10 * BLOCK :], first, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_week_into_a_stream_nothing_has_changed():
    net = toy()
    x = torch.randn(1, 30 * BLOCK, 16)
    near, _ = run(net, x, [1])
    far, _ = run(net, x, [1], [AttentionCache(position=50_000_001)] * 2)
    torch.testing.assert_close(far, near, atol=1e-5, rtol=0)


def test_streams_work_in_every_mode_of_autograd_and_across_them():
    net = toy()
    x = torch.randn(1, 30 * BLOCK, 16)
    expected = net(x, BLOCK).detach()
    state, outputs = None, []
    modes = [torch.inference_mode, torch.no_grad, torch.enable_grad]
    for step in range(30):
        with modes[step % 3]():
            y, state = net.step(x[:, step * BLOCK : (step + 1) * BLOCK], BLOCK, state)
        outputs.append(y.detach().clone())
    torch.testing.assert_close(torch.cat(outputs, dim=1), expected, atol=1e-5, rtol=0)


def test_gradients_flow_through_a_stream():
    net = toy()
    x = torch.randn(1, 12 * BLOCK, 16, requires_grad=True)
    y, _ = run(net, x, [1])
    (streamed,) = torch.autograd.grad(y[:, -1].sum(), x)
    (whole,) = torch.autograd.grad(net(x, BLOCK)[:, -1].sum(), x)
    torch.testing.assert_close(streamed, whole, atol=1e-5, rtol=0)
