"""A batch whose rows have adapters of their own: each row is as in a run with its adapter alone."""

from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from almtok.lm.generation.decoding import Decoding
from almtok.lm.generation.generate import prepare, prompt_batch
from almtok.lm.generation.sampling import SamplingConfig
from almtok.lm.generation.settings import BeamSettings
from almtok.lm.inference import evaluating
from almtok.lm.lora import LoraSettings, add_lora, load_adapter, use_adapter, using_adapter
from almtok.lm.model import AudioLM
from almtok.lm.quantize import quantize
from almtok.lm.sequences import AudioSegment, TextSegment, build_prompt

from ..toy import EOS, PATTERNS, toy_codes, toy_lm

NAMES = ["anna", "ben", "__base__", "anna", "ben"]
SAMPLING = SamplingConfig(temperature=0.8)
GIVEN: dict[str, Any] = dict(
    eos_id=EOS, audio_sampling=SAMPLING, text_sampling=SAMPLING, max_frames=[9, 4, 7, 5, 8],
    max_text_tokens=[6, 3, 5, 7, 4],
)  # fmt: skip


@torch.no_grad()
def disturb(lm: Any, seed: int, scale: float = 0.2) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in lm.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=scale)


def with_two(audio_rank: int = 0, **overrides: Any) -> AudioLM:
    lm = toy_lm(**overrides)
    for seed, name in enumerate(("anna", "ben")):
        add_lora(lm, LoraSettings(rank=2, audio_rank=audio_rank), name)
        disturb(lm, seed)
    use_adapter(lm, None)
    return lm.requires_grad_(False).eval()


def prompts(lm: AudioLM, tasks: Sequence[str]) -> dict[str, torch.Tensor]:
    """Prompts of several lengths, padded on the left."""
    made = []
    for number, task in enumerate(tasks):
        text = TextSegment(tuple(range(3, 5 + number)))
        condition = AudioSegment(toy_codes(3 + number, number)) if task == "asr" else text
        made.append(
            build_prompt(
                task, [condition], "text" if task == "asr" else "audio", lm.config,
                frames_per_query=6, eos_id=EOS,
            )
        )  # fmt: skip
    length = max(map(len, made))
    rows = torch.stack([torch.nn.functional.pad(p, (0, 0, length - len(p), 0)) for p in made])
    return {"input_ids": rows, "attention_mask": torch.stack(
        [(torch.arange(length) >= length - len(p)).long() for p in made]
    )}  # fmt: skip


def check(lm: AudioLM, tasks: Sequence[str], **options: Any) -> None:
    given, settings = prompts(lm, tasks), {**GIVEN, **options}
    seeds = [7 * number for number in range(len(tasks))]
    mixed = lm.generate(**given, **settings, seeds=seeds, adapter_names=NAMES)
    for name in dict.fromkeys(NAMES):
        with using_adapter(lm, None if name == "__base__" else name):
            alone = lm.generate(**given, **settings, seeds=seeds)
        for number, (row, own) in enumerate(zip(mixed, alone, strict=True)):
            if NAMES[number] == name:
                assert row.content.equal(own.content) and row.finish == own.finish, (name, number)
                assert row.log_probability == pytest.approx(own.log_probability, abs=1e-4)
    whole = [row.content.tolist() for row in lm.generate(**given, **settings, seeds=seeds)]
    assert whole != [row.content.tolist() for row in mixed]


@pytest.mark.parametrize("audio_rank", [0, 2])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_rows_are_as_in_a_run_of_their_adapter(pattern: str, audio_rank: int) -> None:
    lm = with_two(audio_rank, pattern=pattern)
    check(lm, ["tts"] * 5)
    check(lm, ["tts", "asr", "tts", "asr", "asr"])


@pytest.mark.parametrize("options", [{"cache": "dynamic"}, {"guidance_scale": 1.5}])
def test_with_other_caches_and_guidance(options: dict[str, Any]) -> None:
    check(with_two(), ["tts", "asr", "tts", "asr", "tts"], **options)


def test_adapters_of_different_layers() -> None:
    lm = toy_lm()
    different = (
        LoraSettings(rank=2, targets=("q_proj", "down_proj")),
        LoraSettings(rank=3, alpha=9.0, targets=("v_proj", "up_proj"), audio=False),
    )
    for seed, settings in enumerate(different):
        add_lora(lm, settings, NAMES[seed])
        disturb(lm, seed, scale=0.4)
    use_adapter(lm, None)
    check(lm.requires_grad_(False).eval(), ["tts", "asr", "tts", "asr", "tts"])


