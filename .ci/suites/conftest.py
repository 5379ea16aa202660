"""Where the public suites lie (`nox -f .ci/noxfile.py -s suites` fetches them)."""

import os
import sys
import types

import pytest

sys.path.insert(0, os.environ["ALMTOK_SUITES"])

# Read when testing_common.py is imported, for a pipeline of images that no test here has.
_DIFFUSERS = types.ModuleType("diffusers")
_DIFFUSERS.StableDiffusionPipeline = type("StableDiffusionPipeline", (), {})
sys.modules.setdefault("diffusers", _DIFFUSERS)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
