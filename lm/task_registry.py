"""Registry of tasks: lookup by name, or by the module or file that registers a task.

Tasks are defined above this package (`almtok.tasks`) and register themselves here.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .layouts import TaskLayout, load_providers, register_layout, unknown

if TYPE_CHECKING:
    from .data.rows import TokenRow
    from .sequences import Example


class TrainableTask(Protocol):
    """What training needs of a task; `almtok.tasks.Task` implements it."""

    @property
    def name(self) -> str:
        """Name of the task."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains of its rows; empty: all."""

    @property
    def draws(self) -> bool:
        """Whether an example depends on `row.draw`."""

    @property
    def layout(self) -> TaskLayout:
        """Conditions and target."""

    def to_example(self, row: TokenRow, tokenizer: Any) -> Example:
        """Example of a row; ValueError if the row does not fit the task."""


_TASKS: dict[str, Any] = {}
_LOADED: dict[str, str] = {}  # names of the tasks of modules and files
TaskOrClass = TypeVar("TaskOrClass", bound=TrainableTask | type[TrainableTask])


def register_task(task: TaskOrClass) -> TaskOrClass:
    """Register a task, and its layout, under its name; also a class decorator.

    Another task of the same name and layout is replaced.

    Returns:
        The argument.

    Raises:
        ValueError: if a task of the name has another layout.
    """
    load_providers()  # so that built-in tasks cannot replace this one later
    instance = task() if isinstance(task, type) else task
    register_layout(instance.layout)
    _TASKS[instance.name] = instance
    return task


def get_task(name: str) -> Any:
    """Look up a registered task; no module or file is imported for it.

    Args:
        name: "tts", or a module or file that :func:`load_task` has loaded.

    Raises:
        ValueError: if there is no such task.
    """
    load_providers()
    name = _LOADED.get(name, name)
    if name in _TASKS:
        return _TASKS[name]
    hint = '; your own task is loaded by its file: --tasks FILE.py, load_task("FILE.py")'
    raise ValueError(unknown("task", name, _TASKS) + hint)


def load_task(source: str) -> Any:
    """Look up a task by name, or run the module or file that registers it.

    This runs code: the source must come from a person, not from a file or a folder.

    Args:
        source: "tts", "my_package.voice_conversion" or "voice_conversion.py".

    Raises:
        ValueError: if there is no such task, or the module does not register exactly one.
        FileNotFoundError: if the file does not exist.
    """
    load_providers()
    if source in _TASKS or source in _LOADED or "." not in source:
        return get_task(source)
    task = _task_of_file(Path(source)) if source.endswith(".py") else _task_of_module(source)
    _LOADED[source] = task.name
    return task


def task_names() -> tuple[str, ...]:
    """Names of all registered tasks."""
    load_providers()
    return tuple(_TASKS)


def _task_of_module(name: str) -> Any:
    before = set(_TASKS)
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(f"no task {name!r}: there is no module {error.name}") from error
    return _only_new(name, before, name.rpartition(".")[2])


def _task_of_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    module_name = f"almtok_task_{path.stem}"
    before = set(_TASKS)
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # dataclasses look up their module while it is executed
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    return _only_new(str(path), before, path.stem)


def _only_new(where: str, before: set[str], likely: str) -> Any:
    new = [name for name in _TASKS if name not in before] or [n for n in _TASKS if n == likely]
    if len(new) != 1:
        raise ValueError(f"{where} must register one task, got {new or 'none'}")
    return _TASKS[new[0]]
