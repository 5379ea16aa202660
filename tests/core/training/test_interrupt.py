"""Signals that let a training save, and a terminal that is closed."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from almtok.core.training.interrupt import Interrupt

from ...pace import patience, wait_until

STEPS = """
import signal, sys, time
from pathlib import Path
from almtok.core.training.interrupt import Interrupt
folder = Path(sys.argv[1])
with Interrupt() as interrupt:
    (folder / "begun").touch()
    while interrupt.signal is None:
        time.sleep(0.01)
    for number in range(3):
        print("output", number, flush=True)
        print("output", number, file=sys.stderr, flush=True)
    (folder / "saved").write_text(str(interrupt.signal))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_noted(number: int) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.signal == number
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_ends_at_once(second: int) -> None:
    with pytest.raises(KeyboardInterrupt), Interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), second)


@pytest.mark.parametrize("other", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_may_cause_two(other: int) -> None:
    for pair in ((signal.SIGHUP, other), (other, signal.SIGHUP)):
        with Interrupt() as interrupt:
            for number in pair:
                os.kill(os.getpid(), number)
            assert interrupt.signal == pair[0]


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupt.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_training_saves_when_its_terminal_is_closed(
    tmp_path: Path, quiet_environment: dict[str, str]
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", STEPS, str(tmp_path)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=quiet_environment,
        start_new_session=True,
    )
    os.close(theirs)
    wait_until((tmp_path / "begun").exists)
    os.close(ours)
    os.kill(process.pid, signal.SIGHUP)  # a shell sends it to the processes of the terminal
    assert process.wait(timeout=patience(60)) == 0
    assert (tmp_path / "saved").read_text() == str(signal.SIGHUP.value)
