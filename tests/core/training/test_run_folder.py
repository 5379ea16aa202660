"""A run folder belongs to one process at a time, and to nobody after any death."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from almtok.core.files import lock_run_dir

HOLD = """
import sys, time
from pathlib import Path
from almtok.core.files import lock_run_dir
with lock_run_dir(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(3600)
"""


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(ValueError, match=f"process {holder.pid} is working in"):
        with lock_run_dir(tmp_path):
            pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with lock_run_dir(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_other_processes_of_one_run_do_not_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock_run_dir(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with lock_run_dir(tmp_path):
            pass
        assert (tmp_path / ".lock").exists()
