"""One loaded model and one server for all tests of the HTTP interface."""

from functools import partial

import pytest


@pytest.fixture(scope="session")
def served_pipeline():
    """The model that comes with almtok."""
    pytest.importorskip("fastapi")
    from almtok import shipped
    from almtok.tasks.pipelines.base import AudioLMPipeline

    return AudioLMPipeline.from_pretrained(shipped(), device="cpu")


@pytest.fixture(scope="session")
def serving(served_pipeline):
    """Serve the model with other settings: `with serving(max_queue=1) as server`."""
    from .serving import serving

    return partial(serving, served_pipeline)


@pytest.fixture(scope="session")
def server(serving):
    """A running server with the usual settings."""
    with serving() as running:
        yield running
