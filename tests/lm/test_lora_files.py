"""Adapters on disk: peft reads ours and writes theirs, former folders load, damage is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from almtok.core.training.checkpoint import CheckpointError
from almtok.lm.adapter_files import CARD, CONFIG, WEIGHTS, from_low_rank
from almtok.lm.generation.sampling import GREEDY
from almtok.lm.lora import (
    LoraSettings,
    adapter_names,
    add_lora,
    load_adapter,
    merge_adapter,
    save_adapter,
    use_adapter,
)
from almtok.lm.model import AudioLM
from almtok.lm.sequences import TextSegment, build_prompt
from almtok.lm.train.checkpoint import restore_weights, trained

from .toy import EOS, PATTERNS, toy_config, toy_lm

FIXTURES = Path(__file__).parent / "fixtures"
ROWS = torch.tensor([[[3, 17, 17, 17], [64, 1, 2, 3], [65, 4, 5, 6], [9, 17, 17, 17]]])
SETTINGS = (
    LoraSettings(rank=2),
    LoraSettings(rank=2, alpha=3.0, audio_rank=3),
    LoraSettings(rank=3, targets=("q_proj",), audio=False),
)


@torch.no_grad()
def logits(lm: Any, rows: Tensor = ROWS) -> list[Tensor]:
    out = lm.eval()(input_ids=rows)
    return [out.text_logits, out.audio_logits]


def same(one: list[Tensor], two: list[Tensor], tolerance: float = 0.0) -> bool:
    return all(float((a - b).abs().max()) <= tolerance for a, b in zip(one, two, strict=True))


@torch.no_grad()
def disturbed(lm: Any, seed: int = 0) -> Any:
    """The model with noise on all parameters that are trained."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in lm.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return lm


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_peft_loads_what_was_saved(
    tmp_path: Path, pattern: str, settings: LoraSettings, recwarn: pytest.WarningsRecorder
) -> None:
    lm = disturbed(add_lora(toy_lm(pattern=pattern), settings))
    base = logits(toy_lm(pattern=pattern))
    save_adapter(lm, tmp_path)
    theirs = PeftModel.from_pretrained(toy_lm(pattern=pattern), tmp_path)
    assert same(logits(theirs), logits(lm)) and not same(base, logits(lm), 1e-4)
    assert not [str(warning.message) for warning in recwarn if "missing" in str(warning.message)]
    assert same(logits(theirs.merge_and_unload()), logits(lm), 1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embedding", "heads"]},
        {"target_modules": "all-linear", "lora_alpha": 3, "use_rslora": True},
        {"target_modules": ["gate_proj", "heads.out.1"], "rank_pattern": {"gate_proj": 3}},
        {"target_modules": ["q_proj"], "use_dora": True},
        {"target_modules": ["q_proj"], "modules_to_save": ["controls"]},
    ],
)
def test_adapters_of_peft_are_loaded(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = LoraConfig(task_type="CAUSAL_LM", r=2, **changes)
    theirs = disturbed(get_peft_model(toy_lm(), config))
    theirs.save_pretrained(tmp_path)
    lm = load_adapter(toy_lm(), tmp_path, "theirs")
    assert same(logits(lm), logits(theirs)) and not same(logits(lm), logits(toy_lm()), 1e-4)
    assert not any(parameter.requires_grad for parameter in lm.parameters())
    use_adapter(lm, None)
    assert same(logits(lm), logits(toy_lm()))
    assert same(logits(merge_adapter(lm, "theirs")), logits(theirs), 1e-5)


def test_a_causal_model_of_peft_trains_and_generates() -> None:
    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])
    theirs = get_peft_model(toy_lm(), config)
    assert theirs.get_input_embeddings().weight.shape == (60, 32)
    theirs(input_ids=ROWS, labels=ROWS.masked_fill(ROWS > 15, -100)).loss.backward()
    assert sum(p.grad is not None for p in theirs.parameters()) == 2 * 2 * 2  # layers, maps, A B
    disturbed(theirs)
    prompt = build_prompt(
        "tts", [TextSegment((3, 4))], "audio", toy_config(), frames_per_query=6, eos_id=EOS
    )
    given: dict[str, Any] = {"audio_sampling": GREEDY, "max_frames": 6, "eos_id": EOS}
    codes = theirs.generate(prompt[None], **given)[0].codes
    assert codes.equal(theirs.merge_and_unload().generate(prompt[None], **given)[0].codes)
    with pytest.raises(TypeError, match="takes no token_type_ids"):
        toy_lm()(input_ids=ROWS, token_type_ids=torch.zeros(1, 4))


