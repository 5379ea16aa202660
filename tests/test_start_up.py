"""What speaking, hearing and encoding import: only what they use, and the rest stays importable."""

import subprocess
import sys

import pytest

from almtok import __main__ as program
from almtok.core import lean

# Each costs a tenth of a second to several seconds, and none has a part in running one model.
FORBIDDEN = (
    "accelerate", "datasets", "matplotlib", "mpmath", "pandas", "peft", "pyarrow", "scipy",
    "sklearn", "sympy", "torch._dynamo", "torch._inductor", "torch.distributed.fsdp",
    "torch.distributed.tensor", "torchaudio", "transformers.trainer",
)  # fmt: skip

COMMANDS = """
import sys
from almtok.__main__ import main

def scanned():
    import transformers
    return sorted(n for n in ("BertModel", "LlamaModel", "AutoModel") if n in dir(transformers))

for words in (
    ["tts", "Good morning.", "--out", "said.wav"],
    ["asr", "said.wav"],
    ["encode", "said.wav", "--out", "tokens"],
    ["decode", "tokens/said.safetensors", "--out", "wavs"],
):
    sys.argv = ["almtok", *words]
    assert main() == 0, words
    print("FOUND", words[0], sorted(set({forbidden!r}) & set(sys.modules)))
print("SCANNED", scanned())
"""

AFTERWARDS = """
SMALL = dict(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
             num_key_value_heads=2, intermediate_size=8)
import almtok
from almtok.core import lean
assert lean.import_transformers() and not lean.import_transformers()
import torch
import accelerate, torch._dynamo, torch.distributed.tensor
from torch.nn.attention.flex_attention import BlockMask
assert BlockMask.__module__ == "torch.nn.attention.flex_attention"
from almtok.lm.lora import add_lora
from almtok.lm.model import AudioLM
from almtok.lm.config import AudioLMConfig
lm = AudioLM(AudioLMConfig.preset("tiny"))
add_lora(lm)
assert sum("lora_" in name for name, _ in lm.named_parameters())
from transformers.models.qwen2 import Qwen2Config  # a model that was not scanned
assert AudioLM(AudioLMConfig(backbone=Qwen2Config(**SMALL).to_dict())).backbone.lm_head
assert torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1)) == 1
print(torch.distributed.is_available() == hasattr(torch._C, "_c10d_init"))
"""

UNSUITED = """
import sys
import almtok
from almtok.core import lean
lean.WANTED += ("transformers.no_such_module",)
assert not lean.import_transformers()
assert not any(name.split(".")[0] == "transformers" for name in sys.modules)
from transformers.utils import is_accelerate_available
print(is_accelerate_available() and almtok.AudioLM.__name__)
"""


@pytest.fixture
def child(quiet_environment, tmp_path):
    """Run code in an interpreter of its own; what it prints."""

    def run(code):
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
            env=quiet_environment,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


@pytest.mark.slow
def test_running_a_model_imports_no_heavy_library(child):
    found = child(COMMANDS.format(forbidden=FORBIDDEN))
    assert "SCANNED ['AutoModel', 'LlamaModel']" in found
    lines = [line for line in found.splitlines() if line.startswith("FOUND")]
    assert lines == [f"FOUND {command} []" for command in ("tts", "asr", "encode", "decode")]


@pytest.mark.slow
def test_what_was_left_out_can_be_imported_afterwards(child):
    assert child(AFTERWARDS).split() == ["True"]


@pytest.mark.slow
def test_a_version_that_does_not_stand_it_is_imported_as_ever(child):
    assert child(UNSUITED).split() == ["AudioLM"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["tts", "book.txt", "--out", "a.wav"], True),
        (["encode", "gone.wav", "--out", "a"], True),
        (["tts", "book.txt", "--out", "a.wav", "--compile"], False),
        (["codec", "plan", "no-such-preset"], False),
        (["lm", "evaluate", "--data", "gone", "--out", "a"], False),
    ],
)
def test_only_a_shell_s_command_that_runs_a_model_is_lean(
    monkeypatch, tmp_path, capsys, words, wanted
):
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr(lean, "import_transformers", lambda: calls.append(words))
    monkeypatch.setattr(sys, "argv", ["almtok", *words])
    assert program.main() == 1
    assert calls == [words] * wanted
    assert program.main(words) == 1, "a caller's process may train afterwards"
    assert calls == [words] * wanted


def test_reading_a_model_draws_no_random_numbers_of_the_caller(tmp_path):
    import torch

    from almtok import ALMTokenizer, ALMTokenizerConfig

    ALMTokenizer(ALMTokenizerConfig.preset("tiny")).save_pretrained(tmp_path)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    ALMTokenizer.from_pretrained(tmp_path)
    assert torch.rand(1) == expected
