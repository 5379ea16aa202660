"""A pretended accelerator: code that assumes the CPU fails on it as it would on a real one.

Its tensors say that they live on the device `pretend`, keep real numbers on the CPU, and refuse
what a GPU, or Apple's MPS, refuses: tensors of two devices in one operation, double precision,
random numbers of a generator that belongs to the CPU, operations that MPS does not have. So tests
can show on a machine without any accelerator that nothing assumes the CPU.

Use::

    with pretend_device() as device:
        model.to(device)(x.to(device))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

NAME = "pretend"
_WIDE = {torch.float64, torch.complex128}
_TO_ANOTHER_DEVICE = {"_to_copy", "copy_"}
_INDICES_FROM_THE_CPU = {"index", "index_put_", "index_put", "_index_put_impl_"}
_MISSING = {"_ctc_loss", "_ctc_loss_backward"}  # of what a codec or language model asks, on MPS
_active = False
_libraries: list[Any] = []  # a registration lasts as long as its object


class Refused(RuntimeError):
    """What a real accelerator would not do either."""


class PretendTensor(Tensor):
    """Numbers on the CPU that say they live on the pretended device."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> PretendTensor:
        if inner.dtype in _WIDE:
            raise Refused(f"the pretended device has no {inner.dtype}")
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        return f"PretendTensor({self.inner!r})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else repr(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> PretendTensor:
        if id(self) not in memo:
            copy: Any = PretendTensor(self.inner.clone()).requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copy._is_param = True
            memo[id(self)] = copy
        return memo[id(self)]

    def data_ptr(self) -> int:
        """The address of the numbers."""
        return self.inner.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        """Where they lie, for those who look which tensors share memory."""
        return self.inner.untyped_storage()

    def tolist(self) -> Any:
        """The numbers, as from any device."""
        return self.inner.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """What any device says to it."""
        if not force:
            raise TypeError(f"can't convert {NAME} device type tensor to numpy. Use Tensor.cpu()")
        return self.inner.detach().numpy()


class _Factories(TorchDispatchMode):
    """Sees what is made on, or moved to, the pretended device before a tensor of it exists."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        ours = _is_ours(kwargs) or any(isinstance(x, PretendTensor) for x in _leaves(args, kwargs))
        return _compute(func, args, kwargs) if ours else func(*args, **kwargs)


class _FromPython(TorchFunctionMode):
    """`torch.tensor` on the pretended device: PyTorch would not ask the class above."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.new_tensor and isinstance(args[0], PretendTensor):
            return torch.tensor(args[1], **{"dtype": args[0].dtype, **kwargs}).to(args[0].device)
        if func not in (torch.tensor, torch.as_tensor) or not _is_ours(kwargs):
            return func(*args, **kwargs)
        if isinstance(args[0], PretendTensor):
            return args[0].to(**kwargs)
        device = kwargs.pop("device")
        return func(*args, **kwargs).to(device)


def _leaves(*values: Any) -> Iterator[Any]:
    """What the arguments of an operation hold: PyTorch's own pytrees take most of a test's time."""
    for value in values:
        if type(value) in (list, tuple):
            yield from _leaves(*value)
        elif type(value) is dict:
            yield from _leaves(*value.values())
        else:
            yield value


def _map(change: Callable[[Any], Any], value: Any) -> Any:
    """Change each leaf of arguments or results."""
    if type(value) in (list, tuple):
        return type(value)([_map(change, one) for one in value])
    if type(value) is dict:
        return {name: _map(change, one) for name, one in value.items()}
    return change(value)


