"""What is shipped is what was trained, smaller."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from almtok.codec.model import ALMTokenizer
from almtok.recipes.publish import publish
from almtok.tasks import AudioLMPipeline
from almtok.tasks.pipelines.options import GenerationOptions

from ..codec.toy import noise, toy_codec
from ..tasks.conftest import learned  # noqa: F401  (a fixture)

GREEDY = GenerationOptions(temperature=0.0, guidance_scale=1.0)


def test_a_shipped_model_says_what_the_trained_one_says(learned, tmp_path):  # noqa: F811
    (tmp_path / "card.json").write_text("{}")
    shutil.copytree(f"{learned.folder}/codec", tmp_path / "codec")
    publish(tmp_path, lm=learned.folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.json", "codec", "lm"]
    trained, half = (
        (Path(folder) / "lm/model.safetensors").stat().st_size
        for folder in (learned.folder, tmp_path)
    )
    assert half < 0.6 * trained
    shipped = AudioLMPipeline.from_pretrained(tmp_path)
    assert shipped.lm.dtype == torch.float32
    rows = [{"text": text} for text in learned.tokens]
    before, after = (one.run("tts", rows, options=GREEDY) for one in (learned.pipeline, shipped))
    assert all(torch.equal(a.row.codes, b.row.codes) for a, b in zip(before, after, strict=True))


def test_sums_of_the_codebooks_are_made_again(tmp_path):
    codec = toy_codec()
    with torch.no_grad():  # as after some updates
        for layer in codec.quantizer.layers[1:]:
            layer.codebook.count.uniform_(0.1, 3.0)
            layer.codebook.restore_total()
    codec.save_pretrained(tmp_path / "trained")
    publish(tmp_path / "shipped", codec=tmp_path / "trained")
    again = ALMTokenizer.from_pretrained(tmp_path / "shipped" / "codec").eval()
    stored = load_file(tmp_path / "shipped" / "codec" / "model.safetensors")
    assert torch.float32 not in {value.dtype for value in stored.values()}
    assert again.quantizer.layers[1].codebook.entries.dtype == torch.float32
    for a, b in zip(codec.quantizer.layers[1:], again.quantizer.layers[1:], strict=True):
        assert torch.allclose(a.codebook.total, b.codebook.total, rtol=2e-3, atol=1e-3)
    wav = noise(1, 20_000)
    assert again(wav).audio_values.isfinite().all()
    same = again.encode(wav).audio_codes == codec.encode(wav).audio_codes
    assert same.float().mean() > 0.8  # rounding moves a few
    publish(tmp_path / "twice", codec=tmp_path / "shipped" / "codec")
    twice = ALMTokenizer.from_pretrained(tmp_path / "twice" / "codec")
    assert twice.fingerprint == again.fingerprint


def test_a_model_of_another_codec_is_refused(learned, tmp_path):  # noqa: F811
    toy_codec(seed=3).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="was trained on codec"):
        publish(tmp_path / "out", codec=tmp_path / "other", lm=learned.folder)
    assert not (tmp_path / "out" / "lm").exists()
    assert json.loads((tmp_path / "out" / "codec" / "config.json").read_text())
