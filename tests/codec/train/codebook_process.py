"""One of two processes whose sums differ; see test_codebooks_of_processes.py."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

import almtok  # noqa: F401  (the torchaudio guard)
from almtok.codec.codebook import Codebook
from almtok.codec.train import CodecTrainConfig, train_codec, trainer
from almtok.core.distributed import same_everywhere
from almtok.core.training.checkpoint import tensors_of


def perturb(codebook: Codebook) -> None:
    """As another order of summation on a GPU would."""
    rank = torch.distributed.get_rank()
    codebook.entries[rank % len(codebook.entries)] += 1e-3 * rank
    codebook.restore_total()


def main() -> None:
    torch.set_num_threads(1)
    values, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    found: dict[str, Any] = {}
    inner_initialize, inner_step = Codebook.initialize, trainer.optimizer_step

    def initialize(self: Codebook, *arguments: Any) -> None:
        inner_initialize(self, *arguments)
        perturb(self)

    def step(state: Any, *arguments: Any) -> Any:
        quantizer = state.model.quantizer
        if quantizer.initialized:
            agree = same_everywhere(tensors_of(quantizer).values())
            found.setdefault(str(state.step), []).append(agree)
        report = inner_step(state, *arguments)
        if state.step == values["checkpoint_every"]:  # just before a checkpoint
            perturb(quantizer.layers[1].codebook)
        return report

    Codebook.initialize, trainer.optimizer_step = initialize, step  # type: ignore[method-assign]
    train_codec(CodecTrainConfig.from_dict(values))
    if torch.distributed.get_rank() == 0:
        out.write_text(json.dumps(found))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