def former_base() -> AudioLM:
    """The base of the fixtures; its weights are the same on every machine."""
    backbone = dict(
        model_type="llama", vocab_size=20, hidden_size=8, intermediate_size=16,
        num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=64, tie_word_embeddings=True,
    )  # fmt: skip
    sizes = {"codebook_size": 4, "num_codebooks": 2, "depth_layers": 1, "depth_width": 8}
    lm = toy_lm(backbone=backbone, **sizes)
    with torch.no_grad():
        for number, (_, parameter) in enumerate(sorted(lm.named_parameters())):
            count = torch.arange(parameter.numel()) * 7919 + number * 104729
            parameter.copy_(((count % 211 - 105).float() / 512).view(parameter.shape))
    return lm


@pytest.mark.parametrize("kind", ["copies", "low_rank"])
def test_adapters_of_the_former_format_are_loaded(tmp_path: Path, kind: str) -> None:
    expected = load_file(FIXTURES / f"adapter_{kind}" / "expected.safetensors")
    lm = load_adapter(former_base(), FIXTURES / f"adapter_{kind}")
    rows, known = expected["rows"], [expected["text"], expected["audio"]]
    assert same(logits(lm, rows), known, 1e-5)
    assert not same(logits(former_base(), rows), known, 1e-2)
    save_adapter(lm, tmp_path)
    assert same(logits(load_adapter(former_base(), tmp_path), rows), logits(lm, rows))
    assert same(logits(merge_adapter(lm), rows), known, 1e-5)


def test_states_of_low_rank_updates_are_those_of_peft() -> None:
    names = {"heads.out.0.lora_A.default.weight", "embedding.audio.lora_embedding_B.default"}
    given = {
        "heads.out.0.parametrizations.weight.0.low_rank_A.exp_avg": torch.zeros(2, 5),
        "embedding.audio.parametrizations.weight.0.low_rank_A.step": torch.ones(()),
        "embedding.audio.parametrizations.weight.0.low_rank_A": torch.zeros(2, 3),
        "heads.norm.weight": torch.ones(4),
    }
    found = from_low_rank(given, names, ".default")
    assert {name: list(value.shape) for name, value in found.items()} == {
        "heads.out.0.lora_A.default.weight.exp_avg": [2, 5],
        "embedding.audio.lora_embedding_B.default.step": [],
        "embedding.audio.lora_embedding_B.default": [3, 2],
        "heads.norm.weight": [4],
    }


@pytest.mark.parametrize("audio_rank", [0, 2])
def test_checkpoints_of_former_runs_are_restored(audio_rank: int) -> None:
    lm = add_lora(toy_lm(), LoraSettings(rank=2, audio_rank=audio_rank))
    former = {}
    for key, parameter in trained(lm).items():
        value = torch.full_like(parameter, 0.5) + torch.arange(parameter.shape[-1])
        if key.startswith("backbone") or not audio_rank:
            assert ".modules_to_save." not in key
            former[key] = value
        else:
            layer, _, matrix = key.removesuffix(".weight").removesuffix(".default").rpartition(".")
            turned = "embedding" in matrix
            letter = {"A": "B", "B": "A"}[matrix[-1]] if turned else matrix[-1]
            name = f"{layer}.parametrizations.weight.0.low_rank_{letter}"
            former[name] = value.T.contiguous() if turned else value
    assert any("low_rank" in key for key in former) is bool(audio_rank)
    restore_weights(lm, former)
    for parameter in trained(lm).values():
        assert torch.equal(parameter[..., 0], torch.full_like(parameter[..., 0], 0.5))
        assert parameter.flatten()[-1] == parameter.shape[-1] - 0.5


Change = Callable[[Path], object]


def rewrite(name: str, **values: Any) -> Change:
    def change(folder: Path) -> None:
        known = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**known, **values}))

    return change


def retensor(key: str, change: Callable[[Tensor], Tensor | None]) -> Change:
    def changed(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        (name,) = [name for name in weights if name.endswith(key)]
        value = change(weights.pop(name))
        save_file({**weights, **({} if value is None else {name: value})}, folder / WEIGHTS)

    return changed


def cut(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-20])


