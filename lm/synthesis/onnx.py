"""onnxruntime, which runs neural synthesizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.reading import reading


def check_installed() -> None:
    """Check that onnxruntime can be imported.

    Raises:
        ModuleNotFoundError: It is not installed; the message says how to install it.
    """
    try:
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        message = "models in ONNX need onnxruntime: pip install 'almtok[synthesis]'"
        raise ModuleNotFoundError(message, name="almtok") from error


def open_session(model: Path, seed: int = 0) -> Any:
    """Open a model for one thread: parallel work is done in processes.

    Args:
        model: File.
        seed: Of the random numbers that the model draws in this session.

    Raises:
        UnreadableFile: The file is damaged.
    """
    import onnxruntime

    onnxruntime.set_seed(seed)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with reading(model):
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