def _is_ours(kwargs: dict[str, Any]) -> bool:
    device = kwargs.get("device")
    return device is not None and torch.device(device).type == NAME


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do on the CPU what the pretended device is asked for, or refuse."""
    name = func._schema.name.removeprefix("aten::")
    if name in _MISSING:
        raise Refused(f"{name}: not every device can do it")
    given = [x for x in _leaves(args, kwargs) if isinstance(x, Tensor)]
    ours = [x for x in given if isinstance(x, PretendTensor)]
    _check_devices(func, name, args, given, ours)
    leaves = _is_ours(kwargs) if kwargs.get("device") is not None else bool(ours)
    if name == "copy_":
        leaves = isinstance(args[0], PretendTensor)
    if isinstance(kwargs.get("generator"), torch.Generator) and leaves:
        raise Refused(f"{name}: the generator belongs to the CPU, the tensor to the device")
    if name == "_to_copy" and ours and kwargs.get("dtype") in _WIDE:
        raise Refused(f"{name}: {kwargs['dtype']} before it is moved, which the device has not")
    if leaves and kwargs.get("dtype") in _WIDE:
        raise Refused(f"{name}: the pretended device has no {kwargs['dtype']}")
    before = {id(x.inner): x for x in ours}

    def unwrap(x: Any) -> Any:
        if isinstance(x, PretendTensor):
            return x.inner
        return torch.device("cpu") if isinstance(x, torch.device) else x

    def wrap(x: Any) -> Any:
        if not isinstance(x, Tensor) or not leaves:
            return x
        return before[id(x)] if id(x) in before else PretendTensor(x)

    if name == "_to_copy" and args[0].device.type != ("cpu" if not leaves else NAME):
        kwargs = {k: v for k, v in kwargs.items() if k not in ("non_blocking", "pin_memory")}
    with torch.inference_mode(False), torch.no_grad():  # autograd sees the outer tensors only
        return _map(wrap, func(*_map(unwrap, args), **_map(unwrap, kwargs)))


def _check_devices(
    func: Any, name: str, args: Any, given: list[Tensor], ours: list[PretendTensor]
) -> None:
    """Refuse tensors of two devices, but for single numbers in operations by element."""
    if not ours or name in _TO_ANOTHER_DEVICE:
        return
    strange = [x for x in given if not isinstance(x, PretendTensor)]
    if name in _INDICES_FROM_THE_CPU and isinstance(args[0], PretendTensor):
        values = args[2] if len(args) > 2 else None
        strange = [x for x in strange if x is values]
        allowed = True
    else:
        allowed = torch.Tag.pointwise in func.tags or name in ("fill_", "masked_fill_")
        allowed = allowed and not (name.endswith("_") and args[0] in _identical(strange))
    for x in strange:
        if x.dim() > 0 or not allowed:
            raise Refused(
                f"{name}: a tensor {tuple(x.shape)} of {x.dtype} is on the CPU, another one"
                f" {tuple(ours[0].shape)} of {ours[0].dtype} on the device"
            )


class _identical:
    """`in` by identity: tensors are compared number by number otherwise."""

    def __init__(self, members: list[Tensor]) -> None:
        self._ids = {id(member) for member in members}

    def __contains__(self, one: object) -> bool:
        return id(one) in self._ids


# ---------------------------------------------------------------------- what PyTorch has to know


class _Module:
    """What lies at `torch.pretend`."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return _active

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return int(_active)

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class _Hook(torch._C._acc.PrivateUse1Hooks):
    def is_available(self) -> bool:
        return _active

    def has_primary_context(self, dev_id: int) -> bool:
        return True

    def is_built(self) -> bool:
        return _active


def _register_autocast() -> None:
    """Products in the precision of autocast, everything else as it comes."""
    key = "AutocastPrivateUse1"
    others, products = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    others.fallback(torch.library.fallthrough_kernel, key)
    for name in ("linear", "matmul", "mm", "bmm", "addmm", "conv1d", "conv2d", "conv_transpose1d"):
        overload = "input" if name == "conv_transpose1d" else "default"
        products.impl(f"{name}.input" if overload == "input" else name, _cast(name, overload), key)
    _libraries.extend((others, products))


def _cast(name: str, overload: str) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.get_autocast_dtype(NAME)

        def cast(x: Any) -> Any:
            floating = isinstance(x, Tensor) and x.is_floating_point()
            return x.to(dtype) if floating else x

        with torch.autocast(NAME, enabled=False):
            call = getattr(getattr(torch.ops.aten, name), overload)
            return call(*_map(cast, args), **_map(cast, kwargs))

    return run


def _register() -> None:
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Module(), _Hook())
    _register_autocast()


@contextmanager
def pretend_device() -> Iterator[torch.device]:
    """The pretended device, while the block runs."""
    global _active
    _active = True
    try:
        # There is nothing to wait for, and a backend in Python has no way to say so.
        waits = mock.patch.object(torch.accelerator, "synchronize", lambda device=None: None)
        with waits, _Factories(), _FromPython():
            yield torch.device(NAME, 0)
    finally:
        _active = False


# When this file is imported, not when a device is asked for: autograd counts the devices that there
# are at the first backward pass of the process, which may be another test's.
_register()
