"""What a command imports of almtok: speaking reads no corpora, trains nothing, runs no recipe."""

import json
import subprocess
import sys

import pytest

CODE = """
import json, sys
from almtok import __main__ as program
for words in {words}:
    sys.argv = ["almtok", *words]
    program.main(words)
names = [name.split(".", 1)[1] for name in sys.modules if name.startswith("almtok.")]
print("MODULES", json.dumps(names))
"""
# Packages of the library that a command has no use for.
FOREIGN = {
    "speak": ("recipes", "core.data", "core.training", "codec.train", "codec.losses", "lm.train",
              "lm.synthesis", "tasks.evaluation.scores", "tasks.evaluation.caption_scores"),
    "encode": ("recipes", "core.data", "core.training", "codec.train", "codec.losses", "lm.model",
               "lm.data", "tasks.cli", "tasks.base"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("job", FOREIGN)
def test_a_command_imports_what_it_uses(job, quiet_environment, tmp_path):
    wav = str(tmp_path / "said.wav")
    words = {"speak": [["tts", "Hi.", "--out", wav]], "encode": [["encode", wav, "--out", "t"]]}
    if job == "encode":
        import soundfile

        soundfile.write(wav, [0.1, -0.1] * 12_000, 24_000)
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(words=words[job])],
        capture_output=True, text=True, cwd=tmp_path, env=quiet_environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = json.loads(done.stdout.split("MODULES", 1)[1])
    assert "core.audio" in names
    packages = tuple(f"{package}." for package in FOREIGN[job])
    foreign = [name for name in names if f"{name}.".startswith(packages)]
    assert foreign == []
