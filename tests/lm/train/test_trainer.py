"""Steps: accumulation is one big batch, bad steps leave no trace, bf16, a plain Trainer."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from almtok.core.training.seeding import lr_scale
from almtok.lm.data.collator import Collator, SequenceLength
from almtok.lm.lora import LoraSettings, add_lora
from almtok.lm.model import AudioLM
from almtok.lm.sequences import IGNORED, Example, build_sequence, collate
from almtok.lm.train import LMTrainingConfig, TrainingStopped
from almtok.lm.train.batches import BucketBatches, ExampleList
from almtok.lm.train.monitor import Meter
from almtok.lm.train.trainer import AudioLMTrainer

from ..toy import EOS, PATTERNS, toy_example, toy_lm

Batch = dict[str, Tensor]


def examples(count: int = 8) -> list[Example]:
    """Texts and audio of different lengths."""
    kinds = ("tts", "asr")
    return [toy_example(kinds[n % 2], count=3 + 2 * n, seed=n) for n in range(count)]


class Given:
    """The same micro-batches over and over."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield from self.batches

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        return None


def made(trainer_examples: list[Example], lm: Any) -> Batch:
    rows = [build_sequence(example, lm.config, eos_id=EOS) for example in trainer_examples]
    return collate(rows, lm.config)


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., LMTrainingConfig]:
    def make(**changes: Any) -> LMTrainingConfig:
        values = dict(
            out=str(tmp_path / "run"), steps=2, lr=1e-2, warmup_steps=0, weight_decay=0.0,
            device="cpu", precision="fp32", progress=False, tracker="none", log_every=1,
            checkpoint_every=0,
        )  # fmt: skip
        return LMTrainingConfig(**{**values, **changes})

    return make


def weights(trainer: AudioLMTrainer) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_unequal_micro_batches_are_one_big_batch(config: Any, pattern: str) -> None:
    rows = examples()
    cuts = ([0, 8], [0, 1, 3, 8])  # one batch of eight; one, two and five rows
    ends = []
    for cut in cuts:
        lm = toy_lm(pattern=pattern)
        given = [made(rows[a:b], lm) for a, b in zip(cut, cut[1:], strict=False)]
        # SGD says what the gradient was; Adam would hide its size.
        trainer = AudioLMTrainer(lm, config(accumulate=len(given), clip_norm=0.0), Given(given))
        group = {"params": list(lm.parameters()), "peak_lr": 0.1}
        trainer.optimizer = torch.optim.SGD([group], lr=0.1)
        trainer.train()
        ends.append((weights(trainer), trainer.reading))
    (one, first), (many, second) = ends
    assert first.loss == pytest.approx(second.loss, rel=1e-5)
    assert first.losses == pytest.approx(second.losses, rel=1e-5)
    assert first.targets == second.targets
    for name, value in one.items():
        assert float((value - many[name]).abs().max()) < 1e-5, name


def test_every_target_is_counted_once(config: Any) -> None:
    lm = toy_lm()
    batch = made(examples(), lm)
    trainer = AudioLMTrainer(lm, config(), Given([batch]))
    expected = int((batch["labels"] != IGNORED).sum())
    assert int(trainer._count_targets([batch])) == expected
    meter = Meter(lm.config, lm.device)
    with torch.no_grad():
        out = lm(**batch)
    meter.add(out, batch["labels"])
    reading = meter.read(lambda sums: sums)
    assert reading.targets == expected
    assert reading.loss == pytest.approx(float(out.loss), rel=1e-5)
    assert set(reading.losses) == {"text", "audio_1", "audio_2", "audio_3"}


def test_a_bad_step_leaves_no_trace_and_is_counted(config: Any, tmp_path: Path) -> None:
    lm = toy_lm()
    good = made(examples(2), lm)
    settings = config(steps=4, accumulate=2, max_skips=3)
    trainer = AudioLMTrainer(lm, settings, Given([good, good]))
    poisoned = {1, 2}
    before: dict[int, dict[str, Tensor]] = {}
    inner, losses = trainer._compute_loss, []

    def compute_loss(*args: Any) -> Tensor:
        before.setdefault(trainer.step, weights(trainer))
        losses.append(inner(*args))
        second = len(losses) % 2 == 0
        return losses[-1] * float("nan") if trainer.step in poisoned and second else losses[-1]

    trainer._compute_loss = compute_loss  # type: ignore[method-assign]
    trainer.train()
    assert trainer.skipped == 2 and trainer.skipped_in_a_row == 0
    for name, value in before[1].items():
        assert torch.equal(value, before[3][name]), name
    end = weights(trainer)
    assert any(not torch.equal(value, end[name]) for name, value in before[3].items())
    assert all(math.isfinite(float(value.sum())) for value in end.values())
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "skipped_because" in line] == [2, 3]
    assert lines[-1]["skipped"] == 2 and math.isfinite(lines[-1]["loss"])


