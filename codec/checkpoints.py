"""The checkpoints that come with almtok, found without a path."""

from pathlib import Path

_PLACE = Path(__file__).resolve().parent.parent / "checkpoints"
DEFAULT = _PLACE / "mini"  # with a codec and a language model


def shipped(name: str = "mini") -> Path:
    """Folder of a checkpoint that comes with almtok: `codec/`, `lm/` and `card.json`.

    Raises:
        ValueError: there is none of this name.
    """
    folder = _PLACE / name
    if not folder.is_dir():
        known = ", ".join(sorted(p.name for p in _PLACE.glob("*/"))) or "none"
        raise ValueError(f"no checkpoint {name!r} comes with this almtok; there is: {known}")
    return folder
