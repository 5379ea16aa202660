"""Atomic files whose bytes depend on their content only."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ...core.reading import UnreadableFile, reading


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with the path of a temporary file, then rename it to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.tmp-", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        # mkstemp creates files that only their owner may read.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata to a safetensors file.

    The metadata have a single key: safetensors writes several in random order, and equal priors
    must be equal files.
    """
    data = save(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        metadata={"about": json.dumps(metadata, sort_keys=True)},
    )
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the metadata of a file of ``save_tensors``.

    Raises:
        ValueError: The file is damaged, or holds NaN or infinite numbers.
        OSError: The file cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    with reading(path):
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("about", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not isinstance(metadata, dict):
            raise UnreadableFile(f"{path}: metadata must be a JSON object, got {metadata!r:.80}")
        for name, value in tensors.items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise UnreadableFile(f"{path}: {name} has NaN or infinite values")
    return tensors, metadata


def hash_json(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