def test_too_many_bad_steps_stop_with_a_reason(config: Any) -> None:
    lm = toy_lm()
    with torch.no_grad():
        lm.embedding.audio.weight[0] = float("nan")
    trainer = AudioLMTrainer(lm, config(steps=9, max_skips=3), Given([made(examples(2), lm)]))
    with pytest.raises(TrainingStopped, match="3 steps in a row .* gradient is nan"):
        trainer.train()


def test_muon_trains_the_matrices_of_the_layers_and_adamw_the_rest(config: Any) -> None:
    lm = toy_lm()
    before = {name: value.clone() for name, value in lm.state_dict().items()}
    given = Given([made(examples(4), lm)])
    trainer = AudioLMTrainer(lm, config(steps=6, muon_lr=1e-2), given)
    trainer.train()
    inner = trainer.optimizer
    by_muon = {id(p) for group in inner.parts[1].param_groups for p in group["params"]}
    names = {name for name, p in lm.named_parameters() if id(p) in by_muon}
    assert names == {n for n, p in lm.named_parameters() if ".layers." in n and p.ndim == 2}
    assert any("q_proj" in name for name in names) and any("heads" in name for name in names)
    assert {"momentum_buffer"} == {key for n, p in lm.named_parameters() if n in names
                                   for key in inner.state[p]}  # fmt: skip
    moved = [
        name for name, value in lm.state_dict().items() if not torch.equal(value, before[name])
    ]
    assert {name for name, _ in lm.named_parameters()} <= set(moved)


def test_bfloat16_computes_and_keeps_weights_in_float32(config: Any) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        lm = toy_lm()
        given = Given([made(examples(4), lm)])
        trainer = AudioLMTrainer(lm, config(steps=6, precision=precision), given)
        trainer.train()
        losses.append(trainer.reading.loss)
        assert {p.dtype for p in lm.parameters()} == {torch.float32}
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize("rank", [0, 2])
def test_activations_computed_twice_give_the_same_weights(config: Any, rank: int) -> None:
    ends = []
    for twice in (False, True):
        lm = toy_lm()
        lm.config.backbone.attention_dropout = 0.2
        for layer in lm.backbone.model.layers:
            layer.self_attn.attention_dropout = 0.2
        if rank:
            torch.manual_seed(0)
            add_lora(lm, LoraSettings(rank=rank, dropout=0.3))
        given = Given([made(examples(4), lm)])
        trainer = AudioLMTrainer(lm, config(steps=3, checkpointing=twice), given)
        trainer.train()
        ends.append(weights(trainer))
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name
    moved = toy_lm().state_dict()
    assert any(".lora_B." in n and float(v.abs().max()) > 0 for n, v in ends[1].items()) or any(
        not torch.equal(v, moved[n]) for n, v in ends[1].items() if rank == 0
    )


def test_an_overflow_in_fp16_lowers_the_scale_and_is_no_bad_step(config: Any) -> None:
    lm = toy_lm()
    before = {name: p.detach().clone() for name, p in lm.named_parameters()}
    trainer = AudioLMTrainer(lm, config(steps=3, max_skips=1), Given([made(examples(2), lm)]))
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-110)
    scales: list[float] = []
    inner = trainer._update

    def update(losses: Any) -> str | None:
        problem = inner(losses)
        scales.append(trainer.scaler.get_scale())  # type: ignore[union-attr]
        if len(scales) == 1:
            assert all(torch.equal(p, before[name]) for name, p in lm.named_parameters())
        return problem

    trainer._update = update  # type: ignore[method-assign]
    trainer.train()
    assert scales == [2.0**17] * 3 and trainer.skipped == 0
    assert any(not torch.equal(p, before[name]) for name, p in lm.named_parameters())
    assert trainer.counters()["loss_scale"]["scale"] == 2.0**17


