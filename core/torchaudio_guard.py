"""Let torchaudio be imported beside a CPU build of PyTorch.

torchaudio's Linux wheel is linked against CUDA. Beside a CPU-only torch its compiled part cannot be
loaded and ``import torchaudio`` raises ``OSError``, which also breaks every transformers model (its
``audio_utils`` imports torchaudio as soon as the package exists). The Python part, all that almtok
and transformers use, needs nothing compiled. So the first load of ``torchaudio._extension`` is
watched: where it works nothing changes, where it fails the three names that the rest of torchaudio
asks for are set to "not available".

Standard library only, and no cost until torchaudio is imported.
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
    """Runs the real loader; a compiled part that cannot be loaded becomes "not available"."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave the creation of the module to the real loader."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module; on a missing library give it the three names others import from it."""
        try:
            self.loader.exec_module(module)
        except (OSError, ImportError) as error:
            _mark_unavailable(module, str(error).splitlines()[0])


class _ExtensionFinder(MetaPathFinder):
    """Answers for ``torchaudio._extension`` alone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the real spec with a forgiving loader, or None for every other module."""
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
                f"loaded beside this build of PyTorch ({reason})"
            )

        return unavailable

    vars(module).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=fail_if_no_align,
    )


def install() -> None:
    """Put the guard first on ``sys.meta_path``, once."""
    if not any(isinstance(finder, _ExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ExtensionFinder())
