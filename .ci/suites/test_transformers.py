"""The common tests of transformers on `ALMTokenizer` and `AudioLM`."""

from __future__ import annotations

import json
import unittest
from collections.abc import Callable
from typing import Any

import models
from transformers import EncodecFeatureExtractor
from transformers_tests.test_configuration_common import ConfigTester
from transformers_tests.test_feature_extraction_common import FeatureExtractionSavingTestMixin
from transformers_tests.test_modeling_common import ModelTesterMixin

from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.model import ALMTokenizer
from almtok.lm.config import AudioLMConfig
from almtok.lm.model import AudioLM

_REFUSED = "every weight must be in the file: models with missing weights are refused"
_ROWS = "input_ids are rows of text and codes [B, L, 1+K], not ids [B, L]"


def without(**reasons: str) -> Callable[[type], type]:
    """Skip the named tests of a class, each with its reason."""

    def skip_them(kind: type) -> type:
        for name, reason in reasons.items():
            assert callable(getattr(kind, name)), name
            setattr(kind, name, unittest.skip(reason)(lambda self: None))
        return kind

    return skip_them


class Inputs:
    """What the mixins call a model tester."""

    batch_size, seq_length = models.BATCH, models.TEXT + models.FRAMES
    num_hidden_layers = 2
    is_training = True

    def __init__(self, config: Callable[[], Any], inputs: Callable[[], dict[str, Any]]):
        self.get_config, self.get_inputs = config, inputs
        self.hidden_size = config().hidden_size

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        return self.get_config(), self.get_inputs()


class NeedsBackbone(ConfigTester):
    """A language model has no default backbone."""

    def check_config_can_be_init_without_params(self) -> None:
        with self.parent.assertRaisesRegex(ValueError, "has no backbone"):
            AudioLMConfig()


@without(
    test_can_capture_specific_layers_hidden_states="hidden states are captured in the backbone",
    test_cannot_load_with_meta_device_context_manager="raises the same text as a ValueError",
    test_capture_outputs_decorator="attentions are those of lm.backbone; refused by name",
    test_inputs_embeds="embeddings of rows are AudioLM.embed(rows); tests/lm/test_model.py",
    test_inputs_embeds_matches_input_ids="the same",
    test_model_base_model_prefix="the backbone is one part, not a base model that loads alone",
    test_model_rope_scaling_from_config_0_linear=_ROWS,
    test_model_rope_scaling_from_config_1_dynamic=_ROWS,
    test_model_rope_scaling_from_config_2_yarn=_ROWS,
    test_model_weights_reload_no_missing_tied_weights=_REFUSED,
    test_resize_tokens_embeddings=_ROWS,
)
class AudioLMTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (AudioLM,)
    all_generative_model_classes = ()  # `generate` is our own; tests/lm/generation
    has_attentions = False

    def setUp(self) -> None:
        self.model_tester = Inputs(models.language_model_config, models.rows)

    def test_config(self) -> None:
        backbone = json.loads(models.language_model_config().to_json_string())["backbone"]
        fields = {**models.LANGUAGE_MODEL, "backbone": backbone}
        NeedsBackbone(self, config_class=AudioLMConfig, **fields).run_common_tests()

    def _prepare_for_class(
        self, inputs: Any, model_class: type, return_labels: bool = False
    ) -> Any:
        inputs = super()._prepare_for_class(inputs, model_class)
        return inputs | ({"labels": models.labels(inputs["input_ids"])} if return_labels else {})


_NO_STATES = "as of Mimi: the codec returns codes and waveforms, no hidden states"


@without(
    test_cannot_load_with_meta_device_context_manager="raises the same text as a ValueError",
    test_gradient_checkpointing_enable_disable="blocks are checkpointed by the codec itself;"
    " tests/codec/test_attention.py",
    test_hidden_states_output=_NO_STATES,
    test_init_weights_can_init_buffers=_REFUSED,
    test_model_get_set_embeddings="a codec has no embeddings of tokens",
    test_model_outputs_equivalence=_NO_STATES,
    test_model_weights_reload_no_missing_tied_weights=_REFUSED,
    test_retain_grad_hidden_states_attentions=_NO_STATES,
    test_torch_save_load="takes the maximum of every buffer, of which one is empty",
)
class ALMTokenizerTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (ALMTokenizer,)
    is_encoder_decoder = True
    has_attentions = False
    test_resize_embeddings = False

    def setUp(self) -> None:
        self.model_tester = Inputs(models.codec_config, models.waveforms)

    def test_config(self) -> None:
        tester = ConfigTester(
            self, config_class=ALMTokenizerConfig, common_properties=[], has_text_modality=False,
            **models.CODEC,
        )  # fmt: skip
        tester.run_common_tests()


class FeatureExtractorTest(FeatureExtractionSavingTestMixin, unittest.TestCase):
    feature_extraction_class = EncodecFeatureExtractor
    feat_extract_dict = {"sampling_rate": 24_000}  # what ALMTokenizer.save_pretrained writes
