"""Run by ``test_build.py`` as a process of its own, to be killed: OUT [slowly].

``slowly`` rests after each file, so that there is time to kill it between two of them.
"""

import os
import sys
import time
from pathlib import Path

import torch

from almtok.codec.priors import PriorConfig, build_prior

sys.path.insert(0, str(Path(__file__).parent))
from arrays import noises  # noqa: E402

SMALL = {
    "codebook_size": 32,
    "spectral_width": 32,
    "batch_size": 64,
    "shard_seconds": 2.0,
    "epochs": 3,
    "passes": 4,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[2:] == ["slowly"]:
        real = os.replace

        def replace_and_rest(source, target):
            real(source, target)
            time.sleep(0.2)

        os.replace = replace_and_rest
    build_prior(PriorConfig(**SMALL), noises(), sys.argv[1])
