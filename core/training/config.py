"""Base of all training configurations: JSON and comparison of runs.

Does not import torch.
"""

import dataclasses
import difflib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..reading import read_json_object, reading


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Base of the configurations of training runs.

    ``FREE_FIELDS`` do not change the result of a run: it may be resumed with other values of them.
    """

    FREE_FIELDS: ClassVar[frozenset[str]] = frozenset(
        {
            "out",
            "num_workers",
            "log_every",
            "checkpoint_every",
            "checkpoint_minutes",
            "keep",
            "validate_every",
            "tracker",
            "progress",
            "device",
            "max_skips",
        }
    )

    # Every config defines these fields, with its own defaults and help texts.
    if TYPE_CHECKING:
        out: str
        steps: int
        schedule: str
        warmup_steps: int
        lr_floor: float
        log_every: int
        validate_every: int
        checkpoint_every: int
        checkpoint_minutes: float
        keep: int
        max_skips: int
        tracker: str
        progress: bool

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def refuse_unknown(cls, names: Mapping[str, Any]) -> None:
        """Raise ``ValueError`` for a key that is not a field, with the most similar field."""
        fields = [field.name for field in dataclasses.fields(cls)]
        for name in names:
            if name not in fields:
                similar = difflib.get_close_matches(name, fields, n=1)
                hint = f"; did you mean {similar[0]!r}?" if similar else ""
                raise ValueError(f"unknown training option {name!r}{hint}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the config with these fields.

        Raises:
            ValueError: A key is unknown, or a value has another type than its field.
        """
        values = cls.renamed(values)
        cls.refuse_unknown(values)
        return cls(**values)

    @staticmethod
    def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of an earlier version under their names of this one."""
        values = dict(values)
        if (shown := values.pop("tensorboard", None)) is not None:
            values.setdefault("tracker", "tensorboard" if shown else "none")
        return values

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Self:
        """Read a config from a JSON file with any subset of the fields.

        Raises:
            ValueError: The file holds no valid configuration; the message names it.
            OSError: The file cannot be read.
        """
        with reading(path):
            return cls.from_dict(read_json_object(path))

    def code_flags(self) -> list[str]:
        """Flags of values that name code, which a file of ``--config`` may not do."""
        return []

    def differences(self, other: Self) -> list[str]:
        """Return the fields that make ``other`` a different run, as ``name: value -> other``."""
        free = set(self.FREE_FIELDS)
        if self.schedule == other.schedule == "constant":
            free.add("steps")  # then it only determines the end
        return [
            f"{field.name}: {value!r} -> {other_value!r}"
            for field in dataclasses.fields(self)
            if field.name not in free
            and (value := getattr(self, field.name)) != (other_value := getattr(other, field.name))
        ]
