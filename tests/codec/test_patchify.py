"""Linear patches: each frame sees the patches inside the attention window."""

import pytest
import torch
from torch import Tensor

from almtok.codec.patchify import LinearPatchify, LinearUnpatchify

from .toy import toy_config

HOP, WINDOW = 320, 12


def part(kind, mode):
    torch.manual_seed(0)
    config = toy_config(patchify="linear", attention_mode=mode, attention_window=WINDOW)
    return kind(config).eval()


def seen(output: Tensor, inputs: Tensor) -> set[int]:
    """Hops or frames of `[1, T, D]` that an output depends on."""
    pull = torch.randn_like(output)
    (gradient,) = torch.autograd.grad((output * pull).sum(), inputs, retain_graph=True)
    return set(gradient[0].abs().sum(dim=-1).nonzero().flatten().tolist())


@pytest.mark.parametrize("kind", [LinearPatchify, LinearUnpatchify])
@pytest.mark.parametrize("mode", ["block_causal", "causal", "full"])
def test_a_frame_sees_the_attention_window(kind, mode):
    net, width = part(kind, mode), HOP if kind is LinearPatchify else 32
    x = torch.randn(1, 30, width, requires_grad=True)
    if kind is LinearPatchify:
        outputs = net(x.reshape(1, 1, -1))[0]
    else:
        outputs = net(x)[0, 0].reshape(30, HOP)
    ahead = WINDOW - 1 if mode == "full" else 0
    for t, output in enumerate(outputs):
        assert seen(output, x) == set(range(max(0, t - WINDOW + 1), min(30, t + ahead + 1)))
