"""What the shipped models make here; run by `test_processors.py` as other processors: OUT.

Which instructions are used is read from the environment when torch is loaded, so that another
processor is another program.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from almtok.codec.checkpoints import shipped
from almtok.codec.tokens import AudioTokens
from almtok.core.audio import read_audio
from almtok.tasks import AudioLMPipeline, SpeechRecognizer

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Made:
    """Of one recording and one line of speech."""

    capability: str  # the instructions that torch used
    queries: Tensor  # [Q, D], before they are quantised
    codes: Tensor  # [K, Q]
    wav: Tensor  # [S], of these codes
    text: str  # what is heard in the line, greedily

    def save(self, folder: Path) -> None:
        """For the other program."""
        tensors = {"queries": self.queries, "codes": self.codes, "wav": self.wav}
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "made")
        (folder / "words").write_text(f"{self.capability}\n{self.text}")

    @classmethod
    def load(cls, folder: Path) -> "Made":
        """What the other program saved."""
        capability, text = (folder / "words").read_text().split("\n")
        return cls(capability=capability, text=text, **load_file(folder / "made"))


def make(bundle: AudioLMPipeline, codes: Tensor | None = None) -> Made:
    """Encode, decode and transcribe; decode other codes than those found, if they are given."""
    codec = bundle.codec
    wav = torch.as_tensor(read_audio(TESTS / "codec/fixtures/kathleen_a0119.flac", 24_000))
    window = 6 * codec.config.hop_length
    wav = torch.nn.functional.pad(wav * (0.1 / wav.std()), (0, -len(wav) % window))
    with torch.no_grad():
        queries = codec.encoder(codec.patchify(wav[None, None]), 6)
    found = codec.encode(wav[None, None]).audio_codes[0]
    heard = codec.decode((found if codes is None else codes)[None]).audio_values[0, 0]
    line = AudioTokens.load(TESTS / "tasks/fixtures/hello.safetensors")
    text = SpeechRecognizer(bundle).transcribe(line).text
    return Made(torch.backends.cpu.get_cpu_capability(), queries[0], found, heard, text)


if __name__ == "__main__":
    torch.set_num_threads(1)
    make(AudioLMPipeline.from_pretrained(shipped())).save(Path(sys.argv[1]))
