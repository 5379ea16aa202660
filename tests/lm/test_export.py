"""A flat model exported as a plain one generates the same codes by transformers' own generate."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from almtok.lm.export import PlainIds, export_plain, to_plain
from almtok.lm.generation.sampling import SamplingConfig
from almtok.lm.model import AudioLM
from almtok.lm.sequences import build_prompt, build_sequence, collate

from .toy import EOS, toy_config, toy_example, toy_lm

GREEDY = SamplingConfig(temperature=0.0)


def overfitted(backbone: str, tied: bool) -> AudioLM:
    """A toy that knows one utterance of each direction by heart."""
    values = toy_config().backbone.to_dict()
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
             "num_attention_heads", "num_key_value_heads", "max_position_embeddings")  # fmt: skip
    small = {name: values[name] for name in names}
    lm = toy_lm(
        pattern="flat",
        backbone=dict(model_type=backbone, tie_word_embeddings=tied, eos_token_id=EOS, **small),
    )
    rows = [build_sequence(toy_example(task), lm.config, eos_id=EOS) for task in ("tts", "asr")]
    batch = collate(rows, lm.config)
    optimizer = torch.optim.Adam(lm.parameters(), lr=1e-2)
    lm.train()
    for _ in range(80):
        loss = lm(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    return lm.eval()


@pytest.fixture(scope="module", params=[("llama", True), ("qwen2", False)])
def lm(request: pytest.FixtureRequest) -> AudioLM:
    return overfitted(*request.param)


def prompt(lm: AudioLM, task: str) -> torch.Tensor:
    example = toy_example(task)
    kind = "audio" if task == "tts" else "text"
    *conditions, _ = example.segments
    return build_prompt(task, conditions, kind, lm.config, frames_per_query=6, eos_id=EOS)


def test_generate_of_transformers_gives_the_same(lm: AudioLM, tmp_path: Path) -> None:
    lm.save_pretrained(tmp_path / "flat")
    export_plain(tmp_path / "flat", tmp_path / "plain")
    plain, ids = AutoModelForCausalLM.from_pretrained(tmp_path / "plain"), PlainIds(lm.config)
    assert type(plain).__name__ in ("LlamaForCausalLM", "Qwen2ForCausalLM")
    rows = prompt(lm, "tts")
    ours = lm.generate(rows[None], audio_sampling=GREEDY, eos_id=EOS)[0].codes
    made = plain.generate(ids.from_rows(rows)[None], max_new_tokens=60)[0, len(rows) :]
    assert int(made[-1]) == ids.audio_end
    theirs = ids.to_rows(made[:-1])[:, 1:]  # [R, K]
    codes = torch.stack([theirs[k :: lm.config.num_codebooks, k] for k in range(3)])
    assert torch.equal(codes, ours) and torch.equal(codes, toy_example().segments[-1].codes)


def test_text_is_the_same_too(lm: AudioLM) -> None:
    plain, ids = to_plain(lm), PlainIds(lm.config)
    rows = prompt(lm, "asr")
    ours = lm.generate(rows[None], eos_id=EOS)[0].ids
    made = plain.generate(ids.from_rows(rows)[None], max_new_tokens=20)[0, len(rows) :]
    assert int(made[-1]) == EOS and made[:-1].tolist() == ours.tolist()
    assert tuple(ours.tolist()) == toy_example("asr").segments[-1].ids


def test_logits_are_those_of_the_model(lm: AudioLM) -> None:
    rows = build_sequence(toy_example(), lm.config, eos_id=EOS).input_ids
    plain, ids = to_plain(lm), PlainIds(lm.config)
    with torch.no_grad():
        expected = lm.joint_logits(lm.advance(rows[None])[0])
        found = plain(input_ids=ids.from_rows(rows)[None]).logits[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_every_row_has_an_id_and_back(lm: AudioLM) -> None:
    ids = PlainIds(lm.config)
    every = torch.arange(ids.size)
    assert torch.equal(ids.from_rows(ids.to_rows(every)), every)
    said = json.loads(json.dumps(ids.describe()))
    assert said["codebooks"][2]["first"] + 16 + 1 == ids.size
    assert said["tasks"]["tts"] > said["controls"]["no_condition"]


def test_what_is_not_one_thing_is_refused(lm: AudioLM) -> None:
    ids = PlainIds(lm.config)
    with pytest.raises(ValueError, match="row 0 must have one id"):
        ids.from_rows(torch.tensor([[3, 1, 17, 17]]))
    with pytest.raises(ValueError, match=r"ids must be 0\.\."):
        ids.to_rows(torch.tensor([ids.size]))
    with pytest.raises(ValueError, match="pattern must be 'flat'"):
        to_plain(toy_lm(pattern="depth"))


def test_a_full_folder_is_not_overwritten_unasked(lm: AudioLM, tmp_path: Path) -> None:
    lm.save_pretrained(tmp_path / "flat")
    with pytest.raises(ValueError, match="is not empty"):
        export_plain(tmp_path / "flat", tmp_path)
