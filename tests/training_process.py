"""Training processes that tests kill and restart.

A server (``python training_process.py codec`` or ``lm``) has imported everything and forks a
process for each request, so that torch is imported once. A request is one line of JSON:

    configs  training configurations, run one after another
    log      file for the output
    kill     optional [step, micro-batch], of a codec [stage, step, micro-batch]: SIGKILL before
             that micro-batch is computed
    save     optional N: SIGKILL in the middle of the N-th checkpoint, after its first file
    export   optional step: SIGKILL between the checkpoint of that step and the exported codec

The answers are two lines: the process id, and later the exit status, negative for a signal.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class TrainerProcess:
    """The side of the test."""

    def __init__(self, kind: str, python: str) -> None:
        self.process = subprocess.Popen(
            [python, str(Path(__file__).resolve()), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def start(self, configs: list[dict[str, Any]], log: Path, **how: Any) -> int:
        """Fork a process that trains these configs in turn; its process id."""
        assert self.process.stdin is not None
        request = {"configs": configs, "log": str(log), **how}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.wait()

    def wait(self) -> int:
        """Exit status of the process started last."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def run(self, configs: list[dict[str, Any]], log: Path, **how: Any) -> int:
        """Train these configs in turn in a process of its own; its exit status."""
        self.start(configs, log, **how)
        return self.wait()


@contextmanager
def trainer_process(kind: str, seconds: float, python: str) -> Iterator[TrainerProcess]:
    """A server that ends with the block, at most so many seconds later."""
    made = TrainerProcess(kind, python)
    yield made
    assert made.process.stdin is not None
    made.process.stdin.close()
    made.process.wait(timeout=seconds)


def _die_before(place: Any, name: str, when: Callable[..., bool]) -> None:
    """Replace a function by one that kills the process if its arguments say so."""
    inner = getattr(place, name)

    def dying(*arguments: Any, **options: Any) -> Any:
        if when(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*arguments, **options)

    setattr(place, name, dying)


def _codec(request: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    from almtok.codec.train import train_codec, trainer, update
    from almtok.codec.train.config import CodecTrainConfig

    seen: list[int] = []
    if "kill" in request:
        stage, step, micro = request["kill"]

        def here(state: Any, wav: Any, seeds: Any, number: int, *_: Any) -> bool:
            if state.config.stage != stage or number != step:
                return False
            seen.append(number)
            return len(seen) > micro

        _die_before(update, "micro_step", here)
    if "export" in request:
        _die_before(trainer, "export_model", lambda state, *_: state.step == request["export"])
    return lambda values: train_codec(CodecTrainConfig.from_dict(values))


def _lm(request: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    from almtok.lm.train import LMTrainingConfig
    from almtok.lm.train.run import train_lm
    from almtok.lm.train.trainer import AudioLMTrainer

    if "kill" in request:

        def here(trainer: Any, batch: Any, number: int, *_: Any) -> bool:
            return [trainer.step, number] == list(request["kill"])

        _die_before(AudioLMTrainer, "_micro_step", here)
    return lambda values: train_lm(LMTrainingConfig.from_dict(values))


def _run(kind: str, request: dict[str, Any]) -> int:
    """In the child: train, and die where the request says."""
    from almtok.core.training import checkpoint

    log = os.open(request["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    train = {"codec": _codec, "lm": _lm}[kind](request)
    inner, folders = checkpoint.save_file, set()

    def save_file(tensors: Any, path: Any) -> None:
        inner(tensors, path)
        folders.add(path.parent)
        if len(folders) == request.get("save"):
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save_file = save_file
    try:
        for values in request["configs"]:
            train(values)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _serve(kind: str) -> None:
    import torch

    import almtok  # noqa: F401  (the torchaudio guard)

    {"codec": _codec, "lm": _lm}[kind]({})  # imports
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_run(kind, request))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
