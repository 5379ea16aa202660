"""A trained codec apart from what only training needs."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from almtok.core.files import replaced_folder


def keep(model: Path, out: Path) -> None:
    """Copy a model's folder; what was there before is replaced at once."""
    with replaced_folder(out) as place:
        shutil.copytree(model, place, dirs_exist_ok=True)


def main(given: Sequence[str] | None = None) -> None:
    """Copy as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    o = parser.parse_args(given)
    keep(o.model, o.out)
