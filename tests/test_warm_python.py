"""Programs of a warm Python begin and end as those of a new one."""

import os
import signal
import subprocess
import sys

import pytest

from .pace import wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux only")


def both(python, *arguments, **options):
    """What a new and a warm Python say to it."""
    said = [
        subprocess.run([program, *arguments], capture_output=True, text=True, **options)
        for program in (sys.executable, python)
    ]
    return [(one.returncode, one.stdout, one.stderr) for one in said]


@pytest.mark.parametrize(
    "code",
    [
        "import sys; print(sys.argv, sys.stdin.read()); sys.exit(3)",
        "import sys; print('é', flush=True); sys.exit('no')",
        "import os; os.kill(os.getpid(), 9)",
        "import os; print(os.getcwd(), os.environ['WORD'])",
        "import atexit; atexit.register(print, 'end'); print(__name__)",
        "import threading as t, time; t.Thread(target=lambda: [time.sleep(0.1), print(1)]).start()",
    ],
)
def test_streams_status_folder_and_environment(python, code, tmp_path):
    given = {"cwd": tmp_path, "input": "words", "env": {**os.environ, "WORD": "a b"}}
    new, warm = both(python, "-c", code, "x", "-y", **given)
    assert new == warm


def test_modules_files_and_mistakes(python, tmp_path):
    (tmp_path / "beside.py").write_text("import sys\nprint(__name__, sys.argv[1:])\n")
    (tmp_path / "file.py").write_text("import beside\nprint(__name__, __file__)\n1 / 0\n")
    new, warm = both(python, "-m", "beside", "x", cwd=tmp_path)
    assert new == warm == (0, "__main__ ['x']\n", "")
    new, warm = both(python, str(tmp_path / "file.py"))
    assert new[:2] == warm[:2] and "ZeroDivisionError" in warm[2]


def test_everything_is_loaded_and_children_are_new(python):
    code = "import sys; print('torch' in sys.modules, 'almtok.lm.train.run' in sys.modules)"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "True True\n"
    said = subprocess.run([python, "-c", "import sys; print(sys.executable)"], capture_output=True)
    assert said.stdout.decode().strip() == sys.executable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_those_of_the_program(python, number, tmp_path):
    code = f"import signal, sys; signal.signal({int(number)}, lambda *_: sys.exit(7)); "
    code += f"open({str(tmp_path / 'ready')!r}, 'w').close(); signal.pause()"
    process = subprocess.Popen([python, "-c", code])
    wait_until(lambda: (tmp_path / "ready").exists() or process.poll() is not None)
    process.send_signal(number)
    assert process.wait() == 7


def test_a_client_that_is_killed_takes_its_program_with_it(python, tmp_path):
    code = f"import os, time; open({str(tmp_path / 'id')!r}, 'w').write(str(os.getpid())); "
    process = subprocess.Popen([python, "-c", code + "time.sleep(600)"])
    begun = tmp_path / "id"
    wait_until(lambda: (begun.exists() and begun.read_text()) or process.poll() is not None)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    identity = int((tmp_path / "id").read_text())

    def gone():
        try:
            os.kill(identity, 0)
        except ProcessLookupError:
            return True
        return False

    wait_until(gone)
