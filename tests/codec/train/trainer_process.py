"""Reads requests from standard input and forks a training process for each (see conftest.py).

It has imported everything, so that a test that kills and restarts a training five times does not
import torch five times. A request is one line of JSON:

    configs    training configurations, run one after another
    log        file for the output
    kill       optional [stage, step, micro-batch]: SIGKILL before that micro-batch is computed
    kill_save  optional N: SIGKILL in the middle of the N-th checkpoint, after its first file
    kill_export  optional step: SIGKILL between the checkpoint of that step and the exported codec

The answers are two lines: the process id, and later the exit status.
"""

import json
import os
import signal
import sys
import traceback
from typing import Any

import torch

import almtok  # noqa: F401  (the torchaudio guard)
from almtok.codec.train import train_codec, trainer, update
from almtok.codec.train.config import CodecTrainConfig
from almtok.core.training import checkpoint


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(run(request))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(request: dict[str, Any]) -> int:
    """In the child: train, and die where the request says."""
    log = os.open(request["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    if request.get("kill"):
        _die_in_step(*request["kill"])
    if request.get("kill_save"):
        _die_in_save(request["kill_save"])
    if request.get("kill_export"):
        _die_in_export(request["kill_export"])
    try:
        for values in request["configs"]:
            train_codec(CodecTrainConfig.from_dict(values))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _die_in_step(stage: str, step: int, micro: int) -> None:
    inner = update.micro_step
    seen = []

    def micro_step(state: Any, wav: Any, seeds: Any, number: int, draw: Any, domains: Any) -> Any:
        if state.config.stage == stage and number == step:
            if len(seen) == micro:
                os.kill(os.getpid(), signal.SIGKILL)
            seen.append(number)
        return inner(state, wav, seeds, number, draw, domains)

    update.micro_step = micro_step


def _die_in_save(count: int) -> None:
    inner = checkpoint.save_file
    folders: set[Any] = set()

    def save_file(tensors: Any, path: Any) -> None:
        inner(tensors, path)
        folders.add(path.parent)
        if len(folders) == count:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save_file = save_file


def _die_in_export(step: int) -> None:
    inner = trainer.export_model

    def export_model(state: Any, place: Any) -> Any:
        if state.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(state, place)

    trainer.export_model = export_model


if __name__ == "__main__":
    main()
