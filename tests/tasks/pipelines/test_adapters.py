"""An adapter beside a model is used for its task, and for nothing else."""

import shutil
from pathlib import Path

import pytest
import torch

from almtok.lm.lora import LoraSettings, add_lora, save_adapter
from almtok.lm.model import AudioLM
from almtok.recipes.publish import publish
from almtok.tasks.evaluation.likelihood import likelihoods
from almtok.tasks.pipelines.base import AudioLMPipeline
from almtok.tasks.pipelines.options import GenerationOptions
from almtok.tasks.pipelines.text_to_speech import TextToSpeech

GREEDY = GenerationOptions(temperature=0.0, guidance_scale=1.0, max_seconds=1.0)
ROWS = [{"text": "a dog barks"}]


@pytest.fixture(scope="module")
def adapter(learned, tmp_path_factory):
    """An adapter that changes much, of the model as it is shipped."""
    place = tmp_path_factory.mktemp("shipped")
    shutil.copytree(f"{learned.folder}/codec", place / "codec")
    publish(place, lm=Path(learned.folder))
    lm = AudioLM.from_pretrained(place / "lm", dtype=torch.float32)
    lm = add_lora(lm, LoraSettings(rank=2, audio=False))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.3)
    return save_adapter(lm, place / "trained")


@pytest.fixture(scope="module")
def folder(adapter):
    publish(adapter.parent, adapters={"text_to_audio": adapter})
    return adapter.parent


def codes(bundle, task):
    return bundle.run(task, ROWS, controls=GREEDY)[0].row.codes


def test_its_task_is_done_with_it_and_no_other(folder, adapter):
    with_it, base = AudioLMPipeline.from_pretrained(folder), AudioLMPipeline.from_pretrained(folder)
    base.experts = None
    everywhere = AudioLMPipeline.from_pretrained(folder, adapter=adapter)
    assert torch.equal(codes(with_it, "tts"), codes(base, "tts"))
    assert torch.equal(codes(with_it, "text_to_audio"), codes(everywhere, "text_to_audio"))
    a, b = codes(with_it, "text_to_audio"), codes(base, "text_to_audio")
    assert a.shape != b.shape or not torch.equal(a, b)
    assert not torch.equal(codes(everywhere, "tts"), codes(base, "tts"))


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "int4"])
def test_every_precision_has_it(folder, dtype):
    bundle = AudioLMPipeline.from_pretrained(folder, dtype=dtype)
    assert codes(bundle, "text_to_audio").shape[0] == 3
    assert bundle.experts.find("tts") is None


def test_streams_and_likelihoods_have_it_too(folder, adapter, learned, tmp_path):
    """Whoever runs a task runs it with its adapter, also a bundle that was saved again."""
    publish(folder, adapters={"tts": adapter, "audio_caption": adapter})
    try:
        AudioLMPipeline.from_pretrained(folder).save_pretrained(tmp_path / "again")
    finally:
        shutil.rmtree(folder / "adapters/tts")
        shutil.rmtree(folder / "adapters/audio_caption")
    bundle = AudioLMPipeline.from_pretrained(tmp_path / "again")
    everywhere = AudioLMPipeline.from_pretrained(folder, adapter=tmp_path / "again/adapters/tts")
    base = AudioLMPipeline.from_pretrained(folder)
    said = [
        torch.cat(
            [chunk.codes for chunk in TextToSpeech(one, GREEDY).stream("hello there doctor lee")], 1
        )
        for one in (bundle, everywhere, base)
    ]
    assert torch.equal(said[0], said[1])
    assert said[0].shape != said[2].shape or not torch.equal(said[0], said[2])
    likely = [
        likelihoods(one, [learned.tokens["rain falls"]], ["rain falls"], "audio_caption")[0]
        for one in (bundle, everywhere, base)
    ]
    assert likely[0].log_probability == pytest.approx(likely[1].log_probability, abs=1e-3)
    assert abs(likely[0].log_probability - likely[2].log_probability) > 0.1


def test_it_is_stored_in_half_precision(folder, adapter):
    sizes = [
        (place / "adapter.safetensors").stat().st_size
        for place in (folder / "adapters/text_to_audio", adapter)
    ]
    assert sizes[0] < 0.6 * sizes[1]


def test_a_folder_of_no_task_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy/adapters/text_to_audio").rename(tmp_path / "copy/adapters/barking")
    with pytest.raises(ValueError, match="barking"):
        AudioLMPipeline.from_pretrained(tmp_path / "copy")
