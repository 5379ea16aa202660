"""A model between two: weights on the straight line, files of the first, and clear refusals."""

import pytest
import torch

from almtok.__main__ import main
from almtok.lm.model import AudioLM
from almtok.lm.train.interpolation import interpolate_state

from ..toy import PATTERNS, toy_lm


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_weight_lies_between(pattern):
    one, other = toy_lm(1, pattern=pattern), toy_lm(2, pattern=pattern)
    before = {name: value.clone() for name, value in one.named_parameters()}
    theirs = dict(other.named_parameters())
    interpolate_state(one, other, 0.75)
    for name, value in one.named_parameters():
        torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * theirs[name])
    # Text table and head are one tensor, and were moved once.
    table, head = one.get_input_embeddings().weight, one.get_output_embeddings().weight
    assert table.data_ptr() == head.data_ptr()
    interpolate_state(one, other, 0.0)
    assert all(torch.equal(value, theirs[name]) for name, value in one.named_parameters())


def test_the_command_writes_a_model_with_the_files_of_the_first(tmp_path, capsys):
    toy_lm(1, bidirectional_conditions=True).save_pretrained(tmp_path / "run" / "model")
    (tmp_path / "run" / "model" / "tokenizer.json").write_text("{}")
    toy_lm(2).save_pretrained(tmp_path / "old")
    words = [
        "lm",
        "interpolate",
        str(tmp_path / "run"),
        str(tmp_path / "old"),
        "--out",
        str(tmp_path / "new"),
    ]
    assert main([*words, "--share", "0.5"]) == 0
    made = AudioLM.from_pretrained(tmp_path / "new" / "model")
    assert made.config.bidirectional_conditions
    assert (tmp_path / "new" / "model" / "tokenizer.json").read_text() == "{}"
    one, other = toy_lm(1).state_dict(), toy_lm(2).state_dict()
    for name, value in made.state_dict().items():
        torch.testing.assert_close(value, (one[name] + other[name]) / 2)
    assert main(words) == 1
    assert "is not empty: choose another --out" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert main([*words[:2], str(tmp_path / "nothing"), *words[3:], "--overwrite"]) == 1
    assert f"no language model to interpolate: there is no folder {tmp_path}/nothing" in (
        capsys.readouterr().err
    )


def test_models_that_are_not_alike_are_refused():
    lm = toy_lm()
    with pytest.raises(
        ValueError, match="pattern must be equal in both models, got depth and delay"
    ):
        interpolate_state(lm, toy_lm(pattern="delay"), 0.5)
    with pytest.raises(ValueError, match="codec_fingerprint must be equal .* got None and other"):
        interpolate_state(lm, toy_lm(codec_fingerprint="other"), 0.5)
    with pytest.raises(ValueError, match="must have the same shapes in both models, heads"):
        interpolate_state(lm, toy_lm(depth_width=32), 0.5)
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\], got 1.5"):
        interpolate_state(lm, toy_lm(), 1.5)
