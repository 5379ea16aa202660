"""Commands show their own progress, not that of every model they load or save."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def no_inner_bars() -> Iterator[None]:
    """Without the bars that transformers shows for the weights of every loaded or saved model."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
