"""`almtok codec postfilter`: other spectra, the same codes."""

import pytest
import torch
from safetensors.torch import load_file

from almtok.__main__ import main
from almtok.codec.model import ALMTokenizer

from .toy import noise, toy_codec


def test_only_spectra_change_and_files_beside_stay(tmp_path, capsys):
    codec = toy_codec(unpatchify="harmonic").half()
    codec.save_pretrained(tmp_path / "codec")
    (tmp_path / "codec" / "phoneme_classifier.safetensors").write_bytes(b"phoneme_classifier")
    words = ["codec", "postfilter", str(tmp_path / "codec"), "--out", str(tmp_path / "sharper")]
    assert main([*words, "--amount", "0.4"]) == 0
    assert "spectra sharpened by 0.4" in capsys.readouterr().out
    before, after = (load_file(tmp_path / x / "model.safetensors") for x in ("codec", "sharper"))
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert set(changed) <= {"unpatchify.outer.weight", "unpatchify.outer.bias"} and changed
    assert {name: x.dtype for name, x in after.items()} == {
        name: x.dtype for name, x in before.items()
    }
    assert (
        tmp_path / "sharper" / "phoneme_classifier.safetensors"
    ).read_bytes() == b"phoneme_classifier"

    plain, sharp = (ALMTokenizer.from_pretrained(tmp_path / x).eval() for x in ("codec", "sharper"))
    assert plain.fingerprint == sharp.fingerprint
    with torch.no_grad():
        codes = plain.encode(noise(1, 9_600)).audio_codes
        assert torch.equal(codes, sharp.encode(noise(1, 9_600)).audio_codes)
        one, two = (m.decode(codes).audio_values for m in (plain, sharp))
    assert one.shape == two.shape and not torch.allclose(one, two)

    assert main(words) == 1  # what is there is not written over
    assert "is not empty: choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("unpatchify", "amount", "message"),
    [
        ("mirror", "0.4", "must be 'harmonic', got 'mirror'"),
        ("harmonic", "-1", "at least 0, got -1"),
    ],
)
def test_what_cannot_be_sharpened_is_one_clear_error(tmp_path, capsys, unpatchify, amount, message):
    toy_codec(unpatchify=unpatchify).save_pretrained(tmp_path / "codec")
    words = ["codec", "postfilter", str(tmp_path / "codec"), "--out", str(tmp_path / "out")]
    assert main([*words, "--amount", amount]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    assert (
        main(["codec", "postfilter", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    )
    assert f"must be a folder, got {tmp_path / 'none'}" in capsys.readouterr().err
