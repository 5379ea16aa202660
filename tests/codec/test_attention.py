"""Folded attention equals dense attention with the written-out mask, at a linear cost."""

import pytest
import torch
import torch.nn.functional as F

from almtok.codec.attention import Reach, rotary_table, windowed_attention
from almtok.codec.transformer import Transformer


def sees(mode: str, window: int, block: int, i: int, j: int) -> bool:
    """The definition, position by position."""
    if mode == "causal":
        return 0 <= i - j < window
    blocks = max(1, window // block)
    distance = i // block - j // block
    return abs(distance) < blocks if mode == "full" else 0 <= distance < blocks


def dense(q, k, v, mode, window, block):
    cached = k.shape[2] - q.shape[2]
    rows, columns = q.shape[2], k.shape[2]
    mask = torch.tensor(
        [[sees(mode, window, block, cached + i, j) for j in range(columns)] for i in range(rows)]
    )
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@pytest.mark.parametrize("mode", ["block_causal", "causal", "full"])
@pytest.mark.parametrize("block", [1, 3, 7, 11])
@pytest.mark.parametrize("blocks", [1, 5, 40])
@pytest.mark.parametrize("trains", [False, True])
def test_equals_dense_attention(mode, block, blocks, trains):
    torch.manual_seed(blocks)
    q, k, v = torch.randn(3, 2, 2, blocks * block, 8)
    reach = Reach.of(mode, 24, block)
    with torch.set_grad_enabled(trains):  # a CPU has a path of its own for each
        found = windowed_attention(q, k, v, reach)
    torch.testing.assert_close(found, dense(q, k, v, mode, 24, block), atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("mode", ["block_causal", "causal"])
@pytest.mark.parametrize("cached", [0, 7, 14, 21])
def test_equals_dense_attention_behind_a_cache(mode, cached):
    torch.manual_seed(cached)
    length = 70 * 7
    q = torch.randn(1, 2, length, 8)
    k, v = torch.randn(2, 1, 2, cached + length, 8)
    reach = Reach.of(mode, 28, 7)
    found = windowed_attention(q, k, v, reach)
    torch.testing.assert_close(found, dense(q, k, v, mode, 28, 7), atol=2e-6, rtol=1e-4)


def test_positions_are_relative():
    # The same block at another place of the sequence gives the same output once the window is full.
    torch.manual_seed(0)
    net = Transformer(
        width=16, num_layers=2, num_heads=2, ffn_size=32, window=12, layer_scale=1.0
    ).eval()
    block = torch.randn(1, 3, 16)
    y = net(block.repeat(1, 200, 1), 3)
    blocks = y.reshape(200, 3, 16)
    torch.testing.assert_close(blocks[60], blocks[190], atol=1e-5, rtol=1e-4)


def test_rotary_angles_stay_exact_far_out():
    rotation = rotary_table(10**9, 8, 8, 10_000.0, torch.device("cpu"))
    exact = torch.cos(torch.tensor(10**9 + 7, dtype=torch.float64))
    assert abs(float(rotation.cos[-1, 0, 0, 0]) - float(exact)) < 1e-6


def test_rotation_turns_pairs_of_channels():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 3, 2, 8, dtype=torch.float64)
    rotation = rotary_table(11, 5, 8, 100.0, torch.device("cpu"))
    turned = torch.view_as_complex(torch.stack(rotation.apply(x).chunk(2, dim=-1), dim=-1))
    pairs = torch.view_as_complex(torch.stack(x.chunk(2, dim=-1), dim=-1))
    place = torch.arange(11, 16, dtype=torch.float64)[:, None]
    angle = place * 100.0 ** -torch.arange(0, 1, 0.25, dtype=torch.float64)
    expected = pairs * torch.polar(torch.ones_like(angle), angle)[:, None, None]
    torch.testing.assert_close(turned, expected, atol=1e-6, rtol=0)


def test_cost_is_linear_in_length():
    # Twice the length costs about twice the FLOPs (counted, not timed): no square term.
    from torch.utils.flop_counter import FlopCounterMode

    from almtok.core.linear import unpacked

    net = Transformer(width=16, num_layers=2, num_heads=2, ffn_size=32, window=24).eval()

    def flops(blocks: int) -> int:
        with unpacked(), FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.zeros(1, 7 * blocks, 16), 7)
        return counter.get_total_flops()

    assert flops(4000) / flops(2000) == pytest.approx(2, rel=0.02)


def test_an_hour_of_positions_fits_into_memory():
    net = Transformer(width=8, num_layers=1, num_heads=1, ffn_size=8, window=24).eval()
    x = torch.zeros(1, 7 * 45_000, 8)  # 3600 s at 87.5 positions/s
    with torch.no_grad():
        assert net(x, 7).shape == x.shape  # dense attention would need 400 GB


def test_full_attention_cannot_stream():
    net = Transformer(width=8, num_layers=1, num_heads=1, ffn_size=8, mode="full")
    _, state = net.step(torch.zeros(1, 7, 8), 7, None)
    with pytest.raises(ValueError, match="got 'full'"):
        net.step(torch.zeros(1, 7, 8), 7, state)


def test_gradient_checkpointing_changes_nothing():
    torch.manual_seed(0)
    net = Transformer(width=16, num_layers=2, num_heads=2, ffn_size=32, window=24).train()
    x = torch.randn(1, 21, 16)
    net(x, 7).square().sum().backward()
    plain = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    net.gradient_checkpointing = True
    net(x, 7).square().sum().backward()
    for p, before in zip(net.parameters(), plain, strict=True):
        torch.testing.assert_close(p.grad, before)
