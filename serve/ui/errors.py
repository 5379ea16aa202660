"""Errors of the page: one sentence for the visitor, the traceback in the log of the server."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

logger = logging.getLogger(__name__)

INTERNAL = "Something went wrong on the server; its log has the details."


def one_sentence(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an event handler, or a generator of outputs, so that it raises ``gr.Error`` only."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*args: Any) -> Iterator[Any]:
            with _converted():
                yield from function(*args)

        return generate

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with _converted():
            return function(*args)

    return call


@contextmanager
def _converted() -> Iterator[None]:
    try:
        yield
    except gr.Error:
        raise
    except (ValueError, OSError) as error:
        raise gr.Error(_sentence(error), title="", print_exception=False) from error
    except Exception as error:
        logger.exception("an event of the page failed")
        raise gr.Error(INTERNAL, title="", print_exception=False) from error


def _sentence(error: Exception) -> str:
    """The message in one line, without the folder of an uploaded file."""
    text = " ".join(str(error).split()) or type(error).__name__
    words = (word.strip("'\"():;,") for word in text.split())
    for word in words:
        if word.startswith("/") and Path(word).name:
            text = text.replace(word, Path(word).name)
    return text[0].upper() + text[1:]
