"""A run about to take its first step, shared by the tests of steps."""

import torch

from almtok.codec.initialization import initialize_coders, initialize_quantizer
from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.state import TrainState
from almtok.codec.train.state import build_state as build_bare_state


def build_state(config: CodecTrainConfig) -> TrainState:
    """A run about to take its first step, codebooks placed by noise."""
    state = build_bare_state(config)
    if config.stage != "1":
        wavs = [0.1 * torch.randn(8, 1, 48 * 320, generator=torch.Generator().manual_seed(9))]
        state.model.eval()
        initialize_coders(state.model, wavs)
        initialize_quantizer(state.model, wavs)
        state.train_mode()
    return state
