"""After `import almtok` the Auto classes of transformers know its models, whoever came first."""

import subprocess
import sys

import pytest
import torch
import transformers

import almtok
from almtok import shipped

FIRST = """
import sys
sys.modules["torchaudio"] = None  # a CPU build of torch has no use for it, and almtok comes later
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor
import almtok
assert "almtok.codec.model" not in sys.modules
codec, lm = almtok.shipped() / "codec", almtok.shipped() / "lm"
print(AutoConfig.from_pretrained(lm).model_type)
for kind, folder in (
    (AutoModel, codec), (AutoModel, lm), (AutoProcessor, lm),
    (AutoFeatureExtractor, codec), (AutoFeatureExtractor, lm),
):
    print(type(kind.from_pretrained(folder)).__name__)
"""


@pytest.mark.parametrize(
    ("kind", "folder", "expected"),
    [
        ("AutoConfig", "codec", "ALMTokenizerConfig"),
        ("AutoConfig", "lm", "AudioLMConfig"),
        ("AutoModel", "codec", "ALMTokenizer"),
        ("AutoModelForAudioTokenization", "codec", "ALMTokenizer"),
        ("AutoModel", "lm", "AudioLM"),
        ("AutoModelForTextToWaveform", "lm", "AudioLM"),
        ("AutoModelForSpeechSeq2Seq", "lm", "AudioLM"),
        ("AutoProcessor", "lm", "AudioLMProcessor"),
        ("AutoFeatureExtractor", "lm", "AudioLMFeatureExtractor"),
    ],
)
def test_the_shipped_folders_are_loaded(kind, folder, expected):
    made = getattr(transformers, kind).from_pretrained(shipped() / folder)
    assert type(made) is getattr(almtok, expected)
    if isinstance(made, torch.nn.Module):
        assert made.dtype == torch.float32


def test_the_codec_s_feature_extractor_makes_what_the_codec_takes():
    extractor = transformers.AutoFeatureExtractor.from_pretrained(shipped() / "codec")
    wavs = [torch.randn(4000).mul(0.1).numpy(), torch.randn(3000).mul(0.1).numpy()]
    inputs = extractor(wavs, sampling_rate=24_000, return_tensors="pt")
    codec = almtok.ALMTokenizer.from_pretrained(shipped() / "codec").eval()
    assert codec.encode(**inputs).audio_codes_mask.sum(dim=1).tolist() == [3, 2]


@pytest.mark.slow
def test_transformers_may_be_imported_first(quiet_environment):
    result = subprocess.run(
        [sys.executable, "-c", FIRST], capture_output=True, text=True, env=quiet_environment
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [
        "almtok_lm", "ALMTokenizer", "AudioLM", "AudioLMProcessor", "EncodecFeatureExtractor",
        "AudioLMFeatureExtractor",
    ]  # fmt: skip
