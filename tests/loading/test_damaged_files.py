"""Damaged configurations, runs and token files are read or refused in one line."""

import dataclasses
import json
import os
import stat

import numpy as np
import pytest
import soundfile
import torch

from almtok.__main__ import build_parser, main
from almtok.codec.evaluation.results import ClipResult, ResultStore
from almtok.codec.model import ALMTokenizer
from almtok.codec.tokens import AudioTokens
from almtok.codec.train import cli as codec_cli
from almtok.codec.train.batches import data_config
from almtok.codec.train.config import CodecTrainConfig, for_stage
from almtok.codec.train.state import build_state
from almtok.core import size_limit
from almtok.core.audio import read_audio, write_audio
from almtok.core.data.manifests import list_entries
from almtok.core.training.run_folder import init_run_dir, open_metrics
from almtok.lm.data.dataset import TokenDataset
from almtok.lm.data.rows import TokenRow
from almtok.lm.data.shards import EncodedClip, ShardInfo, read_info, write_shard
from almtok.lm.train import cli as lm_cli
from almtok.lm.train.config import LMTrainingConfig, pretrain

from ..codec.train.conftest import TOY
from .fuzz import damaged_bytes, fuzz_bytes, fuzz_json, outcome

# ---------------------------------------------------------------------- training configurations


@pytest.fixture
def codec_config(tmp_path):
    values = for_stage("1", **{**TOY, "data": ["audio"], "out": str(tmp_path / "run")}).to_dict()
    path = tmp_path / "codec.json"
    path.write_text(json.dumps(values))
    return path


@pytest.fixture
def lm_config(tmp_path):
    path = tmp_path / "lm.json"
    path.write_text(json.dumps(pretrain(data=["tokens"], out=str(tmp_path / "run")).to_dict()))
    return path


def test_a_codec_s_training_configuration(codec_config):
    counts = fuzz_json(codec_config, lambda: CodecTrainConfig.from_json(codec_config), 400)
    assert counts["refused"] > 100 and counts["valid"] > 20


def test_a_language_model_s_training_configuration(lm_config):
    counts = fuzz_json(lm_config, lambda: LMTrainingConfig.from_json(lm_config), 400)
    assert counts["refused"] > 100 and counts["valid"] > 20


@pytest.mark.parametrize("kind", ["codec", "lm"])
def test_training_configurations_of_the_command_line(kind, codec_config, lm_config):
    path = codec_config if kind == "codec" else lm_config
    resolve = codec_cli.resolve if kind == "codec" else lm_cli.resolve
    options = build_parser().parse_args([kind, "train", "--config", str(path)])
    # What is wrong by itself names the file; what is wrong beside other options names the option.
    counts = fuzz_json(path, lambda: resolve(options), 200, "")
    assert counts["refused"] > 50


def test_everything_that_a_codec_training_is_built_from(codec_config, monkeypatch):
    monkeypatch.setattr(size_limit, "memory_bytes", lambda: 2**26)  # so that big ones take no time
    values = json.loads(codec_config.read_text())
    for name in ("model", "mel", "discriminators", "masked", "dataset"):
        part = codec_config.with_name(f"{name}.json")
        part.write_text(json.dumps(values[name] or {"vary": 0.1, "gain_db": [-1, 1]}))

        def build(name=name, part=part):
            found = json.loads(part.read_text())
            config = CodecTrainConfig.from_dict({**values, name: found})
            if name == "dataset":
                data_config(config, 24_000, 320)
            else:
                build_state(config)

        found = set()
        for seed in range(15):
            original = part.read_text()
            try:
                found.add(fuzz_json_of_part(part, build, seed))
            finally:
                part.write_text(original)
        assert "refused" in found, name


