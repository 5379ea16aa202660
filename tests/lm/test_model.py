"""AudioLM: teacher-forced equals stepwise, padding costs nothing, loss where it belongs."""

import pytest
import torch
from transformers import AutoModel, DynamicCache, LlamaConfig, LlamaForCausalLM

from almtok.codec.config import ALMTokenizerConfig
from almtok.lm.config import AudioLMConfig
from almtok.lm.model import AudioLM
from almtok.lm.sequences import IGNORED, build_sequence, collate
from almtok.lm.targets import stream_targets

from .toy import EOS, PATTERNS, toy_config, toy_example, toy_lm

BACKBONES = {
    "llama": {},
    "qwen2": dict(model_type="qwen2"),
    "qwen3": dict(model_type="qwen3", head_dim=16),
}


def batch(config, tasks=("tts", "asr"), side="right"):
    sequences = [
        build_sequence(toy_example(task, count=5 + 3 * i, seed=i), config, eos_id=EOS)
        for i, task in enumerate(tasks)
    ]
    return collate(sequences, config, side)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_teacher_forced_equals_stepwise(pattern, backbone):
    base = toy_config().to_dict()["backbone"]
    lm = toy_lm(pattern=pattern, backbone={**base, **BACKBONES[backbone]})
    rows = batch(lm.config, ("tts",))["input_ids"]
    with torch.no_grad():
        whole = lm(rows)
        cache, audio, text = DynamicCache(), [], []
        for p in range(rows.shape[1]):
            hidden = lm.advance(rows[:, p : p + 1], cache=cache, use_cache=True)[:, 0]
            text.append(lm.text_logits(hidden))
            following = rows[:, p + 1, 1:] if p + 1 < rows.shape[1] else rows[:, p, 1:]
            logits = []

            def given(stream, scores, following=following, logits=logits):
                logits.append(scores)
                return following[:, stream]

            lm.heads.sample(hidden, given, range(lm.config.num_codebooks))
            audio.append(torch.stack(logits, dim=1))
    torch.testing.assert_close(torch.stack(text, 1), whole.text_logits, atol=1e-4, rtol=0)
    stepwise = torch.stack(audio, 1)[:, :-1]  # nothing is known to follow the last row
    torch.testing.assert_close(stepwise, whole.audio_logits[:, :-1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_padding_on_either_side_changes_nothing(pattern):
    lm = toy_lm(pattern=pattern)
    examples = [toy_example("tts", count=4, seed=1), toy_example("tts", count=11, seed=2)]
    sequences = [build_sequence(x, lm.config, eos_id=EOS) for x in examples]
    alone = [lm(s.input_ids[None]).audio_logits[0] for s in sequences]
    for side in ("left", "right"):
        padded = collate(sequences, lm.config, side)
        out = lm(padded["input_ids"], padded["attention_mask"]).audio_logits
        for row, mask, expected in zip(out, padded["attention_mask"], alone, strict=True):
            got = row[mask.bool()]
            torch.testing.assert_close(got[:-1], expected[:-1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_loss_is_the_cross_entropy_of_targets_only(pattern):
    lm = toy_lm(pattern=pattern, first_codebook_weight=1.0)
    data = batch(lm.config)
    out = lm(data["input_ids"], data["attention_mask"], data["labels"])
    expected, names = [], []
    with torch.no_grad():
        for row, labels in zip(data["input_ids"], data["labels"], strict=True):
            logits = lm(row[None])
            for p in range(len(row) - 1):
                for stream, label in enumerate(labels[p + 1].tolist()):
                    if label == IGNORED:
                        continue
                    if pattern == "flat":
                        hidden = lm.advance(row[None, : p + 1])[:, -1]
                        scores = lm.joint_logits(hidden)[0]
                        if stream:
                            label += 60 + lm.embedding.controls.num_embeddings + (stream - 1) * 17
                    else:
                        text, audio = logits.text_logits[0, p], logits.audio_logits[0, p]
                        scores = audio[stream - 1] if stream else text
                    expected.append(-scores.log_softmax(-1)[label])
                    names.append(stream)
    torch.testing.assert_close(out.loss, torch.stack(expected).mean(), atol=1e-5, rtol=1e-5)
    first = torch.stack([e for e, n in zip(expected, names, strict=True) if n == 1]).mean()
    torch.testing.assert_close(out.losses["audio_1"], first, atol=1e-5, rtol=1e-5)
    assert set(out.losses) == {"text", "audio_1", "audio_2", "audio_3"} == set(out.accuracies)


def test_the_loss_ignores_what_conditions_hold_in_their_labels():
    lm = toy_lm()
    data = batch(lm.config)
    assert (data["labels"][:, :3] == IGNORED).all()
    ignored = data["labels"].clone()
    ignored[:] = IGNORED
    assert lm(data["input_ids"], data["attention_mask"], ignored).loss == 0


@pytest.mark.parametrize("pattern", PATTERNS)
def test_gradients_reach_every_parameter_that_should_learn(pattern):
    lm = toy_lm(pattern=pattern).train()
    data = batch(lm.config, ("tts", "asr", "text_to_audio"))
    lm(**data).loss.backward()
    without = {n for n, p in lm.named_parameters() if p.grad is None or not p.grad.abs().any()}
    assert not without


@pytest.mark.parametrize("task", ["tts", "asr"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_batch_with_one_kind_of_target_trains_all_the_same(pattern, task):
    lm = toy_lm(pattern=pattern).train()
    loss = lm(**batch(lm.config, (task, task))).loss
    loss.backward()
    assert torch.isfinite(loss)
    # Every parameter took part, so that processes with other targets can be averaged with it.
    assert all(p.grad is not None for p in lm.parameters())


def test_the_first_codebook_counts_double():
    even, double = toy_lm(first_codebook_weight=1.0), toy_lm(first_codebook_weight=2.0)
    data = batch(even.config, ("tts",))
    a, b = even(**data), double(**data)
    counts = [(data["labels"][..., k] != IGNORED).sum() for k in (1, 2, 3)]
    means = [a.losses[f"audio_{k}"] for k in (1, 2, 3)]
    expected = sum(
        w * n * m for w, n, m in zip((1.5, 0.75, 0.75), counts, means, strict=True)
    ) / sum(counts)
    torch.testing.assert_close(b.loss, expected)


def test_weights_are_not_left_to_chance(tmp_path):
    from safetensors.torch import load_file, save_file

    lm = toy_lm()
    lm.save_pretrained(tmp_path)
    place = tmp_path / "model.safetensors"
    weights = load_file(place)
    gone = next(name for name in weights if name.startswith("heads."))
    save_file({n: w for n, w in weights.items() if n != gone}, place, {"format": "pt"})
    with pytest.raises(ValueError, match=f"1 missing keys, such as {gone}"):
        AudioLM.from_pretrained(tmp_path)
    save_file({**weights, "heads.other": torch.zeros(2)}, place, {"format": "pt"})
    with pytest.raises(ValueError, match="1 unexpected keys, such as heads.other"):
        AudioLM.from_pretrained(tmp_path)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_saved_and_loaded_is_the_same_model(pattern, tmp_path):
    lm = toy_lm(pattern=pattern)
    lm.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    data = batch(lm.config)
    for again in (AudioLM.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert type(again) is AudioLM
        assert torch.equal(again(**data).loss, lm(**data).loss)


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_the_precision_is_float32_unless_asked(tmp_path, name):
    toy_lm().half().save_pretrained(tmp_path)
    for kind in (AudioLM, AutoModel):
        assert kind.from_pretrained(pretrained_model_name_or_path=tmp_path).dtype == torch.float32
        for dtype in (torch.bfloat16, "bfloat16"):
            assert kind.from_pretrained(tmp_path, **{name: dtype}).dtype == torch.bfloat16
        assert kind.from_pretrained(tmp_path, **{name: "auto"}).dtype == torch.float16


def test_the_configuration_has_the_common_attributes_of_transformers():
    config = toy_config()
    text = config.get_text_config()
    assert text is config.backbone
    for name in ("hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads"):
        assert getattr(config, name) == getattr(text, name)
    config.eos_token_id = 5  # as versions of transformers before get_text_config do
    assert (config.eos_token_id, text.eos_token_id) == (5, 5)
    assert AudioLMConfig.from_dict(config.to_dict()).eos_token_id == 5
    assert "eos_token_id" not in config.to_dict()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_logits_lie_beside_the_loss_in_evaluation_only(pattern):
    lm = toy_lm(pattern=pattern)
    data = batch(lm.config)
    rows = {name: value for name, value in data.items() if name != "labels"}
    out, alone = lm(**data), lm(**rows)
    torch.testing.assert_close(out.text_logits, alone.text_logits)
    torch.testing.assert_close(out.audio_logits, alone.audio_logits)
    assert lm.train()(**data).text_logits is None
    assert lm(**data, return_logits=True).audio_logits is not None
    assert lm.eval()(**data, return_logits=False).audio_logits is None


def test_options_of_forward_are_those_of_causal_models():
    lm = toy_lm()
    data = batch(lm.config)
    rows = {name: value for name, value in data.items() if name != "labels"}
    whole, last = lm(**rows, output_hidden_states=True), lm(**rows, logits_to_keep=1)
    assert len(whole.hidden_states) == lm.config.num_hidden_layers + 1
    assert torch.equal(whole.hidden_states[0], lm.embed(rows["input_ids"]))
    torch.testing.assert_close(last.text_logits, whole.text_logits[:, -1:])
    torch.testing.assert_close(last.audio_logits, whole.audio_logits[:, -1:])
    loss, *_ = lm(**data, return_dict=False)
    assert torch.equal(loss, lm(**data).loss)
    cache = lm(**rows, use_cache=True).cache
    with pytest.warns(FutureWarning, match="past_key_values"):
        older = lm(rows["input_ids"][:, :1], past_key_values=cache)
    assert older.cache is cache and cache.get_seq_length() == rows["input_ids"].shape[1] + 1
    with pytest.raises(TypeError, match="takes no cache_position; use position_ids"):
        lm(**rows, cache_position=torch.zeros(1))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_embeddings_are_taken_instead_of_rows(pattern, side):
    lm = toy_lm(pattern=pattern)
    data = batch(lm.config, side=side)
    embeds = lm.embed(data["input_ids"]).detach().requires_grad_()
    whole, same = lm(**data), lm(**data, inputs_embeds=embeds)
    assert torch.equal(same.loss, whole.loss)
    assert torch.equal(same.audio_logits, whole.audio_logits)
    # Rows are not read for them: other embeddings, other results.
    assert not torch.equal(lm(**data, inputs_embeds=2 * embeds).loss, whole.loss)
    # Without rows the labels are what the heads read.
    rows = data.pop("input_ids")
    alone = lm(**data, inputs_embeds=embeds, return_logits=False)
    assert torch.equal(alone.loss, whole.loss)
    (gradient,) = torch.autograd.grad(alone.loss, embeds)
    assert gradient.abs().sum() > 0
    if pattern.startswith("depth"):
        with pytest.raises(ValueError, match=r"input_ids must be rows \[B, L, 4\], got None"):
            lm(inputs_embeds=embeds)
    else:
        mask = data["attention_mask"]
        logits = lm(inputs_embeds=embeds, attention_mask=mask).audio_logits
        assert torch.equal(logits, lm(rows, attention_mask=mask).audio_logits)
    lm.config.ctc_weight = 1.0
    with pytest.raises(ValueError, match="got None"):
        lm(**data, inputs_embeds=embeds, return_logits=False)
    with pytest.raises(ValueError, match=r"inputs_embeds must be \[.*32\], got \[1, 2, 3\]"):
        lm(rows, inputs_embeds=torch.zeros(1, 2, 3))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_labels_are_smoothed_as_in_the_formula(pattern):
    epsilon = 0.2
    lm = toy_lm(pattern=pattern).train()
    data = batch(lm.config)
    plain = lm(**data)
    lm.config.label_smoothing = epsilon
    smooth = lm(**data)
    with torch.no_grad():
        hidden = lm.advance(data["input_ids"], data["attention_mask"])[:, :-1]
        labels = data["labels"][:, 1:]
        streams = stream_targets(lm, hidden, data["input_ids"][:, 1:], labels)
        pairs = {name: (stream.logits(), stream.labels) for name, stream in streams.items()}
    for name, (logits, targets) in pairs.items():
        kept = targets != IGNORED
        log_p = logits[kept].log_softmax(dim=-1)
        right = -log_p.gather(1, targets[kept][:, None])[:, 0]
        expected = ((1 - epsilon) * right - epsilon * log_p.mean(dim=-1)).sum()
        torch.testing.assert_close(smooth.streams[name].total, expected, rtol=1e-4, atol=1e-4)
        assert smooth.streams[name].count == plain.streams[name].count
    assert smooth.loss > plain.loss
    lm.eval()  # what is measured is not smoothed
    torch.testing.assert_close(lm(**data).loss, plain.loss)
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\), got 1.0"):
        toy_config(label_smoothing=1.0)


def test_a_model_is_made_of_a_state_dict_and_its_text_table_replaced():
    lm = toy_lm()
    state = lm.state_dict()
    again = AudioLM.from_pretrained(None, config=lm.config, state_dict=state)
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
    del state["heads.out.0.weight"]
    with pytest.raises(ValueError, match="the state_dict does not fit AudioLM: 1 missing keys"):
        AudioLM.from_pretrained(None, config=lm.config, state_dict=state)
    table, head = torch.nn.Embedding(60, 32), torch.nn.Linear(32, 60, bias=False)
    again.set_input_embeddings(table)
    again.set_output_embeddings(head)
    assert again.get_input_embeddings() is table and again.backbone.lm_head is head


def test_a_model_card_is_written_once(tmp_path):
    from huggingface_hub import ModelCard

    lm = toy_lm()
    lm.save_pretrained(tmp_path)
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.library_name == "almtok" and data.pipeline_tag == "text-to-speech"
    assert {"almtok", "asr"} <= set(data.tags) and data.license is None
    (tmp_path / "README.md").write_text("mine")
    lm.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_from_a_pretrained_backbone(tmp_path):
    torch.manual_seed(3)
    values = {k: v for k, v in toy_config().to_dict()["backbone"].items() if k != "model_type"}
    text = LlamaForCausalLM(LlamaConfig(**values)).eval()
    text.save_pretrained(tmp_path)
    lm = AudioLM.from_backbone(str(tmp_path), toy_config()).eval()
    ids = torch.randint(2, 60, (1, 7))
    rows = torch.full((1, 7, 4), 17)
    rows[..., 0] = ids
    torch.testing.assert_close(lm(rows).text_logits, text(ids).logits)


def test_gradient_checkpointing_gives_the_same_gradients():
    lm = toy_lm().train()
    data = batch(lm.config)
    lm(**data).loss.backward()
    expected = {n: p.grad.clone() for n, p in lm.named_parameters()}
    lm.zero_grad()
    lm.activation_checkpointing_enable()
    lm(**data).loss.backward()
    for name, p in lm.named_parameters():
        torch.testing.assert_close(p.grad, expected[name])


def test_wrong_rows_are_refused():
    lm = toy_lm()
    with pytest.raises(ValueError, match=r"\[B, L, 4\].*\[1, 5, 3\]"):
        lm(torch.zeros(1, 5, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="labels must have the shape"):
        lm(torch.zeros(1, 5, 4, dtype=torch.int64), labels=torch.zeros(1, 4, 4, dtype=torch.int64))


def test_config_refuses_unknown_fields_and_bad_values():
    with pytest.raises(ValueError, match="did you mean 'depth_layers'"):
        toy_config(depth_layer=3)
    with pytest.raises(ValueError, match="got 0"):
        toy_config(num_codebooks=0)
    with pytest.raises(ValueError, match="needs a model_type"):
        toy_config(backbone={"hidden_size": 3})
    with pytest.raises(ValueError, match="preset must be one of .* got 'huge'"):
        AudioLMConfig.preset("huge")


def test_rotary_frequencies_keep_their_precision():
    lm = toy_lm()
    before = {name: value.clone() for name, value in lm.named_buffers()}
    assert before
    lm.to(torch.bfloat16).half()
    assert {parameter.dtype for parameter in lm.parameters()} == {torch.float16}
    for name, value in lm.named_buffers():
        assert value.dtype == torch.float32 and value.equal(before[name]), name


def test_methods_of_a_class_are_methods_in_every_python():
    for name, value in vars(AudioLM).items():  # Python 3.13 cannot call one of another
        inner = getattr(value, "__func__", None)
        assert not isinstance(inner, classmethod | staticmethod), name


def test_whole_numbers_are_numbers_where_floats_are_expected():
    config = toy_config(ctc_weight=0, text_weight=2, loudness_dbfs=-20)
    config.condition_dropout = 0
    values = (config.ctc_weight, config.text_weight, config.loudness_dbfs, config.condition_dropout)
    assert values == (0, 2, -20, 0) and all(type(value) is float for value in values)
    codec = ALMTokenizerConfig.preset("tiny", quantizer_dropout=0)
    assert type(codec.quantizer_dropout) is float
    for wrong in ("a", True, None):
        with pytest.raises(ValueError, match="AudioLMConfig: Field 'text_weight' expected float"):
            toy_config(text_weight=wrong)
        with pytest.raises(ValueError, match="AudioLMConfig: Field 'text_weight' expected float"):
            config.text_weight = wrong