@pytest.mark.parametrize("packing", [False, True])
def test_a_plain_trainer_of_transformers_trains_the_model(tmp_path: Path, packing: bool) -> None:
    lm = toy_lm()
    dataset = ExampleList(examples(4), SequenceLength(lm.config))
    args = TrainingArguments(
        str(tmp_path), max_steps=6, use_cpu=True, report_to="none", disable_tqdm=True,
        save_strategy="no", gradient_accumulation_steps=2, per_device_train_batch_size=2,
        remove_unused_columns=False, learning_rate=1e-2,
    )  # fmt: skip
    collator = Collator(lm.config, EOS, packing=packing)
    trainer = Trainer(lm, args, data_collator=collator, train_dataset=dataset)
    batch = made(examples(4), lm)

    def loss() -> float:
        with torch.no_grad():
            return float(lm.eval()(**batch).loss)

    before = loss()
    assert trainer.train().global_step == 6
    assert loss() < 0.9 * before
    lm.config.eos_token_id = EOS  # as a Trainer with a processing_class does
    trainer.save_model()
    again = AudioLM.from_pretrained(tmp_path)
    assert again.config.eos_token_id == EOS
    assert float(again.eval()(**batch).loss.detach()) == loss()


def test_a_plain_trainer_predicts_and_computes_metrics(tmp_path: Path) -> None:
    lm = toy_lm()
    dataset = ExampleList(examples(4), SequenceLength(lm.config))

    def metrics(prediction: Any) -> dict[str, float]:
        text, audio = prediction.predictions
        labels = prediction.label_ids
        first = audio[:, :-1, 0].argmax(-1) == labels[:, 1:, 1]
        assert text.shape[:2] == labels.shape[:2]
        return {"hits": float(first[labels[:, 1:, 1] != IGNORED].mean())}

    def trainer(**options: Any) -> Trainer:
        args = TrainingArguments(
            str(tmp_path), use_cpu=True, report_to="none", disable_tqdm=True, max_steps=1,
            remove_unused_columns=False, per_device_eval_batch_size=3, **options,
        )  # fmt: skip
        collator = Collator(lm.config, EOS)
        return Trainer(lm, args, collator, dataset, eval_dataset=dataset, compute_metrics=metrics)

    found = trainer().evaluate()
    with torch.no_grad():
        accuracy = lm.eval()(**made(examples(4), lm)).accuracies["audio_1"]
    assert found["eval_hits"] == pytest.approx(float(accuracy))
    assert trainer().predict(dataset).predictions[0].shape[0] == 4
    with pytest.raises(KeyError, match="label_smoothing_factor must be 0; lm.config.label_smo"):
        trainer(label_smoothing_factor=0.1).train()


@pytest.mark.parametrize("world", [1, 2, 4])
def test_micro_batches_do_not_depend_on_the_processes(world: int) -> None:
    lm = toy_lm()
    rows = examples(7)
    dataset = ExampleList(rows, SequenceLength(lm.config), condition_dropout=0.3)
    collator = Collator(lm.config, EOS)

    def take(count: int, state: dict[str, Any] | None, **place: int) -> tuple[list[Batch], Any]:
        batches = BucketBatches(dataset, collator, budget=60, seed=3, **place)
        if state is not None:
            batches.load_state_dict(state)
        iterator = iter(batches)
        return [next(iterator) for _ in range(count)], batches.state_dict()

    whole, _ = take(24, None)
    shares = [take(12 // world, None, rank=rank, world=world) for rank in range(world)]
    states = [state for _, state in shares]
    assert all(state == states[0] for state in states)
    parts = [shares[n % world][0][n // world] for n in range(12)]
    rest, _ = take(12, states[0])  # gone on by one process
    for one, two in zip(whole, parts + rest, strict=True):
        assert torch.equal(one["input_ids"], two["input_ids"])


def test_the_rate_warms_up_and_falls_to_its_floor() -> None:
    config = LMTrainingConfig(steps=100, warmup_steps=10, lr_floor=0.1)
    scales = [lr_scale(config, step) for step in range(101)]
    assert scales[0] == 0.1 and scales[9] == scales[10] == 1.0
    assert scales[10:] == sorted(scales[10:], reverse=True)
    assert scales[100] == pytest.approx(0.1)