def fuzz_json_of_part(part, build, seed):
    """As `fuzz_json`, for JSON that is valid: it is part of a larger file."""
    from .fuzz import damaged_json

    text = damaged_json(json.loads(part.read_text()), seed)
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    part.write_text(text)
    try:
        return outcome(build)
    except AssertionError as error:
        raise AssertionError(f"seed {seed} of {part.name}: {text}\n{error}") from None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_size": "16"}, "batch_size must be int, got '16'"),
        ({"lr": float("nan")}, "lr must be a finite number, got nan"),
        ({"betas": [0.9, "x"]}, r"betas must be list of float, got \[0.9, 'x'\]"),
        ({"data": "audio"}, "data must be list of str, got 'audio'"),
        ({"model": []}, r"model must be JSON object, got \[\]"),
        ({"init_from": 5}, "init_from must be str or null, got 5"),
        ({"steps": True}, "steps must be int, got True"),
    ],
)
def test_a_value_of_another_type_names_file_and_field(codec_config, capsys, values, words):
    codec_config.write_text(json.dumps({**json.loads(codec_config.read_text()), **values}))
    with pytest.raises(ValueError, match=f"{codec_config}: {words}"):
        CodecTrainConfig.from_json(codec_config)
    assert main(["codec", "train", "--config", str(codec_config)]) == 1
    assert str(codec_config) in capsys.readouterr().err


# ---------------------------------------------------------------------- run folders and results


def test_a_run_folder(tmp_path):
    config = pretrain(data=["tokens"], out=str(tmp_path))
    init_run_dir(tmp_path, config)
    (tmp_path / "metrics.jsonl").touch()  # a run that has begun
    path = tmp_path / "config.json"
    counts = fuzz_json(path, lambda: init_run_dir(tmp_path, config, write=False), 150)
    assert counts["refused"] > 50 and counts["valid"] > 1


def test_a_log(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for seed in range(100):
        lines = b"".join(b'{"step": %d, "loss": 0.5}\n' % n for n in range(20))
        path.write_bytes(damaged_bytes(lines, seed))
        open_metrics(tmp_path, 10).close()
        steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
        assert all(step <= 10 for step in steps)


def test_results_of_an_evaluation(tmp_path):
    path = tmp_path / "results.jsonl"
    store = ResultStore(path, {"codec": "a"})
    fields = {field.name: None for field in dataclasses.fields(ClipResult)}
    for name in ("one", "two"):
        store.add(ClipResult(**{**fields, "id": name}))
    counts = fuzz_bytes(path, lambda: ResultStore(path, {"codec": "a"}), 150, str(path))
    assert counts["refused"] > 20 and counts["valid"] > 1


# ---------------------------------------------------------------------- tokens


def test_token_files_have_the_permissions_of_other_files(tmp_path):
    (tmp_path / "other").touch()
    tokens().save(tmp_path / "new" / "a.safetensors")
    assert (tmp_path / "new" / "a.safetensors").stat().st_mode == (
        tmp_path / "other"
    ).stat().st_mode


def tokens(codes=None) -> AudioTokens:
    codes = torch.arange(12).reshape(3, 4) if codes is None else codes
    return AudioTokens(codes, 6, 4 * 1920, 24_000, "f" * 16)


def test_a_token_file(tmp_path):
    path = tmp_path / "a.safetensors"
    tokens().save(path)
    counts = fuzz_bytes(path, lambda: AudioTokens.load(path), 400)
    assert counts["refused"] > 100
    assert AudioTokens.from_bytes(tokens().to_bytes()).codes.equal(tokens().codes)
    counts = fuzz_bytes(path, lambda: AudioTokens.from_bytes(path.read_bytes(), path), 400)
    assert counts["refused"] > 100


@pytest.mark.parametrize("code", [-1, 65_536, 2**40])
def test_codes_that_two_bytes_do_not_hold_are_not_saved(tmp_path, code):
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match=r"a.safetensors must be within 0..65535, got"):
        tokens(torch.tensor([[0, code]])).save(path)
    assert not list(tmp_path.iterdir())
    tokens(torch.tensor([[0, 65_535]])).save(path)
    assert AudioTokens.load(path).codes.tolist() == [[0, 65_535]]


def test_tokens_of_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write .*a.safetensors") as caught:
        tokens().save(tmp_path / "file" / "a.safetensors")
    assert "\n" not in str(caught.value)


