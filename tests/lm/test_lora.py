"""Adapters: identity at first, merged as unmerged, base untouched, exact reload, wrong base."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from almtok.core.training.checkpoint import CheckpointError
from almtok.lm.adapter_files import CARD, CONFIG, WEIGHTS
from almtok.lm.generation.sampling import SamplingConfig
from almtok.lm.lora import (
    LoraSettings,
    adapter_names,
    add_lora,
    base_fingerprint,
    load_adapter,
    merge_adapter,
    remove_adapters,
    save_adapter,
    use_adapter,
    using_adapter,
)
from almtok.lm.model import AudioLM
from almtok.lm.sequences import build_prompt, build_sequence, collate

from .toy import EOS, PATTERNS, toy_example, toy_lm

SMALL = LoraSettings(rank=2)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "lora.md"
GREEDY = SamplingConfig(temperature=0.0)


def batch(lm: AudioLM, seed: int = 0) -> dict[str, Tensor]:
    examples = [toy_example("tts", seed=seed), toy_example("asr", count=5, seed=seed)]
    return collate([build_sequence(e, lm.config, eos_id=EOS) for e in examples], lm.config)


@torch.no_grad()
def logits(lm: AudioLM) -> tuple[Tensor, Tensor]:
    given = {name: value for name, value in batch(lm).items() if name != "labels"}
    out = lm.eval()(**given)
    assert out.text_logits is not None and out.audio_logits is not None
    return out.text_logits, out.audio_logits


def distance(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, two, strict=True))


def train(lm: AudioLM, steps: int = 4, seed: int = 0) -> AudioLM:
    trained = [p for p in lm.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    lm.train()
    for _ in range(steps):
        loss = lm(**batch(lm, seed)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return lm.eval()


@pytest.mark.parametrize("audio_rank", [0, 2])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_identity_then_learning_then_merged(pattern: str, audio_rank: int) -> None:
    lm = toy_lm(pattern=pattern)
    before, plain = logits(lm), {name: type(module) for name, module in lm.named_modules()}
    add_lora(lm, LoraSettings(rank=2, audio_rank=audio_rank))
    assert distance(logits(lm), before) == 0
    train(lm)
    after = logits(lm)
    assert distance(after, before) > 1e-2
    merge_adapter(lm)
    assert {name: type(module) for name, module in lm.named_modules()} == plain
    assert distance(logits(lm), after) < 1e-5


def test_the_base_is_untouched_and_comes_back() -> None:
    lm, base = toy_lm(), toy_lm()
    before, name = logits(lm), base_fingerprint(lm)
    train(add_lora(lm, SMALL))
    use_adapter(lm, None)
    assert distance(logits(lm), before) == 0
    own = dict(lm.named_parameters())
    for key, value in base.named_parameters():
        part, _, rest = key.partition(".")
        head, _, leaf = key.rpartition(".")
        names = (key, f"{head}.base_layer.{leaf}", f"{part}.original_module.{rest}")
        assert any(name in own and torch.equal(own[name], value) for name in names), key
    assert base_fingerprint(lm) == name == base_fingerprint(base)


@pytest.mark.parametrize("audio_rank", [0, 2])
def test_removed_adapters_leave_the_base_bit_for_bit(audio_rank: int) -> None:
    lm, base = toy_lm(), toy_lm()
    before, plain = logits(lm), {name: type(module) for name, module in lm.named_modules()}
    for name in ("anna", "ben"):
        train(add_lora(lm, LoraSettings(rank=2, audio_rank=audio_rank), name))
    assert distance(logits(lm), before) > 1e-2
    remove_adapters(lm)
    assert {name: type(module) for name, module in lm.named_modules()} == plain
    assert adapter_names(lm) == () and distance(logits(lm), before) == 0
    own = lm.state_dict()
    assert own.keys() == base.state_dict().keys()
    assert all(torch.equal(own[key], value) for key, value in base.state_dict().items())
    assert all(parameter.requires_grad for parameter in lm.parameters())


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("audio_rank", [0, 2])
def test_a_merged_model_is_the_same_from_disk(
    tmp_path: Path, pattern: str, audio_rank: int
) -> None:
    lm = toy_lm(pattern=pattern)
    logits(lm)  # whatever is kept for later calls is of the base
    train(add_lora(lm, LoraSettings(rank=2, audio_rank=audio_rank)))
    after = logits(lm)
    with pytest.raises(ValueError, match="save them with save_adapter, and the model after"):
        lm.save_pretrained(tmp_path)
    merge_adapter(lm).save_pretrained(tmp_path)
    assert distance(logits(AudioLM.from_pretrained(tmp_path)), after) < 1e-5


def test_loaded_adapters_have_no_dropout_in_evaluation(tmp_path: Path) -> None:
    lm = train(add_lora(toy_lm(), LoraSettings(rank=2, dropout=0.5)))
    save_adapter(lm, tmp_path)
    given = {name: value for name, value in batch(lm).items() if name != "labels"}
    with torch.no_grad():
        again = load_adapter(toy_lm(), tmp_path)(**given)  # toy_lm is in evaluation mode
        assert torch.equal(again.text_logits, lm(**given).text_logits)


def test_what_is_trained() -> None:
    lm = add_lora(toy_lm(), SMALL)
    trained = {name for name, p in lm.named_parameters() if p.requires_grad}
    assert any("lora_A" in name for name in trained)
    assert any(name.startswith("heads.") for name in trained)
    assert all("lora_" in n for n in trained if n.startswith("backbone."))
    small = add_lora(toy_lm(), LoraSettings(rank=2, targets=("q_proj",), audio=False))
    trained = {name for name, p in small.named_parameters() if p.requires_grad}
    assert trained and all(".q_proj.lora_" in name for name in trained)


def test_low_rank_changes_of_heads_are_all_that_is_trained_of_them(tmp_path: Path) -> None:
    lm = add_lora(toy_lm(), LoraSettings(rank=2, audio_rank=2))
    trained = {name for name, p in lm.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trained)
    assert any(name.startswith("heads.") for name in trained)
    assert any(name.startswith("embedding.") for name in trained)
    small, whole = tmp_path / "small", tmp_path / "whole"
    save_adapter(lm, small)
    save_adapter(add_lora(toy_lm(), SMALL), whole)
    sizes = [(path / WEIGHTS).stat().st_size for path in (small, whole)]
    assert sizes[0] < sizes[1]
    with pytest.raises(ValueError, match="audio_rank needs audio=True, got 2 without it"):
        LoraSettings(audio=False, audio_rank=2)


@pytest.mark.parametrize(("audio", "audio_rank"), [(True, 0), (True, 2), (False, 0)])
def test_reload_is_exact_and_small(tmp_path: Path, audio: bool, audio_rank: int) -> None:
    settings = LoraSettings(rank=2, alpha=3.0, audio=audio, audio_rank=audio_rank)
    lm = train(add_lora(toy_lm(), settings))
    save_adapter(lm, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {WEIGHTS, CONFIG, CARD, "README.md"}
    names = load_file(tmp_path / WEIGHTS).keys()
    assert not any("base_layer" in name or "embed_tokens" in name for name in names)
    assert any(name.startswith("base_model.model.heads.") for name in names) is audio
    again = load_adapter(toy_lm(), tmp_path)
    assert distance(logits(again), logits(lm)) == 0
    assert not any(p.requires_grad for p in again.parameters())
    use_adapter(again, None)
    assert distance(logits(again), logits(toy_lm())) == 0


def test_another_base_is_refused_with_both_names(tmp_path: Path) -> None:
    lm, other = add_lora(toy_lm(seed=0), SMALL), toy_lm(seed=1)
    save_adapter(lm, tmp_path)
    with pytest.raises(ValueError, match="made for base") as error:
        load_adapter(other, tmp_path)
    assert base_fingerprint(lm) in str(error.value)
    assert base_fingerprint(other) in str(error.value)
    assert adapter_names(other) == ()


def test_a_base_in_bfloat16_is_the_same_base() -> None:
    assert base_fingerprint(toy_lm().to(torch.bfloat16)) == base_fingerprint(toy_lm())


def test_several_adapters_switched_by_request(tmp_path: Path) -> None:
    alone = []
    for seed, name in enumerate(("anna", "ben")):
        lm = train(add_lora(toy_lm(), SMALL), steps=12, seed=seed)
        save_adapter(lm, tmp_path / name)
        alone.append(codes(lm))
    base = codes(toy_lm())
    lm = toy_lm()
    for name in ("anna", "ben"):
        load_adapter(lm, tmp_path / name, name)
    assert adapter_names(lm) == ("anna", "ben")
    for name in ("anna", "ben", "anna", None):
        with using_adapter(lm, name):
            expected = base if name is None else alone[("anna", "ben").index(name)]
            assert torch.equal(codes(lm), expected), name
    assert not torch.equal(alone[0], alone[1])
    with using_adapter(lm, "ben"):
        merged = logits(lm)
    assert distance(logits(merge_adapter(lm, "ben")), merged) < 1e-5


def prompts(lm: AudioLM) -> dict[str, Any]:
    example = toy_example("tts")
    prompt = build_prompt(
        "tts", example.segments[:1], "audio", lm.config, frames_per_query=6, eos_id=EOS
    )
    return {"input_ids": prompt[None], "audio_sampling": GREEDY, "max_frames": 12, "eos_id": EOS}


def codes(lm: AudioLM) -> Tensor:
    output = lm.generate(**prompts(lm))[0].codes
    assert output is not None
    return output


def test_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toy_lm().save_pretrained("runs/mine/lm/model")
    adapted = {}
    for seed, name in enumerate(("anna", "ben")):
        lm = train(add_lora(toy_lm(), SMALL), steps=12, seed=seed)
        adapted[name] = logits(lm)
        save_adapter(lm, f"runs/{name}")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"prompts": prompts(toy_lm())}
    assert "train_lm(" in blocks[0]  # trained from data: see tests/lm/train
    exec(blocks[1], names)
    assert distance(logits(names["lm"]), adapted["anna"]) < 1e-5
    exec(blocks[2], names)
    assert len(names["trained"]) > 4 and adapter_names(names["lm"]) == ("clara",)
    assert Path("runs/clara/adapter.json").is_file()
    exec(blocks[3], names)
    assert Path("runs/dan/adapter_config.json").is_file() and "LoraConfig" in names


def test_a_task_of_an_adapter_is_known_while_it_is_used(tmp_path: Path) -> None:
    lm = toy_lm()
    tasks = list(lm.config.tasks)
    add_lora(lm, SMALL)
    use_adapter(lm, None)
    lm2 = toy_lm()
    lm2.config.tasks = [*tasks, "conversion"]
    save_adapter(add_lora(lm2, SMALL), tmp_path)
    load_adapter(lm, tmp_path, "other")
    assert lm.config.tasks == [*tasks, "conversion"]
    use_adapter(lm, None)
    assert lm.config.tasks == tasks


def test_mistakes_are_named(tmp_path: Path) -> None:
    lm = add_lora(toy_lm(), SMALL)
    with pytest.raises(ValueError, match="must be a new Python name"):
        add_lora(lm, SMALL)
    with pytest.raises(ValueError, match="no linear layer of the backbone is named q_pro;"):
        add_lora(toy_lm(), LoraSettings(targets=("q_pro",)))
    with pytest.raises(ValueError, match="did you mean 'default'"):
        use_adapter(lm, "defalt")
    with pytest.raises(CheckpointError, match="holds no adapter"):
        load_adapter(lm, tmp_path)
    with pytest.raises(ValueError, match="at least 1"):
        LoraSettings(rank=0)
    of_peft = ("__base__", "lora_B", "base_layer", "modules_to_save", "original_module")
    for name in (*of_peft, "heads", "layers", "weight", "an adapter"):
        with pytest.raises(ValueError, match="must be a new Python name, and not that of a module"):
            add_lora(toy_lm(), SMALL, name)
    with pytest.raises(ValueError, match="a full copy of embedding, another a low-rank update of"):
        add_lora(lm, LoraSettings(rank=2, audio_rank=2), "other")
    assert adapter_names(lm) == ("default",)
