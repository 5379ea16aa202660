import collections

import pytest
import torch
from safetensors.torch import save_file

from almtok.codec.priors.beats_checkpoint import load_beats
from almtok.codec.priors.beats_config import BEATsConfig


@pytest.fixture
def official(tmp_path, small_config, small_weights):
    def write(name="BEATs_iter3.pt", *, cfg=None, drop=(), add=None, **options):
        model = {k: v.clone() for k, v in small_weights.items() if k not in drop} | (add or {})
        path = tmp_path / name
        torch.save({"cfg": small_config | (cfg or {}), "model": model}, path, **options)
        return path

    return write


@pytest.mark.parametrize("zipped", [True, False])
def test_official_file(official, small_model, small, zipped):
    model = load_beats(official(_use_new_zipfile_serialization=zipped))
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        assert torch.equal(model(small["ref/fbank"]).last, small_model(small["ref/fbank"]).last)


def test_fine_tuned_file_gives_features_or_classes(official, small):
    head = {f"predictor.{name}": small[f"ft_sd/predictor.{name}"] for name in ("weight", "bias")}
    path = official(cfg={"finetuned_model": True, "predictor_class": 5}, add=head)
    assert load_beats(path).predictor is None
    model = load_beats(path, features_only=False)
    with torch.no_grad():
        probabilities = model.class_probabilities(model(small["ref/fbank"]))
    assert (probabilities - small["ft_ref_nomask/probs"]).abs().max() <= 1e-5


def test_safetensors_copy_reads_sizes_off_shapes(tmp_path, small_weights):
    path = tmp_path / "beats.safetensors"
    save_file({k: v.clone() for k, v in small_weights.items()}, path)
    config = load_beats(path).config
    assert (config.encoder_layers, config.encoder_attention_heads) == (3, 4)
    assert (config.num_buckets, config.conv_pos, config.conv_pos_groups) == (32, 16, 4)
    assert (config.embed_dim, config.encoder_embed_dim, config.encoder_ffn_embed_dim) == (
        32,
        64,
        128,
    )
    # What shapes cannot say is what the published models have.
    assert config.deep_norm and config.max_distance == 800


def test_web_page(tmp_path):
    path = tmp_path / "BEATs_iter3.pt"
    path.write_text("\n<!DOCTYPE html><html><body>Sign in</body></html>")
    with pytest.raises(ValueError, match="web page"):
        load_beats(path)


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVE", b"version https://git-lfs"])
def test_other_files(tmp_path, content):
    path = tmp_path / "BEATs_iter3.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="neither a torch checkpoint"):
        load_beats(path)


def test_truncated_file(official):
    path = official()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be read as plain weights"):
        load_beats(path)


class Trap:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, capsys, zipped):
    path = tmp_path / "BEATs_iter3.pt"
    torch.save({"cfg": Trap(), "model": {}}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="weights_only=True"):
        load_beats(path)
    assert "code ran" not in capsys.readouterr().out


def test_tokenizer_checkpoint(official):
    path = official(add={"quantize.embedding.weight": torch.zeros(4, 4)})
    with pytest.raises(ValueError, match="tokenizer"):
        load_beats(path)


def test_something_else(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="must be a dict of 'cfg' and 'model'"):
        load_beats(path)
    torch.save({"cfg": {}, "model": {"a": torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match="no BEATs encoder"):
        load_beats(path)
    torch.save(collections.OrderedDict(a=torch.zeros(1)), path)
    with pytest.raises(ValueError, match="must be a dict of 'cfg' and 'model'"):
        load_beats(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_beats(tmp_path / "none.pt")


def test_missing_extra_and_misshapen_weights_are_named(official):
    fc1 = "encoder.layers.1.fc1.weight"
    with pytest.raises(ValueError, match="encoder.layers.1.fc1.weight is missing"):
        load_beats(official(drop=(fc1,)))
    with pytest.raises(ValueError, match="mask_emb is not part of BEATs"):
        load_beats(official(add={"mask_emb": torch.zeros(3)}))
    with pytest.raises(ValueError, match=r"fc1.weight must be \[128, 64\], got \[2, 2\]"):
        load_beats(official(add={fc1: torch.zeros(2, 2)}))


def test_position_tables_that_differ(official, small_weights):
    key = "encoder.layers.2.self_attn.relative_attention_bias.weight"
    with pytest.raises(ValueError, match="share one position table"):
        load_beats(official(add={key: small_weights[key] + 1}))


def test_cfg_is_never_guessed(small_config):
    short = {k: v for k, v in small_config.items() if k != "deep_norm"}
    with pytest.raises(ValueError, match="lacks deep_norm"):
        BEATsConfig.from_cfg(short)
    with pytest.raises(ValueError, match="layer_norm_first"):
        BEATsConfig.from_cfg(small_config | {"layer_norm_first": True})
    with pytest.raises(ValueError, match="gelu"):
        BEATsConfig.from_cfg(small_config | {"activation_fn": "relu"})
