"""Generation uses the weights as they are now, however they were changed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from almtok.lm.generation.sampling import GREEDY
from almtok.lm.inference import evaluating
from almtok.lm.lora import LoraSettings, add_lora, merge_adapter, use_adapter
from almtok.lm.model import AudioLM
from almtok.lm.sequences import TextSegment, build_prompt

from ..toy import EOS, toy_lm

SHIPPED = Path(__file__).resolve().parents[3] / "checkpoints" / "mini" / "lm"


def codes(lm: AudioLM, eos_id: int = EOS) -> Tensor:
    text = TextSegment((3, 4, 5, 6))
    prompt = build_prompt("tts", [text], "audio", lm.config, frames_per_query=6, eos_id=eos_id)
    output = lm.generate(
        prompt[None], audio_sampling=GREEDY, min_frames=10, max_frames=10, eos_id=eos_id
    )
    assert output[0].codes is not None
    return output[0].codes


def with_adapter(lm: AudioLM, audio_rank: int = 0, scale: float = 0.5, seed: int = 0) -> AudioLM:
    """Add an adapter with random matrices; the base stays in use."""
    torch.manual_seed(seed)
    name = f"adapter_{seed}"
    add_lora(lm, LoraSettings(rank=2, audio_rank=audio_rank), name)
    with torch.no_grad():
        for parameter in lm.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=scale)
    use_adapter(lm, None)
    return lm.eval()


@pytest.mark.parametrize("audio_rank", [0, 2])
@pytest.mark.parametrize("before", ["base", "adapter"])
def test_merge_after_generation(before: str, audio_rank: int) -> None:
    name = "adapter_0"
    expected = codes(merge_adapter(with_adapter(toy_lm(), audio_rank), name))
    lm = with_adapter(toy_lm(), audio_rank)
    use_adapter(lm, name if before == "adapter" else None)
    first = codes(lm)
    assert torch.equal(first, expected) is (before == "adapter")
    assert torch.equal(codes(merge_adapter(lm, name)), expected)


def test_merge_into_the_shipped_model_after_generation() -> None:
    def load() -> AudioLM:
        lm = AudioLM.from_pretrained(SHIPPED, dtype=torch.float32).eval()
        torch.manual_seed(0)
        add_lora(lm, LoraSettings(rank=4, audio=False))
        with torch.no_grad():
            for parameter in lm.parameters():
                if parameter.requires_grad:
                    parameter.normal_(std=0.1)
        use_adapter(lm, None)
        return lm

    expected = codes(merge_adapter(load(), "default"), 2)
    lm = load()
    base = codes(lm, 2)
    assert not torch.equal(base, expected)
    assert torch.equal(codes(merge_adapter(lm, "default"), 2), expected)


def test_adapters_switched_between_generations() -> None:
    lm = with_adapter(with_adapter(toy_lm(), 2, seed=0), 2, seed=1)
    expected = {None: codes(toy_lm())}
    for seed in (0, 1):
        alone = with_adapter(with_adapter(toy_lm(), 2, seed=0), 2, seed=1)
        use_adapter(alone, f"adapter_{seed}")
        expected[f"adapter_{seed}"] = codes(alone)
    for name in (None, "adapter_0", "adapter_1", None, "adapter_0"):
        use_adapter(lm, name)
        assert torch.equal(codes(lm), expected[name]), name


@pytest.mark.parametrize("audio_rank", [None, 2])
def test_weights_changed_through_data(audio_rank: int | None) -> None:
    def load() -> AudioLM:
        lm = toy_lm()
        if audio_rank:
            use_adapter(with_adapter(lm, audio_rank), "adapter_0")
        return lm

    def change(lm: AudioLM) -> None:
        for number, parameter in enumerate(lm.parameters()):
            torch.manual_seed(number)
            parameter.data += 0.3 * torch.randn_like(parameter)

    lm, fresh = load(), load()
    before = codes(lm)
    change(lm)
    change(fresh)
    expected = codes(fresh)
    assert not torch.equal(before, expected)
    assert torch.equal(codes(lm), expected)


def test_adapters_changed_while_a_model_is_prepared() -> None:
    base = codes(toy_lm())
    expected = codes(merge_adapter(with_adapter(toy_lm()), "adapter_0"))
    lm = with_adapter(toy_lm())
    use_adapter(lm, "adapter_0")
    lm.train()
    with evaluating(lm):
        assert torch.equal(codes(lm), expected)
        use_adapter(lm, None)
        assert torch.equal(codes(lm), base)
        merge_adapter(lm, "adapter_0")
        assert torch.equal(codes(lm), expected)
    assert all(module.training for module in lm.modules())
    assert torch.equal(codes(lm), expected)
