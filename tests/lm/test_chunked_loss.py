"""Losses in chunks: the same loss and gradients, and the logits never exist whole."""

import pytest
import torch

from almtok.lm import chunked_loss
from almtok.lm.lora import LoraSettings, add_lora
from almtok.lm.sequences import build_sequence, collate
from almtok.lm.targets import stream_targets

from .largest import Largest
from .toy import EOS, PATTERNS, toy_example, toy_lm


def of_chunks(monkeypatch, positions):
    """Let chunks have so many positions."""
    monkeypatch.setattr(chunked_loss, "_LOGITS", 1)
    monkeypatch.setattr(chunked_loss, "_POSITIONS", positions)


def batch_of(config, count=12):
    tasks = ("asr", "tts", "asr")
    sequences = [
        build_sequence(toy_example(task, count=count + n, seed=n), config, eos_id=EOS)
        for n, task in enumerate(tasks)
    ]
    return collate(sequences, config)


def model(**changes):
    lm = toy_lm(ctc_weight=0.5, label_smoothing=0.1, **changes)
    lm.config.backbone.pad_token_id, lm.config.backbone.eos_token_id = 0, EOS
    return lm


def plain_loss(lm, batch):
    """The weighted mean of cross-entropies of whole logits, by formula; without CTC."""
    labels = batch["labels"]
    hidden = lm.advance(batch["input_ids"], batch["attention_mask"])[:, :-1]
    streams = stream_targets(lm, hidden, batch["input_ids"][:, 1:], labels[:, 1:])
    weights = {"text": 1.0, "audio_1": 1.5, "audio_2": 0.75, "audio_3": 0.75}
    total = sum(
        weights[name]
        * torch.nn.functional.cross_entropy(
            stream.logits(), stream.labels, reduction="sum", label_smoothing=0.1
        )
        for name, stream in streams.items()
    )
    return total / (labels[:, 1:] != -100).sum()


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_loss_is_that_of_whole_logits(monkeypatch, pattern, rank):
    lm = model(pattern=pattern)
    lm.config.ctc_weight = 0.0
    if rank:  # low-rank updates of tables and heads, too, and full copies
        torch.manual_seed(0)
        add_lora(lm, LoraSettings(rank=rank, audio_rank=rank if pattern == "delay" else 0))
        with torch.no_grad():  # B of a new adapter is zero, and A would have no gradient
            for p in lm.parameters():
                p.add_(0.01 * torch.randn_like(p) if p.requires_grad else 0)
    lm.train()
    batch = batch_of(lm.config)
    trained = {n: p for n, p in lm.named_parameters() if p.requires_grad}
    expected = plain_loss(lm, batch)
    gradients = torch.autograd.grad(expected, list(trained.values()), allow_unused=True)
    for positions in (512, 5):
        of_chunks(monkeypatch, positions)
        loss = lm(**batch).loss
        torch.testing.assert_close(loss, expected)
        found = torch.autograd.grad(3 * loss, list(trained.values()), allow_unused=True)
        for name, one, two in zip(trained, gradients, found, strict=True):
            assert (one is None) == (two is None), name
            if one is not None:
                torch.testing.assert_close(two, 3 * one, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("pad", [0, None])
def test_ctc_in_chunks_is_the_same(monkeypatch, pad):
    """With the pad token as the blank, or a control token where there is none."""
    lm = model().train()
    lm.config.backbone.pad_token_id = pad
    batch = batch_of(lm.config)
    found = []
    for positions in (512, 3):
        of_chunks(monkeypatch, positions)
        lm.zero_grad()
        out = lm(**batch)
        out.ctc.total.backward()
        found.append((out.ctc, [p.grad.clone() for p in lm.parameters() if p.grad is not None]))
    (one, expected), (two, gradients) = found
    assert int(one.count) == int(two.count) == 10
    torch.testing.assert_close(two.total, one.total)
    torch.testing.assert_close(gradients, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk", [32, 4096])
@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("pattern", ["depth", "flat"])
def test_logits_of_all_positions_are_never_made(monkeypatch, pattern, gradients, chunk):
    """All of the logits are made if a chunk has room for them: the measure finds them."""
    of_chunks(monkeypatch, chunk)
    backbone = {**toy_lm().config.to_dict()["backbone"], "vocab_size": 2000}
    lm = model(pattern=pattern, backbone=backbone).train()
    sequences = [
        build_sequence(toy_example("asr", count=9, seed=n), lm.config, eos_id=EOS)
        for n in range(40)
    ]
    batch = collate(sequences, lm.config)
    targets = int((batch["labels"][..., 0] >= 0).sum())
    assert targets == 240
    with Largest() as largest, torch.set_grad_enabled(gradients):
        loss = lm(**batch, return_logits=False).loss
        if gradients:
            loss.backward()
    assert (largest.size >= targets * 2000) == (chunk > targets)


def test_no_gradients_are_computed_in_evaluation(monkeypatch):
    lm = model().eval()
    batch = batch_of(lm.config)
    monkeypatch.setattr(torch.autograd, "grad", None)
    with torch.no_grad():
        assert torch.isfinite(lm(**batch).loss)


def test_in_float16_gradients_have_the_scale_of_the_loss(monkeypatch):
    """Of the logits, too: those of a loss that is not scaled would vanish."""
    scales = {}
    for dtype in (torch.bfloat16, torch.float16):
        lm = model().train()
        batch = batch_of(lm.config)
        sizes = []
        lm.heads.out[1].register_full_backward_hook(
            lambda module, into, out, sizes=sizes: sizes.append(float(out[0].abs().max()))
        )
        with torch.autocast("cpu", dtype):
            loss = lm(**batch).loss
        (2**14 * loss).backward()
        scales[dtype] = max(sizes)
    assert scales[torch.bfloat16] < 1.01 < 10 < scales[torch.float16]


def test_frozen_states_and_frozen_weights():
    lm = model().train()
    lm.config.ctc_weight = 0.0
    batch = batch_of(lm.config)
    heads = list(lm.heads.parameters())
    lm(**batch).loss.backward()
    expected = [p.grad.clone() for p in heads]
    table = lm.embedding.audio.weight.grad.clone()
    lm.zero_grad()
    lm.requires_grad_(False)
    for p in heads:
        p.requires_grad_(True)
    lm(**batch).loss.backward()
    torch.testing.assert_close([p.grad for p in heads], expected)
    lm.zero_grad()
    lm.requires_grad_(True)
    for p in heads:
        p.requires_grad_(False)
    lm(**batch).loss.backward()
    torch.testing.assert_close(lm.embedding.audio.weight.grad, table)
