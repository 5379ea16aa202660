"""Sharpened codecs: other spectra, the same codes."""

import pytest
import torch

from almtok.codec.model import ALMTokenizer
from almtok.recipes.codec.sharpen import main

from ..codec.toy import noise, toy_codec


def test_a_sharpened_codec_reads_the_same_codes(tmp_path, capsys):
    codec = toy_codec(unpatchify="harmonic")
    codec.save_pretrained(tmp_path / "codec")
    given = ["--codec", str(tmp_path / "codec"), "--out", str(tmp_path / "sharp")]
    assert main([*given, "--amount", "0.4"]) == 0
    assert codec.fingerprint in capsys.readouterr().out
    sharp = ALMTokenizer.from_pretrained(tmp_path / "sharp").eval()
    plain = ALMTokenizer.from_pretrained(tmp_path / "codec").eval()
    wav = noise(1, 9_600)
    codes = plain.encode(wav).audio_codes
    assert torch.equal(codes, sharp.encode(wav).audio_codes)
    assert not torch.equal(plain.decode(codes).audio_values, sharp.decode(codes).audio_values)


def test_a_codec_with_the_mirror_says_no_spectra(tmp_path):
    toy_codec().save_pretrained(tmp_path / "codec")
    with pytest.raises(ValueError, match="this codec has 'mirror'"):
        main(["--codec", str(tmp_path / "codec"), "--out", str(tmp_path / "sharp")])
