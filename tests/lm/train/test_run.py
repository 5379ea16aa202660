"""Runs as people start them: the two commands, their folders, their errors."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from almtok.__main__ import main
from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.model import ALMTokenizer
from almtok.lm.config import depth_sizes
from almtok.lm.data.dataset import paired_codes
from almtok.lm.lora import load_adapter
from almtok.lm.model import AudioLM
from almtok.lm.processor import AudioLMProcessor
from almtok.lm.text.tokenizer import tokenizer_fingerprint, train_tokenizer
from almtok.lm.train import LMTrainingConfig, finetune, run
from almtok.lm.train.corpus import (
    find_tasks,
    held_out,
    read_info,
    training_batches,
    training_texts,
)
from almtok.lm.train.initial_model import build_initial_model
from almtok.lm.train.run import train_lm

from .conftest import TOY_MODEL, _maker


@pytest.fixture(scope="module")
def codec(tmp_path_factory: Any) -> Path:
    torch.manual_seed(0)
    config = ALMTokenizerConfig.preset(
        "tiny", conv_channels=[1, 8, 16, 16, 24], hidden_size=32, encoder_layers=1,
        decoder_layers=1, num_attention_heads=2, attention_window=48, codebook_size=16,
        codebook_dim=8, prior_dim=12, patch_transformer_layers=1,
    )  # fmt: skip
    folder: Path = tmp_path_factory.mktemp("codec")
    ALMTokenizer(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(codec: Path, tmp_path_factory: Any) -> Path:
    """A run of `almtok lm train`, with samples that are heard."""
    folder: Path = tmp_path_factory.mktemp("base")
    rows = [
        dict(frames=4, text=f"row {n % 3}", speaker="s", split="valid" if n % 4 == 3 else "train")
        for n in range(8)
    ]
    fingerprint = ALMTokenizer.from_pretrained(codec).fingerprint
    _maker().shards(folder / "tokens", rows, fingerprint=fingerprint)
    flags = ["--steps", "2", "--log-every", "1", "--batch-positions", "64", "--samples", "1",
             "--warmup-steps", "0", "--no-progress", "--device", "cpu"]  # fmt: skip
    status = main(
        ["lm", "train", "--data", str(folder / "tokens"), "--tasks", "tts=2", "asr",
         "continuation", "--preset", "tiny", "--model", json.dumps(TOY_MODEL), "--codec",
         str(codec), "--out", str(folder / "run"), *flags]
    )  # fmt: skip
    assert status == 0
    return folder


def test_a_run_leaves_all_that_a_person_needs(base: Path) -> None:
    run = base / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = {"text", "audio_1", "audio_2", "audio_3"}
    seen = [line for line in lines if "losses" in line]  # a step may have audio targets only
    assert set().union(*(line["losses"] for line in seen)) == losses
    assert all(line["accuracies"].keys() == line["losses"].keys() for line in seen)
    assert lines[-1]["validation"].keys() == {"tts", "asr", "continuation"}
    lm = AudioLM.from_pretrained(run / "model").eval()
    processor = AudioLMProcessor.from_pretrained(run / "model")
    assert lm.config.tokenizer_fingerprint == tokenizer_fingerprint(processor.tokenizer)
    out = lm.generate(**processor(task="tts", text="row one"), max_frames=3)
    assert processor.decode(out[0]).ndim == 1  # the codec lies in the folder
    assert LMTrainingConfig.from_json(run / "config.json").tasks == ["tts=2", "asr", "continuation"]


def test_samples_are_heard_and_seen_in_tensorboard(base: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(base / "run/tensorboard"))
    board.Reload()
    tags = board.Tags()
    assert {"tts/0/original", "continuation/0/original"} <= set(tags["audio"])
    assert {"tts/0/original_codes", "tts/0/original_spectrogram"} <= set(tags["images"])
    assert any(tag.startswith("asr/0") for tag in tags["tensors"])
    assert {"loss", "loss/audio_1", "accuracy/text", "validation/asr/loss"} <= set(tags["scalars"])


def test_texts_without_a_language_are_learned_as_they_are_written(
    base: Path, tmp_path: Path
) -> None:
    """Their models read texts so, and so do models that are trained further."""
    tokens = str(base / "tokens")
    common = dict(data=[tokens], tasks=["tts"], steps=1, warmup_steps=0, progress=False,
                  tracker="none", device="cpu", samples=0)  # fmt: skip
    run, tuned = tmp_path / "run", tmp_path / "tuned"
    config = LMTrainingConfig(
        **common, preset="tiny", model=TOY_MODEL, language="none", out=str(run)
    )
    train_lm(config)
    train_lm(LMTrainingConfig(**common, init_from=str(run), lora_rank=0, out=str(tuned)))
    for folder in (run, tuned):
        encoder = AudioLMProcessor.from_pretrained(folder / "model").text_encoder
        assert encoder.language is None
        for text in ("row 7", "Dr. 5 €"):
            assert encoder.apply_form(text, transcript=True) == text
    english = AudioLMProcessor.from_pretrained(base / "run" / "model").text_encoder
    assert english.apply_form("row 7", transcript=True) == "row seven"
    with pytest.raises(ValueError, match="'phones' needs a language"):
        dataclasses.replace(config, text_form="phones")


@pytest.mark.parametrize("full", [False, True])
def test_finetune(base: Path, tmp_path: Path, full: bool) -> None:
    run = tmp_path / "run"
    status = main(
        ["lm", "finetune", "--init-from", str(base / "run"),
         "--data", str(base / "tokens"), "--tasks", "tts",
         "--steps", "2", "--warmup-steps", "0", "--no-progress", "--tracker", "none", "--device",
         "cpu", "--samples", "0", "--out", str(run),
         *(["--lora-rank", "0"] if full else ["--merge"])]
    )  # fmt: skip
    assert status == 0
    lm = AudioLM.from_pretrained(base / "run/model").eval()
    made = AudioLM.from_pretrained(run / "model").eval()
    rows = torch.tensor([[[5, 17, 17, 17], [7, 17, 17, 17]]])
    with torch.no_grad():
        before, after = lm(rows).audio_logits, made(rows).audio_logits
        assert float((before - after).abs().max()) > 0
        assert (run / "adapter").exists() is not full
        if not full:
            adapted = load_adapter(lm, run).eval()(rows).audio_logits
            assert float((adapted - after).abs().max()) < 1e-5


def test_tasks_that_stay_are_learned_from_the_model_before(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def losses(*flags: str, status: int = 0) -> dict[str, float]:
        run = tmp_path / f"run{len(flags)}"
        came = main(
            ["lm", "finetune", "--init-from", str(base / "run"),
             "--lora-rank", "0", "--data", str(base / "tokens"),
             "--tasks", "tts", "asr", "--steps", "1", "--log-every", "1", "--no-progress",
             "--tracker", "none", "--device", "cpu", "--samples", "0", "--out", str(run), *flags]
        )  # fmt: skip
        assert came == status
        if status:
            return {}
        line = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
        return dict(line["losses"])

    assert min(losses().values()) > 1
    # Nothing has changed yet, so there is nothing to pay.
    assert max(losses("--distill-tasks", "tts", "asr").values()) < 1e-4
    losses("--distill-tasks", "tts", "continuation", "--seed", "1", status=1)
    assert "tasks of the run, tts, asr, got continuation" in capsys.readouterr().err


def test_from_a_pretrained_text_model(tokens: Path, toy_config: Any, tmp_path: Path) -> None:
    folder = tmp_path / "text"
    tokenizer = train_tokenizer(["row one two three"], vocab_size=300)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    text = LlamaForCausalLM(config)
    text.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model = {name: value for name, value in TOY_MODEL.items() if name != "backbone"}
    settings = toy_config(backbone=str(folder), model=model, steps=1, lora_rank=2)
    start = build_initial_model(settings, read_info(settings), ["tts", "my_task"], list)
    assert start.lm.config.tasks[-1] == "my_task"
    for name, value in text.state_dict().items():
        assert torch.equal(start.lm.backbone.state_dict()[name], value), name
    result = train_lm(settings)
    lm = AudioLM.from_pretrained(Path(settings.out) / "base")
    assert result.finished and load_adapter(lm, result.model) is lm
    # The depth Transformer follows the backbone, except in a run that was begun with other sizes.
    own = dataclasses.replace(settings, model={}, out=str(tmp_path / "own"))
    assert depth_of(build_initial_model(own, read_info(own), ["tts"], list)) == (6, 64, 1)
    begun = dataclasses.replace(own, out=settings.out)
    start = build_initial_model(begun, read_info(begun), ["tts"], list)
    assert depth_of(start) == tuple(
        TOY_MODEL[name] for name in ("depth_layers", "depth_width", "depth_heads")
    )


def depth_of(start: Any) -> tuple[int, int, int]:
    config = start.lm.config
    return config.depth_layers, config.depth_width, config.depth_heads


def test_the_depth_transformer_of_a_backbone_of_1_b_is_the_paper_s() -> None:
    sizes = [tuple(depth_sizes(width).values()) for width in (64, 1024, 2048, 4096)]
    assert sizes == [(6, 64, 1), (6, 512, 8), (6, 1024, 16), (6, 1024, 16)]


def test_temperature_and_weights_share_the_rows(toy_config: Any) -> None:
    settings = toy_config(tasks=["tts=3", "asr"], temperature=1.0)
    choices = find_tasks(settings)
    assert [(c.task.name, c.weight) for c in choices] == [("tts", 3.0), ("asr", 1.0)]
    start = build_initial_model(settings, read_info(settings), ["tts"], lambda: ["row"] * 3)
    batches = training_batches(settings, choices, start.lm.config, start.texts)
    assert batches._dataset.counts == {"tts": 30, "asr": 10}  # type: ignore[attr-defined]
    judged = held_out(settings, choices, start.lm.config, start.texts)
    assert {name: len(rows) for name, rows in judged.items()} == {"tts": 4, "asr": 4}


def test_texts_of_no_recording_have_the_share_that_is_asked_for(
    toy_config: Any, tmp_path: Path
) -> None:
    (tmp_path / "books.txt").write_text("a line\nanother line\n")
    settings = toy_config(tasks=["tts", "asr"], texts=[str(tmp_path / "books.txt")], text_share=0.5)
    choices = find_tasks(settings)
    start = build_initial_model(settings, read_info(settings), ["tts", "asr"], lambda: ["row"] * 3)
    batches = training_batches(settings, choices, start.lm.config, start.texts)
    assert batches._dataset.counts == {"tts": 11, "asr": 10 + 21}  # type: ignore[attr-defined]
    only_speech = toy_config(tasks=["tts"], texts=settings.texts)
    with pytest.raises(ValueError, match="such as asr, got tts"):
        training_batches(only_speech, find_tasks(only_speech), start.lm.config, start.texts)
    captions = toy_config(tasks=["tts", "audio_caption"], texts=["no.txt"])
    assert not any(c.task.layout.target.transcript for c in find_tasks(captions))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": ["nowhere.txt"]}, "no file nowhere.txt"),
        ({"data": []}, "no tokens to learn from"),
        ({"tasks": ["tts", "tts=2"]}, "tasks must be different"),
        ({"tasks": ["ttx"]}, "did you mean 'tts'"),
        ({"tasks": ["tts=x"]}, "NAME=WEIGHT"),
        ({"tasks": ["text_to_music"]}, "task 'text_to_music': none of"),
        ({"preset": "huge"}, "preset must be one of"),
        ({"model": {"num_codebooks": 2}}, "num_codebooks must be 3, as in the tokens"),
    ],
)
def test_mistakes_are_one_clear_error(
    toy_config: Callable[..., LMTrainingConfig], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train_lm(toy_config(**changes))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precison": "bf16"}, "did you mean 'precision'"),
        ({"muon_lr": 1e-3, "lora_rank": 2, "init_from": "x"}, "neither for LoRA"),
        ({"precision": "fp8"}, "must be one of auto, fp32, bf16, fp16"),
        ({"steps": 0}, "at least 1"),
        ({"lora_rank": 4}, "give init_from"),
        ({"lora_audio_rank": 4}, "an adapter that has tables and heads .* got 4 with lora_rank 0"),
        ({"old_tokens": ["x"]}, "old_tokens needs init_from"),
        ({"distill_tasks": ["tts"]}, "distill_tasks needs init_from or .* got None"),
        ({"distill_from": "x"}, "distill_from is for distill_tasks"),
        ({"backbone": "a", "init_from": "b"}, "not both"),
        ({"stream": True, "voices": 0.5}, "neither temperature nor voices"),
        ({"stream": True, "texts": ["books.txt"]}, "nor texts"),
        ({"text_share": 1.0}, "text_share must be between 0 and 1"),
    ],
)
def test_impossible_configurations_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LMTrainingConfig.from_dict(values)


def test_defaults_of_finetune() -> None:
    assert finetune(init_from="x").lora_rank == 16
    assert finetune(init_from="x", lora_rank=0).lr < finetune(init_from="x").lr


def test_another_codec_is_refused(base: Path, toy_config: Any) -> None:
    with pytest.raises(ValueError, match=r"trained on codes of codec .*aaaa"):
        train_lm(toy_config(init_from=str(base / "run"), model={}))


def test_a_model_moves_to_the_codes_of_another_codec(tmp_path: Path, toy_config: Any) -> None:
    rows = [dict(frames=40, text=f"row {n}") for n in range(12)]
    rng = np.random.default_rng(0)
    old = [{**row, "codes": rng.integers(16, size=(3, 40))} for row in rows]
    new = [{**row, "codes": (row["codes"] + 1) % 16} for row in old]  # the same sounds, other names
    for name, codes in (("old", old), ("new", new)):
        _maker().shards(tmp_path / name, codes, fingerprint=name)
    _maker().shards(tmp_path / "other", [dict(frames=3, text="row")], fingerprint="old")
    first = train_lm(toy_config(data=[str(tmp_path / "old")], out=str(tmp_path / "one")))
    fields = dict(
        init_from=str(first.model), model={}, data=[str(tmp_path / "new")], steps=1, lr=1e-9
    )
    config = toy_config(**fields, old_tokens=[str(tmp_path / "old")])
    second = train_lm(config)
    before, after = (AudioLM.from_pretrained(run.model) for run in (first, second))
    assert (before.config.codec_fingerprint, after.config.codec_fingerprint) == ("old", "new")
    one, two = (lm.heads.out[0].weight[:16] for lm in (before, after))
    # Every code is seen about thirty times, and once more counts for doubt.
    nearest = torch.cdist(two.roll(-1, 0), one).argmin(dim=1)
    assert torch.equal(nearest, torch.arange(16))
    kept = [lm.backbone.model.layers[0].mlp.up_proj.weight for lm in (before, after)]
    torch.testing.assert_close(*kept)
    some, _ = paired_codes(tmp_path / "old", tmp_path / "new", limit=100)
    assert some.shape == (120, 3)  # whole recordings of 40 frames
    with pytest.raises(ValueError, match="none of the 12 recordings in .* is among the 1 in"):
        wrong = toy_config(
            **fields, old_tokens=[str(tmp_path / "other")], out=str(tmp_path / "wrong")
        )
        train_lm(wrong)


def test_another_level_is_refused_and_the_models_own_is_kept(
    tmp_path: Path, toy_config: Any
) -> None:
    rows = [dict(frames=4, text=f"row {n}") for n in range(4)]
    for name, level in (("quiet", -20.0), ("as it was", None)):
        _maker().shards(tmp_path / name, rows, loudness=level)
    config = toy_config(steps=1, data=[str(tmp_path / "quiet")])
    result = train_lm(config)
    assert AudioLM.from_pretrained(result.model).config.loudness_dbfs == -20
    assert AudioLMProcessor.from_pretrained(result.model).config.loudness_dbfs == -20
    changes = dict(init_from=str(result.model), model={}, out=str(tmp_path / "on"))
    with pytest.raises(ValueError, match="at -20 dBFS, got tokens at their original levels"):
        train_lm(toy_config(data=[str(tmp_path / "as it was")], **changes))


def test_the_deepspeed_file_is_one() -> None:
    from importlib.resources import files

    values = json.loads((files("almtok.lm.train") / "deepspeed.json").read_text())
    assert values["zero_optimization"]["stage"] == 2
    assert values["gradient_accumulation_steps"] == "auto"


def test_short_rows_in_bf16_on_a_cpu_attend_by_plain_operations(
    toy_config: Callable[..., LMTrainingConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds, losses = [], []
    seen = run.AudioLMTrainer.train

    def train(self: Any) -> Any:
        kinds.append(self.model.config.backbone._attn_implementation)
        return seen(self)

    monkeypatch.setattr(run.AudioLMTrainer, "train", train)
    for name, seconds in (("plain", 12.0), ("fused", None)):
        place = str(tmp_path / name)
        config = toy_config(precision="bf16", max_seconds=seconds, out=place, condition_dropout=0.0)
        result = train_lm(config)
        losses.append(result.loss)
        saved = AudioLM.from_pretrained(result.model)
        assert saved.config.backbone._attn_implementation == "sdpa"
        assert saved.config.condition_dropout == 0  # so that nobody guides it
    assert kinds == ["eager", "sdpa"]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_model_of_tasks_without_texts_has_a_tokenizer_all_the_same(
    toy_config: Callable[..., LMTrainingConfig],
) -> None:
    settings = toy_config(tasks=["continuation"], steps=1)
    assert "row 2" in set(training_texts(settings, find_tasks(settings)))
    made = train_lm(settings)
    assert AudioLMProcessor.from_pretrained(made.model).tokenizer("row 2").input_ids
