"""Make the models of a package known to the Auto classes of transformers, without importing either.

`AutoModel.register` needs the classes themselves, so that importing a package would import torch
and transformers. transformers lists its own models by name, and imports a model's module when it is
first used. Here the names of the package's classes are added to those lists when transformers
imports them; the package resolves them (`core/lazy.py`).

Imports the standard library only, and costs nothing until transformers' Auto classes are imported.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_AUTO = "transformers.models.auto."
_CONFIGS = _AUTO + "configuration_auto"

# Names of a module's list -> model type -> name of a class.
Names = Mapping[str, Mapping[str, str]]


class _Finder(MetaPathFinder):
    """Finds the modules of transformers that list models, and adds a package's names to them."""

    def __init__(self, package: str, modules: Mapping[str, Names]) -> None:
        self.package = package
        self.modules = modules  # by their names within `transformers.models.auto`

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec with a wrapped loader; None for all other modules."""
        if not fullname.startswith(_AUTO) or fullname.removeprefix(_AUTO) not in self.modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _AddingLoader(spec.loader, self)
        return spec

    def add_names(self, module: ModuleType) -> None:
        """Add the names to a module's lists."""
        configs = self.modules[_CONFIGS.removeprefix(_AUTO)]["CONFIG_MAPPING_NAMES"]
        for name, classes in self.modules[module.__name__.removeprefix(_AUTO)].items():
            getattr(module, name).update(classes)
        for value in vars(module).values():  # made before, of the configurations then known
            if hasattr(value, "_reverse_config_mapping"):
                value._reverse_config_mapping.update({v: k for k, v in configs.items()})
        for model_type in configs:  # where transformers looks for the classes
            sys.modules[f"transformers.models.{model_type}"] = sys.modules[self.package]


class _AddingLoader(Loader):
    """Wraps a loader; adds the names to the loaded module."""

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self.loader, self.finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module with the wrapped loader."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, and add the names."""
        self.loader.exec_module(module)
        self.finder.add_names(module)


def install(package: str, modules: Mapping[str, Names]) -> None:
    """Make classes of a package known, whether transformers was imported or not.

    Args:
        package: name of the imported package; the classes are among its attributes.
        modules: module of `transformers.models.auto` -> its list -> model type -> class name. Every
            model type is in `CONFIG_MAPPING_NAMES` of `configuration_auto`.
    """
    finder = _Finder(package, modules)
    sys.meta_path.insert(0, finder)
    for name in modules:
        if _AUTO + name in sys.modules:
            finder.add_names(sys.modules[_AUTO + name])
