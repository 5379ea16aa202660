"""Paths of the checkpoints that almtok includes."""

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent.parent / "checkpoints"
DEFAULT = _FOLDER / "mini"  # with a codec and a language model


def shipped(name: str = "mini") -> Path:
    """Return the folder of an included checkpoint: `codec/`, `lm/` and `card.json`.

    Raises:
        ValueError: No checkpoint has this name.
    """
    folder = _FOLDER / name
    if not folder.is_dir():
        names = ", ".join(sorted(p.name for p in _FOLDER.glob("*/"))) or "none"
        raise ValueError(f"checkpoint must be one of: {names}; got {name!r}")
    return folder
