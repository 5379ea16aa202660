"""The common tests of peft on `AudioLM`, by kind of adapter.

Left out: `prepare_for_training`, `prompt_learning` (ids are rows of text and codes), `generate`,
`disable_adapter`, `mixed_adapter_batches` (scores of transformers' generation; instead
tests/lm/generation/test_adapter_names.py and tests/lm/test_lora.py), half precision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import pytest
import torch
from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, VeraConfig
from peft_tests.testing_common import PeftCommonTester
from peft_tests.testing_utils import set_init_weights_false

from almtok.lm.model import AudioLM

PROJECTIONS = {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
KINDS = {
    "lora": (LoraConfig, {"r": 8, "lora_alpha": 32, "lora_dropout": 0.0, "bias": "none"}),
    "rslora": (LoraConfig, {"r": 8, "use_rslora": True, "lora_dropout": 0.0}),
    "dora": (LoraConfig, {"r": 8, "use_dora": True, "lora_dropout": 0.0}),
    "ia3": (IA3Config, {"feedforward_modules": []}),
    "loha": (LoHaConfig, {"r": 4}),
    "lokr": (LoKrConfig, {"r": 4}),
    "oft": (OFTConfig, {"oft_block_size": 8}),
    "vera": (VeraConfig, {"r": 4}),
}
NAMES = (
    "model_attr", "adapter_name", "load_model_low_cpu_mem_usage",
    "save_pretrained", "save_pretrained_selected_adapters",
    "save_pretrained_adapter_name_substring", "from_pretrained_config_construction",
    "load_multiple_adapters", "merge_layers", "merge_layers_nan", "merge_layers_multi",
    "merge_layers_is_idempotent", "safe_merge", "training",
    "inference_safetensors", "training_layer_indexing", "training_gradient_checkpointing",
    "delete_adapter", "delete_inactive_adapter", "delete_unknown_adapter_raises", "unload_adapter",
    "weighted_combination_of_adapters", "adding_multiple_adapters_with_bias_raises",
    "get_base_model_state_dict",
)  # fmt: skip
# These need an adapter that changes the model.
CHANGED = {"merge_layers", "merge_layers_multi", "merge_layers_nan", "safe_merge", "unload_adapter"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("audio_lm")
    config = models.language_model_config()
    config.backbone.tie_word_embeddings = False  # safe_merge saves tied weights twice
    AudioLM(config).save_pretrained(place)
    return place


class TestAudioLM(PeftCommonTester):
    transformers_class = AudioLM

    def prepare_inputs_for_testing(self) -> dict[str, torch.Tensor]:
        return models.rows()

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("name", NAMES)
    def test_common(self, name: str, kind: str, folder: Path) -> None:
        adapter, settings = KINDS[kind]
        settings = {**PROJECTIONS, **settings}
        if name in CHANGED:
            settings = set_init_weights_false(adapter, settings)
        test: Any = getattr(self, f"_test_{name}")
        test(str(folder), adapter, settings)
