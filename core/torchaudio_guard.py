"""Make torchaudio importable with a CPU build of PyTorch.

torchaudio's Linux wheel is linked against CUDA. With a CPU build of torch its compiled part cannot
be loaded and ``import torchaudio`` raises ``OSError``, as do all transformers models
(``audio_utils`` imports torchaudio if it is installed). almtok and transformers use only the Python
part. If ``torchaudio._extension`` cannot be loaded, the three names that the rest of torchaudio
imports from it are set to "not available".

Imports the standard library only, and costs nothing until torchaudio is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

EXTENSION = "torchaudio._extension"


class _ForgivingLoader(Loader):
    """Wraps a loader; an extension that cannot be loaded becomes "not available"."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module with the wrapped loader."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module; if a library is missing, define the names that others import from it."""
        try:
            self.loader.exec_module(module)
        except (OSError, ImportError) as error:
            _mark_unavailable(module, str(error).splitlines()[0])


class _ExtensionFinder(MetaPathFinder):
    """Finds ``torchaudio._extension`` only."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec with the wrapped loader; None for all other modules."""
        if fullname != EXTENSION:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ForgivingLoader(spec.loader)
        return spec


def _mark_unavailable(module: ModuleType, reason: str) -> None:
    def fail_if_no_align(function: Callable[..., Any]) -> Callable[..., Any]:
        def unavailable(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError(
                f"torchaudio's {function.__name__} needs its compiled part, which cannot be "
                f"loaded with this build of PyTorch ({reason})"
            )

        return unavailable

    vars(module).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=fail_if_no_align,
    )


def install() -> None:
    """Insert the guard at the start of ``sys.meta_path``, once."""
    if not any(isinstance(finder, _ExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ExtensionFinder())
