"""What is kept follows what it was made from."""

import copy
import pickle

import torch
from torch import nn

from almtok.core.derived import Derived


class Doubled:
    """Counts how often it is made."""

    def __init__(self, source):
        self.source, self.kept, self.made = source, Derived(), 0

    def get(self):
        return self.kept.get((self.source,), self._make)

    def _make(self):
        self.made += 1
        return self.source * 2


def changes(weight):
    """Ways in which training, loading and moving change a weight."""
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    weight.grad = torch.ones_like(weight)
    yield optimizer.step
    yield torch.optim.AdamW([weight], lr=0.1, fused=True).step
    yield lambda: weight.copy_(torch.randn_like(weight))
    yield lambda: weight.lerp_(torch.zeros_like(weight), 0.5)
    yield lambda: torch._foreach_mul_([weight], 0.5)
    yield lambda: setattr(weight, "data", torch.randn_like(weight))
    yield lambda: weight[0].fill_(7.0)  # through a view


def test_kept_until_the_source_changes():
    doubled = Doubled(nn.Parameter(torch.randn(3)))
    with torch.no_grad():
        assert doubled.get() is doubled.get()
        for number, change in enumerate(changes(doubled.source)):
            change()
            assert torch.equal(doubled.get(), doubled.source * 2), number
        assert doubled.made == number + 2


def test_changes_inside_inference_mode_are_seen():
    doubled = Doubled(nn.Parameter(torch.randn(3)))
    with torch.inference_mode():
        assert doubled.get() is doubled.get()
        doubled.source.mul_(3)
        assert torch.equal(doubled.get(), doubled.source * 2)
    with torch.no_grad():
        assert not doubled.get().is_inference()


def test_nothing_is_kept_while_gradients_are_on():
    doubled = Doubled(nn.Parameter(torch.randn(3)))
    doubled.get().sum().backward()
    assert torch.equal(doubled.source.grad, torch.full((3,), 2.0))


def test_inference_tensors_are_never_trusted():
    with torch.inference_mode():
        doubled = Doubled(torch.randn(3))
        doubled.get()
        doubled.source.mul_(3)  # counts no version
        assert torch.equal(doubled.get(), doubled.source * 2)


def test_copies_begin_empty():
    doubled = Doubled(nn.Parameter(torch.randn(3)))
    with torch.no_grad():
        doubled.get()
        for copied in (copy.deepcopy(doubled), pickle.loads(pickle.dumps(doubled))):  # noqa: S301
            assert copied.kept._value is None
            assert torch.equal(copied.get(), doubled.get())
