import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from almtok.codec.priors.beats import BEATs
from almtok.codec.priors.beats_config import BEATsConfig

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def small():
    """Tensors of the 3-layer reference run."""
    return load_file(FIXTURES / "fixture_small.safetensors")


@pytest.fixture(scope="session")
def small_config():
    return json.loads((FIXTURES / "fixture_small.json").read_text())["config"]


@pytest.fixture(scope="session")
def small_weights(small):
    return {k.removeprefix("sd/"): v for k, v in small.items() if k.startswith("sd/")}


@pytest.fixture(scope="session")
def small_model(small_config, small_weights):
    model = BEATs(BEATsConfig.from_cfg(small_config)).eval().requires_grad_(False)
    model.load_state_dict(small_weights, strict=True)
    return model


@pytest.fixture(scope="session")
def base():
    """Tensors of the reference run at the published size."""
    return load_file(FIXTURES / "fixture_base.safetensors")


@pytest.fixture(scope="session")
def base_facts():
    return json.loads((FIXTURES / "fixture_base.json").read_text())


@pytest.fixture(scope="session")
def base_shapes():
    return json.loads((FIXTURES / "state_dict_base.json").read_text())["keys"]


def rule_weight(key, shape):
    """The fixtures' weights: a function of key and shape."""
    source = key
    if key.endswith("relative_attention_bias.weight"):
        source = "encoder.layers.0.self_attn.relative_attention_bias.weight"
    count = int(np.prod(shape))
    z = np.random.RandomState(zlib.crc32(source.encode())).standard_normal(count).reshape(shape)
    fan = shape[1] if len(shape) > 1 else 1
    if key.endswith("layer_norm.weight"):
        value = 1 + 0.2 * z
    elif key.endswith("weight_g"):
        value = 3 + 0.5 * np.abs(z)
    elif key.endswith("grep_a"):
        value = 1 + 0.3 * z
    elif key.endswith("relative_attention_bias.weight"):
        value = z
    elif key.endswith(".bias"):
        value = 0.1 * z
    elif key.endswith("grep_linear.weight"):
        value = 0.5 * z / np.sqrt(fan)
    elif key.endswith(("q_proj.weight", "k_proj.weight")):
        value = 1.5 * z / np.sqrt(fan)
    elif key == "patch_embedding.weight":
        value = z / 16
    elif key.endswith("weight_v"):
        value = 0.05 * z
    else:
        value = z / np.sqrt(fan)
    return torch.from_numpy(value.astype(np.float32))