def test_whatever_adapter_is_active() -> None:
    lm = with_two()
    given = prompts(lm, ["tts"] * 5)
    expected = lm.generate(**given, **GIVEN, adapter_names=NAMES)
    use_adapter(lm, "ben")
    again = lm.generate(**given, **GIVEN, adapter_names=NAMES)
    assert all(a.codes.equal(b.codes) for a, b in zip(expected, again, strict=True))
    one = lm.generate(**given, **GIVEN, adapter_names="anna")
    use_adapter(lm, "anna")
    for names in (None, [None, "anna", None, None, "anna"]):  # None is the active one
        alone = lm.generate(**given, **GIVEN, adapter_names=names)
        assert all(a.codes.equal(b.codes) for a, b in zip(one, alone, strict=True))


def test_beam_search() -> None:
    backbone = dict(
        model_type="llama", vocab_size=60, hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, pad_token_id=0,
        max_position_embeddings=512, tie_word_embeddings=True,
    )  # fmt: skip
    lm = with_two(backbone=backbone, ctc_weight=1.0)
    check(lm, ["asr"] * 5, beam=BeamSettings(beams=3, lm_weight=0.3))


def test_an_adapter_of_peft_beside_ours_and_copies_of_the_text_head(tmp_path: Path) -> None:
    backbone = dict(
        model_type="llama", vocab_size=60, hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=512, tie_word_embeddings=False,
    )  # fmt: skip
    config = LoraConfig(
        task_type="CAUSAL_LM", target_modules=["v_proj"], modules_to_save=["lm_head"]
    )
    theirs = get_peft_model(toy_lm(backbone=backbone), config)
    disturb(theirs, 5)
    theirs.save_pretrained(tmp_path)
    lm = toy_lm(backbone=backbone)
    add_lora(lm, LoraSettings(rank=2), "anna")
    disturb(lm, 0)
    load_adapter(lm, tmp_path, "ben").eval()
    check(lm, ["tts", "asr", "tts", "asr", "asr"])


def test_quantized_models() -> None:
    lm = with_two()
    quantize(lm, kind="int8")
    check(lm, ["tts"] * 5)


def test_threads_do_not_see_each_other() -> None:
    lm = with_two()
    given = prompts(lm, ["tts"] * 5)
    names = ["anna", ["ben"] * 5, NAMES, None]
    expected = [lm.generate(**given, **GIVEN, adapter_names=own) for own in names]
    found: list[Any] = [None] * len(names)

    def run(number: int) -> None:
        found[number] = lm.generate(**given, **GIVEN, adapter_names=names[number])

    threads = [Thread(target=run, args=(number,)) for number in range(len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(expected, found, strict=True):
        assert all(a.codes.equal(b.codes) for a, b in zip(one, other, strict=True))


def test_steps_by_hand() -> None:
    lm = with_two()
    given = prompts(lm, ["tts"] * 5)
    expected = lm.generate(**given, **GIVEN, adapter_names=NAMES)
    decoding = prepare(lm, **given, **GIVEN, adapter_names=NAMES)
    with torch.no_grad():
        while decoding.running:
            decoding.step()
    for number, row in enumerate(expected):
        assert decoding.finished[number].codes.equal(row.codes)


def test_mistakes_are_named() -> None:
    lm = with_two()
    given = prompts(lm, ["tts"] * 5)
    with pytest.raises(ValueError, match="adapter_names must hold 5 names, one per row, got 2"):
        lm.generate(**given, **GIVEN, adapter_names=["anna", "ben"])
    with pytest.raises(ValueError, match="unknown adapter 'bena': did you mean 'ben'"):
        lm.generate(**given, **GIVEN, adapter_names="bena")
    config = LoraConfig(target_modules=["q_proj"], modules_to_save=["mlp"])
    theirs = get_peft_model(toy_lm(), config)  # of all layers
    with pytest.raises(ValueError, match="single layers, got a copy of backbone.model.layers"):
        theirs.get_base_model().generate(**given, **GIVEN, adapter_names="default")
    with pytest.raises(ValueError, match="unknown adapter 'anna'"):
        toy_lm().generate(**given, **GIVEN, adapter_names="anna")
    with pytest.raises(ValueError, match="compile=True does not support adapter_names"):
        lm.generate(**given, **GIVEN, adapter_names="anna", compile=True)


def test_rows_with_and_without_names_join_one_batch():
    """None is the active adapter, also for a row that begins before rows with names."""
    lm = with_two(audio_rank=2)
    use_adapter(lm, "ben")
    options: dict[str, Any] = dict(audio_sampling=SAMPLING, min_frames=5, max_frames=5)
    given = prompts(lm, ["tts"])
    names = (None, "anna", "__base__", "ben", None)
    alone = [lm.generate(**given, **options, adapter_names=name)[0].codes for name in names]
    assert alone[0].equal(alone[3]) and not alone[1].equal(alone[2])
    decoding = Decoding(lm)
    with evaluating(lm):
        for name in names:
            decoding.join(prompt_batch(lm, **given, **options, adapter_names=name))
            decoding.step()
        while decoding.running:
            decoding.step()
    for number, codes in enumerate(alone):
        assert decoding.finished[number].codes.equal(codes)
