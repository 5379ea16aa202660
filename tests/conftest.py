"""What every test needs before torch is loaded, and the folder of the checkout."""

import getpass
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

# Read by OpenMP when torch is loaded, so it is set first: busy waiting costs a factor of 35 as soon
# as two programs share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# No test may reach for the hub; without this a mistyped name costs minutes of retries.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# torch.compile keeps its kernels by what was compiled, not for which instructions: a kernel of
# AVX-512 found by a run as AVX2 writes past its arrays.
if _CAPABILITY := os.environ.get("ATEN_CPU_CAPABILITY"):
    _KERNELS = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}_{_CAPABILITY}"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_KERNELS))

# Programs started by nohup, or in the background of a script, ignore these signals, and so do the
# programs that tests start and stop by them.
for _name, _handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    _number = getattr(signal, _name, None)
    if _number is not None and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

import hypothesis  # noqa: E402
import pytest  # noqa: E402

import almtok  # noqa: E402, F401  (first of all: it installs the torchaudio guard)

from .pace import patience  # noqa: E402
from .warm_python import warm_python  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def quiet_environment() -> dict[str, str]:
    """The environment for programs that a test starts: few threads, no hub, this interpreter."""
    binaries = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": binaries + os.pathsep + os.environ.get("PATH", ""),
    }


@pytest.fixture(scope="session")
def python() -> Iterator[str]:
    """A program called as ``python`` is, with torch, transformers and almtok loaded."""
    if not hasattr(os, "pidfd_open"):  # not Linux
        yield sys.executable
        return
    with tempfile.TemporaryDirectory() as folder, warm_python(Path(folder)) as program:
        yield program


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    """Toy sizes gain nothing from more threads, and results do not depend on the machine."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


# No test fails because a machine is slow.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

warnings.filterwarnings("ignore", message=".*torchaudio.*deprecat.*")


# The longest first, or the last file to begin would bound the end: its tests stay together.
LONGEST = (
    "recipes/mini/test_demo.py",
    "test_readme.py",
    "test_nodes.py",
    "test_processors.py",
    "recipes/test_planning.py",
    "codec/train/test_resume.py",
    "lm/train/test_resume.py",
    "codec/train/test_processes.py",
    "lm/train/test_processes.py",
    "test_packaging.py",
    "codec/test_parity.py",
    "lm/generation/test_generate.py",
)


def pytest_collection_modifyitems(items):
    """Begin with the longest files; with `--no-loadscope-reorder` xdist keeps this order."""
    places = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST)}
    assert all(path.exists() for path in places), "a file of LONGEST has another name now"
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item, settings):
    """A slow machine is not a failing test: see ``pace.py``."""
    from pytest_timeout import pytest_timeout_set_timer as set_timer

    return set_timer(item, settings._replace(timeout=patience(settings.timeout)))