@pytest.fixture
def shard(tmp_path):
    from almtok.core.data.entries import AudioEntry

    codes = np.arange(12, dtype=np.uint16).reshape(3, 4) % 16
    rows = [EncodedClip(n, AudioEntry(f"r{n}", "a.wav", text="hi"), 7680, codes) for n in range(3)]
    info = ShardInfo(
        plan="p", number=0, first=0, last=3, fingerprint="aaaa", sample_rate=24_000,
        num_codebooks=3, codebook_size=16,
    )  # fmt: skip
    write_shard(tmp_path, info, rows, 6)
    return tmp_path / "tokens-000000.parquet"


def read_all(path):
    rows = TokenDataset(path)
    assert all(isinstance(rows[n], TokenRow) for n in range(len(rows)))


def test_a_token_shard(shard):
    counts = fuzz_bytes(shard, lambda: read_all(shard), 150)
    assert counts["refused"] > 50


def test_the_metadata_of_a_token_shard(shard, monkeypatch):
    """Also where the checksum of the metadata is right: somebody wrote them on purpose."""
    import pyarrow.parquet

    from almtok.lm.data import shards

    table = pyarrow.parquet.read_table(shard)
    values = json.loads(table.schema.metadata[b"almtok"])
    values.pop("sha256")
    path = shard.with_name("values.json")
    path.write_text(json.dumps(values))

    def load():
        changed = json.loads(path.read_text())
        text = json.dumps({**changed, "sha256": shards._digest_json(changed)})
        pyarrow.parquet.write_table(table.replace_schema_metadata({"almtok": text}), shard)
        read_info(shard)
        read_all(shard)

    from .fuzz import damaged_json

    refused = 0
    for seed in range(100):
        text = damaged_json(values, seed)
        try:
            if not isinstance(json.loads(text), dict):
                continue
        except (ValueError, RecursionError):
            continue
        path.write_text(text)
        try:
            refused += outcome(load, str(shard)) == "refused"
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {text}\n{error}") from None
    assert refused > 20


# ---------------------------------------------------------------------- audio and manifests


def test_audio(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(2000, np.float32) + 0.1, 24_000)
    counts = fuzz_bytes(path, lambda: read_audio(path), 300, str(path))
    assert counts["refused"] > 20 and counts["valid"] > 1


def test_a_disk_that_is_full_or_refuses(tmp_path, monkeypatch):
    class Full:
        def __init__(self, *args, **kwargs):
            raise soundfile.LibsndfileError(2, "Error opening: ")

    monkeypatch.setattr(soundfile, "SoundFile", Full)
    with pytest.raises(OSError, match="cannot write .*a.wav") as caught:
        write_audio(tmp_path / "a.wav", np.zeros(9, np.float32), 24_000)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv"])
def test_a_manifest(tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    sign = "\t" if suffix == "tsv" else ","
    lines = [sign.join(("audio", "text")), *[sign.join((f"{n}.wav", "é")) for n in range(9)]]
    if suffix == "jsonl":
        lines = [json.dumps({"audio": f"{n}.wav", "text": "é"}) for n in range(9)]
    path.write_text("\n".join(lines), encoding="utf-8")
    counts = fuzz_bytes(path, lambda: list_entries([str(path)]), 150, str(path))
    assert counts["refused"] > 20 and counts["valid"] > 1


# ---------------------------------------------------------------------- what else systems refuse


def test_a_folder_that_may_not_be_read(folder):
    path = folder / "codec" / "config.json"
    os.chmod(path, 0)
    try:
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
        load = lambda: ALMTokenizer.from_pretrained(folder / "codec")  # noqa: E731
        assert outcome(load, str(folder / "codec")) == "refused"
    finally:
        os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)


@pytest.mark.parametrize("name", ["no/such/folder", "no-such-hub-id", "a" * 300, "x\0y", ""])
def test_a_model_that_is_not_there(name):
    assert outcome(lambda: ALMTokenizer.from_pretrained(name), name) == "refused"
