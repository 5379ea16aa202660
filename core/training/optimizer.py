"""Optimisers, gradient averaging over processes, and optimiser states as flat tensors."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .muon import Muon

NamedParameters = Mapping[str, nn.Parameter]


def make_adamw(
    parameters: NamedParameters,
    *,
    lr: float,
    betas: Sequence[float],
    weight_decay: float,
    lr_scales: Mapping[str, float] | None = None,
) -> torch.optim.AdamW:
    """AdamW without decay on norms, biases and tokens.

    Args:
        parameters: What is trained, by name.
        lr: Peak learning rate.
        betas: The two decay rates.
        weight_decay: For matrices and kernels.
        lr_scales: Learning rate factor by name prefix (others: 1).
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        scales = [s for prefix, s in (lr_scales or {}).items() if name.startswith(prefix)]
        decays = parameter.numel() > max(parameter.shape)  # a gain [O, 1] is a vector too
        groups.setdefault((decays, scales[0] if scales else 1.0), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": group, "weight_decay": weight_decay * decays, "lr": lr * scale,
             "peak_lr": lr * scale}
            for (decays, scale), group in groups.items()
        ],
        betas=(betas[0], betas[1]),
        eps=1e-8,
        fused=True,
    )  # fmt: skip


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the matrices inside Transformers, AdamW for everything else, as one optimiser.

    Muon orthogonalises the momentum of a matrix, so that all its directions learn at one rate. The
    query Transformers of the `mini` preset reached with it after 160 steps the mel distance that
    AdamW needed 450 steps for, at 1.15 times the cost of a step.
    """

    def __init__(self, adamw: torch.optim.Optimizer, muon: torch.optim.Optimizer):
        # No call of super: both parts are optimisers already, and this one owns nothing but them.
        self.parts = (adamw, muon)
        self.param_groups = [*adamw.param_groups, *muon.param_groups]
        self.state = muon.state = adamw.state  # keyed by parameter, and no parameter is in both

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Nothing, before the first step: accelerate moves an optimiser's state so.

        Raises:
            ValueError: there is a state; :func:`flatten_state` takes it.
        """
        if self.state:
            raise ValueError("this optimiser is saved by its parameters' names: flatten_state")
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The reverse of :meth:`state_dict`: nothing comes back."""
        if state_dict:
            raise ValueError("this optimiser is restored by its parameters' names")


def make_muon(
    parameters: NamedParameters,
    *,
    lr: float,
    weight_decay: float,
    adamw: dict[str, Any],
    layers: str = ".transformer.layers.",
) -> MuonWithAdamW:
    """Muon for the Transformers' matrices, :func:`make_adamw` for the rest.

    Args:
        parameters: What is trained, by name.
        lr: Peak learning rate of the matrices, on AdamW's scale (Moonlight's rule).
        weight_decay: For the matrices.
        adamw: Keywords of :func:`make_adamw`.
        layers: What the names of a Transformer's layers contain.

    Raises:
        ValueError: No matrix of a Transformer is among the parameters.
    """
    inner = {n: p for n, p in parameters.items() if layers in n and p.ndim == 2}
    rest = {n: p for n, p in parameters.items() if n not in inner}
    if not inner:
        raise ValueError("muon trains the matrices of Transformers, but this run trains none")
    group = {"params": list(inner.values()), "lr": lr, "peak_lr": lr}
    muon = Muon([group], lr=lr, weight_decay=weight_decay)
    return MuonWithAdamW(make_adamw(rest, **adamw), muon)


def set_lr(optimizer: torch.optim.Optimizer, scale: float) -> None:
    """Set every group's rate to this share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * scale


@torch.no_grad()
def mark_changed(parameters: Iterable[nn.Parameter]) -> None:
    """Raise the version counters of updated weights, which fused optimisers leave as they were.

    Caches of derived weights (packed linears, fused weight norm, the fingerprint) rely on them.
    """
    for parameter in parameters:
        parameter.view(-1)[:0].zero_()  # touches nothing but the counter


def flatten_state(optimizer: torch.optim.Optimizer, names: NamedParameters) -> dict[str, Tensor]:
    """An optimiser's tensors as ``<parameter>.<entry>``."""
    return {
        f"{name}.{entry}": value
        for name, parameter in names.items()
        for entry, value in optimizer.state.get(parameter, {}).items()
    }


def restore_state(
    optimizer: torch.optim.Optimizer, names: NamedParameters, values: Mapping[str, Tensor]
) -> None:
    """The reverse of :func:`flatten_state`."""
    optimizer.state.clear()
    for key, value in values.items():
        name, _, entry = key.rpartition(".")
        if name not in names:
            raise ValueError(f"optimiser state of an unknown parameter: {name}")
        parameter = names[name]
        optimizer.state[parameter][entry] = value.clone().to(parameter.device)


def gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The gradients that exist."""
    return [p.grad for p in parameters if p.grad is not None]


def average_gradients(
    parameters: Sequence[nn.Parameter],
    flags: Tensor,
    reduce: Callable[[Tensor], Tensor],
) -> Tensor:
    """Average all gradients, and some flags, over the processes by one flat exchange.

    Args:
        parameters: In the same order in every process; the same ones must have a gradient.
        flags: float32 ``[N]``, e.g. 1 where this process wants to stop.
        reduce: Mean of a tensor over the processes.

    Returns:
        The averaged flags, ``[N]``: above zero where any process had set one.
    """
    found = gradients(parameters)
    flat = reduce(torch.cat([flags, *(gradient.reshape(-1) for gradient in found)]))
    position = flags.numel()
    for gradient in found:
        gradient.copy_(flat[position : position + gradient.numel()].view_as(gradient))
        position += gradient.numel()
    return flat[: flags.numel()]


def gradient_norm(parameters: Iterable[nn.Parameter]) -> float:
    """Euclidean norm over all gradients; not finite if any gradient is not."""
    found = gradients(parameters)
    if not found:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(found))))


def clip(parameters: Iterable[nn.Parameter], norm: float, limit: float) -> None:
    """Scale the gradients down so that their norm, given, is at most ``limit`` (0: never)."""
    if limit > 0 and norm > limit:
        torch._foreach_mul_(gradients(parameters), limit / norm)
