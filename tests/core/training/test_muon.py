"""Muon: what its update is, in which precision, and in how few operations."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from almtok.core.training import muon as module
from almtok.core.training.muon import POLYNOMIALS, Muon, orthogonalize

SHAPES = [(6, 6), (6, 16), (16, 6), (6, 7)]


def plain(matrix: torch.Tensor) -> torch.Tensor:
    """The polynomials of the singular values themselves, in float64."""
    u, x, v = torch.linalg.svd(matrix.double() / (1.01 * matrix.double().norm()))
    for a, b, c in POLYNOMIALS:
        x = a * x + b * x**3 + c * x**5
    return u[:, : len(x)] @ torch.diag(x) @ v[: len(x)]


@pytest.mark.parametrize("shape", [(8, 8), (8, 11), (8, 32), (1, 5)])
def test_a_batch_is_each_matrix_alone_in_float32(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    made = orthogonalize(matrices, torch.float32)
    expected = torch.stack([plain(one) for one in matrices])
    # Four iterations, whose slopes at zero multiply to 296, enlarge a rounding of 2^-24 to 2e-5.
    assert (made - expected).abs().max() < 1e-4


def test_singular_values_come_near_one() -> None:
    values = torch.logspace(0, -2, 32)
    u, _, v = torch.linalg.svd(torch.randn(32, 48, generator=torch.Generator().manual_seed(0)))
    matrix = u @ torch.diag(values) @ v[:32]
    assert values.min() / values.norm() > 0.003
    for dtype in (torch.float32, torch.bfloat16):
        found = torch.linalg.svdvals(orthogonalize(matrix[None], dtype)[0].float())
        assert 0.75 < found.min() and found.max() < 1.25


def test_bfloat16_differs_by_its_own_rounding() -> None:
    matrices = torch.randn(2, 16, 48, generator=torch.Generator().manual_seed(0))
    made = orthogonalize(matrices, torch.bfloat16)
    expected = torch.stack([plain(one) for one in matrices])
    assert made.dtype == torch.bfloat16
    assert (made - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_precision_is_the_device_s(
    native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "native_bfloat16", lambda device: native)
    assert orthogonalize(torch.randn(1, 4, 4)).dtype == dtype


def steps_of(optimizer_of, count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    optimizer = optimizer_of(parameters)
    for _ in range(count):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def test_steps_are_nearly_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Momentum, decay and scale are the same; its singular values are less near one."""
    rates = {"lr": 0.02, "weight_decay": 0.1}
    theirs = steps_of(lambda p: torch.optim.Muon(p, adjust_lr_fn="match_rms_adamw", **rates))
    for native in (True, False):
        monkeypatch.setattr(module, "native_bfloat16", lambda device, native=native: native)
        ours = steps_of(lambda p: Muon(p, **rates))
        for shape, a, b in zip(SHAPES, ours, theirs, strict=True):
            # Three updates of root mean square 0.2 x 0.02, whose singular values differ by up to
            # a half (0.8 to 1.2 against 0.7 to 1.2).
            assert (a - b).norm() < 0.5 * 3 * 0.2 * 0.02 * a.numel() ** 0.5, shape


def test_chunks_of_a_batch_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "native_bfloat16", lambda device: False)
    whole = steps_of(lambda p: Muon([*p, *p[:0]], lr=0.02))
    monkeypatch.setattr(module, "_MAX_BATCH", 1)
    for a, b in zip(whole, steps_of(lambda p: Muon(p, lr=0.02)), strict=True):
        assert (a - b).abs().max() < 1e-6


class Counter(TorchDispatchMode):
    """Counts operations that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        self.count += name not in {"view", "t", "transpose", "detach", "unbind", "select", "alias"}
        return func(*args, **(kwargs or {}))


def test_operations_grow_with_shapes_and_not_with_layers() -> None:
    counts = []
    for layers in (2, 28):
        shapes = [(32, 32), (16, 32), (96, 32), (32, 96)] * layers
        parameters = [nn.Parameter(torch.randn(shape)) for shape in shapes]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimizer = Muon(parameters, lr=0.02)
        optimizer.step()  # makes the momentum
        with Counter() as counter:
            optimizer.step()
        counts.append(counter.count)
    assert counts[0] == counts[1] < 200  # by Gram matrices more than by the plain iterations


def test_only_matrices_are_taken() -> None:
    with pytest.raises(ValueError, match=r"must be matrices, got shape \(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)
