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


NOT_IMPORTED = """
import sys
sys.modules["torchaudio"] = None
from transformers import AutoModel, AutoProcessor

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "almtok":
            raise ModuleNotFoundError("No module named 'almtok'", name=name)

sys.meta_path.insert(0, Absent)
codec, lm = sys.argv[1:]
for kind, folder, trust in (
    (AutoModel, codec, False), (AutoModel, lm, False), (AutoModel, codec, True),
    (AutoModel, lm, True), (AutoProcessor, lm, True),
):
    try:
        kind.from_pretrained(folder, trust_remote_code=trust)
    except (ValueError, ImportError) as error:
        expected = "Run `pip install almtok`" if trust else "pass the argument `trust_remote_code="
        assert expected in str(error), error
    else:
        raise AssertionError("loaded")
sys.meta_path.remove(Absent)
assert "almtok" not in sys.modules
for kind, folder in ((AutoModel, codec), (AutoModel, lm), (AutoProcessor, lm)):
    made = kind.from_pretrained(folder, trust_remote_code=True)
    print(type(made).__name__)
    made.save_pretrained(folder)
"""


def test_without_almtok_transformers_says_what_to_install(tmp_path, quiet_environment):
    codec, lm = tmp_path / "codec", tmp_path / "lm"
    almtok.ALMTokenizer.from_pretrained(shipped() / "codec").save_pretrained(codec)
    almtok.AudioLM.from_pretrained(shipped() / "lm").save_pretrained(lm)
    almtok.AudioLMProcessor.from_pretrained(shipped() / "lm").save_pretrained(
        lm, include_codec=False
    )
    result = subprocess.run(
        [sys.executable, "-c", NOT_IMPORTED, codec, lm], capture_output=True, text=True,
        env=quiet_environment | {"HF_MODULES_CACHE": str(tmp_path / "modules")},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["ALMTokenizer", "AudioLM", "AudioLMProcessor"]
    # Saved again, no code of the classes is copied.
    copied = {path.name for path in tmp_path.rglob("*.py") if "modules" not in path.parts}
    assert copied == {"needs_almtok.py"}
    # almtok runs none of it.
    (lm / "needs_almtok.py").write_text("raise SystemExit")
    made = transformers.AutoModel.from_pretrained(lm)
    assert type(made) is almtok.AudioLM


def test_cards_have_the_metadata_that_is_known_and_no_other(tmp_path):
    from huggingface_hub import metadata_load

    codec = almtok.ALMTokenizer.from_pretrained(shipped() / "codec")
    codec.save_pretrained(tmp_path / "plain")
    plain = metadata_load(tmp_path / "plain" / "README.md")
    assert set(plain) == {"library_name", "pipeline_tag", "tags"}
    given = {"license": "apache-2.0", "datasets": ["openslr/librispeech_asr"], "metrics": ["wer"],
             "base_model": "a/b", "tags": ["mine"], "language": None}  # fmt: skip
    codec.save_pretrained(tmp_path / "given", card=given)
    saved = metadata_load(tmp_path / "given" / "README.md")
    assert saved == {
        **plain, **{name: given[name] for name in given if name != "language"},
        "tags": [*plain["tags"], "mine"],
    }  # fmt: skip
    assert "before publishing" not in (tmp_path / "given" / "README.md").read_text()
    for card, words in (({"licence": "mit"}, "got licence"), ({"datasets": [1]}, "datasets of a")):
        with pytest.raises(ValueError, match=words):
            codec.save_pretrained(tmp_path / "refused", card=card)


def test_an_upload_keeps_the_card(tmp_path, monkeypatch):
    import huggingface_hub

    uploads = []

    class Hub:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, name, **options):
            return huggingface_hub.RepoUrl(f"https://huggingface.co/me/{name}")

        def file_exists(self, name, file, revision=None):
            return name == "me/there"

        def upload_folder(self, *, folder_path, ignore_patterns, **options):
            card = huggingface_hub.metadata_load(f"{folder_path}/README.md")
            uploads.append((options["repo_id"], card["license"], ignore_patterns))

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    codec = almtok.ALMTokenizer.from_pretrained(shipped() / "codec")
    for name in ("new", "there"):
        codec.push_to_hub(name, card={"license": "mit"})
    assert uploads == [("me/new", "mit", []), ("me/there", "mit", ["README.md"])]


def test_names_of_the_hub_among_sources(tmp_path):
    from almtok.core.model_card import hub_datasets, hub_id

    sources = [f"speech={tmp_path}", "speech=hf:a/b/clean@main:train", "hf:a/b:test", "x=hf:c"]
    assert hub_datasets(sources) == ["a/b", "c"]
    assert hub_datasets([f"hf:{tmp_path}:train"]) == []
    assert hub_id("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    assert [hub_id(name) for name in (None, str(tmp_path), "/gone/folder", "../up")] == [None] * 4
