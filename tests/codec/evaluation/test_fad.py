"""Fréchet audio distances of codecs, and the embeddings that they are computed on."""

import numpy as np
import pytest
import torch

from almtok.codec.evaluation.embeddings import embed_clip, embed_frames, load_embedding
from almtok.codec.evaluation.fad import ClipVectors, CodecVectors
from almtok.codec.evaluation.harness import EvaluationClip, evaluate_codec
from almtok.codec.evaluation.markdown import to_markdown
from almtok.codec.evaluation.report import write_report
from almtok.codec.evaluation.table import summarise
from almtok.codec.priors.teacher import Teacher

from .conftest import NoisyCodec, make_voice


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Whisper and CLAP of random weights."""
    from transformers import (
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        WhisperConfig,
        WhisperModel,
    )

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("embeddings")
    whisper = WhisperConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=64,
        max_source_positions=100, num_mel_bins=20, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    WhisperModel(whisper).save_pretrained(root / "whisper")
    small = {"hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2, "vocab_size": 64}  # fmt: skip
    clap = ClapConfig(
        text_config=small, projection_dim=12,
        audio_config={"patch_embeds_hidden_size": 16, "hidden_size": 32, "depths": [1, 1],
                      "num_attention_heads": [2, 2], "num_hidden_layers": 2, "spec_size": 64,
                      "num_mel_bins": 16, "window_size": 4, "patch_size": 4, "patch_stride": [4, 4],
                      "enable_fusion": False},
    )  # fmt: skip
    ClapModel(clap).save_pretrained(root / "clap")
    ClapFeatureExtractor(feature_size=16, max_length_s=2, truncation="rand_trunc").save_pretrained(
        root / "clap"
    )
    return root


@pytest.mark.parametrize("kind", ["whisper", "clap"])
def test_embeddings_by_name(folders, kind):
    embedding = load_embedding(f"{kind}:{folders / kind}", device="cpu")
    wav = make_voice(5.0)
    frames = embed_frames(embedding, wav, 24_000)
    assert frames.shape == ({"whisper": 250, "clap": 3}[kind], embedding.dim)
    assert torch.equal(frames, embed_frames(embedding, wav, 24_000))  # nothing is drawn
    assert np.allclose(embed_clip(embedding, wav, 24_000), frames.mean(dim=0))
    assert embed_clip(embedding, wav[:1], 24_000).shape == (embedding.dim,)
    assert not torch.allclose(frames[0], embed_frames(embedding, 0 * wav, 24_000)[0])


def test_wrong_embeddings_are_refused(folders):
    for name in ("vggish", "clap"):
        with pytest.raises(ValueError, match="embedding must be one of whisper"):
            load_embedding(name)
    with pytest.raises(ValueError, match="must be 'clap', got 'whisper'"):
        load_embedding(f"clap:{folders / 'whisper'}")


class Moments(Teacher):
    """Three moments of 0.1 s."""

    name, dim, sample_rate, frame_rate, min_samples = "moments", 3, 24_000, 10.0, 2400

    def __init__(self):
        self.calls = 0

    def _features(self, wavs):
        self.calls += len(wavs)
        parts = [wav[: len(wav) // 2400 * 2400].reshape(-1, 2400) for wav in wavs]
        return [torch.stack([p.std(1), p.abs().mean(1), p.diff().std(1)], 1) for p in parts]


def voices(count):
    return [
        EvaluationClip(f"v{n}", "speech", 0.5, lambda n=n: make_voice(0.5, hz=100 + 3 * n, seed=n))
        for n in range(count)
    ]


def test_more_noise_is_farther_and_runs_resume(tmp_path):
    clips, embedding = voices(36), Moments()
    vectors = CodecVectors(embedding, "key", tmp_path / "embeddings", clips, "data")
    results = []
    for level in (0.002, 0.02):
        codec = NoisyCodec(f"noise {level}", level)
        of = vectors.of(codec)
        rows = evaluate_codec(codec, clips, tmp_path, vectors=of, device="cpu", progress=False)
        results.append((codec, rows))
    table = vectors.table()
    near, far = (table.rows[f"noise {level}"]["speech"] for level in (0.002, 0.02))
    assert 0 <= near.value.mean < far.value.low and far.value.n == 36
    evaluation = summarise(results, fad=table)
    text = to_markdown(evaluation)
    assert "### Fréchet audio distance" in text and "on moments (mean over time)" in text
    assert evaluation.to_dict()["fad"]["rows"]["noise 0.02"]["speech"]["plain"] == far.plain
    page = write_report(tmp_path / "report.html", evaluation).read_text()
    assert "Fréchet audio distance to the recordings on moments" in page
    calls = embedding.calls
    again = CodecVectors(embedding, "key", tmp_path / "embeddings", clips, "data")
    codec = NoisyCodec("noise 0.02", 0.02)
    evaluate_codec(codec, clips, tmp_path, vectors=again.of(codec), device="cpu", progress=False)
    assert again.table().rows["noise 0.02"]["speech"] == far
    assert embedding.calls == calls and codec.calls == 0


def test_clips_that_were_scored_without_an_embedding_are_run_again(tmp_path):
    clips, codec = voices(2), NoisyCodec()
    evaluate_codec(codec, clips, tmp_path, device="cpu", progress=False)
    calls = codec.calls
    vectors = ClipVectors(Moments(), tmp_path / "v.jsonl", {})
    evaluate_codec(codec, clips, tmp_path, vectors=vectors, device="cpu", progress=False)
    assert codec.calls == calls + 3 and all(clip.id in vectors for clip in clips)


def test_too_few_clips_are_listed_and_not_measured(tmp_path):
    clips, codec = voices(3), NoisyCodec()
    vectors = CodecVectors(Moments(), "key", tmp_path / "embeddings", clips, "data")
    of = vectors.of(codec)
    rows = evaluate_codec(codec, clips, tmp_path, vectors=of, device="cpu", progress=False)
    text = to_markdown(summarise([(codec, rows)], fad=vectors.table()))
    assert "### Fréchet" not in text
    assert "no FAD: noisy, speech: 3 clips, at least 32 are needed" in text


def test_other_weights_are_not_mixed(tmp_path):
    path = tmp_path / "v.jsonl"
    ClipVectors(Moments(), path, {"weights": 1}).add("a", make_voice(0.5), 24_000)
    assert "a" in ClipVectors(Moments(), path, {"weights": 1})
    assert "a" not in ClipVectors(Moments(), path, {"weights": 2})
