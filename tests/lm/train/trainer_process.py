"""Reads requests from standard input and forks a training process for each (see conftest.py).

It has imported everything, so that a test that kills and restarts a training does not import
torch every time. A request is one line of JSON:

    configs  training configurations, run one after another
    log      file for the output
    kill     optional [step, micro-batch]: SIGKILL before that micro-batch is computed
    save     optional N: SIGKILL in the middle of the N-th checkpoint, after its first file

The answer is the exit status, negative for a signal.
"""

import json
import os
import signal
import sys
import traceback
from typing import Any

import torch

import almtok  # noqa: F401  (the torchaudio guard)
from almtok.core.training import checkpoint
from almtok.lm.train import LMTrainingConfig
from almtok.lm.train.run import train_lm
from almtok.lm.train.trainer import AudioLMTrainer


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(run(request))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(request: dict[str, Any]) -> int:
    """In the child: train, and die where the request says."""
    log = os.open(request["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    if request.get("kill"):
        _die_in_step(*request["kill"])
    if request.get("save"):
        _die_in_save(request["save"])
    try:
        for values in request["configs"]:
            train_lm(LMTrainingConfig.from_dict(values))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _die_in_step(step: int, micro: int) -> None:
    inner = AudioLMTrainer._micro_step

    def micro_step(self: Any, batch: Any, number: int, targets: Any) -> Any:
        if self.step == step and number == micro:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(self, batch, number, targets)

    AudioLMTrainer._micro_step = micro_step  # type: ignore[method-assign]


def _die_in_save(count: int) -> None:
    inner = checkpoint.save_file
    folders: set[Any] = set()

    def save_file(tensors: Any, path: Any) -> None:
        inner(tensors, path)
        folders.add(path.parent)
        if len(folders) == count:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save_file = save_file


if __name__ == "__main__":
    main()
