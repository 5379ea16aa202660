import subprocess
import sys

import numpy as np
import pytest
import soundfile

from almtok.codec.priors import cli, load_prior
from almtok.codec.priors.config import PriorConfig, TeacherSpec
from almtok.core.options import Command


def parse(*arguments):
    parser = Command()
    cli.register(parser.add_subparsers(required=True))
    return parser.parse_args(["prior", *map(str, arguments)])


@pytest.fixture
def folders(tmp_path):
    generator = np.random.default_rng(0)
    for domain in ("voices", "noises"):
        (tmp_path / domain).mkdir()
        for number in range(3):
            wav = 0.1 * generator.standard_normal(16000)
            soundfile.write(tmp_path / domain / f"{number}.wav", wav, 16000)
    return [f"speech={tmp_path / 'voices'}", f"sound={tmp_path / 'noises'}"]


def test_makes_and_describes_a_prior(tmp_path, folders, capsys):
    out = tmp_path / "out" / "prior.safetensors"
    options = parse(
        *("--data", *folders, "--out", out, "--codebook-size", 16, "--spectral-width", 32),
        *("--seed", 7),
    )
    assert options.run(options) == 0
    said = capsys.readouterr().out
    assert "16 entries of width 32, 8 speech + 8 sound, seed 7" in said
    assert load_prior(out).num_speech == 8
    described = parse("--describe", out)
    assert described.run(described) == 0
    assert capsys.readouterr().out in said


def test_data_may_be_named_once_or_several_times():
    assert parse("--data", "a", "b", "--data", "speech=c").data == ["a", "b", "speech=c"]


def test_something_must_be_asked_for():
    options = parse("--data", "a")
    with pytest.raises(ValueError, match="--out"):
        options.run(options)


def test_every_setting_reaches_the_config():
    options = parse("--layers", "5,6", "--widths", "pad", "--teacher-speech", "hubert")
    fields = PriorConfig.__dataclass_fields__
    config = PriorConfig(**{k: v for k, v in vars(options).items() if k in fields})
    assert config == PriorConfig(layers=(5, 6), widths="pad", teacher_speech="hubert")


def test_help_teaches_and_stays_light():
    code = (
        "import sys\n"
        "from almtok.core.options import Command\n"
        "from almtok.codec.priors import cli\n"
        "parser = Command()\n"
        "cli.register(parser.add_subparsers())\n"
        "try:\n    parser.parse_args(['prior', '--help-all'])\n"
        "except SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in ("wav2vec2", "beats:FILE", "spectral", "--describe", "examples:"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("text", "kind", "source"),
    [
        ("spectral", "spectral", ""),
        ("wav2vec2", "wav2vec2", "facebook/wav2vec2-base"),
        ("wavlm:microsoft/wavlm-large", "wavlm", "microsoft/wavlm-large"),
        ("beats:C:\\BEATs.pt", "beats", "C:\\BEATs.pt"),
    ],
)
def test_teacher_names(text, kind, source):
    assert TeacherSpec.parse(text) == TeacherSpec(kind=kind, source=source)


@pytest.mark.parametrize("text", ["mimi", "beats", "spectral:music", ""])
def test_wrong_teacher_names_are_refused_before_any_work(text):
    with pytest.raises(ValueError):
        PriorConfig(teacher_speech=text)


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match="num_speech must lie in 0..8, got 9"):
        PriorConfig(codebook_size=8, num_speech=9)
    with pytest.raises(ValueError, match="got 'cut'"):
        PriorConfig(widths="cut")
    with pytest.raises(ValueError, match="layers"):
        PriorConfig(layers=())