LORA_B = "layers.0.self_attn.q_proj.lora_B.weight"  # [32, 2]
DAMAGE: list[tuple[str, Change, str]] = [
    (WEIGHTS, retensor(LORA_B, lambda x: x[:1].clone()), r"shape \[1, 2\], expected \[32, 2\]"),
    (WEIGHTS, retensor(LORA_B, lambda x: x[:, :1].clone()), r"shape \[32, 1\], expected"),
    (WEIGHTS, retensor(LORA_B, lambda x: x[None]), r"shape \[1, 32, 2\], expected"),
    (WEIGHTS, retensor("heads.norm.weight", lambda x: x[:1].clone()), r"shape \[1\], expected"),
    (WEIGHTS, retensor(LORA_B, lambda x: x.index_fill(0, torch.tensor(3), torch.nan)), "finite"),
    (WEIGHTS, retensor("heads.norm.weight", lambda x: x + torch.inf), "not finite"),
    (WEIGHTS, retensor(LORA_B, lambda x: None), "does not fit its configuration: .*lora_B"),
    (WEIGHTS, cut(WEIGHTS), "cannot be read"),
    (WEIGHTS, lambda folder: (folder / WEIGHTS).unlink(), "cannot be read"),
    (CONFIG, cut(CONFIG), "cannot be read"),
    (CONFIG, lambda folder: (folder / CONFIG).write_text("[]"), "must hold an object, got list"),
    (CONFIG, rewrite(CONFIG, r=10**9), "at least 1 and at most 4096, got 1000000000"),
    (CONFIG, rewrite(CONFIG, rank_pattern={"q_proj": 10**9}), "got 1000000000"),
    (CONFIG, rewrite(CONFIG, r=2.5), "got 2.5"),
    (CONFIG, rewrite(CONFIG, lora_alpha=1e30), r"alpha of LoRA must be in \(0, 65536\], got 1e"),
    (CONFIG, rewrite(CONFIG, lora_alpha=float("nan")), "got nan"),
    (CONFIG, rewrite(CONFIG, alpha_pattern={"q_proj": -1}), "got -1"),
    (CONFIG, rewrite(CONFIG, peft_type="IA3"), "peft_type must be LORA, got 'IA3'"),
    (CONFIG, rewrite(CONFIG, bias="all"), "not supported: bias"),
    (CONFIG, rewrite(CONFIG, init_lora_weights="pissa"), "not supported: init_lora_weights"),
    (CONFIG, rewrite(CONFIG, layer_replication=[[0, 2]]), "not supported: layer_replication"),
    (CONFIG, rewrite(CONFIG, a_later_kind=True), "not supported: a_later_kind"),
    ("", rewrite(CONFIG, target_modules=["q_pro"]), "does not fit this model: No modules were"),
    (CARD, rewrite(CARD, format=9), "has format 9, this reads 1 and 2"),
    (CARD, cut(CARD), "cannot be read"),
    (CARD, rewrite(CARD, tasks=["tts", 3]), "must be a list of names"),
    (CARD, rewrite(CARD, tasks=[str(n) for n in range(17)]), "up to 16 different tasks"),
    (WEIGHTS, retensor(LORA_B, lambda x: x.int()), "not finite floats"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "damage", "message"), DAMAGE)
def test_damage_is_one_line_with_the_file(
    tmp_path: Path, file: str, damage: Change, message: str
) -> None:
    save_adapter(add_lora(toy_lm(), LoraSettings(rank=2)), tmp_path)
    damage(tmp_path)
    lm = toy_lm()
    with pytest.raises(CheckpointError, match=message) as error:
        load_adapter(lm, tmp_path)
    assert str(tmp_path / file) in str(error.value) and "\n" not in str(error.value)
    assert adapter_names(lm) == () and lm.state_dict().keys() == toy_lm().state_dict().keys()


@pytest.mark.parametrize("values", [{"rank": 10**9}, {"alpha": 1e30}, {"targets": 3}])
def test_damage_of_the_former_format(tmp_path: Path, values: dict[str, Any]) -> None:
    shutil.copytree(FIXTURES / "adapter_copies", tmp_path / "a")
    card = json.loads((tmp_path / "a" / CARD).read_text())
    rewrite(CARD, settings={**card["settings"], **values})(tmp_path / "a")
    with pytest.raises(CheckpointError, match="adapter.json describes no adapter"):
        load_adapter(former_base(), tmp_path / "a")


def test_settings_have_limits() -> None:
    for values in ({"rank": 10**9}, {"audio_rank": 10**9}, {"alpha": 1e30}, {"alpha": -1.0}):
        with pytest.raises(ValueError, match=r"at most 4096|in \(0, 65536\]"):
            LoraSettings(**values)  # type: ignore[arg-type]


def test_a_tied_text_embedding_is_not_merged(tmp_path: Path) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"])
    theirs = disturbed(get_peft_model(toy_lm(), config))
    theirs.save_pretrained(tmp_path)
    lm = load_adapter(toy_lm(), tmp_path)
    assert same(logits(lm), logits(theirs))
    with pytest.raises(ValueError, match="share one weight in this model: it cannot be merged"):
        merge_adapter(lm)
    assert adapter_names(lm) == ("default",)
