"""Tests beside those of `make test`: `nox -f .ci/noxfile.py` runs them all, `-s NAME` a session.

dependencies: the oldest and the newest dependencies that setup.cfg allows.
suites: the common tests of transformers and peft, from the sources of the versions of `.venv`.

The newest (torch 2.14.1, transformers 5.24.0, accelerate 1.15.0, peft 0.21.2, datasets 5.2.0,
gradio 6.31.0, fastapi 0.165.0) passed all 163 tests; of the oldest see `setup.cfg`.

The oldest PyTorch on PyPI is a CUDA build of several GB, which also runs without a GPU.
"""

import tarfile
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


@nox.session(python=False)
def suites(session: nox.Session) -> None:
    """Run the common tests of transformers and peft on our models, in the environment of make test.

    Both come with the source distributions of these packages, without their subfolders: tests of
    export and of transformers' generation are not among them.
    """
    place, python = Path(session.create_tmp()), str(ROOT / ".venv/bin/python")
    for package in ("transformers", "peft"):
        version = f"import importlib.metadata as m; print(m.version('{package}'))"
        version = str(session.run(python, "-c", version, silent=True, external=True)).strip()
        pip = (python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:")
        session.run(*pip, "-d", str(place), f"{package}=={version}", external=True)
        unpack_tests(place / f"{package}-{version}.tar.gz", place / f"{package}_tests")
    for folder, name, text in MISSING:
        module = place / "transformers_tests" / folder / name
        module.parent.mkdir(exist_ok=True)
        module.with_name("__init__.py").touch()
        module.write_text(text)
    lib = str(place / "lib")
    pip = (python, "-m", "pip", "install", "-q", "--no-deps", "--target", lib)
    session.run(*pip, "--upgrade", "parameterized", external=True)
    session.run(
        python, "-m", "pytest", "-c", "/dev/null", "-q", "-p", "no:cacheprovider",
        "--rootdir", str(ROOT / ".ci/suites"), str(ROOT / ".ci/suites"), *session.posargs,
        env={"OMP_WAIT_POLICY": "passive", "PYTHONPATH": lib, "ALMTOK_SUITES": str(place)},
        external=True,
    )  # fmt: skip


# Modules that the common tests of transformers import, of folders that the distribution lacks.
MISSING = (
    ("exporters", "test_export.py", "class ExportTesterMixin: ...\n"),
    ("generation", "test_utils.py", "class GenerationTesterMixin: ...\n"),
    ("utils", "test_configuration_utils.py", "config_common_kwargs: dict = {}\n"),
)


def unpack_tests(archive: Path, folder: Path) -> None:
    """Unpack `tests/*.py` of a source distribution into a package."""
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").touch()
    with tarfile.open(archive) as files:
        for member in files:
            path = Path(member.name)
            if path.parts[1:2] == ("tests",) and len(path.parts) == 3 and path.suffix == ".py":
                content = files.extractfile(member)
                assert content is not None
                (folder / path.name).write_bytes(content.read())
