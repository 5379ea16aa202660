"""Tests with the oldest and the newest dependencies that setup.cfg allows: `nox -f .ci/noxfile.py`.

The newest (torch 2.14.1, transformers 5.24.0, accelerate 1.15.0, peft 0.21.2, datasets 5.2.0,
gradio 6.31.0, fastapi 0.165.0) passed all 163 tests; of the oldest see `setup.cfg`.

The oldest PyTorch on PyPI is a CUDA build of several GB, which also runs without a GPU.
"""

from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("eval", "train", "tts", "synthesis", "serve", "ui", "completion", "dev")
TESTS = (
    "tests/codec/test_model.py",
    "tests/lm/test_model.py",
    "tests/tasks/test_shipped.py",
    "tests/test_start_up.py",
)


@nox.session(python="3.11")
@nox.parametrize("resolution", ["lowest-direct", "highest"])
def dependencies(session: nox.Session, resolution: str) -> None:
    """Resolve `setup.cfg` to its lower or upper bounds, install, and run some tests."""
    session.chdir(ROOT)
    versions = f"{session.create_tmp()}/{resolution}.txt"
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    command = ("uv", "pip", "compile", "-q", "--resolution", resolution, *extras, "setup.cfg")
    session.run(*command, "-o", versions, external=True)
    session.install("-r", versions)
    session.install("--no-deps", "-e", ".")
    session.run("pytest", "-q", *(session.posargs or TESTS), env={"OMP_WAIT_POLICY": "passive"})
