"""Run by ``test_build.py`` as a process of its own, to be killed: OUT FILE.

When the file of that name is written, it rests until it is killed.
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
    "shard_seconds": 2.0,
    "passes": 4,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    real = os.replace

    def replace_and_rest(source, target):
        real(source, target)
        if str(target).endswith(sys.argv[2]):
            time.sleep(3600)

    os.replace = replace_and_rest
    build_prior(PriorConfig(**SMALL), noises(), sys.argv[1])
