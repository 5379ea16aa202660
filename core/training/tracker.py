"""Trackers: where the curves and samples of a training run are shown.

``tensorboard`` writes files in the run folder, ``wandb`` writes there too (offline unless
``WANDB_MODE`` says otherwise), ``trackio`` writes its local database (``TRACKIO_DIR``). A resumed
run writes no point twice.

Shapes: `S` samples, `H`, `W` pixels.
"""

from __future__ import annotations

import abc
import html
import importlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..choices import TRACKERS
from ..files import write_json
from ..reading import read_json_object, reading

STATE = "tracker.json"
_PROJECT = "almtok"


class Tracker(abc.ABC):
    """Receives what a run reports, in its first process.

    Names of values have folders, such as ``loss/mel``.
    """

    @abc.abstractmethod
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add numbers of a step."""

    @abc.abstractmethod
    def text(self, name: str, text: str, step: int) -> None:
        """Add a text."""

    @abc.abstractmethod
    def image(self, name: str, pixels: npt.NDArray[np.uint8], step: int) -> None:
        """Add a picture `[H, W, 3]`."""

    @abc.abstractmethod
    def audio(self, name: str, wav: Any, sample_rate: int, step: int) -> None:
        """Add samples `[S]`; those outside of [-1, 1] are clipped."""

    @abc.abstractmethod
    def close(self) -> None:
        """Write what is held back and end."""

    def flush(self) -> None:  # noqa: B027  (nothing to do by default)
        """Write what is held back."""


def open_tracker(name: str, run: Path, step: int, config: Mapping[str, Any]) -> Tracker | None:
    """Return the tracker of a run, at the step where the run starts or resumes.

    Args:
        name: One of ``TRACKERS``.
        run: Run folder.
        step: Steps done before.
        config: Configuration of the run, which some trackers show.

    Returns:
        The tracker; None for ``none``, and for ``tensorboard`` where it is not installed.

    Raises:
        ValueError: The name is unknown, or the package of ``wandb`` or ``trackio`` is missing.
    """
    if name not in TRACKERS:
        raise ValueError(f"tracker must be one of {', '.join(TRACKERS)}, got {name!r}")
    if name == "none":
        return None
    if name == "tensorboard":
        try:
            return TensorBoard(run, step)
        except ImportError:
            return None
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"tracker {name!r} needs the package {name} ({error}): pip install 'almtok[trackers]'"
        ) from error
    return (Wandb if name == "wandb" else Trackio)(module, run, config)


class TensorBoard(Tracker):
    """Writes ``OUT/tensorboard``; points after the resumed step are purged when it is read."""

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Readers drop the points of the purged step and later ones.
        purged = step + 1 if step else None
        self._board = SummaryWriter(os.fspath(run / "tensorboard"), purge_step=purged)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add numbers of a step."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def text(self, name: str, text: str, step: int) -> None:
        """Add a text."""
        self._board.add_text(name, text, step)

    def image(self, name: str, pixels: npt.NDArray[np.uint8], step: int) -> None:
        """Add a picture `[H, W, 3]`."""
        self._board.add_image(name, pixels, step, dataformats="HWC")

    def audio(self, name: str, wav: Any, sample_rate: int, step: int) -> None:
        """Add samples `[S]`."""
        self._board.add_audio(name, _clipped(wav), step, sample_rate=sample_rate)

    def flush(self) -> None:
        """Write what is held back."""
        self._board.flush()

    def close(self) -> None:
        """Close the file."""
        self._board.close()


class _Hosted(Tracker):
    """Base of trackers that keep points for good: wandb, and trackio, which has its interface.

    ``OUT/tracker.json`` holds the id of the run and the last step of each name. It is written
    before the points: a run that resumes from an earlier step leaves out what was written, which
    would be the same.
    """

    def __init__(self, module: Any, run: Path) -> None:
        self._module, self._path = module, run / STATE
        state: dict[str, Any] = {}
        if self._path.exists():
            with reading(self._path):
                state = read_json_object(self._path)
        kind = type(self).__name__.lower()
        known = state if state.get("tracker") == kind else {}
        self._state: dict[str, Any] = {
            "tracker": kind,
            "id": known.get("id", secrets.token_hex(4)),
            "steps": dict(known.get("steps", {})),
        }
        write_json(self._path, self._state)
        self.id: str = self._state["id"]

    @abc.abstractmethod
    def _text(self, text: str) -> Any:
        """A text as an object of the module."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add numbers of a step."""
        self._log({name: float(value) for name, value in values.items()}, step)

    def text(self, name: str, text: str, step: int) -> None:
        """Add a text."""
        self._log({name: self._text(text)}, step)

    def image(self, name: str, pixels: npt.NDArray[np.uint8], step: int) -> None:
        """Add a picture `[H, W, 3]`."""
        self._log({name: self._module.Image(pixels)}, step)

    def audio(self, name: str, wav: Any, sample_rate: int, step: int) -> None:
        """Add samples `[S]`."""
        pcm = (_clipped(wav) * 32767).round().astype(np.int16)
        self._log({name: self._module.Audio(pcm, sample_rate=sample_rate)}, step)

    def close(self) -> None:
        """End the run; it can be resumed."""
        self._module.finish()

    def _log(self, values: dict[str, Any], step: int) -> None:
        steps = self._state["steps"]
        new = {name: value for name, value in values.items() if steps.get(name, -1) < step}
        if new:
            steps.update(dict.fromkeys(new, step))
            write_json(self._path, self._state)
            self._module.log(new, step=step)


class Wandb(_Hosted):
    """Weights & Biases: ``OUT/wandb``, which ``wandb sync`` uploads."""

    def __init__(self, module: Any, run: Path, config: Mapping[str, Any]) -> None:
        super().__init__(module, run)
        module.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=_name(run),
            id=self.id,
            dir=os.fspath(run),
            config=dict(config),
            mode=os.environ.get("WANDB_MODE", "offline"),
            resume="allow",
            settings=module.Settings(console="off", silent=True),
        )

    def _text(self, text: str) -> Any:
        return self._module.Html(f"<pre>{html.escape(text)}</pre>")


class Trackio(_Hosted):
    """Trackio: its local database, which ``trackio show`` displays."""

    def __init__(self, module: Any, run: Path, config: Mapping[str, Any]) -> None:
        super().__init__(module, run)
        module.init(
            project=os.environ.get("TRACKIO_PROJECT", _PROJECT),
            name=f"{_name(run)}-{self.id}",  # the name is the identity of a run
            config=dict(config),
            resume="allow",
            embed=False,
        )

    def _text(self, text: str) -> Any:
        return self._module.Markdown(text)


def _name(run: Path) -> str:
    """Name of a run: the last two folders, since stages of all recipes have the same names."""
    return "/".join(run.resolve().parts[-2:])


def _clipped(wav: Any) -> npt.NDArray[np.float32]:
    return np.clip(np.asarray(wav, dtype=np.float32), -1.0, 1.0)
