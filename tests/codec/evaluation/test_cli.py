"""``almtok codec evaluate`` from the first flag to the table."""

import json

import pytest
import soundfile

from almtok.codec.evaluation import cli
from almtok.core.options import Command

from .conftest import RATE, make_voice

pytest.importorskip("pesq")


def main(arguments):
    """What ``almtok codec`` does with its arguments, errors not caught."""
    parser = Command(prog="almtok codec")
    cli.register(parser.add_subparsers(required=True))
    options = parser.parse_args(arguments)
    return options.run(options)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "voices"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", make_voice(1.0, seed=number), RATE)
    return f"speech={folder}"


def test_a_random_codec_at_two_rates(data, tmp_path, capsys):
    out = tmp_path / "scores"
    command = ["evaluate", "--checkpoint", "tiny", "--frames-per-query", "3", "6",
               "--data", data, "--limit", "2", "--out", str(out), "--keep-audio", "1"]  # fmt: skip
    assert main([*command, "--reference", "almtok w=6"]) == 0
    text = (out / "table.md").read_text()
    assert "almtok w=3" in text and "### Speech (2 clips)" in text and "Paired difference" in text
    table = json.loads((out / "table.json").read_text())
    assert [row["name"] for row in table["codecs"]] == [
        "almtok w=3 (tiny, random)",
        "almtok w=6 (tiny, random)",
    ]
    assert table["codecs"][0]["kbps"] == pytest.approx(2 * table["codecs"][1]["kbps"])
    assert len(list((out / "audio" / "original").iterdir())) == 1
    capsys.readouterr()
    (path,) = (out / "clips").glob("almtok_w_3*.jsonl")
    before = path.read_bytes()
    assert main(command) == 0
    assert path.read_bytes() == before


def test_sources_are_given_together_or_one_by_one(data, tmp_path):
    noises = data.replace("speech=", "sound=")
    command = ["evaluate", "--checkpoint", "tiny", "--limit", "1", "--keep-audio", "0"]
    for number, sources in enumerate(
        (["--data", data, noises], ["--data", data, "--data", noises])
    ):
        out = tmp_path / str(number)
        assert main([*command, *sources, "--out", str(out)]) == 0
        text = (out / "table.md").read_text()
        assert "### Speech (1 clip" in text and "### Sound (1 clip" in text


def test_a_missing_coder_is_listed_and_the_others_run(data, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "which", lambda name: None)
    out = tmp_path / "scores"
    arguments = ["evaluate", "--data", data, "--limit", "1", "--out", str(out)]
    assert main([*arguments, "--checkpoint", "tiny", "--peers", "codec2-700C"]) == 1
    assert "not run: codec2-700C: c2enc and c2dec not found" in (out / "table.md").read_text()
    with pytest.raises(ValueError, match="no codec could be run"):
        main([*arguments, "--peers", "codec2-700C"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "x"], "expected --checkpoint or --peers"),
        (["--out", "table.md", "--checkpoint", "tiny"], "--out must be a folder"),
        (["--out", "x", "--checkpoint", "tiny", "--limit", "0"], "--limit"),
        (
            ["--out", "x", "--checkpoint", "a/same", "b/same"],
            "a/same and .*b/same .*rename a folder",
        ),
        (
            ["--out", "x", "--checkpoint", "a/a b", "b/a_b"],
            "both be called 'almtok_a_b'",
        ),
        (["--out", "x", "--checkpoint", "tiny", "--reference", "mimi"], "must be one of almtok"),
    ],
)
def test_mistakes_are_refused(flags, message, data):
    with pytest.raises(ValueError, match=message):
        main(["evaluate", "--data", data, *flags])


def test_help_names_the_coders(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert "codec2-700C" in capsys.readouterr().out
