"""Stages are processes of their own that begin with the libraries loaded."""

import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from almtok.recipes import stage_process
from almtok.recipes.stage_process import run_process

from ..pace import patience, wait_until

FORKS = "forkserver" in multiprocessing.get_all_start_methods()
# For programs whose stages need no library: none is loaded for them.
LIGHT = (
    "from almtok.recipes import stage_process; stage_process._LOADED = (); "
    "run_process = stage_process.run_process"
)


def run(code, *words):
    return run_process(["python", "-c", code, *words])


def test_preloaded_modules_exist():
    for name in stage_process._LOADED:  # the server passes over what it does not find
        assert importlib.util.find_spec(name) is not None, name


def test_it_ends_with_the_status_of_its_command():
    assert run("import sys; sys.exit(3)") == 3
    assert run("print(1)") == 0
    assert run("1 / 0") == 1
    assert run("import os; os.kill(os.getpid(), 9)") == -9
    assert run_process(["almtok", "codec", "plan", "nonsense"]) == 1


def test_it_has_its_own_words_and_the_folder_of_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("import sys; open(sys.argv[1], 'w').write(sys.argv[0])", "here") == 0
    assert (tmp_path / "here").read_text() == "-c"


def test_a_new_python_does_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    monkeypatch.chdir(tmp_path)
    assert run("import sys; open(sys.argv[1], 'w').write(sys.argv[0])", "here") == 0
    assert (tmp_path / "here").read_text() == "-c"
    assert run_process(["almtok", "codec", "plan", "nonsense"]) == 1


@pytest.mark.skipif(not FORKS, reason="this system does not fork")
def test_libraries_are_there_and_threads_work():
    assert run("import sys; sys.exit('torch' not in sys.modules)") == 0
    code = "import torch; torch.set_num_threads(2); x = torch.ones(999, 999); assert (x @ x).sum()"
    assert run(code) == 0
    assert run(f"{code}; from torch.utils.data import DataLoader as D\n"
               "assert sum(D(range(9), num_workers=1)) == 36") == 0  # fmt: skip


@pytest.mark.parametrize("kind", ["ctrl-c", "terminate", "terminate, without forks", "hang up"])
def test_a_signal_reaches_it_and_it_is_waited_for(tmp_path, kind):
    stage = """import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    pathlib.Path("begun").touch()
    time.sleep(3600)
except KeyboardInterrupt:
    time.sleep(0.5)
    pathlib.Path("saved").touch()
    exit(130)"""
    words = ["python", "-c", stage]
    code = f"{LIGHT}; exit(run_process({words}))"
    # Where the tests run in the background of a shell, interrupts are ignored, by children too.
    code = f"import signal; signal.signal(2, signal.default_int_handler); {code}"
    if "without" in kind:
        code = f"import multiprocessing as m; m.get_all_start_methods = lambda: []; {code}"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, start_new_session=True)
    wait_until((tmp_path / "begun").exists, 150)  # its libraries are loaded first
    if kind == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)
    elif kind == "hang up":
        process.send_signal(signal.SIGHUP)
    else:
        process.terminate()  # this one alone, not its group
    assert process.wait(timeout=patience(60)) == 130
    assert (tmp_path / "saved").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_a_signal_during_the_start_reaches_it(number):
    code = f"""import multiprocessing, os, signal
{LIGHT}
start = multiprocessing.process.BaseProcess.start
def start_slowly(process):
    start(process)
    os.kill(os.getpid(), signal.{number})  # the caller does not know the process id yet
multiprocessing.process.BaseProcess.start = start_slowly
exit(run_process(["python", "-c", "import time; time.sleep(3600)"]) == -signal.SIGTERM)"""
    assert subprocess.run([sys.executable, "-c", code], timeout=patience(150)).returncode == 1


@pytest.mark.parametrize("forks", [True, False])
def test_a_stage_ends_when_its_parent_is_killed(tmp_path, forks):
    stage = """import pathlib, os, signal, time
from almtok.core.training.interrupt import Interrupt
with Interrupt() as interrupt:
    pathlib.Path("begun.tmp").write_text(str(os.getpid()))
    os.rename("begun.tmp", "begun")
    while interrupt.signal is None:
        time.sleep(0.01)
pathlib.Path("saved").write_text(str(interrupt.signal))"""
    code = f"run_process({['python', '-c', stage]})"
    code = f"{LIGHT}; {code}"
    if not forks:
        code = f"import multiprocessing as m; m.get_all_start_methods = lambda: []; {code}"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, start_new_session=True)
    wait_until((tmp_path / "begun").exists, 150)
    pid = int((tmp_path / "begun").read_text())
    process.kill()
    process.wait()
    wait_until((tmp_path / "saved").exists)
    assert (tmp_path / "saved").read_text() == str(signal.SIGTERM.value)
    wait_until(lambda: not alive(pid))


def alive(pid):
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return status.stdout.strip()[:1] not in ("", "Z")
