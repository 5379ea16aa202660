"""Import transformers without the modules that inference does not use.

The base classes of transformers import `torch.distributed.tensor`, `torch._dynamo`, sympy, scipy
and accelerate, for sharded training, FP8 kernels and losses of image models. They take more than
two thirds of the start-up time of `almtok tts`. During the import here,

- optional packages appear not to be installed,
- torch appears to be a build without `torch.distributed`,
- transformers lists only the models in `MODELS`, instead of reading its 2,000 model files twice;
  other models are listed when one of their names is requested,
- three modules of torch are replaced by stand-ins: their decorators return functions unchanged, and
  their classes have no instances.

Afterwards everything is restored, and the real modules can be imported. transformers itself keeps
the stand-ins, so this is only for a process that runs one model and exits (`__main__.py`).
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

OPTIONAL = ("accelerate", "scipy", "torchaudio")
# Modules of transformers that almtok's models use and that import the heavy modules.
WANTED = (
    "transformers.modeling_utils",
    "transformers.processing_utils",
    "transformers.models.llama.modeling_llama",
)
MODELS = ("auto", "llama")
_SCANNER = "transformers.utils.import_utils"
_WRAPPED = "torch._dynamo._trace_wrapped_higher_order_op"


def import_transformers() -> bool:
    """Import the parts of transformers that almtok's models need.

    Returns:
        False if nothing was imported: transformers was imported before, or this version fails with
        the stand-ins. Then the ordinary import is used.
    """
    if "transformers" in sys.modules:
        return False
    with _no_collection():
        import torch

        with _stand_ins(torch), _few_models():
            try:
                for name in WANTED:
                    import_module(name)
            except Exception:  # the ordinary import may work
                for name in [name for name in sys.modules if name.split(".")[0] == "transformers"]:
                    del sys.modules[name]
                return False
    return True


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Pause garbage collection: imports create many objects and almost no garbage."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _stand_ins(torch: Any) -> Iterator[None]:
    """Replace modules by stand-ins inside the block."""
    modules: dict[str, ModuleType | None] = dict.fromkeys(OPTIONAL)  # None: cannot be imported
    modules["torch._dynamo"] = _Decorators("torch._dynamo")
    modules[_WRAPPED] = wrapped = ModuleType(_WRAPPED)
    wrapped.TransformGetItemToIndex = _real_transform  # type: ignore[attr-defined]
    modules["torch.nn.attention.flex_attention"] = _Classes("torch.nn.attention.flex_attention")
    modules = {name: module for name, module in modules.items() if name not in sys.modules}
    distributed, is_available = torch.distributed, torch.distributed.is_available
    sys.modules.update(modules)  # type: ignore[arg-type]
    distributed.is_available = lambda: False
    try:
        yield
    finally:
        distributed.is_available = is_available
        for name in modules:
            del sys.modules[name]


@contextlib.contextmanager
def _few_models() -> Iterator[None]:
    """Let transformers list only `MODELS`, inside the block."""
    finder = _ScannerFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _ScannerFinder(MetaPathFinder):
    """Finds the module of transformers that lists models, and loads it with `_ScannerLoader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The real spec; None for every other module."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname == _SCANNER else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _ScannerLoader(spec.loader.name, spec.loader.path)
        return spec


class _ScannerLoader(SourceFileLoader):
    """Loads the module and makes it list few models at first and all on demand."""

    def exec_module(self, module: Any) -> None:
        """Run the module, then replace its function that lists files."""
        super().exec_module(module)
        scan, lazy = module.create_import_structure_from_path, module._LazyModule
        models = Path(self.path).parent.parent / "models"

        def scan_few(path: str | Path) -> dict[str, Any]:
            if Path(path) not in (models, models / "__init__.py"):
                return scan(path)
            return {name: scan(str(models / name)) for name in MODELS}

        class AllModules(lazy):  # type: ignore[misc, valid-type]
            def __getattr__(self, name: str) -> Any:
                try:
                    return super().__getattr__(name)
                except AttributeError:
                    home = _home_of(name, scan(str(models)))
                    if home is None or self.__name__ != "transformers":
                        raise
                    return getattr(import_module(f"transformers.models.{home}"), name)

        module.create_import_structure_from_path = scan_few
        module._LazyModule = AllModules


def _home_of(name: str, structure: Mapping[Any, Any], prefix: str = "") -> str | None:
    """The module that defines a name, from a listing `{requirements: {module: names}}`."""
    for key, value in structure.items():
        if isinstance(key, frozenset):
            found = next((module for module, names in value.items() if name in names), None)
        else:
            found = _home_of(name, value, f"{key}.")
        if found is not None:
            return prefix + found
    return None


class _Decorators(ModuleType):
    """Module whose functions are decorators that do nothing."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _identity


class _Classes(ModuleType):
    """Module whose names are classes without instances."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _identity(function: Any = None, *_: Any, **__: Any) -> Any:
    return _identity if function is None else function


def _real_transform(*args: Any, **kwargs: Any) -> Any:
    return import_module(_WRAPPED).TransformGetItemToIndex(*args, **kwargs)
