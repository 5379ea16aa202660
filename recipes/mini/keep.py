"""A trained codec apart from what only training needs."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path


def keep(model: Path, out: Path) -> None:
    """Copy a model's folder; what was there before is replaced at once."""
    aside = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(model, aside)
    shutil.rmtree(out, ignore_errors=True)
    aside.replace(out)


def main(given: Sequence[str] | None = None) -> None:
    """Copy as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    o = parser.parse_args(given)
    keep(o.model, o.out)
